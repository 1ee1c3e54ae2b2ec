"""How new a value is for a series without known drivers: the distance to the nearest value seen before."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import inf, isfinite, log10

import numpy as np
from numpy.typing import NDArray

from tracewatch.detectors.gaps import Gaps

LAGS = (1, 100, 200)  # rows: a level that stays is new to the values of 100 and 200 rows ago for so long
MEMORY = 1280  # values, none nearer to another than ALIKE: with them all of 8 000 rows are described as well
ALIKE = 0.1  # of the widest usual gap (its 95 % quantile): values so near are one
BLOCK = 64  # rows: the grain of when a value was last seen
FADE = 8000 // BLOCK  # blocks not seen, and every second value goes
REVIEW = 4000 // BLOCK  # blocks between two reviews of what is old
AGES = 1 << 16  # the count of blocks begins anew
ROUNDING = 1e-12  # of a value: a smaller gap is the arithmetic's
QUIET = 120  # rows among which only a new maximum counts
HALF = 8.0  # decades that score one half
ALARM = 0.82  # 20 decades: 66 of 200 000 values of Gaussian noise, so one false in 10 days of 5-minute values

HALF_HOUR_S, HALF_HOURS, DAYS = 1800, 48, 7
MONDAY = 3  # days from one to the first day of the epoch, a Thursday
TRUST = 3.0  # values of its half hour on all days that a cell's mean starts with


class Nearest:
    """Scores the values of one series in turn, each by what came before it.

    Four gaps are judged: to the nearest value seen at least 1, 100 and 200 rows ago, and to the nearest residual
    from the usual at this half hour of the week. The surprise at each is -log10 of the share of its own past gaps
    that were as wide: by count below their 95 % quantile, exponential above. In all it is
    `max(S1 + S100, S_residual) + S200 / 2`, and 0 unless it is the highest of the last 120 rows. The score is
    `1 - 2^(-surprise / 8)`. Neither scale nor offset of the values matters. Our own.
    """

    def __init__(self) -> None:
        self._newest, self._older = (_Window(after - lag) for lag, after in pairwise(LAGS))
        self._oldest, self._residuals = _Memory(), _Memory()
        self._gaps = tuple(Gaps() for _ in LAGS)
        self._residual_gaps = Gaps()
        self._profile = _Profile()
        self._row = 0
        self._highest: deque[tuple[int, float]] = deque()  # (row, surprise), each higher than all that came later
        self._origin: float | None = None
        self.expected = 0.0
        """What was usual at the half hour of the last value."""

    def score(self, time_s: float, value: float) -> float:
        """0 for nothing new to 1; what is not a finite number, or at no finite time, scores 0 and is not remembered.

        >>> series = Nearest()
        >>> steady = [series.score(300.0 * row, row % 7) for row in range(600)]
        >>> max(steady) < 0.2, series.score(300.0 * 600, 50.0) > 0.9
        (True, True)
        """
        if not (isfinite(value) and isfinite(time_s)):
            return 0.0
        if self._origin is None:
            self._origin = value  # sums of what is left after it lose no digits to a large offset
        if not isfinite(value - self._origin):
            return 0.0
        least = ROUNDING * (abs(value) + abs(self._origin))
        surprise = self._surprise(time_s, value - self._origin, least)
        return squeezed(surprise) if self._is_highest(surprise) else 0.0

    def _is_highest(self, surprise: float) -> bool:
        """Whether nothing among the last QUIET rows was as surprising."""
        self._row += 1
        highest = self._highest
        if highest and highest[0][0] < self._row - QUIET:
            highest.popleft()
        before = highest[0][1] if highest else 0.0
        while highest and highest[-1][1] <= surprise:
            highest.pop()
        highest.append((self._row, surprise))
        return surprise > before

    def _surprise(self, time_s: float, value: float, least: float) -> float:
        residual = self._profile.residual(time_s, value)
        self.expected = value - residual + (self._origin or 0.0)
        since_oldest = gap_to(self._oldest.values, value, least)
        since_older = gap_to(self._older.values, value, least)
        if since_oldest < since_older:
            since_older = since_oldest
        since_newest = gap_to(self._newest.values, value, least)
        if since_older < since_newest:
            since_newest = since_older
        new = self._gaps[0].surprise(since_newest) + self._gaps[1].surprise(since_older)
        odd = self._residual_gaps.surprise(gap_to(self._residuals.values, residual, least))
        self._residuals.remember(residual, self._residual_gaps.edge, self._row)
        self._remember(value)
        return max(new, odd) + 0.5 * self._gaps[2].surprise(since_oldest)

    def _remember(self, value: float) -> None:
        """What leaves the newest values joins the older ones, and what leaves those the oldest."""
        older = self._newest.push(value)
        oldest = self._older.push(older) if older is not None else None
        if oldest is not None:
            self._oldest.remember(oldest, self._gaps[2].edge, self._row)


def scores(times: Iterable[float], values: Iterable[float]) -> Iterator[float]:
    """The score of each value of a series, in its order."""
    series = Nearest()
    return map(series.score, times, values)


def squeezed(surprise: float) -> float:
    """Decades of surprise on a scale of 0 to 1.

    >>> squeezed(0.0), squeezed(8.0), squeezed(16.0)
    (0.0, 0.5, 0.75)
    """
    return 1.0 - math.pow(2.0, -surprise / HALF)


def decades(score: float) -> float:
    """The surprise behind a score.

    >>> decades(0.75)
    16.0
    """
    return -HALF * log10(1.0 - score) / log10(2.0)


def gap_to(values: Sequence[float], value: float, least: float) -> float:
    """The distance to the nearest of some values in order of size, 0 up to `least`; infinite when there are none.

    >>> gap_to([1.0, 4.0, 9.0], 5.5, least=0.1), gap_to([1.0], 1.05, least=0.1)
    (1.5, 0.0)
    """
    place = bisect_left(values, value)
    below = value - values[place - 1] if place else inf
    above = values[place] - value if place < len(values) else inf
    gap = below if below < above else above
    return gap if gap > least else 0.0


class _Window:
    """The last values, in order of size."""

    __slots__ = ("_by_age", "_next", "_rows", "values")

    def __init__(self, rows: int) -> None:
        self.values = array("d")
        self._by_age = array("d")
        self._next = 0  # where the oldest stands once all places are taken
        self._rows = rows

    def push(self, value: float) -> float | None:
        """Adds a value; returns the one that has to leave for it."""
        insort(self.values, value)
        if len(self._by_age) < self._rows:
            self._by_age.append(value)
            return None
        leaving = self._by_age[self._next]
        self._by_age[self._next] = value
        self._next = (self._next + 1) % self._rows
        del self.values[bisect_left(self.values, leaving)]
        return leaving


class _Memory:
    """What values there have been, in order of size: one for all that are nearly the same, fewer of the long unseen."""

    __slots__ = ("_apart", "_reviewed", "_seen", "values")

    def __init__(self) -> None:
        self.values = array("d")
        self._seen = array("H")  # block in which each was last seen
        self._apart = 0.0  # the least distance, from when they were too many
        self._reviewed = 0

    def remember(self, value: float, edge: float, row: int) -> None:
        """Adds a value of a row, unless one within ALIKE of the widest usual gap is there."""
        values, block = self.values, row // BLOCK
        place = bisect_left(values, value)
        near = max(ALIKE * edge, self._apart) if edge != inf else self._apart
        if place and value - values[place - 1] <= near:
            self._seen[place - 1] = block % AGES
        elif place < len(values) and values[place] - value <= near:
            self._seen[place] = block % AGES
        else:
            values.insert(place, value)
            self._seen.insert(place, block % AGES)
            if len(values) > MEMORY:
                self._thin()
        if block - self._reviewed >= REVIEW:
            self._reviewed = block
            self._fade(block)

    def _fade(self, block: int) -> None:
        """Of those unseen for long every second goes."""
        old = np.flatnonzero((block - np.array(self._seen, np.int64)) % AGES >= FADE)
        self._drop(old[::2])

    def _thin(self) -> None:
        """Of those that stand closest every second goes, and none may stand as close again."""
        apart = np.diff(np.array(self.values))
        self._apart = max(float(np.median(apart)) / 2, self._apart)
        self._drop(np.flatnonzero(apart <= np.median(apart))[::2] + 1)

    def _drop(self, places: NDArray[np.int64]) -> None:
        self.values = array("d", np.delete(np.array(self.values), places).tobytes())
        self._seen = array("H", np.delete(np.array(self._seen), places).tobytes())


class _Profile:
    """The mean of each half hour of the week, which starts from that half hour's mean on all days."""

    def __init__(self) -> None:
        cells = HALF_HOURS * DAYS
        self._counts, self._sums = array("I", bytes(4 * cells)), array("d", bytes(8 * cells))
        self._all_counts, self._all_sums = array("I", bytes(4 * HALF_HOURS)), array("d", bytes(8 * HALF_HOURS))

    def residual(self, time_s: float, value: float) -> float:
        """How far the value is from what was usual, 0 where nothing is known; then it is learned."""
        slot = int(time_s // HALF_HOUR_S)
        half_hour = slot % HALF_HOURS
        cell = (slot // HALF_HOURS + MONDAY) % DAYS * HALF_HOURS + half_hour
        known = self._all_counts[half_hour]
        usual = self._all_sums[half_hour] / known if known else value
        residual = value - (self._sums[cell] + TRUST * usual) / (self._counts[cell] + TRUST)
        self._counts[cell] += 1
        self._sums[cell] += value
        self._all_counts[half_hour] += 1
        self._all_sums[half_hour] += value
        return residual
