"""Spans go when their project has kept them for as long as it says: once a day, and never sooner for anybody."""

from __future__ import annotations

import logging

from tracewatch.records import Project, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S, HOUR_S

RETAIN_S = 86_400.0  # so often
CENTURIES_S = 400 * 365 * int(DAY_S)

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
        described = store.get(Project, {"project": name})
        days = described.retention_days if isinstance(described, Project) else None
        if days is not None:
            any_limit = True
            bounds.append(now - days * DAY_S)
        else:
            reach = store.extent(Span, [Filter("project", "=", (name,))])
            bounds.append(now if reach is None else reach[0])
    return min(bounds) // HOUR_S * HOUR_S if any_limit else None


def retain(store: Store, now: float) -> int:
    """Deletes the spans that no project wants any more; sums by the hour stay. Returns how many went."""
    before = kept_since(store, now)
    if before is None or not store.exists(Span, [Filter("start_time", "<", (before,))]):
        return 0
    gone = store.retain(before)
    _log.warning("%s spans were deleted, which their projects have kept for long enough", f"{gone:,}")
    return gone
