"""A metric of some calls over time, with what was to be expected of each step: what every band chart draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.access import Caller
from tracewatch.explaining.measures import measure_of
from tracewatch.metrics.custom import COLUMN_OF
from tracewatch.stores.base import Filter, Store
from tracewatch.stores.measures import KEYS, ROLLED
from tracewatch.web.charts import Series
from tracewatch.web.views.hours import CALLS, COST, Amount, Hours, mean, share
from tracewatch.web.views.rolled import calls_of, rolled, rows_of
from tracewatch.web.views.usual import Hourly, Kind, middles, ranges

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
STEPS_S = (300, 600, 900, 1800, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, DAY_S)
POINTS = 76
MINUTES_KEPT_S = 1.9 * DAY_S  # older minutes would have to be made from the spans

_SHARES = {
    "error_rate": ("error_calls", "timeout_calls"),
    "timeout_rate": ("timeout_calls",),
    "fallback_rate": ("fallback_calls",),
    "retry_rate": ("retried_calls",),
    "unpriced_rate": ("unpriced_calls",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How a metric is read off rollups."""

    amount: Amount
    needs: tuple[str, ...]
    kind: Kind


def _tokens(row: Mapping[str, Any]) -> tuple[float, float]:
    return (row["input_tokens_sum"] or 0.0) + (row["output_tokens_sum"] or 0.0), 1.0


_SPENT = {
    "cost_usd": Source(amount=COST, needs=("cost_usd_sum",), kind="sum"),
    "total_tokens": Source(amount=_tokens, needs=("input_tokens_sum", "output_tokens_sum"), kind="sum"),
}


def source_of(metric: str) -> Source | None:
    """How to read a metric off rollups; None for what they do not hold."""
    if metric == "call_count":
        return Source(amount=CALLS, needs=("calls",), kind="sum")
    if metric in _SHARES:
        needs = _SHARES[metric]
        return Source(amount=share(*needs), needs=("calls", *needs), kind="share")
    if metric == "cache_hit_rate":
        read, sent = "cache_read_input_tokens_sum", "input_tokens_sum"
        return Source(amount=lambda row: (row[read] or 0.0, row[sent] or 0.0), needs=(read, sent), kind="mean")
    name = "duration_ms" if metric == "latency_ms" else metric
    if name in ROLLED and name not in COLUMN_OF:
        return Source(amount=mean(name), needs=(f"{name}_sum", f"{name}_count"), kind="mean")
    return None


def can_be_rolled(slice: Mapping[str, Any]) -> bool:
    """Whether rollups tell the calls of a slice apart."""
    return all(name in KEYS for name in slice)


def where_of(slice: Mapping[str, Any]) -> list[Filter]:
    """The calls of a slice as conditions."""
    return [Filter(name, "=", (value,)) for name, value in slice.items()]


def step_for(since: float, until: float, now: float) -> int:
    """The step for a chart of that time."""
    least = 300 if now - since <= MINUTES_KEPT_S else HOUR_S
    return next((each for each in STEPS_S if each >= least and (until - since) / each <= POINTS), 7 * DAY_S)


def series(
    store: Store, caller: Caller, metric: str, slice: Mapping[str, Any], since: float, until: float, now: float, *,
    label: str = "", step_s: int | None = None, worse: str = "up", spent: bool = False,
) -> Series | None:  # fmt: skip
    """The metric of a slice from `since` to `until`, or with `spent` all that its calls came to in each step.

    None when rollups do not hold it.
    """
    source = _SPENT.get(metric) if spent else source_of(metric)
    if source is None or not can_be_rolled(slice):
        return None
    step = step_s or step_for(since, until, now)
    start, end = since // step * step, min(-(-until // step) * step, -(-now // step) * step)
    count = max(int((end - start) // step), 1)
    where = [*where_of(slice), *calls_of(slice, source.needs)]
    rows = rows_of(rolled(store, caller, start, end, step_s=step, where=where, measures=source.needs))
    hours = Hours.read(store, caller, start, end, now, where=where, measures=source.needs).hourly(source.amount)
    unit = None if source.kind == "sum" else measure_of(metric).unit
    unit = "sum USD" if source.amount is COST else unit
    most = 1.0 if unit in ("share", "score") else float("inf")
    return Series(
        label=label,
        start=start,
        step_s=step,
        values=_values(rows, source, start, step, count),
        expected=ranges(hours, start, step, count, kind=source.kind, most=most),
        typical=middles(hours, start, step, count, kind=source.kind) if step <= HOUR_S else (),
        unit=unit,
        worse=worse,
        is_open=end > now,
    )


def drawn(
    hours: Hours, source_amount: Amount, start: float, step_s: int, count: int, rows: Sequence[Mapping[str, Any]], *,
    kind: Kind, label: str, unit: str | None, is_open: bool, most: float = float("inf"), worse: str = "up",
) -> Series:  # fmt: skip
    """A series from rows that have been read already, with what is usual of the hours before."""
    source = Source(amount=source_amount, needs=(), kind=kind)
    hourly: Hourly = hours.hourly(source_amount)
    return Series(
        label=label,
        start=start,
        step_s=step_s,
        values=_values(rows, source, start, step_s, count),
        expected=ranges(hourly, start, step_s, count, kind=kind, most=most),
        unit=unit,
        worse=worse,
        is_open=is_open,
    )


def _values(
    rows: Sequence[Mapping[str, Any]], source: Source, start: float, step: int, count: int
) -> list[float | None]:
    above, below = [0.0] * count, [0.0] * count
    for row in rows:
        place = int((row["bucket"] - start) // step)
        if 0 <= place < count:
            up, down = source.amount(row)
            above[place] += up
            below[place] = 1.0 if source.kind == "sum" else below[place] + down
    if source.kind == "sum":
        return list(above)
    return [one / other if other > 0 else None for one, other in zip(above, below, strict=True)]
