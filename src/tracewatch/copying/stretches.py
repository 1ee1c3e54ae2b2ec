"""Into which pieces the spans of a store are cut, so that what is the same in both stores is passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from tracewatch.records import Span
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The spans of a project that began in a day or a part of it (UTC epoch seconds, the end not included)."""

    project: str
    since: float
    until: float
    recent: bool
    """Whether detection may not have read them all."""

    def where(self) -> tuple[Filter, ...]:
        """The conditions that they meet."""
        began = (Filter("start_time", ">=", (self.since,)), Filter("start_time", "<", (self.until,)))
        return (Filter("project", "=", (self.project,)), *began)


def stretches(store: Store, recent_from: Mapping[str, float]) -> Iterator[Stretch]:
    """All days that have spans, the oldest first; a project's day is cut where its recent spans begin.

    Without those that retention has spared: no other store takes a span of hours that it has as sums alone.
    """
    reach = store.extent(Span)
    if reach is None:
        return
    least = max(reach[0], store.retained() or reach[0])
    table = store.rollup(least, reach[1] + 1, step_s=int(DAY_S), by=("project",), measures=("calls",))
    for row in table.to_pylist():
        project, day = row["project"], float(row["bucket"])
        since, until, cut = max(day, least), day + DAY_S, recent_from.get(project, inf)
        if since < cut:
            yield Stretch(project=project, since=since, until=min(cut, until), recent=False)
        if cut < until:
            yield Stretch(project=project, since=max(cut, since), until=until, recent=True)
