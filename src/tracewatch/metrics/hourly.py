"""The hours of metrics that the engine does not judge, and of the user's own, each judged as a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.detectors.aggregates import Aggregates, Surprise
from tracewatch.detectors.spec import Integers
from tracewatch.metrics.base import HOUR_S, Metric
from tracewatch.metrics.custom import Custom, metric_of
from tracewatch.metrics.rows import Rows
from tracewatch.metrics.table import SERIES

LEAST_VALUES = 10  # in an hour: the mean of fewer is mostly chance
LEAST_EFFECT = 0.1  # of what is usual: a smaller move is nobody's incident, however new
LEAST_SHARE = 0.02  # of calls, for metrics that are shares: the first of a thousand calls is no news
LONGEST_SILENCE = 31 * 24  # hours without calls that count as hours; after more it goes on at the next call


class Hourly:
    """Takes calls as they come and tells what is odd about the hours of SERIES and of the user's metrics. Picklable.

    Same calls and same last moment, same surprises, however batched. It holds the calls of hours that are not over. An
    hour takes 5 ms, most of it whatever the number of its calls.
    """

    def __init__(self, customs: Sequence[Custom] = ()) -> None:
        self.customs = tuple(customs)
        self._aggregates = Aggregates()
        self._waiting: pa.Table | None = None
        self._hour: int | None = None  # the first one not judged yet

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of spans it reads."""
        return columns_for(list(self._metrics().values()))

    def _metrics(self) -> dict[str, Metric]:
        return {each.key: each for each in (*SERIES, *(metric_of(custom) for custom in self.customs))}

    def feed(self, table: pa.Table) -> None:
        """Takes calls with the columns `needs`, in any order; those of an hour that was judged are left out."""
        kept = table.select(list(self.needs))
        if self._hour is not None:
            kept = kept.filter(pc.greater_equal(kept["start_time"], float(self._hour * HOUR_S)))
        self._waiting = kept if self._waiting is None else pa.concat_tables([self._waiting, kept])

    def advance(self, now: float) -> list[tuple[Metric, Surprise]]:
        """What is told of all hours that end by `now` (epoch seconds), in their order."""
        if self._waiting is None:
            return []
        metrics = self._metrics()
        calls = self._waiting.sort_by("start_time").combine_chunks()
        hours = np.floor_divide(calls["start_time"].to_numpy(), HOUR_S).astype(np.int64)
        end, told = int(now // HOUR_S), []
        for hour in self._due(hours, end):
            first, last = np.searchsorted(hours, [hour, hour + 1]).tolist()
            rows = Rows(calls.slice(first, last - first))
            told += judge_hour(self._aggregates, metrics, rows, float((hour + 1) * HOUR_S))
            self._hour = hour + 1
        # A copy, because a slice would keep and store all of what it is a slice of.
        self._waiting = calls.take(pa.array(np.flatnonzero(hours >= end)))
        return told

    def _due(self, hours: Integers, end: int) -> list[int]:
        """The hours to be judged: those with calls, and those without between them that are not too many."""
        with_calls = np.unique(hours[hours < end]).tolist()
        due: list[int] = []
        last = None if self._hour is None else self._hour - 1
        for hour in [*with_calls, end]:
            if last is not None and hour - last <= LONGEST_SILENCE:
                due += range(last + 1, hour)
            if hour < end:
                due.append(hour)
            last = hour
        return due


def columns_for(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """The columns of spans that an hour's values are measured from."""
    return tuple(dict.fromkeys(("start_time", *(name for each in metrics for name in each.needs))))


def values_of(metrics: Sequence[Metric], rows: Rows) -> dict[str, float]:
    """The value of each metric over the calls of one hour: of volumes the sum, of anything else the mean.

    A mean moves with every call, where the median of few whole numbers stands still and then jumps. An hour without
    calls has volumes of 0 and no other value.
    """
    found = {}
    for each in metrics:
        value = _value(each, rows)
        if value is not None:
            found[each.key] = value
    return found


def judge_hour(
    aggregates: Aggregates, metrics: Mapping[str, Metric], rows: Rows, end: float
) -> list[tuple[Metric, Surprise]]:
    """What is told of the hour that ends at `end` (epoch seconds), whose calls are `rows`: bad news that matters.

    To be called once for each hour, in their order; calling again for the same hour changes nothing.
    """
    told = aggregates.take(end, values_of(list(metrics.values()), rows))
    return [(metrics[each.name], each) for each in told if matters(metrics[each.name], each)]


def matters(metric: Metric, surprise: Surprise) -> bool:
    """Whether it is bad news, and a move that anybody would act on."""
    moved = abs(surprise.observed - surprise.expected)
    least = max(LEAST_EFFECT * abs(surprise.expected), LEAST_SHARE if metric.unit == "share" else 0.0)
    return metric.bad in ("either", surprise.direction) and moved >= least


def _value(metric: Metric, rows: Rows) -> float | None:
    if metric.measured is None:
        return None
    if not len(rows):
        return 0.0 if metric.grain == "hour" else None
    values = metric.measured(rows)
    there = values[np.isfinite(values)]
    least = 1 if metric.grain in ("hour", "window") else LEAST_VALUES
    return float(there.mean()) if len(there) >= least else None
