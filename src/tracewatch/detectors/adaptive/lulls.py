"""How many starts of an operation are overdue since its last one, and how many ever were.

A window of half an hour must be empty from end to end; the time since the last start need not wait for that. What was
to be expected goes by how busy the rest is, and by how the operation was before it fell silent. Our own.
"""

from collections.abc import Iterable

import numpy as np

from .arrays import Floats, Ints
from .windows import HOUR

OWN = 36  # ticks: an operation's own last three hours say how its day goes
ROOM = 2.0  # times the longest lull of two weeks: at 1.5 bursty streams and nights were told
LEAST = 12.0  # expected starts: of a Poisson stream with 400 a day one in a year


def running(x: Floats) -> Floats:
    """Cumulative sums over time with a leading zero."""
    return np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, 0)])


def lulls(starts: Floats, mean: Floats, people: Floats) -> tuple[Floats, Ints]:
    """Of cumulative sums, after each tick: starts to be expected since the last one, and ticks.

    Of operations that are no people (0 of 1) nothing is to be expected, nor do they say how busy it is.
    """
    i = np.arange(1, len(starts))
    back, far = np.maximum(i - HOUR, 0), np.maximum(i - OWN, 0)
    ka, ma = ((x[i] - x[back]) * people for x in (starts, mean))
    rest = (ka.sum(1, keepdims=True) - ka + 20) / (ma.sum(1, keepdims=True) - ma + 20)
    own = np.clip((starts[i] - starts[far] + 10) / (mean[i] - mean[far] + 10), 0.4, 1)
    due = running(np.diff(mean, axis=0) * np.clip(rest, 0.15, 1))
    came = np.diff(starts, axis=0) > 0
    last = np.maximum.accumulate(np.where(came, i[:, None], 0), axis=0)  # rows of the cumulative sums
    missed = due[1:] - np.take_along_axis(due, last, 0)
    before = np.where(last > 0, np.take_along_axis(own, np.maximum(last - 1, 0), 0), 0.4)
    return missed * before * people, i[:, None] - last


def limits(starts: Floats, mean: Floats, people: Floats, span: Ints, marks: Iterable[tuple[int, int, int]]) -> Floats:
    """Expected starts without any before it means something; marks are (operation, from, to) of odd volume."""
    missed, _ = lulls(starts, mean, people)
    for o, a, b in marks:
        if o < missed.shape[1]:
            missed[(span >= a) & (span < b), o] = 0.0
    return np.asarray(np.maximum(ROOM * missed.max(0), LEAST))
