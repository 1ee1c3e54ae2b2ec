"""Which spans stay when the oldest have to go: those that findings name, a usual call of each kind, and failed ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.records import Anomaly, Incident, Record, Span, key_of
from tracewatch.stores.base import Filter, SpanKey, Store
from tracewatch.times import DAY_S

FAILED_A_DAY = 0.1  # of all that are spared: or else one outage would push out what is usual and what was found before
KIND = ("project", "operation_type", "model_name")
FAILED = ("error", "timeout")
_NAMES = (*key_of(Span), "operation_type", "model_name", "status", "duration_ms")
_BETWEEN = "\x1f"


def worth_keeping(store: Store, before: float, most: int) -> list[SpanKey]:
    """The keys of `most` spans from before a moment that tell more than others, the newest days first.

    All spans of a trace are worth as much as its best. In memory is a day at a time.
    """
    kept: list[SpanKey] = []
    named, wanted = _named(store), set[str]()
    for spans in _days(store, before):
        traces = _trace_of(spans)
        again = pc.is_in(traces, pa.array(sorted(named | wanted), pa.string()))
        chosen: dict[str, int] = {}
        for some, share in ((again, 1.0), (_usual(spans), 1.0), (_failed(spans), FAILED_A_DAY)):
            left = most - len(kept) - sum(chosen.values())
            chosen |= _fitting(traces, some, chosen, min(left, int(most * share)))
        kept += _keys_of(spans, traces, chosen)
        wanted.update(chosen)
        if len(kept) >= most:
            break
    return kept


def _named(store: Store) -> set[str]:
    """The traces that findings and incidents name as examples."""
    return {trace for record_type in (Anomaly, Incident) for trace in _examples(store, record_type)}


def _examples(store: Store, record_type: type[Record]) -> Iterator[str]:
    for batch in store.scan(record_type, ["project", "trace_ids"]):
        for project, texts in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield from (_BETWEEN.join((project, trace)) for trace in json.loads(texts or "[]"))


def _days(store: Store, before: float) -> Iterator[pa.Table]:
    """The spans of each day from before a moment, the latest day first."""
    reach = store.extent(Span)
    if reach is None or reach[0] >= before:
        return
    days = store.rollup(reach[0], before, step_s=int(DAY_S), measures=("calls",))["bucket"].to_pylist()
    for day in sorted(days, reverse=True):
        within = (Filter("start_time", ">=", (day,)), Filter("start_time", "<", (min(day + DAY_S, before),)))
        batches = list(store.scan(Span, _NAMES, within))
        if batches:
            yield pa.Table.from_batches(batches)


def _trace_of(spans: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(spans["project"], spans["trace_id"], _BETWEEN)


def _failed(spans: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.is_in(spans["status"], pa.array(FAILED)), False)


def _usual(spans: pa.Table) -> pa.Array:
    """Of each kind of call the one that took as long as half of them or longer."""
    numbered = spans.select([*KIND, "duration_ms", "status"]).append_column("at", pa.array(np.arange(spans.num_rows)))
    fine = numbered.filter(pc.invert(_failed(spans)))
    ordered = fine.sort_by([(name, "ascending") for name in (*KIND, "duration_ms")])
    counts = ordered.group_by(list(KIND), use_threads=False).aggregate([([], "count_all")])["count_all"].to_pylist()
    middles, begin = [], 0
    for count in counts:
        middles.append(begin + (count - 1) // 2)
        begin += count
    places = ordered["at"].take(pa.array(middles, pa.int64()))
    return pc.is_in(pa.array(np.arange(spans.num_rows)), places.combine_chunks())


def _fitting(traces: pa.ChunkedArray, some: pa.Array, chosen: Collection[str], most: int) -> dict[str, int]:
    """The traces of `some` that are not chosen yet, whole ones of `most` spans together, and how many each has."""
    new = pc.and_(some, pc.invert(pc.is_in(traces, pa.array(sorted(chosen), pa.string()))))
    found: dict[str, int] = {}
    for each in pc.value_counts(traces.filter(pc.is_in(traces, pc.unique(traces.filter(new))))).to_pylist():
        if each["counts"] <= most:
            found[each["values"]] = each["counts"]
            most -= each["counts"]
    return found


def _keys_of(spans: pa.Table, traces: pa.ChunkedArray, chosen: Collection[str]) -> list[SpanKey]:
    of_chosen = spans.filter(pc.is_in(traces, pa.array(sorted(chosen), pa.string())))
    return list(zip(*(of_chosen[name].to_pylist() for name in key_of(Span)), strict=True))
