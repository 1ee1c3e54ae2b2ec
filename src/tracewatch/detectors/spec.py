"""The starting point: z-scores over the pooled rows of a window, and four fixed rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, frexp, fsum, inf, ldexp, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Direction = Literal["up", "down"]

MIN_POINTS = 10  # the spread of fewer points is mostly chance
STEPS = (1.25, 1.75, 2.5)  # of the threshold: from there on medium, high, critical
LOW, MEDIUM, HIGH, CRITICAL = range(4)

MIN_HISTORY_DAYS = 3
SPIKE_RATIO = 3.0  # of the daily average
ERROR_LIMIT, MIN_ERROR_CALLS = 0.20, 5
FALLBACK_LIMIT, MIN_FALLBACK_CALLS = 0.50, 3
MOST = 0.50  # an error rate beyond this is critical: most calls fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Outliers:
    """The rows of one metric that lie beyond the threshold, and what they were compared with."""

    rows: Integers
    """Positions in the values given, in their order."""
    values: Floats
    z: Floats
    """Signed distances from the mean in standard deviations."""
    n: int
    """How many rows were used."""
    mean: float
    deviation: float
    limit: float
    """The value beyond which a row is found."""
    lower: float
    upper: float
    """The expected range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A rule that fired: what came, what is usual, the limit it broke and how sure and bad that is."""

    value: float
    expected: float
    limit: float
    confidence: float
    level: int
    n: int
    """Days of history of a spike, calls of a rate."""


def outliers(
    values: Floats, threshold: float, direction: Direction, *, lowest: float = -inf, highest: float = inf
) -> Outliers | None:
    """The values further than `threshold` standard deviations from the mean, in the bad direction only.

    `z = (x - mean) / sd`, with the mean and the population standard deviation (divided by n) of all used values; NaN
    and infinite values are absent. Found: `z > threshold` (up) or `z < -threshold` (down), strictly. The expected
    range is `mean ± threshold · sd`, cut at `lowest` and `highest`, the bounds the metric has by nature. None when
    fewer than ten values are used or they do not differ.

    Source: the ten detections tracewatch starts from. Both moments are taken after the smallest value has been
    subtracted and the values scaled by a power of two, so neither a large offset nor a large scale costs digits.

    >>> found = outliers(np.array([1.0] * 15 + [9.0]), 3.0, "up")
    >>> (found.mean, round(found.deviation, 3), found.rows.tolist(), found.z.round(3).tolist())
    (1.5, 1.936, [15], [3.873])
    """
    used = np.flatnonzero(np.isfinite(values))
    moments = _moments(values[used])
    if moments is None:
        return None
    centred, unit, mean, deviation = moments
    beyond = np.flatnonzero(centred > threshold * unit if direction == "up" else centred < -threshold * unit)
    reach = threshold * deviation
    lower, upper = _cut(mean, reach, lowest, highest)
    return Outliers(
        rows=used[beyond],
        values=values[used[beyond]],
        z=centred[beyond] / unit,
        n=len(used),
        mean=mean,
        deviation=deviation,
        limit=mean + reach if direction == "up" else mean - reach,
        lower=lower,
        upper=upper,
    )


def levels(z: Floats, threshold: float) -> Integers:
    """How bad each distance is: low < 1.25 t <= medium < 1.75 t <= high < 2.5 t <= critical, as 0 to 3.

    >>> levels(np.array([3.1, -3.75, 5.25, 7.5]), 3.0).tolist()
    [0, 1, 2, 3]
    """
    return np.searchsorted(np.array(STEPS) * threshold, np.abs(z), side="right").astype(np.int64)


def confidences(z: Floats, n: int) -> Floats:
    """How sure each distance makes us, 0 to 1: `z² / (1 + z²) · n / (n + 10)`. Grows with |z| and with n.

    The first factor is Cantelli's inequality: whatever the distribution, at most `1 / (1 + z²)` of it lies that far
    out on one side. The second, our own, is doubt about a mean and deviation learned from few rows.

    >>> confidences(np.array([3.0, 7.0]), 990).round(3).tolist()
    [0.891, 0.97]
    """
    squared = np.square(z)
    return np.asarray(squared / (1 + squared) * (n / (n + MIN_POINTS)), dtype=np.float64)


def deviations(values: Floats, mean: float, deviation: float) -> Floats:
    """How far each value is from the mean, in per cent of the mean; of the standard deviation when the mean is 0.

    >>> deviations(np.array([6.0, 1.0]), 4.0, 1.0).tolist()
    [50.0, -75.0]
    """
    return (values - mean) / (abs(mean) or deviation) * 100


def cost_spike(today: float, days: Sequence[float], calls: Sequence[int]) -> Verdict | None:
    """Today's cost is more than 3 × the daily average of the days with calls among the 7 before; critical.

    `days` and `calls` hold the cost and the number of calls of each of those days. At least 3 of them must have
    calls. An average of 0 is no yardstick and raises nothing.

    >>> cost_spike(4.1, [1.0, 1, 1, 1, 1, 1, 1], [9, 9, 9, 9, 9, 9, 9]).expected
    1.0
    """
    return _spike(today, [cost for cost, made in zip(days, calls, strict=True) if made], CRITICAL)


def call_spike(today: int, days: Sequence[int]) -> Verdict | None:
    """One usage type has more than 3 × its daily average of calls, over its days with calls among the 7 before; high.

    >>> call_spike(31, [0, 0, 0, 0, 10, 10, 10]).limit
    30.0
    """
    return _spike(today, [made for made in days if made], HIGH)


def high_error_rate(calls: int, failed: int) -> Verdict | None:
    """More than 20 % of at least 5 calls did not end `ok`; high, and critical when more than half failed.

    >>> high_error_rate(5, 2).value
    0.4
    """
    if calls < MIN_ERROR_CALLS:
        return None
    return _rate(calls, failed, ERROR_LIMIT, CRITICAL if failed > MOST * calls else HIGH)


def high_fallback_rate(calls: int, fell_back: int) -> Verdict | None:
    """More than 50 % of at least 3 calls fell back to a substitute; high.

    >>> high_fallback_rate(4, 2) is None
    True
    """
    return None if calls < MIN_FALLBACK_CALLS else _rate(calls, fell_back, FALLBACK_LIMIT, HIGH)


def _moments(used: Floats) -> tuple[Floats, float, float, float] | None:
    """The distances from the mean and their deviation, both scaled, then mean and deviation; None without spread."""
    if len(used) < MIN_POINTS:
        return None
    largest = max(abs(float(used.min())), abs(float(used.max())))
    # A power of two only moves the point, so nothing is rounded; -1000 keeps its inverse within what a float holds.
    exponent = max(frexp(largest)[1], -1000)
    scaled = used * ldexp(1.0, -exponent)
    least = float(scaled.min())
    above = scaled - least
    middle = float(above.mean())
    centred = above - middle
    deviation = sqrt(float(centred @ centred) / len(centred))
    if deviation == 0 or not above.any():
        return None
    return centred, deviation, ldexp(least + middle, exponent), ldexp(deviation, exponent)


def _cut(mean: float, reach: float, lowest: float, highest: float) -> tuple[float, float]:
    """mean ± reach inside the natural bounds, which values that break them have to widen."""
    return max(mean - reach, min(lowest, mean)), min(mean + reach, max(highest, mean))


def _spike(today: float, history: Sequence[float], level: int) -> Verdict | None:
    """Confidence is our own: `1 - limit / today / (1 + days)`, surer with more history and with a larger excess."""
    if len(history) < MIN_HISTORY_DAYS:
        return None
    average = fsum(history) / len(history)
    limit = SPIKE_RATIO * average
    if average <= 0 or not today > limit:
        return None
    confidence = 1 - limit / today / (1 + len(history))
    return Verdict(value=today, expected=average, limit=limit, confidence=confidence, level=level, n=len(history))


def _rate(calls: int, hits: int, limit: float, level: int) -> Verdict | None:
    """Confidence is that of the one-sided score test: `Φ((share - limit) / √(limit · (1 - limit) / calls))`."""
    if not hits > limit * calls:
        return None
    share = hits / calls
    distance = (share - limit) / sqrt(limit * (1 - limit) / calls)
    confidence = 0.5 * (1 + erf(distance / sqrt(2)))
    return Verdict(value=share, expected=limit, limit=limit, confidence=confidence, level=level, n=calls)
