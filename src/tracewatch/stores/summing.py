"""Spans added up by the values of some columns, in Arrow: the sums that `queries.GROUPED` makes in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.records import ANSWERED, STEPS
from tracewatch.stores.queries import GROUPED

SUMMED_FROM = (
    "start_time", "operation_type", "model_provider", "status", "cost_usd", "cost_status", "input_tokens",
    "output_tokens",
)  # fmt: skip
"""The columns of spans that sums are made from."""

_FAILED = ("error", "timeout")
_HOW = {
    "calls": "sum", "cost_usd": "sum", "priced": "sum", "unpriced": "sum", "failed": "sum", "input_tokens": "sum",
    "output_tokens": "sum", "first": "min", "last": "max",
}  # fmt: skip


def added_up(batches: Iterable[pa.RecordBatch], keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """For each combination of the keys its values, and then the sums in the order of GROUPED.

    The batches have the columns SUMMED_FROM and the keys.
    """
    parts = [_grouped(_measured(each, keys), keys) for each in batches if each.num_rows]
    if not parts:
        return []
    whole = _grouped(pa.concat_tables(parts), keys)
    names = [*keys, *(name for name in GROUPED if name != "value")]
    return list(zip(*(whole[name].to_pylist() for name in names), strict=True))


def _measured(spans: pa.RecordBatch, keys: Sequence[str]) -> pa.Table:
    is_call = pc.invert(_is_one_of(spans["operation_type"], STEPS))
    answered = pc.and_(pc.and_(is_call, pc.is_valid(spans["model_provider"])), _is_one_of(spans["status"], ANSWERED))
    without_price = pc.or_(_is_one_of(spans["cost_status"], ("unpriced",)), answered)
    priced = pc.is_valid(spans["cost_usd"])
    sums = {
        "calls": _number(is_call),
        "cost_usd": spans["cost_usd"],
        "priced": _number(priced),
        "unpriced": _number(pc.and_not(without_price, priced)),
        "failed": _number(pc.and_(is_call, _is_one_of(spans["status"], _FAILED))),
        "input_tokens": pc.fill_null(spans["input_tokens"], 0),
        "output_tokens": pc.fill_null(spans["output_tokens"], 0),
        "first": spans["start_time"],
        "last": spans["start_time"],
    }
    return pa.table({**{name: spans[name] for name in keys}, **sums})


def _grouped(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    found = table.group_by(list(keys)).aggregate(list(_HOW.items()))
    return found.rename_columns([*keys, *_HOW]).combine_chunks()


def _is_one_of(texts: pa.Array, values: Sequence[str]) -> pa.Array:
    return pc.is_in(texts, value_set=pa.array(values, pa.string()))


def _number(yes: pa.Array) -> pa.Array:
    return yes.cast(pa.int64())
