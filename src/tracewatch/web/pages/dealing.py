"""Forms by which people say what they did about incidents and findings: one, or all that were selected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from starlette.responses import Response

from tracewatch.access import Caller
from tracewatch.dealing import deal
from tracewatch.errors import BadDeed
from tracewatch.records import Anomaly, Incident
from tracewatch.stores.base import Store
from tracewatch.web.asking import Asked
from tracewatch.web.forms import Form, answered, name_of

HOUR_S = 3600.0
WORSE = "worse"  # instead of a time: until then an incident is snoozed
MORNING = 9  # o'clock: when "tomorrow" begins
DONE = {
    "acknowledge": "Acknowledged.",
    "resolve": "Resolved.",
    "dismiss": "Dismissed, with all its findings.",
    "snooze": "Snoozed.",
    "note": "Noted.",
    "reopen": "Open again.",
    "undo": "Undone: it is as it was before.",
}
UNDONE = ("acknowledge", "resolve", "dismiss", "snooze")
"""What can be taken back right after it was done."""


def with_some(
    asked: Asked,
    caller: Caller,
    form: Form,
    one: Callable[[Store, Caller, str], Anomaly | Incident | None],
    home: str,
) -> Response:
    """Does the same about all that were selected, and goes back; `one` gives what an id stands for."""
    verb = form.one("verb") or ""
    for id_ in form.every("id"):
        found = one(asked.store, caller, id_)
        if found is not None:
            deal(asked.store, found, verb, who=name_of(asked.store, caller), now=asked.now)
    back = form.one("back") or home
    return answered(f"{back}{'&' if '?' in back else '?'}done={verb}" if form.every("id") else back)


def with_one(asked: Asked, caller: Caller, form: Form, found: Anomaly | Incident) -> str:
    """Does what the form says, and gives the verb. Raises BadDeed."""
    verb, until = form.one("verb") or "", form.one("until")
    worse = until == WORSE and isinstance(found, Incident)
    try:
        ends = float(until) if until and not worse else None
    except ValueError as error:
        raise BadDeed(why=f"'{until}' is no time") from error
    deal(
        asked.store, found, verb, who=name_of(asked.store, caller), now=asked.now,
        reason=form.one("reason"), text=form.one("text"), until=ends, until_worse=worse,
    )  # fmt: skip
    return verb


def snoozes(asked: Asked) -> Iterator[tuple[str, str]]:
    """Until when an incident may be snoozed: a moment, and its words."""
    now = asked.now
    yield f"{now + HOUR_S:.0f}", "for an hour"
    there = datetime.fromtimestamp(now, asked.zone) + timedelta(days=1)
    morning = there.replace(hour=MORNING, minute=0, second=0, microsecond=0)
    yield f"{morning.timestamp():.0f}", f"until tomorrow, {MORNING}:00"
    yield f"{now + 7 * 24 * HOUR_S:.0f}", "for a week"
