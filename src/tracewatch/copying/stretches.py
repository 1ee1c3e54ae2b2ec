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
    """All days that have spans, the oldest first; a project's day is cut where its recent spans begin."""
    reach = store.extent(Span)
    if reach is None:
        return
    table = store.rollup(reach[0], reach[1] + 1, step_s=int(DAY_S), by=("project",), measures=("calls",))
    for row in table.to_pylist():
        project, since = row["project"], float(row["bucket"])
        until, cut = since + DAY_S, recent_from.get(project, inf)
        if since < cut:
            yield Stretch(project=project, since=since, until=min(cut, until), recent=False)
        if cut < until:
            yield Stretch(project=project, since=max(cut, since), until=until, recent=True)
