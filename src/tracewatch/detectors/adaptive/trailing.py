"""How many calls many rows had in trailing windows: only ticks with calls are looked at, as most have none."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Ints
from .ledger import Groups


class Trailing:
    """Counts by row and tick: of a run, and of the ticks before it that a window may begin in.

    >>> x = Trailing(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([0, 1, 1]), np.array([0, 2, 2]), 3)
    >>> x.most((2,)).tolist(), x.calls.tolist(), x.last.tolist()
    ([[3.0], [2.0]], [1.0, 2.0], [[0.0, 0.0], [0.0, 2.0]])
    """

    def __init__(self, before: NDArray[np.floating[Any]], row: Ints, tick: Ints, ticks: int) -> None:
        """Before: counts of rows x ticks before the run; row and tick (of the run) of each call in it."""
        (self.rows, self.before), self.ticks = before.shape, ticks
        self.length = self.before + ticks
        old, new = np.nonzero(before), Groups(row * self.length + self.before + tick)
        keys = np.concatenate([old[0] * self.length + old[1], new.keys])
        order = np.argsort(keys, kind="stable")
        self.keys: Ints = keys[order]  # row x length + tick
        self.count: Floats = np.concatenate([before[old], new.sizes])[order]
        self.calls: Floats = np.bincount(row, minlength=self.rows).astype(float)

    @cached_property
    def last(self) -> Floats:
        """What the next run is told of the ticks before it."""
        out = np.zeros((self.rows, self.before))
        row, tick = np.divmod(self.keys, self.length)
        late = tick >= self.ticks
        out[row[late], tick[late] - self.ticks] = self.count[late]
        return out

    def most(self, spans: tuple[int, ...]) -> Floats:
        """The largest counts of windows that end in the run (rows x spans): at a tick with calls, or at its first."""
        begin = np.arange(self.rows) * self.length + self.before
        ends = np.concatenate([begin, self.keys[self.keys % self.length >= self.before]])
        total = np.concatenate([[0.0], np.cumsum(self.count)])
        until = total[np.searchsorted(self.keys, ends, "right")]
        counts = [until - total[np.searchsorted(self.keys, ends - span, "right")] for span in spans]
        out = np.zeros((self.rows, len(spans)))
        np.maximum.at(out, ends // self.length, np.stack(counts, 1))
        return out

    def windows(self, rows: Ints, spans: tuple[int, ...]) -> list[Floats]:
        """The counts of the windows that end with each tick of the run, of some rows: a table for each span."""
        place = np.full(self.rows, -1)
        place[rows] = np.arange(len(rows))
        row, tick = np.divmod(self.keys, self.length)
        some = place[row] >= 0
        counts = np.zeros((len(rows), self.length + 1))
        counts[place[row[some]], tick[some] + 1] = self.count[some]
        total, first = np.cumsum(counts, 1), self.before + 1
        return [total[:, first:] - total[:, first - span : total.shape[1] - span] for span in spans]
