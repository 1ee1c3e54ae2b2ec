"""What a metric comes to over the last minutes, in all or by the values of a column; from rollups where they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tracewatch.metrics import Rows
from tracewatch.metrics.base import Metric, summary
from tracewatch.metrics.rows import table_of
from tracewatch.records import STEPS, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.stores.measures import SLICES
from tracewatch.times import DAY_S, HOUR_S

Value = tuple[float | None, int]
"""What it came to (None: nothing that counts came), and how many calls that is of."""

MINUTE_S = 60
MOST_VALUES = 200  # of a column, those with the most calls
CALLS_ALONE = Filter("operation_type", "!=", STEPS)

# What minutes of rollups can say, by metric: from the sums of a window (numbers, or arrays of them) and its length.
ROLLED: Mapping[str, Callable[[Mapping[str, Any], float], Any]] = {
    "error_rate": lambda sums, _: (sums["error_calls"] + sums["timeout_calls"]) / sums["calls"],
    "timeout_rate": lambda sums, _: sums["timeout_calls"] / sums["calls"],
    "fallback_rate": lambda sums, _: sums["fallback_calls"] / sums["calls"],
    "retry_rate": lambda sums, _: sums["retried_calls"] / sums["calls"],
    "call_count": lambda sums, _: sums["calls"],
    "calls_per_hour": lambda sums, window_s: sums["calls"] * HOUR_S / window_s,
    "calls_per_day": lambda sums, window_s: sums["calls"] * DAY_S / window_s,
    "cost_per_hour": lambda sums, window_s: sums["cost_usd_sum"] * HOUR_S / window_s,
    "cost_per_day": lambda sums, window_s: sums["cost_usd_sum"] * DAY_S / window_s,
}
COUNTED = ("call_count", "calls_per_hour", "calls_per_day", "cost_per_hour", "cost_per_day")
"""Those for which it says something that no call came."""
MEASURES = (
    *("calls", "error_calls", "timeout_calls", "fallback_calls", "retried_calls"),
    "cost_usd_sum",
)


def value_by(
    store: Store, metric: Metric, where: Sequence[Filter], by: str | None, window_s: float, now: float
) -> Mapping[str | None, Value]:
    """By value of the column (None: of all, where none is given) what the metric comes to up to that moment."""
    if is_rolled(metric, where, by):
        found = _from_rollups(store, metric.key, where, by, window_s, now)
    else:
        found = _from_spans(store, metric, where, by, window_s, now)
    most = sorted(found, key=lambda value: found[value][1], reverse=True)[:MOST_VALUES]
    return {value: found[value] for value in most}


def is_rolled(metric: Metric, where: Sequence[Filter], by: str | None) -> bool:
    """Whether rollups can say what a metric comes to for these calls."""
    asked = {each.name for each in where} | ({by} if by else set())
    return metric.key in ROLLED and asked <= {"project", *SLICES}


def _from_rollups(
    store: Store, key: str, where: Sequence[Filter], by: str | None, window_s: float, now: float
) -> dict[str | None, Value]:
    """Of whole minutes, the present one included."""
    since = (now - window_s) // MINUTE_S * MINUTE_S + MINUTE_S
    rolled = store.rollup(
        since, now, step_s=MINUTE_S, by=(by,) if by else (), where=[*where, CALLS_ALONE], measures=MEASURES
    )
    sums: dict[str | None, dict[str, float]] = defaultdict(lambda: dict.fromkeys(MEASURES, 0.0))
    for row in rolled.to_pylist():
        for name in MEASURES:
            sums[row[by] if by else None][name] += row[name] or 0.0
    if not by and not sums:
        sums[None] = dict.fromkeys(MEASURES, 0.0)
    return {
        value: (ROLLED[key](each, window_s) if each["calls"] or key in COUNTED else None, int(each["calls"]))
        for value, each in sums.items()
        if value is not None or not by
    }


def _from_spans(
    store: Store, metric: Metric, where: Sequence[Filter], by: str | None, window_s: float, now: float
) -> dict[str | None, Value]:
    names = list(dict.fromkeys(("start_time", *needs_of(metric), *((by,) if by else ()))))
    within = [*where, Filter("start_time", ">=", (now - window_s,)), Filter("start_time", "<=", (now,))]
    table = table_of(store.scan(Span, names, within), names)
    if not by:
        return {None: value_of(metric, Rows(table), window_s)}
    codes, texts = Rows(table).codes(by)
    found: dict[str | None, Value] = {}
    for code, text in enumerate(texts[:-1]):
        found[text] = value_of(metric, Rows(table.filter(pa.array(codes == code))), window_s)
    return found


def needs_of(metric: Metric) -> tuple[str, ...]:
    """The columns of calls that a value is made of."""
    return (*metric.needs, "operation_type", "cost_usd") if metric.key in COUNTED else metric.needs


def value_of(metric: Metric, rows: Rows, window_s: float) -> Value:
    """What the metric comes to over the calls of a window."""
    if metric.key in COUNTED:
        codes, texts = rows.codes("operation_type")
        calls = ~np.isin(codes, [code for code, text in enumerate(texts) if text in STEPS])
        cost = np.nansum(rows.numbers("cost_usd")[calls]) if len(rows) else 0.0
        sums = {"calls": float(calls.sum()), "cost_usd_sum": float(cost)}
        return ROLLED[metric.key](sums, window_s), int(calls.sum())
    if metric.measured is None or not len(rows):
        return None, 0
    values = metric.measured(rows)
    return summary(metric, values), int(np.isfinite(values).sum())
