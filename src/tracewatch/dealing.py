"""Dealing with incidents and findings: what people do about them is written down, and what follows from it is done."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from tracewatch.errors import BadDeed
from tracewatch.lessons import WORSE
from tracewatch.records import REASONS, SEVERITIES, VERBS, Anomaly, Deed, Incident, Lesson
from tracewatch.stores.base import Filter, Store
from tracewatch.teaching import forget, lesson_of, lessons_of, reached

MOST_FINDINGS = 1_000  # of one incident; the engine keeps 50
MOST_DEEDS = 200
LONGEST_TEXT = 2_000  # characters of a note
OFFERED_S = 10  # for so long screens offer to undo
UNDONE_S = 60.0  # for so long it can be undone: a page may be slow, and a reader, too
OURS = "tracewatch"
"""Who did what nobody did."""

_AWAKE = {"snoozed_until": None, "snoozed_beyond": None, "regressed_at": None}
OUTCOMES: Mapping[str, Mapping[str, Any]] = {
    "acknowledge": {"resolution_status": "acknowledged", "acknowledged": True, **_AWAKE},
    "snooze": {"resolution_status": "acknowledged", "acknowledged": True, **_AWAKE},
    "resolve": {"resolution_status": "resolved", "acknowledged": True, **_AWAKE},
    "dismiss": {"resolution_status": "dismissed", "acknowledged": True, **_AWAKE},
    "reopen": {"resolution_status": "pending", "acknowledged": False, **_AWAKE},
}
"""What becomes of an incident by each verb; a note changes nothing."""
_OF_FINDING = frozenset(("resolution_status", "acknowledged", "snoozed_until"))


def deal(
    store: Store, found: Incident | Anomaly, verb: str, *, who: str, now: float, reason: str | None = None,
    text: str | None = None, until: float | None = None, until_worse: bool = False,
) -> Deed:  # fmt: skip
    """Does something about an incident with all its findings, or about one finding. Raises BadDeed.

    A snooze ends at `until` (UTC epoch seconds), or, with `until_worse`, when the incident is 1.5 times as far off.
    A dismissal as noise or as expected teaches (see docs/incidents.md); to reopen takes that back. `undo`
    takes back what was done last, within a minute.
    """
    text = (text or "").strip() or None
    _check(found, verb, reason, text, until, until_worse, now)
    if verb == "undo":
        return _undo(store, found, who, now)
    deed = Deed(
        project=found.project, id=secrets.token_hex(8), about=found.id, verb=verb, done_at=now, done_by=who,
        reason=reason, text=text, until=until, reached=reached(store, found, now), before=_before(found),
    )  # fmt: skip
    lesson = lesson_of(store, found, deed)
    if lesson is not None:
        store.add([lesson])
    store.add([deed])
    if verb == "reopen":
        _forget(store, found, deed)
    values = dict(OUTCOMES.get(verb, {}))
    if verb == "snooze":
        values |= {"snoozed_until": until, "snoozed_beyond": WORSE * _distance(found) if until_worse else None}
    _follow(store, found, values)
    return deed


def deeds_about(store: Store, project: str, about: Sequence[str]) -> tuple[Deed, ...]:
    """What was done about some incidents or findings, the newest first."""
    if not about:
        return ()
    where = [Filter("project", "=", (project,)), Filter("about", "=", tuple(about))]
    return tuple(each for each in store.page(Deed, where, limit=MOST_DEEDS).records if isinstance(each, Deed))


def is_snoozed(found: Incident | Anomaly, now: float) -> bool:
    """Whether nobody wants to hear of it: its time has not come, or it has not got worse."""
    if found.resolution_status != "acknowledged":
        return False
    if found.snoozed_until is not None:
        return found.snoozed_until > now
    return isinstance(found, Incident) and found.snoozed_beyond is not None and not _is_worse(found)


def is_awake_again(found: Incident | Anomaly, now: float) -> bool:
    """Whether it was snoozed, and is open again by itself."""
    snoozed = found.snoozed_until is not None or (isinstance(found, Incident) and found.snoozed_beyond is not None)
    return snoozed and found.resolution_status == "acknowledged" and not is_snoozed(found, now)


def come_back(store: Store, there: Incident, found: Incident, *, back: float | None, worse: float | None) -> bool:
    """Opens an incident again that people had settled, when it is back or got worse since. Returns whether it did.

    `back` and `worse` are when that was last seen, `found` is how it stands now. What was dismissed only for once may
    be told when it is back; what taught something when it gets worse, for then it is more than what was dismissed.
    """
    if there.resolution_status not in ("resolved", "dismissed"):
        return False
    deeds = deeds_about(store, there.project, [there.id])
    settled = next((each for each in deeds if each.verb in ("resolve", "dismiss")), None)
    if settled is None or (settled.verb == "dismiss" and settled.reason is None):
        return False
    if SEVERITIES.index(found.severity) > SEVERITIES.index(there.severity):
        worse = max(worse or 0.0, found.updated_at)
    once, taught = settled.reason == "expected_once", settled.verb == "dismiss" and settled.reason != "expected_once"
    whens = {"regressed": None if taught else back, "worse": None if once else worse}
    since = settled.done_at if settled.reached is None else settled.reached
    why = next((name for name, at in whens.items() if at is not None and at > since), None)
    if why is None:
        return False
    at = whens[why] or 0.0
    key = {"project": there.project, "id": there.id}
    identity = hashlib.blake2b(f"{there.id} {settled.id} {at}".encode(), digest_size=8).hexdigest()
    again = Deed(
        project=there.project, id=identity, about=there.id, verb="reopen", done_at=at, done_by=OURS, reason=why,
        reached=at,
    )  # fmt: skip
    store.add([again])
    store.annotate(Incident, key, {**OUTCOMES["reopen"], "regressed_at": at})
    return True


def _check(
    found: Incident | Anomaly, verb: str, reason: str | None, text: str | None, until: float | None,
    until_worse: bool, now: float,
) -> None:  # fmt: skip
    """Raises BadDeed when it makes no sense."""
    if verb not in VERBS:
        raise BadDeed(why=f"'{verb}' is none of {', '.join(VERBS)}")
    if reason is not None and reason not in REASONS:
        raise BadDeed(why=f"the reason '{reason}' is none of {', '.join(REASONS)}")
    if text is not None and len(text) > LONGEST_TEXT:
        raise BadDeed(why=f"the note has {len(text):,} characters, and {LONGEST_TEXT:,} are the most")
    if verb == "note" and text is None:
        raise BadDeed(why="a note without a text says nothing")
    if verb != "snooze":
        return
    if until_worse and until is not None:
        raise BadDeed(why="a snooze ends at a time or when it gets worse, not both")
    if until_worse and isinstance(found, Anomaly):
        raise BadDeed(why="a finding does not change any more; snooze its incident until that gets worse")
    if not until_worse and (until is None or not now < until < float("inf")):
        raise BadDeed(why="a snooze ends in the future")


def _undo(store: Store, found: Incident | Anomaly, who: str, now: float) -> Deed:
    """Takes back what was done last: how it stood, and what was taught."""
    last = next((each for each in deeds_about(store, found.project, [found.id]) if each.verb != "note"), None)
    if last is None or last.before is None:
        raise BadDeed(why="nothing was done that can be undone")
    if now - last.done_at > UNDONE_S:
        raise BadDeed(why="it can be undone for a minute only, and that is over; open it again instead")
    deed = Deed(
        project=found.project, id=secrets.token_hex(8), about=found.id, verb="undo", done_at=now, done_by=who,
        reached=last.reached,
    )  # fmt: skip
    store.add([deed])
    _forget(store, found, deed, taught_by=last.id)
    if last.verb == "reopen":
        _learn_again(store, found, last)
    _follow(store, found, last.before)
    return deed


def _forget(store: Store, found: Incident | Anomaly, deed: Deed, *, taught_by: str | None = None) -> None:
    """What the dismissal taught does not count any more."""
    for each in lessons_of(store, found.project, about=found.id):
        if each.until is None and taught_by in (None, each.id):
            judged = deed.done_at if deed.reached is None else deed.reached
            forget(store, each, who=deed.done_by, now=deed.done_at, judged=judged)


def _learn_again(store: Store, found: Incident | Anomaly, reopening: Deed) -> None:
    """What was forgotten by a deed counts again."""
    for each in lessons_of(store, found.project, about=found.id):
        if each.forgotten_at == reopening.done_at:
            key = {"project": each.project, "id": each.id}
            store.annotate(Lesson, key, {"until": None, "forgotten_at": None, "forgotten_by": None})


def _before(found: Incident | Anomaly) -> dict[str, Any]:
    names = ("resolution_status", "acknowledged", "snoozed_until", "snoozed_beyond", "regressed_at")
    return {name: getattr(found, name) for name in names if hasattr(found, name)}


def _distance(found: Incident | Anomaly) -> float:
    """How far from the expected value it is; without figures 0, so that any that come are worse."""
    if isinstance(found, Anomaly):
        return abs(found.detected_value - found.expected_value)
    return 0.0 if found.observed is None or found.expected is None else abs(found.observed - found.expected)


def _is_worse(found: Incident) -> bool:
    return found.snoozed_beyond is not None and _distance(found) > found.snoozed_beyond


def _follow(store: Store, found: Incident | Anomaly, values: Mapping[str, Any]) -> None:
    """What people did about an incident they did about all its findings."""
    if not values:
        return
    of_finding = {name: value for name, value in values.items() if name in _OF_FINDING}
    own = values if isinstance(found, Incident) else of_finding
    store.annotate(type(found), {"project": found.project, "id": found.id}, own)
    if isinstance(found, Incident):
        where = [Filter("project", "=", (found.project,)), Filter("incident_id", "=", (found.id,))]
        findings = store.page(Anomaly, where, limit=MOST_FINDINGS).records
        keys = [{"project": each.project, "id": each.id} for each in findings if isinstance(each, Anomaly)]
        store.annotate_all(Anomaly, ((key, of_finding) for key in keys))
