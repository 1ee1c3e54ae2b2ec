"""What a metric is: one thing that can be abnormal, how it is measured, and on what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tracewatch.detectors.spec import Floats, Integers
from tracewatch.metrics.rows import Rows

Bad = Literal["up", "down", "either"]
Grain = Literal["call", "share", "hour", "day", "trace", "conversation", "session", "job", "window"]
Family = Literal[
    "latency", "tokens", "cost", "cache", "quality", "failure", "volume", "comparison", "hierarchy", "conversation",
    "batch", "novelty", "health", "custom",
]  # fmt: skip
Shown = Literal["median", "mean", "largest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One thing that can be abnormal."""

    key: str
    label: str
    help: str
    family: Family
    grain: Grain
    """What one value belongs to. A `share` is of calls: each counts 1 or 0."""
    unit: str | None = None
    bad: Bad
    needs: tuple[str, ...]
    """The columns of a span it is measured from."""
    formula: str
    """How, in one expression."""
    measured: Callable[[Rows], Floats] | None = None
    """One value for each unit of the grain, NaN where there is none; None when only a detector can tell."""
    shown: Shown = "median"
    """How many values become the one that is shown."""
    told_as: str = ""
    """The metric's name in alerts, where it is not the key."""
    by: str = ""
    """The column whose every value has a metric of its own."""
    parts: Callable[[Rows], Iterable[tuple[str, Floats]]] | None = None
    """The values of `by` with what is measured of each, those of the most calls first."""

    @property
    def alert(self) -> str:
        """Its name in alerts."""
        return self.told_as or self.key


def summary(metric: Metric, values: Floats) -> float | None:
    """The one value that stands for some; None when there is none.

    Of shares and comparisons it is the mean: how many of the calls, or the one value there is.
    """
    there = values[np.isfinite(values)]
    if not len(there):
        return None
    match metric.shown:
        case "mean":
            return float(there.mean())
        case "largest":
            return float(there.max())
    return float(np.median(there))


def or_nothing(values: Floats) -> Floats:
    """The values, 0 where there is no finite one.

    >>> or_nothing(np.array([2.0, np.nan, np.inf])).tolist()
    [2.0, 0.0, 0.0]
    """
    return np.nan_to_num(values, posinf=0.0, neginf=0.0)


def ratio(above: Floats, below: Floats) -> Floats:
    """One divided by the other, NaN where the other is not above 0.

    >>> ratio(np.array([1.0, 1.0]), np.array([2.0, 0.0])).tolist()
    [0.5, nan]
    """
    found: Floats = np.full(len(above), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        np.divide(above, below, out=found, where=below > 0)
    return found


def is_word(rows: Rows, name: str, *wanted: str) -> Floats:
    """1 where a text column has one of the words, otherwise 0."""
    codes, words = rows.codes(name)
    hit = np.array([word in wanted for word in words], float)
    return hit[codes]


def per_step(rows: Rows, step_s: int, amounts: Floats | None = None) -> Floats:
    """The number of rows, or the sum of amounts, of each hour or day from the first to the last with calls."""
    times = rows.numbers("start_time")
    if not len(times):
        return np.zeros(0)
    step = (times // step_s).astype(np.int64)
    first, last = int(step.min()), int(step.max())
    places = step - first
    if last - first > 10 * len(step) + 1000:  # years of silence between: only what has calls
        places = np.unique(step, return_inverse=True)[1]
    weights = None if amounts is None else or_nothing(amounts)
    return np.bincount(places, weights=weights).astype(float)


def distinct_per_step(rows: Rows, step_s: int, name: str) -> Floats:
    """How many different values of a text column each hour or day has."""
    group, count = groups(rows, name)
    step = (rows.numbers("start_time") // step_s).astype(np.int64)
    there = group >= 0
    if not there.any():
        return np.zeros(0)
    pairs = np.unique((step[there] - step.min()) * count + group[there])
    return np.unique(pairs // count, return_counts=True)[1].astype(float)


def groups(rows: Rows, name: str) -> tuple[Integers, int]:
    """The group of each row by a text column, -1 where it is empty, and how many groups there are."""
    codes, words = rows.codes(name)
    return np.where(codes < len(words) - 1, codes, -1), len(words) - 1


def added_up(rows: Rows, name: str, amounts: Floats | None = None) -> Floats:
    """The number of rows, or the sum of the amounts that are known, of each group; NaN where none is known."""
    group, count = groups(rows, name)
    if amounts is None:
        return np.bincount(group[group >= 0], minlength=count).astype(float)
    known = (group >= 0) & np.isfinite(amounts)
    sums = np.bincount(group[known], amounts[known], minlength=count)
    return np.where(np.bincount(group[known], minlength=count) > 0, sums, np.nan)
