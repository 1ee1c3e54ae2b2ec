"""What is usual of a call and of a whole trace, from the rollups and from traces of the same kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.access import Caller
from tracewatch.records import Span
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter, Store
from tracewatch.web.views.rolled import rows_of, settled
from tracewatch.web.views.summary import Summary, name_of, summary

HOUR_S, DAY_S = 3600.0, 86_400.0
DAYS = 7
FEWEST = 5  # values tell a range
ALIKE = 24  # traces of the same kind that are read; more tell hardly more
LOOKED_AT = 60  # calls among which those traces are found
LONGEST = 500  # spans of a trace to compare with; one as long as that is no typical one


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """How such a span usually is: p5, the median and p95, and over how many."""

    low: float
    middle: float
    high: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Traces of the same kind as one, from before it."""

    traces: tuple[tuple[Span, ...], ...]
    summaries: tuple[Summary, ...]
    medoid: tuple[Span, ...] | None
    """The most ordinary of them: its time is the median, and nothing in it failed."""

    def of(self, values: str) -> Typical | None:
        """What is usual of one of the numbers of `Summary`."""
        return typical_of([getattr(each, values) for each in self.summaries])

    def durations(self) -> Mapping[str, Typical]:
        """How long spans of each name take, in ms."""
        found: dict[str, list[float | None]] = defaultdict(list)
        for spans in self.traces:
            for each in spans:
                if each.status == "ok":
                    found[name_of(each)].append(each.duration_ms)
        return {name: made for name, values in found.items() if (made := typical_of(values)) is not None}


def typical_of(values: Sequence[float | None]) -> Typical | None:
    """p5, median and p95 of those that are known; None where they are too few."""
    known = sorted(each for each in values if each is not None)
    if len(known) < FEWEST:
        return None

    def at(share: float) -> float:
        return known[min(round(share * (len(known) - 1)), len(known) - 1)]

    return Typical(low=at(0.05), middle=at(0.5), high=at(0.95), count=len(known))


def of_calls(
    store: Store, caller: Caller, kinds: Sequence[tuple[str | None, str | None]], before: float, now: float,
    column: str = "duration_ms",
) -> Mapping[tuple[str | None, str | None], Typical]:  # fmt: skip
    """How calls of these operations and models usually are, in the week before, by rollups."""
    until = (before // DAY_S + 1) * DAY_S
    wanted = set(kinds)
    if not wanted:
        return {}
    where = [
        Filter("operation_type", "=", tuple(sorted({each[0] for each in wanted}, key=str))),
        Filter("model_name", "=", tuple(sorted({each[1] for each in wanted}, key=str))),
    ]
    rows = rows_of(
        settled(
            store, caller, until - (DAYS + 1) * DAY_S, until, now, by=("operation_type", "model_name"), where=where,
            measures=(f"{column}_count", f"{column}_sketch"), step_s=int(2 * DAYS * DAY_S),
        )
    )  # fmt: skip
    merged: dict[tuple[str | None, str | None], list[bytes | None]] = defaultdict(list)
    for row in rows:
        merged[row["operation_type"], row["model_name"]].append(row[f"{column}_sketch"])
    return {kind: made for kind, some in merged.items() if kind in wanted and (made := _of_sketch(some)) is not None}


def _of_sketch(some: Sequence[bytes | None]) -> Typical | None:
    whole = sketch.merge(some)
    count = sketch.count(whole)
    if count < FEWEST:
        return None
    low, middle, high = (sketch.quantile(whole, share) or 0.0 for share in (0.05, 0.5, 0.95))
    return Typical(low=low, middle=middle, high=high, count=count)


def alike(store: Store, caller: Caller, root: Span) -> Alike:
    """Traces whose first span is like this one, from the week before it: the last day's first."""
    found: dict[str, tuple[Span, ...]] = {}
    for begin, end in (
        (root.start_time - DAY_S, root.start_time),
        (root.start_time - DAYS * DAY_S, root.start_time - DAY_S),
    ):
        for trace_id in _ids(store, caller, root, begin, end):
            if len(found) < ALIKE and trace_id not in found:
                spans = [
                    each for each in store.trace(caller.project, trace_id) if caller.user_id in (None, each.user_id)
                ]
                if spans and len(spans) <= LONGEST:
                    found[trace_id] = tuple(spans)
        if len(found) >= FEWEST:
            break
    traces = tuple(found.values())
    summaries = tuple(map(summary, traces))
    return Alike(traces=traces, summaries=summaries, medoid=_medoid(traces, summaries))


def _ids(store: Store, caller: Caller, root: Span, begin: float, end: float) -> Iterator[str]:
    """Traces that have a span like that; the index by model is used where it has a model."""
    names: Mapping[str, Any] = {
        name: getattr(root, name)
        for name in ("model_name", "operation_type", "span_name", "usage_type")
        if getattr(root, name) is not None
    }
    where = [
        *caller.where,
        *(Filter(name, "=", (value,)) for name, value in names.items()),
        *([Filter("parent_span_id", "=", (None,))] if root.parent_span_id is None else []),
        Filter("start_time", ">=", (begin,)),
        Filter("start_time", "<", (end,)),
    ]
    for each in store.page(Span, where, limit=LOOKED_AT).records:
        if isinstance(each, Span) and each.trace_id != root.trace_id:
            yield each.trace_id


def _medoid(traces: Sequence[tuple[Span, ...]], summaries: Sequence[Summary]) -> tuple[Span, ...] | None:
    good = [
        (each.duration_ms, spans)
        for each, spans in zip(summaries, traces, strict=True)
        if each.duration_ms is not None and not each.failed and not each.fallbacks
    ]
    if not good:
        return traces[0] if traces else None
    good.sort(key=lambda pair: pair[0])
    return good[len(good) // 2][1]
