"""How wide gaps usually are: a histogram that forgets, and the law of the few beyond its end."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from math import frexp, inf, ldexp, log10

import numpy as np

LEARNING = 200  # gaps before one is judged: they are wide while little is known
HISTORY = 8000  # gaps: twice as many and all counts are halved
TAIL = 0.95  # quantile from where on the tail is taken for exponential
FAR = 20.0  # a gap counts for at most so many mean excesses, so that one incident does not stretch the tail
LEAST = 0.05  # of the quantile: the least mean excess, for tails that happened to be short so far
MOST = 30.0  # decades; beyond it nothing grows surer
FINE = 32  # bins to a doubling: 1.6 to 3.1 % wide, narrower than the least mean excess
BINS = 1024  # at most; hundreds are usual, and of a series of all magnitudes the low ones are joined in pairs
PATIENCE = 128  # gaps at most between two looks at the histogram, which take as long as twenty gaps

_ZERO = -1100 * FINE  # the bin of no gap at all, below that of the least float
_AT_TAIL = -log10(1 - TAIL)
_PER_DECADE = log10(2.718281828459045)


class Gaps:
    """Judges each gap by those before it, as -log10 of the share that were as wide.

    By count below their 95 % quantile; above, by an exponential law with the mean of past excesses. About 6 bytes a
    bin, some hundred bins. Our own.
    """

    __slots__ = ("_beyond", "_bins", "_counts", "_excess", "_left", "_looked", "_seen", "_tails", "edge")

    def __init__(self) -> None:
        self._bins, self._counts = array("i"), array("H")
        self._tails = array("f")  # decades of each bin, 0 while they are learned
        self._seen = 0  # gaps, at the last look
        self._left = self._looked = 1  # gaps until the next one, and between the two
        self._beyond, self._excess = 0, 0.0
        self.edge = inf
        """The 95 % quantile, infinite while nothing is known."""

    def surprise(self, gap: float) -> float:
        """Decades of surprise at a gap among those before it; then it is one of them.

        >>> gaps = Gaps()
        >>> before = [gaps.surprise(1.0 + number % 10) for number in range(1000)]
        >>> round(gaps.surprise(10.0), 2), gaps.surprise(50.0) > 10
        (1.0, True)
        """
        if gap == inf:
            return 0.0  # nothing was remembered yet
        fraction, power = frexp(gap)
        place = power * FINE + int(fraction * 2 * FINE) if gap else _ZERO
        bins = self._bins
        at = bisect_left(bins, place)
        if at < len(bins) and bins[at] == place:
            self._counts[at] += 1
        else:
            self._insert(at, place)
        surprise = self._tails[at] if gap <= self.edge else self._beyond_edge(gap)
        self._left -= 1
        if not self._left:
            self._look()
        return surprise

    def _beyond_edge(self, gap: float) -> float:
        excess, surprise = gap - self.edge, 0.0
        if self._seen >= LEARNING:
            mean = max(self._excess / max(self._beyond, 1), LEAST * self.edge)
            # Nothing but repeats so far: that anything differs is as surprising as can be.
            surprise = min(_AT_TAIL + excess / mean * _PER_DECADE, MOST) if mean > 0 else MOST
        self._stretch(excess)
        return surprise

    def _stretch(self, excess: float) -> None:
        most = FAR * self._excess / self._beyond if self._beyond > FAR else inf
        self._beyond += 1
        self._excess += min(excess, most)

    def _insert(self, at: int, place: int) -> None:
        self._bins.insert(at, place)
        self._counts.insert(at, 1)
        self._tails.insert(at, self._tails[at] if at < len(self._tails) else 0.0)

    def _look(self) -> None:
        """Tails and edge from the counts; every so often, as they change slowly."""
        self._seen += self._looked
        if sum(self._counts) > 2 * HISTORY:
            self._keep({place: count // 2 for place, count in zip(self._bins, self._counts, strict=True) if count > 1})
        if len(self._bins) > BINS:
            self._join()
        wider = np.cumsum(self._counts[::-1])[::-1]  # gaps of each bin and those wider
        total = int(wider[0])
        self.edge = lower_end(self._bins[int(np.flatnonzero(wider >= total - int(TAIL * total))[-1])])
        decades = np.log10((total + 1) / (wider + 1)) * (self._seen >= LEARNING)
        self._tails = array("f", decades.astype(np.float32).tobytes())
        self._left = self._looked = self._patience()

    def _patience(self) -> int:
        """Gaps until the next look: few while little is known, and one look when enough is."""
        patience = min(max(self._seen >> 5, 1), PATIENCE)
        return min(patience, LEARNING - self._seen) if self._seen < LEARNING else patience

    def _join(self) -> None:
        """Every second bin of the lower half becomes one with the next."""
        half = len(self._bins) // 4 * 2
        joined = {self._bins[at + 1]: self._counts[at] + self._counts[at + 1] for at in range(0, half, 2)}
        joined.update(zip(self._bins[half:], self._counts[half:], strict=True))
        self._keep(joined)

    def _keep(self, counts: dict[int, int]) -> None:
        self._bins, self._counts = array("i", counts), array("H", counts.values())


def lower_end(place: int) -> float:
    """The least gap of a bin."""
    if place == _ZERO:
        return 0.0
    # A fraction from one half up to one has twice as many steps below as its bins.
    power, step = divmod(place - FINE, FINE)
    return ldexp((step + FINE) / (2 * FINE), power)
