"""How new a value is for a series without known drivers: the distance to the nearest value seen before."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from math import inf, isfinite, log10

LAGS = (1, 100, 200)  # rows: a level that stays is new to the values of 100 and 200 rows ago for so long
MEMORY = 8000  # values; a memory of 1 000 cost 14 points on the Numenta benchmark
LEARNING = 200  # gaps before one is judged: they are wide while little is known
GAPS = 2000  # past gaps kept for the empirical part of their tail, 100 of them beyond its end
EVERY = 4  # once GAPS are kept, one gap in so many: rows in a row tell much the same
TAIL = 0.95  # quantile from where on the tail is taken for exponential
FAR = 20.0  # a gap counts for at most so many mean excesses, so that one incident does not stretch the tail
LEAST = 0.05  # of the quantile: the least mean excess, for tails that happened to be short so far
MOST = 30.0  # decades; beyond it nothing grows surer
ROUNDING = 1e-12  # of a value: a smaller gap is the arithmetic's
QUIET = 120  # rows among which only a new maximum counts
HALF = 8.0  # decades that score one half
ALARM = 0.82  # 20 decades: 79 of 200 000 values of Gaussian noise, so one false in 9 days of 5-minute values

HALF_HOUR_S, HALF_HOURS, DAYS = 1800, 48, 7
MONDAY = 3  # days from one to the first day of the epoch, a Thursday
TRUST = 3.0  # values of its half hour on all days that a cell's mean starts with

_AT_TAIL = -log10(1 - TAIL)
_PER_DECADE = log10(2.718281828459045)


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
        self._gaps = tuple(_Gaps() for _ in LAGS)
        self._residual_gaps = _Gaps()
        self._profile = _Profile()
        self._recent: deque[float] = deque(maxlen=QUIET)
        self._origin: float | None = None
        self.expected = 0.0
        """What was usual at the half hour of the last value."""

    def score(self, time_s: float, value: float) -> float:
        """0 for nothing new to 1; what is not a finite number scores 0 and is not remembered.

        >>> series = Nearest()
        >>> steady = [series.score(300.0 * row, row % 7) for row in range(600)]
        >>> max(steady) < 0.2, series.score(300.0 * 600, 50.0) > 0.9
        (True, True)
        """
        if not isfinite(value):
            return 0.0
        if self._origin is None:
            self._origin = value  # sums of what is left after it lose no digits to a large offset
        least = ROUNDING * (abs(value) + abs(self._origin))
        surprise = self._surprise(time_s, value - self._origin, least)
        before = max(self._recent, default=0.0)
        self._recent.append(surprise)
        return squeezed(surprise) if surprise > before else 0.0

    def _surprise(self, time_s: float, value: float, least: float) -> float:
        residual = self._profile.residual(time_s, value)
        self.expected = value - residual + (self._origin or 0.0)
        since_oldest = gap_to(self._oldest.values, value, least)
        since_older = min(since_oldest, gap_to(self._older.values, value, least))
        since_newest = min(since_older, gap_to(self._newest.values, value, least))
        new = self._gaps[0].surprise(since_newest) + self._gaps[1].surprise(since_older)
        odd = self._residual_gaps.surprise(gap_to(self._residuals.values, residual, least))
        self._residuals.remember(residual)
        self._remember(value)
        return max(new, odd) + 0.5 * self._gaps[2].surprise(since_oldest)

    def _remember(self, value: float) -> None:
        """What leaves the newest values joins the older ones, and what leaves those the oldest."""
        older = self._newest.push(value)
        oldest = self._older.push(older) if older is not None else None
        if oldest is not None:
            self._oldest.remember(oldest)


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

    def __init__(self, rows: int) -> None:
        self.values: list[float] = []
        self._by_age: deque[float] = deque()
        self._rows = rows

    def push(self, value: float) -> float | None:
        """Adds a value; returns the one that has to leave for it."""
        insort(self.values, value)
        self._by_age.append(value)
        if len(self._by_age) <= self._rows:
            return None
        leaving = self._by_age.popleft()
        del self.values[bisect_left(self.values, leaving)]
        return leaving


class _Memory:
    """Many values in order of size, fewer of them the older they are."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._by_age: deque[float] = deque()

    def remember(self, value: float) -> None:
        """Adds a value; of too many, every second one of the older half goes."""
        insort(self.values, value)
        self._by_age.append(value)
        if len(self.values) > MEMORY:
            half = MEMORY // 2
            kept = [*islice(self._by_age, 1, half, 2), *islice(self._by_age, half, None)]
            self._by_age, self.values = deque(kept), sorted(kept)


class _Gaps:
    """A sample of past gaps in order of size, and how far those beyond its tail's edge went."""

    def __init__(self) -> None:
        self._sample: list[float] = []
        self._by_age: deque[float] = deque()
        self._seen = 0
        self._beyond = 0
        self._excess = 0.0

    def surprise(self, gap: float) -> float:
        """Decades of surprise at a gap among those before it; then it is one of them."""
        if gap == inf:
            return 0.0  # nothing was remembered yet
        sample = self._sample
        edge = sample[int(TAIL * len(sample))] if sample else inf
        surprise = self._decades(gap, edge) if self._seen >= LEARNING else 0.0
        if gap > edge:
            self._stretch(gap - edge)
        self._seen += 1
        if len(sample) < GAPS or self._seen % EVERY == 0:
            self._learn(gap)
        return surprise

    def _decades(self, gap: float, edge: float) -> float:
        """-log10 of the probability of a gap this wide or wider."""
        count = len(self._sample)
        if gap <= edge:
            return log10((count + 1) / (count - bisect_left(self._sample, gap) + 1))
        mean = max(self._excess / max(self._beyond, 1), LEAST * edge)
        # Nothing but repeats so far: that anything differs is as surprising as can be.
        return min(_AT_TAIL + (gap - edge) / mean * _PER_DECADE, MOST) if mean > 0 else MOST

    def _stretch(self, excess: float) -> None:
        most = FAR * self._excess / self._beyond if self._beyond > FAR else inf
        self._beyond += 1
        self._excess += min(excess, most)

    def _learn(self, gap: float) -> None:
        insort(self._sample, gap)
        self._by_age.append(gap)
        if len(self._sample) > GAPS:
            del self._sample[bisect_left(self._sample, self._by_age.popleft())]


class _Profile:
    """The mean of each half hour of the week, which starts from that half hour's mean on all days."""

    def __init__(self) -> None:
        self._counts, self._sums = [0] * (HALF_HOURS * DAYS), [0.0] * (HALF_HOURS * DAYS)
        self._all_counts, self._all_sums = [0] * HALF_HOURS, [0.0] * HALF_HOURS

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
