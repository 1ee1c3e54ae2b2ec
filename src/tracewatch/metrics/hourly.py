"""The hours of the metrics that a user declared, each judged as a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracewatch.detectors.aggregates import Aggregates, Surprise
from tracewatch.detectors.spec import Integers
from tracewatch.metrics.base import Metric
from tracewatch.metrics.custom import Custom, metric_of
from tracewatch.metrics.rows import Rows, arrow_of
from tracewatch.times import HOUR_S

LEAST_VALUES = 10  # in an hour: the mean of fewer is mostly chance
LEAST_EFFECT = 0.1  # of what is usual: a smaller move is nobody's incident, however new
LEAST_SHARE = 0.02  # of calls, for metrics that are shares: the first of a thousand calls is no news
LONGEST_SILENCE = 31 * 24  # hours without calls that count, from the last call on; then it goes on at the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One hour, as it was judged."""

    end: float
    """In epoch seconds."""
    calls: int
    values: Mapping[str, float]
    """The value of each metric that has one, by its key."""
    told: Sequence[tuple[Metric, Surprise]]
    """What is bad news that matters."""


class Hourly:
    """Takes calls as they come and tells what is odd about the hours of the metrics that a user declared. Picklable.

    Same calls and same last moment, same hours, however batched. It holds the calls of hours that are not over. An hour
    takes up to 5 ms, most of it whatever the number of its calls.
    """

    def __init__(self, customs: Sequence[Custom]) -> None:
        self.customs = tuple(customs)
        self._aggregates = Aggregates()
        self._waiting: list[dict[str, NDArray[Any]]] = []
        self._hour: int | None = None  # the first one not judged yet
        self._heard: int | None = None  # the last one judged that had calls

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of spans it reads."""
        return columns_for(list(self._metrics().values()))

    def _metrics(self) -> dict[str, Metric]:
        return {each.name: metric_of(each) for each in self.customs}

    def feed(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Takes calls with the columns `needs`, in any order: numbers as float64 with NaN for absent, texts as objects.

        Those of an hour that was judged are left out.
        """
        kept = {name: columns[name] for name in self.needs}
        if self._hour is not None:
            open_ = kept["start_time"] >= self._hour * HOUR_S
            kept = {name: values[open_] for name, values in kept.items()}
        if len(kept["start_time"]):
            self._waiting.append(kept)

    def advance(self, now: float) -> list[Hour]:
        """All hours that end by `now` (epoch seconds) and were not judged before, in their order."""
        metrics, calls, end = self._metrics(), self._sorted(), int(now // HOUR_S)
        hours = np.floor_divide(calls["start_time"], HOUR_S).astype(np.int64)
        judged = []
        for hour in self._due(hours, end):
            first, last = np.searchsorted(hours, [hour, hour + 1]).tolist()
            rows = Rows(arrow_of({name: values[first:last] for name, values in calls.items()}))
            judged.append(judge_hour(self._aggregates, metrics, rows, float((hour + 1) * HOUR_S)))
            self._hour = hour + 1
            self._heard = hour if last > first else self._heard
        # Copies, because a slice would keep and store all of what it is a slice of.
        later = {name: values[hours >= end].copy() for name, values in calls.items()}
        self._waiting = [later] if len(later["start_time"]) else []
        return judged

    def _sorted(self) -> dict[str, NDArray[Any]]:
        """All calls that wait, in order of their start."""
        if not self._waiting:
            return {name: np.zeros(0) for name in self.needs}
        calls = {name: np.concatenate([each[name] for each in self._waiting]) for name in self._waiting[0]}
        order = np.argsort(calls["start_time"], kind="stable")
        return {name: values[order] for name, values in calls.items()}

    def _due(self, hours: Integers, end: int) -> list[int]:
        """The hours to be judged: those with calls, and those without that follow them, so many at most."""
        heard, begin, due = self._heard, self._hour, list[int]()
        for hour in [*np.unique(hours[hours < end]).tolist(), end]:
            if heard is not None and begin is not None:
                due += range(begin, min(hour, heard + 1 + LONGEST_SILENCE))
            due += [hour] if hour < end else []
            heard, begin = hour, hour + 1
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


def judge_hour(aggregates: Aggregates, metrics: Mapping[str, Metric], rows: Rows, end: float) -> Hour:
    """The hour that ends at `end` (epoch seconds), whose calls are `rows`.

    To be called once for each hour, in their order; calling again for the same hour changes nothing.
    """
    values = values_of(list(metrics.values()), rows)
    told = aggregates.take(end, values)
    return Hour(
        end=end,
        calls=len(rows),
        values=values,
        told=[(metrics[each.name], each) for each in told if matters(metrics[each.name], each)],
    )


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
