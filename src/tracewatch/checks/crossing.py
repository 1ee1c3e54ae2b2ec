"""When a fixed threshold was crossed, and what it would have said of the past: its value at many moments at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracewatch.alerts.conditions import Threshold
from tracewatch.checks.values import (
    CALLS_ALONE,
    COUNTED,
    MEASURES,
    MINUTE_S,
    MOST_VALUES,
    ROLLED,
    is_rolled,
    needs_of,
    value_of,
)
from tracewatch.metrics import Rows
from tracewatch.metrics.base import Metric, summary
from tracewatch.metrics.rows import table_of
from tracewatch.records import Span
from tracewatch.stores.base import Filter, Store
from tracewatch.times import HOUR_S

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SPANS_STEP_S = 300.0  # between two moments of what is measured from the calls themselves
LONG_S = 6 * HOUR_S  # windows from which on whole hours will do, which are kept for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """What a metric came to at some moments (UTC epoch seconds), each over the window before it."""

    times: Floats
    seen: Floats
    """NaN where nothing that counts came."""
    calls: Integers

    def bad(self, asked: Threshold, metric: Metric) -> Integers:
        """1 where it is beyond the threshold, 0 where not, -1 where too few calls came to say."""
        limit = asked.above if asked.above is not None else asked.below
        assert limit is not None, "one of above and below is given"
        with np.errstate(invalid="ignore"):
            beyond = self.seen > limit if asked.above is not None else self.seen < limit
        known = ~np.isnan(self.seen) & ((self.calls >= asked.calls) | (metric.family == "volume"))
        gone = (self.calls == 0) & (asked.by is not None)  # a value of which nothing comes is not looked at any more
        return np.where(gone, 0, np.where(known, beyond, -1)).astype(np.int64)


def valued(
    store: Store, metric: Metric, asked: Threshold, where: Sequence[Filter], since: float, until: float
) -> Mapping[str | None, Valued]:
    """By value of the column `by` (None: of all) what the metric came to after `since` and up to `until`."""
    if is_rolled(metric, where, asked.by):
        found = _from_rollups(store, metric.key, asked, where, since, until)
    else:
        found = _from_spans(store, metric, asked, where, since, until)
    most = sorted(found, key=lambda value: int(found[value].calls.sum()), reverse=True)[:MOST_VALUES]
    return {value: found[value] for value in most}


def step_of(metric: Metric, asked: Threshold, where: Sequence[Filter]) -> float:
    """How far the moments are apart at which `valued` looks."""
    if is_rolled(metric, where, asked.by):
        return float(HOUR_S if asked.window_s >= LONG_S else MINUTE_S)
    return SPANS_STEP_S


def crossed_at(
    store: Store, metric: Metric, asked: Threshold, where: Sequence[Filter], value: str | None, now: float
) -> float:
    """Since when, up to now, a value is beyond its threshold, as far as a short look back tells."""
    reach = 3 * asked.window_s if is_rolled(metric, where, asked.by) else min(asked.window_s, HOUR_S)
    its = [*where, Filter(asked.by, "=", (value,))] if asked.by else where
    alone = replace(asked, by=None)
    found = valued(store, metric, alone, its, now - reach, now).get(None)
    if found is None or not len(found.times):
        return now
    well = np.flatnonzero(found.bad(alone, metric) != 1)
    first = int(well[-1]) + 1 if len(well) else 0
    return float(min(found.times[first], now)) if first < len(found.times) else now


def _from_rollups(
    store: Store, key: str, asked: Threshold, where: Sequence[Filter], since: float, until: float
) -> dict[str | None, Valued]:
    """Of whole minutes, or of whole hours where the window is long."""
    step = HOUR_S if asked.window_s >= LONG_S else MINUTE_S
    width = max(round(asked.window_s / step), 1)
    first = since // step * step - (width - 1) * step
    count = max(int(-(-(until - first) // step)), 0)
    by = (asked.by,) if asked.by else ()
    rolled = store.rollup(
        first, first + count * step, step_s=step, by=by, where=[*where, CALLS_ALONE], measures=MEASURES
    )
    places = ((rolled["bucket"].to_numpy() - first) // step).astype(np.int64)
    within = (places >= 0) & (places < count)
    times = np.minimum(first + step * (np.arange(width - 1, count) + 1.0), until)
    found: dict[str | None, Valued] = {}
    for value, mine in _each_value(rolled, asked.by):
        some = within & mine
        sums = {name: _windowed(rolled[name], places, some, count, width) for name in MEASURES}
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = np.asarray(ROLLED[key](sums, asked.window_s), dtype=np.float64)
        if key not in COUNTED:
            seen = np.where(sums["calls"] > 0, seen, np.nan)
        found[value] = Valued(times=times, seen=seen, calls=sums["calls"].astype(np.int64))
    return found


def _each_value(table: pa.Table, by: str | None) -> Iterator[tuple[str | None, NDArray[np.bool_]]]:
    """The values of a column with the rows that have it; of no column all rows."""
    if by is None:
        yield None, np.ones(table.num_rows, dtype=bool)
        return
    codes, texts = Rows(table).codes(by)
    for code, text in enumerate(texts[:-1]):
        yield text, codes == code


def _windowed(column: pa.ChunkedArray, places: Integers, some: NDArray[np.bool_], count: int, width: int) -> Floats:
    """Sums of so many buckets each, by the last one."""
    amounts = np.nan_to_num(column.cast(pa.float64(), safe=False).to_numpy())
    summed = np.concatenate([[0.0], np.cumsum(np.bincount(places[some], amounts[some], minlength=count))])
    differences: Floats = summed[width:] - summed[:-width]
    return differences


def _from_spans(
    store: Store, metric: Metric, asked: Threshold, where: Sequence[Filter], since: float, until: float
) -> dict[str | None, Valued]:
    by = (asked.by,) if asked.by else ()
    names = list(dict.fromkeys(("start_time", *needs_of(metric), *by)))
    within = [*where, Filter("start_time", ">=", (since - asked.window_s,)), Filter("start_time", "<=", (until,))]
    table = table_of(store.scan(Span, names, within), names).sort_by("start_time")
    times = np.minimum(np.arange(since // SPANS_STEP_S + 1, until // SPANS_STEP_S + 2) * SPANS_STEP_S, until)
    return {
        value: _over(metric, table.filter(pa.array(mine)) if asked.by else table, times, asked.window_s)
        for value, mine in _each_value(table, asked.by)
    }


def _over(metric: Metric, table: pa.Table, times: Floats, window_s: float) -> Valued:
    began = table["start_time"].to_numpy()
    ends, firsts = np.searchsorted(began, times, "right"), np.searchsorted(began, times - window_s, "left")
    seen, calls = np.full(len(times), np.nan), np.zeros(len(times), dtype=np.int64)
    whole = metric.measured(Rows(table)) if metric.measured is not None and metric.grain in ("call", "share") else None
    aligned = whole is not None and len(whole) == table.num_rows
    for place in np.flatnonzero(ends > firsts):
        first, end = int(firsts[place]), int(ends[place])
        if aligned and whole is not None:
            part = whole[first:end]
            value, count = summary(metric, part), int(np.isfinite(part).sum())
        else:
            value, count = value_of(metric, Rows(table.slice(first, end - first)), window_s)
        calls[place] = count
        if value is not None:
            seen[place] = value
    return Valued(times=times, seen=seen, calls=calls)
