"""Calls by the value of a column: by sessions, users, models and whatever else tells them apart."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.access import Caller
from tracewatch.records import ANSWERED, MESSAGES_SOURCE, STEPS, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.stores.measures import KEYS
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import PRICED, TOLD_APART, between, counting_calls, with_unpriced

SUMS = (*PRICED, "error_calls", "timeout_calls", "input_tokens_sum", "output_tokens_sum")
FROM = ("start_time", *TOLD_APART, "status", "cost_usd", "cost_status", "input_tokens", "output_tokens")

Group = dict[str, Any]
"""What the calls of one value come to: value, calls, failed, unpriced, cost_usd, input_tokens, output_tokens."""


def grouped(store: Store, caller: Caller, period: Period, name: str) -> list[Group]:
    """The groups of a period by a column, those of the most money first, then of the most calls."""
    found = _rolled(store, caller, period, name) if name in KEYS else _read(store, caller, period, name)
    return sorted(found, key=lambda each: (-each["cost_usd"], -each["calls"], str(each["value"])))


def _rolled(store: Store, caller: Caller, period: Period, name: str) -> list[Group]:
    groups: dict[Any, dict[str, float]] = {}
    by = tuple(dict.fromkeys((name, *TOLD_APART)))
    rows = between(store, caller, period.since, period.until, by=by, measures=SUMS)
    for row in counting_calls(with_unpriced(rows)):
        sums = groups.setdefault(row[name], dict.fromkeys(SUMS, 0.0))
        for each in SUMS:
            sums[each] += row[each] or 0
    return [
        {
            "value": value,
            "calls": int(sums["calls"]),
            "failed": int(sums["error_calls"] + sums["timeout_calls"]),
            "unpriced_calls": int(sums["unpriced_calls"]),
            "cost_usd": float(sums["cost_usd_sum"]),
            "input_tokens": round(sums["input_tokens_sum"]),
            "output_tokens": round(sums["output_tokens_sum"]),
        }
        for value, sums in groups.items()
    ]


def _read(store: Store, caller: Caller, period: Period, name: str) -> list[Group]:
    """Of a column that rollups do not tell apart: the calls are read, a few columns of them, batch by batch."""
    where = [
        *caller.where,
        Filter("source", "!=", (MESSAGES_SOURCE,)),
        Filter("start_time", ">=", (period.since,)),
        Filter("start_time", "<", (period.until,)),
        Filter(name, "!=", (None,)),
    ]
    tables = [_summed(pa.table(_columns(batch, name))) for batch in store.scan(Span, (name, *FROM), where)]
    if not tables:
        return []
    rows: list[Group] = _summed(pa.concat_tables(tables)).to_pylist()
    return rows


_NAMES = ("calls", "failed", "unpriced_calls", "cost_usd", "input_tokens", "output_tokens", "first", "last")


def _columns(batch: pa.RecordBatch, name: str) -> dict[str, Any]:
    none = pa.repeat(0, batch.num_rows)
    is_step = pc.fill_null(pc.is_in(batch["operation_type"], value_set=pa.array(STEPS)), False)
    one = pc.if_else(is_step, none, pa.repeat(1, batch.num_rows))
    failed = pc.is_in(batch["status"], value_set=pa.array(["error", "timeout"]))
    answered = pc.and_(pc.is_in(batch["status"], value_set=pa.array(ANSWERED)), pc.is_valid(batch["model_provider"]))
    unmetered = pc.and_(pc.and_(answered, pc.invert(is_step)), pc.is_null(batch["cost_usd"]))
    unpriced = pc.or_(pc.fill_null(pc.equal(batch["cost_status"], "unpriced"), False), unmetered)
    return {
        "value": batch[name],
        "calls": one,
        "failed": pc.if_else(failed, one, none),
        "unpriced_calls": pc.if_else(unpriced, one, none),
        "cost_usd": pc.fill_null(batch["cost_usd"], 0.0),
        "input_tokens": pc.fill_null(batch["input_tokens"], 0),
        "output_tokens": pc.fill_null(batch["output_tokens"], 0),
        "first": batch["start_time"],
        "last": batch["start_time"],
    }


def _summed(table: pa.Table) -> pa.Table:
    how = {"first": "min", "last": "max"}
    summed = table.group_by("value").aggregate([(each, how.get(each, "sum")) for each in _NAMES])
    return summed.rename_columns(["value", *_NAMES])
