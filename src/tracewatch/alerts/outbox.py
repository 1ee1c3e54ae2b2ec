"""The outbox: messages are written down before they are sent, and each is sent by one process at a time.

A delivery is claimed by compare-and-swap, for a time: whoever dies with it loses it then. A second attempt happens only
when the outcome of the first is not known, and carries the same key, by which the receiver may drop it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tracewatch.channels.base import SHORT_MARK
from tracewatch.errors import NotFound
from tracewatch.records import Delivery
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S, HOUR_S

CLAIM_S = 120.0  # longer than any channel takes: an attempt ends after half a minute at the latest
MOST_ATTEMPTS = 20  # over six hours: a receiver that is down for longer is looked at by people
FIRST_AGAIN_S, LAST_AGAIN_S = 10.0, 1800.0
LONGEST_WAIT_S = DAY_S  # that a receiver may ask for
FARTHEST_S = LONGEST_WAIT_S + HOUR_S  # from now on nothing is put off for longer
JITTER = 0.2  # so that many which failed together do not come back together
KEPT_S = 400 * DAY_S
MOST_DUE = 500
UNDONE = ("waiting", "sending", "failed")
DONE = ("sent", "dead", "gathered")
LONGEST_ANSWER = 500  # characters
_WHY_NOT = {
    "": "See them with: tracewatch alerts deliveries --state dead",
    "sending": "It is being sent at this moment",
    "sent": "It has arrived, and nothing is sent twice",
    "gathered": "It is part of a summary, which may be sent again by the key of its own",
}
"""By the state of a delivery, why it is not sent anew."""


def due(store: Store, now: float, limit: int = MOST_DUE) -> tuple[Delivery, ...]:
    """Deliveries of all projects that may be tried now, the oldest first: those never tried, failed, or left behind.

    What is due later than anything waits was put off by a clock that went wrong, and is due as well.
    """
    ready, left = Filter("state", "=", ("waiting", "failed")), Filter("state", "=", ("sending",))
    found = [
        each
        for state, name in ((ready, "due_at"), (left, "claimed_until"))
        for when in (Filter(name, "<=", (now,)), Filter(name, ">", (now + FARTHEST_S,)))
        for each in store.page(Delivery, [state, when], limit=limit).records
    ]
    return tuple(sorted((each for each in found if isinstance(each, Delivery)), key=lambda each: each.created_at))


def next_due(store: Store) -> float | None:
    """The earliest moment at which a delivery may be tried (UTC epoch seconds); None when all are done with."""
    where = [Filter("state", "=", UNDONE)]
    moments: list[float] = []
    for batch in store.scan(Delivery, ["state", "due_at", "claimed_until"], where):
        rows = batch.to_pydict()
        for state, at, until in zip(rows["state"], rows["due_at"], rows["claimed_until"], strict=True):
            moments.append(until if state == "sending" and until is not None else at)
    return min(moments, default=None)


def claim(store: Store, delivery: Delivery, who: str, now: float) -> Delivery | None:
    """Takes a delivery for oneself; None when somebody else was quicker, or something must be told before it."""
    if _comes_later(store, delivery):
        return None
    claimed = replace(
        delivery, state="sending", attempts=delivery.attempts + 1, claimed_by=who, claimed_until=now + CLAIM_S
    )
    return claimed if _swap(store, delivery, [claimed]) else None


def apart(store: Store, delivery: Delivery, recipients: Sequence[str]) -> tuple[Delivery, ...]:
    """Makes of a delivery one for each recipient of its channel, in one go, so that none is told again for another.

    The first has its key: whoever decides the same once more writes nothing. Empty when somebody else was quicker.
    """
    parts = [replace(delivery, recipient=recipients[0])]
    for each in recipients[1:]:
        key = hashlib.blake2b(f"{delivery.key} {each}".encode(), digest_size=12).hexdigest()
        parts.append(replace(delivery, recipient=each, key=key, message={**delivery.message, "key": key}))
    return tuple(parts) if _swap(store, delivery, parts) else ()


def sent(store: Store, claimed: Delivery, now: float, answer: str = "taken") -> bool:
    """Notes that the receiver took it. Returns False when somebody else has claimed it meanwhile."""
    return _swap(store, claimed, [_released(claimed, state="sent", sent_at=now, answer=answer)])


def failed(store: Store, claimed: Delivery, now: float, why: str, retry_after_s: float | None = None) -> bool:
    """Notes that it did not arrive, and when it is tried again; after the last attempt it is dead."""
    if claimed.attempts >= MOST_ATTEMPTS:
        return dead(store, claimed, f"{why} (given up after {claimed.attempts} attempts)")
    again = now + again_after(claimed.key, claimed.attempts, retry_after_s)
    return _swap(store, claimed, [_released(claimed, state="failed", due_at=again, answer=why[:LONGEST_ANSWER])])


def dead(store: Store, claimed: Delivery, why: str) -> bool:
    """Notes that it will not be tried again by itself."""
    return _swap(store, claimed, [_released(claimed, state="dead", answer=why[:LONGEST_ANSWER])])


def resend(store: Store, project: str, key: str, now: float) -> Delivery:
    """Has a delivery tried anew from the first attempt on. Raises NotFound where there is none that is not sent."""
    found = store.get(Delivery, {"project": project, "key": key})
    if not isinstance(found, Delivery) or found.state not in ("failed", "dead", "waiting"):
        hint = _WHY_NOT.get(found.state if isinstance(found, Delivery) else "", _WHY_NOT[""])
        raise NotFound(what="delivery that was not sent", given=key, where=f"project {project}", hint=hint)
    anew = _released(found, state="waiting", attempts=0, due_at=now)
    if not _swap(store, found, [anew]):
        return resend(store, project, key, now)
    return anew


def again_after(key: str, attempts: int, retry_after_s: float | None = None) -> float:
    """Seconds until the next attempt: twice as long each time, a little more or less, and what the receiver asks for.

    >>> [round(again_after("a", attempts)) for attempts in (1, 2, 3, 12)]
    [11, 21, 34, 1721]
    """
    seed = hashlib.blake2b(f"{key} {attempts}".encode(), digest_size=4).digest()
    share = int.from_bytes(seed, "big") / 2**32
    wait: float = min(FIRST_AGAIN_S * 2 ** (attempts - 1), LAST_AGAIN_S) * (1 + JITTER * (2 * share - 1))
    return max(wait, min(retry_after_s or 0.0, LONGEST_WAIT_S))


def tidy(store: Store, now: float) -> int:
    """Deletes what was done with more than a year ago. Returns how many there were."""
    old = [Filter("state", "=", DONE), Filter("created_at", "<", (now - KEPT_S,))]
    return store.remove(Delivery, old)


def deliveries_of(store: Store, project: str, states: Sequence[str] = (), limit: int = 50) -> tuple[Delivery, ...]:
    """The newest deliveries of a project."""
    where = [Filter("project", "=", (project,))]
    if states:
        where.append(Filter("state", "=", tuple(states)))
    return tuple(each for each in store.page(Delivery, where, limit=limit).records if isinstance(each, Delivery))


def given_up(store: Store, project: str) -> Iterator[Delivery]:
    """All deliveries of a project that are not tried any more, the newest first."""
    dead, cursor = [Filter("project", "=", (project,)), Filter("state", "=", ("dead",))], None
    while True:
        page = store.page(Delivery, dead, cursor=cursor, limit=MOST_DUE)
        yield from (each for each in page.records if isinstance(each, Delivery))
        cursor = page.next
        if cursor is None:
            return


def _comes_later(store: Store, delivery: Delivery) -> bool:
    """Whether an earlier message about the same incident is still on its way there: an end is not told before."""
    if delivery.incident_id is None:
        return False
    before = [
        Filter("project", "=", (delivery.project,)),
        Filter("incident_id", "=", (delivery.incident_id,)),
        Filter("channel", "=", (delivery.channel,)),
        Filter("recipient", "=", (delivery.recipient, delivery.recipient[:SHORT_MARK], "")),
        Filter("state", "=", UNDONE),
        Filter("created_at", "<", (delivery.created_at,)),
    ]
    return store.exists(Delivery, before)


def _released(delivery: Delivery, **values: Any) -> Delivery:
    return replace(delivery, claimed_by=None, claimed_until=None, **values)


def _swap(store: Store, before: Delivery, after: Sequence[Delivery]) -> bool:
    """Puts another form of a delivery, or its parts, in its place, if it is still the one that is there."""
    same = [Filter(name, "=", (getattr(before, name),)) for name in ("project", "key", "state", "attempts")]
    same += [Filter(name, "=", (getattr(before, name),)) for name in ("recipient", "due_at", "claimed_by")]
    same.append(Filter("claimed_until", "=", (before.claimed_until,)))
    return store.swap(Delivery, same, after, expected=1)
