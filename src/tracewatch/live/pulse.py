"""How live detection stands, read off what it writes down about itself: who watches, up to when, how far behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tracewatch.judge import TICK_S
from tracewatch.live.leasing import current_lease
from tracewatch.records import Headway, Lease
from tracewatch.stores.base import Filter, Store

ALIVE_S = 20.0  # since the holder last said so, by the clocks of two processes: only for showing
FRESH_S = 3600.0  # since the newest call; what came in from elsewhere is judged to its end and no further
BEHIND_S = 60.0  # a pass over a busy step takes seconds; more than a minute is worth a word
MOST_PROJECTS = 1_000

State = Literal["watching", "behind", "unwatched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """Live detection of a project, or of all projects of a store. Times are UTC epoch seconds."""

    holder: str
    """Who watches; empty when nobody does."""
    since: float | None
    judged_until: float | None
    behind_s: float
    """For how long calls could have been judged that are not."""
    waiting: int
    """Rows that were not read yet."""
    grace_s: float | None
    late: int
    """Calls that came too late to count, in all."""

    @property
    def state(self) -> State:
        """In a word."""
        if not self.holder:
            return "unwatched"
        return "behind" if self.behind_s > BEHIND_S else "watching"


def pulse(store: Store, project: str, now: float) -> Pulse:
    """That of one project."""
    found = store.get(Headway, {"project": project})
    return _of(current_lease(store), [found] if isinstance(found, Headway) else [], now)


def pulse_of_all(store: Store, now: float) -> Pulse:
    """That of the project which is furthest behind, with what waits in all of them."""
    found = store.page(Headway, [Filter("updated_at", ">=", (now - 8 * 86_400,))], limit=MOST_PROJECTS).records
    return _of(current_lease(store), [each for each in found if isinstance(each, Headway)], now)


def _of(lease: Lease | None, found: list[Headway], now: float) -> Pulse:
    alive = lease is not None and lease.holder != "" and abs(now - lease.renewed_at) <= ALIVE_S
    last = max(found, key=lambda each: _behind(each, now), default=None)
    return Pulse(
        holder=lease.holder if lease and alive else "",
        since=lease.taken_at if lease and alive else None,
        judged_until=last.judged_until if last else None,
        behind_s=_behind(last, now) if last else 0.0,
        waiting=sum(each.waiting_rows for each in found),
        grace_s=last.grace_s if last else None,
        late=sum(each.late_rows for each in found),
    )


def _behind(headway: Headway, now: float) -> float:
    """For how long the next step could have been judged; of a project whose calls are of the past as it was noted."""
    if headway.judged_until is None or headway.newest_call is None or now - headway.newest_call > FRESH_S:
        return headway.behind_s
    return max(now - (headway.judged_until + TICK_S + headway.grace_s), 0.0)
