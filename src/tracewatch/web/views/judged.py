"""The course of the metric that an incident or a finding is about, beside what was expected of it when it was judged.

Before it began that is what is usual of such hours; from then on it is what detection expected of these very calls, so
that the picture and the sentence compare with the same. Of a single call its equals are shown one by one; of a
rule its limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracewatch.access import Caller
from tracewatch.explaining.measures import Measure, measure_of
from tracewatch.metrics import Rows
from tracewatch.metrics.rows import table_of
from tracewatch.records import CHECKED, Anomaly, Incident, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.web.charts import Range, Series
from tracewatch.web.views.series import can_be_rolled, series, step_for, where_of

MOVEMENTS = ("spike", "drop", "level_shift", "ramp", "drift", "rate")
"""Kinds of movement whose range is one of means over calls, as the steps of a picture are."""
MOST_CALLS = 3_000  # that are drawn one by one; of more the means are shown
MOST_STEPS = 60  # of a picture of single calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was judged: when, in which direction, and what was expected. Times are UTC epoch seconds."""

    metric: str
    kind: str | None
    detector: str
    direction: str
    slice: Mapping[str, Any]
    since: float
    until: float | None
    observed: float | None
    expected: float | None
    lower: float | None
    upper: float | None

    @classmethod
    def of_incident(cls, it: Incident) -> Judged:
        """What an incident says of itself."""
        return cls(
            metric=it.metric_name, kind=it.kind, detector=it.detector, direction=it.direction, slice=it.slice or {},
            since=it.started_at, until=it.closed_at, observed=it.observed, expected=it.expected, lower=it.lower,
            upper=it.upper,
        )  # fmt: skip

    @classmethod
    def of_finding(cls, it: Anomaly, slice: Mapping[str, Any]) -> Judged:
        """What a finding says of itself, about some calls."""
        told = it.statistics.get("expectedRange") or {}
        away = "up" if it.detected_value >= it.expected_value else "down"
        return cls(
            metric=it.metric_name, kind=it.kind, detector=it.detector, direction=it.direction or away, slice=slice,
            since=it.occurred_at, until=it.ended_at, observed=it.detected_value, expected=it.expected_value,
            lower=told.get("lower"), upper=told.get("upper"),
        )  # fmt: skip

    @property
    def is_budget(self) -> bool:
        """Whether it is about what was spent in a day, a week or a month: of that a picture shows each step's part."""
        return self.detector in CHECKED and self.kind == "surge"

    @property
    def limit(self) -> float | None:
        """The limit of a rule, where the steps of a picture can be compared with it."""
        if self.detector not in CHECKED or self.kind == "silence" or self.is_budget:
            return None
        return self.upper if self.direction == "up" else self.lower

    @property
    def range(self) -> Range | None:
        """What was expected of these very calls, where the steps of a picture can be compared with it.

        Where a share is usually next to nothing, the upper end is only where so few calls raise no alarm.
        """
        if self.detector in CHECKED or self.lower is None or self.upper is None or self.upper <= self.lower:
            return None
        of_share = measure_of(self.metric).unit == "share"
        return None if of_share and self.lower <= 0 else (max(self.lower, 0.0), self.upper)


def course(
    store: Store, caller: Caller, it: Judged, since: float, until: float, now: float, *, step_s: int | None = None
) -> Series | None:
    """The metric from `since` to `until` (UTC epoch seconds); None where nothing tells it."""
    if it.kind == "point" and it.detector not in CHECKED:
        single = _single_calls(store, caller, it, since, until, now)
        if single is not None:
            return single
    drawn = series(
        store, caller, it.metric, it.slice, since, until, now, step_s=step_s, worse=it.direction, spent=it.is_budget
    )
    return None if drawn is None else beside(drawn, it)


def beside(drawn: Series, it: Judged) -> Series:
    """A course with what was expected of these calls from the onset on, or with the limit of a rule."""
    if it.limit is not None:
        return replace(drawn, limit=it.limit)
    expected = it.range
    if drawn.unit is None or expected is None or it.kind not in MOVEMENTS:
        return drawn
    first, last = _steps_of(it, drawn)
    count = len(drawn.values)
    usual = list(drawn.expected) or [None] * count
    typical = list(drawn.typical) or [None] * count
    return replace(
        drawn,
        expected=[expected if first <= place < last else usual[place] for place in range(count)],
        typical=[it.expected if first <= place < last else typical[place] for place in range(count)],
        seams=(first, last),
    )


def _steps_of(it: Judged, drawn: Series) -> tuple[int, int]:
    """The steps that it lasted: from, to (not included)."""
    count = len(drawn.values)
    first = max(0, min(count - 1, math.floor((it.since - drawn.start) / drawn.step_s)))
    last = count if it.until is None else max(0, min(count, math.ceil((it.until - drawn.start) / drawn.step_s)))
    return first, max(last, first + 1)


def _single_calls(store: Store, caller: Caller, it: Judged, since: float, until: float, now: float) -> Series | None:
    """The calls one by one; the range is that of the call that was found."""
    measure = measure_of(it.metric)
    if not can_be_rolled(it.slice) or it.range is None:
        return None
    step = max(step_for(since, until, since), 60 * math.ceil((until - since) / 60 / MOST_STEPS))
    start, end = since // step * step, -(-min(until, now) // step) * step
    times, values = _calls(store, caller, it, measure, start, end)
    if not len(times) or len(times) > MOST_CALLS:
        return None
    count = max(int((end - start) // step), 1)
    worst: Callable[[Sequence[float]], float] = min if it.direction == "down" else max
    steps: list[list[float]] = [[] for _ in range(count)]
    for at, value in zip(times, values, strict=True):
        steps[min(int((at - start) // step), count - 1)].append(value)
    place = max(0, min(count - 1, int((it.since - start) // step)))
    return Series(
        label="",
        start=start,
        step_s=step,
        values=[worst(each) if each else None for each in steps],
        expected=[it.range if index == place else None for index in range(count)],
        unit=measure.unit,
        worse=it.direction,
        is_open=end > now,
        calls=list(zip(times, values, strict=True)),
        found=(it.since, it.observed) if it.observed is not None else None,
    )


def _calls(
    store: Store, caller: Caller, it: Judged, measure: Measure, start: float, end: float
) -> tuple[list[float], list[float]]:
    """When each call of that time was, and its value."""
    names = list(dict.fromkeys(("start_time", *measure.needs)))
    within = [Filter("start_time", ">=", (start,)), Filter("start_time", "<", (end,))]
    rows = Rows(table_of(store.scan(Span, names, [*caller.where, *where_of(it.slice), *within]), names))
    values = measure.values(rows)
    known = np.isfinite(values)
    return rows.numbers("start_time")[known].tolist(), values[known].tolist()
