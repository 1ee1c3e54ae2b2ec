"""Spans go when their project has kept them for as long as it says: once a day, and never sooner for anybody."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tracewatch.live.worth import worth_keeping
from tracewatch.records import Project, Span, key_of
from tracewatch.stores.base import Filter, SpanKey, Store
from tracewatch.times import DAY_S, HOUR_S

RETAIN_S = 86_400.0  # so often
LIMIT_S = 3_600.0  # so often it is looked whether there is too much
ROOM = 0.95  # of what a limit allows is kept when something has to go: or else some would go every hour
SPARED = 0.05
MOST_SPARED = 50_000  # keys that are held in memory, and told to a database in one statement
CENTURIES_S = 400 * 365 * int(DAY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept at most, of all projects together; 0 is no limit."""

    spans: int = 0
    gigabytes: int = 0

    @property
    def sentence(self) -> str:
        """What they are, for people."""
        told = ((f"{self.spans:,} spans", self.spans), (f"{self.gigabytes:,} GB", self.gigabytes))
        return " and ".join(text for text, limit in told if limit)


_log = logging.getLogger("tracewatch.live")


def projects_of(store: Store) -> tuple[str, ...]:
    """All projects with spans that are counted."""
    reach = store.extent(Span)
    if reach is None:
        return ()
    rows = store.rollup(reach[0], reach[1] + 1, step_s=CENTURIES_S, by=("project",), measures=("calls",))
    return tuple(sorted(set(map(str, rows["project"].to_pylist()))))


def kept_since(store: Store, now: float) -> float | None:
    """The whole hour before which no project of the store wants its spans, UTC epoch seconds; None where all stay.

    A store forgets by time alone, so what one project would let go waits for the others that keep spans of that age.
    """
    bounds, any_limit = [], False
    for name in projects_of(store):
        days = _days_of(store, name)
        if days is not None:
            any_limit = True
            bounds.append(now - days * DAY_S)
        else:
            reach = store.extent(Span, [Filter("project", "=", (name,))])
            # What was spared when there was too much is older than what its project keeps.
            bounds.append(now if reach is None else max(reach[0], store.retained() or reach[0]))
    return min(bounds) // HOUR_S * HOUR_S if any_limit else None


def keep_within(store: Store, limits: Limits) -> int:
    """Deletes the oldest hours of all projects until the rest is within the limits. Returns how many spans went.

    Of what is deleted that which is worth most stays: a twentieth of all that may be kept.
    """
    there = store.count(Span) if limits.spans or limits.gigabytes else 0
    most = min(limits.spans or there, _most_within(store, there, limits.gigabytes))
    spared = min(int(most * SPARED), MOST_SPARED)
    before = _first_hour_within(store, there, most, spared)
    if before is None:
        return 0
    gone = store.retain(before, worth_keeping(store, before, spared))
    if gone:
        _log.warning("%s spans were deleted, the oldest of all: the rest is within %s", f"{gone:,}", limits.sentence)
    return gone


def _first_hour_within(store: Store, there: int, most: int, spared: int) -> float | None:
    """The first hour that is kept whole; None where all are. The last hour with spans always is."""
    reach = store.extent(Span) if most < there else None
    if reach is None:
        return None
    hours = store.rollup(reach[0], reach[1] + 1, measures=("calls",))
    kept, first = 0, int(reach[1] // HOUR_S * HOUR_S)
    counted = zip(hours["bucket"].to_pylist(), hours["calls"].to_pylist(), strict=True)
    for hour, calls in sorted(counted, reverse=True):
        kept += calls
        if kept > most - spared:
            return max(float(min(hour + HOUR_S, first)), store.retained() or 0.0)
    return None


def _most_within(store: Store, there: int, gigabytes: int) -> int:
    """About how many spans there is room for, by what one of those that are there takes."""
    size = store.size() if gigabytes else None
    if not size or size <= gigabytes * 1e9:
        return there
    return int(there * gigabytes * 1e9 / size * ROOM)


def retain(store: Store, now: float) -> int:
    """Deletes the spans that no project wants any more; sums by the hour stay. Returns how many went."""
    before = kept_since(store, now)
    if before is None or not store.exists(Span, [Filter("start_time", "<", (before,))]):
        return 0
    gone = store.retain(before, _kept_for_good(store, before))
    if gone:
        _log.warning("%s spans were deleted, which their projects have kept for long enough", f"{gone:,}")
    return gone


def _kept_for_good(store: Store, before: float) -> list[SpanKey]:
    """What is left from before a moment of projects that have no limit of age: it was spared, MOST_SPARED at most."""
    names = tuple(name for name in projects_of(store) if _days_of(store, name) is None)
    if not names:
        return []
    of_them = (Filter("project", "=", names), Filter("start_time", "<", (before,)))
    batches = store.scan(Span, key_of(Span), of_them)
    return [key for batch in batches for key in zip(*(column.to_pylist() for column in batch.columns), strict=True)]


def _days_of(store: Store, project: str) -> int | None:
    described = store.get(Project, {"project": project})
    return described.retention_days if isinstance(described, Project) else None
