"""Five-minute sums of every channel and rate by slice, as running totals: any window is the difference of two rows.

A series (one measure of one slice) costs (HISTORY + 1 + DAY) x 2.5 totals of 8 bytes here, 11.5 KB.
"""

from dataclasses import dataclass

import numpy as np

from .arrays import Floats, Ints, Rows
from .channels import C
from .rates import NO_HIT, R
from .windows import DAY, HISTORY, HOUR

K = C + R  # channels, then rates
TOTALS = 2 * K + R  # of a slice and tick: calls and sums (of residuals or hits) of K series, expected hits of R
ROOM = HISTORY + 1 + DAY  # ticks: the longest window that ends before the run, and a run of a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Sums of each tick and segment that has calls, in the order of ticks."""

    tick: Ints  # of the run
    segment: Ints
    sums: Floats  # cells x (K counts, K sums, expected calls without a cache hit)


class Series:
    """Running totals, ticks x slices x TOTALS; exact, as residuals and bases are multiples of a grain."""

    def __init__(self) -> None:
        self.slices = 0
        self.total = np.zeros((ROOM, 0, TOTALS))  # may have more slices than there are
        self.end = HISTORY  # the row of the last tick

    def grow(self, slices: int) -> None:
        """Room for so many slices, and a quarter more: a copy of all for each new one would be felt."""
        if slices > self.total.shape[1]:
            total = np.zeros((ROOM, slices + slices // 4, TOTALS))
            total[: self.end + 1, : self.slices] = self.total[: self.end + 1, : self.slices]
            self.total = total
        self.slices = slices

    def keep_slices(self, keep: Ints) -> None:
        """Renumber slices."""
        self.total, self.slices = self.total[:, keep], len(keep)

    def add(self, cells: Cells | None, ticks: int, members: Floats, base: Floats) -> None:
        """Append the cells of so many ticks; base is each segment's expected share of hits (segments x rates)."""
        if self.end + ticks >= ROOM:
            self.forget()
        first, self.end = self.end + 1, self.end + ticks
        run = self.total[first : self.end + 1]
        run[:] = 0
        if cells is not None:
            spread(cells, members, base, run)
        for row in range(first, self.end + 1):  # numpy's own cumulative sum over the first axis is five times slower
            np.add(self.total[row], self.total[row - 1], out=self.total[row])

    def forget(self) -> None:
        """All but the last day; totals start again from zero, lest they grow beyond what a float holds exactly."""
        start = self.end - HISTORY
        self.total[: HISTORY + 1] = self.total[start : self.end + 1] - self.total[start]
        self.end = HISTORY


def cells_of(rows: Rows, segments: int) -> Cells:
    """The sums of rows that have a tick, a segment, z, use, hit and miss."""
    values = np.empty((len(rows["t"]), 2 * K + 1))
    values[:, :C], values[:, C:K] = np.isfinite(rows["z"]), rows["use"]
    values[:, K : K + C], values[:, K + C : 2 * K] = np.nan_to_num(rows["z"]), rows["hit"]
    values[:, 2 * K] = np.where(rows["use"][:, NO_HIT], rows["miss"], 0)
    keys, sums = summed(rows["tick"] * segments + rows["segment"], values)
    return Cells(tick=keys // segments, segment=keys % segments, sums=sums)


def by_hour(cells: Cells, first: int, segments: int) -> tuple[Ints, Ints, Floats, Floats]:
    """Hours, segments, and their calls and hits of each rate."""
    keys, sums = summed((first + cells.tick) // HOUR * segments + cells.segment, cells.sums)
    return keys // segments, keys % segments, sums[:, C:K], sums[:, K + C : 2 * K]


def summed(keys: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Each key once, in order, and the sums of its rows."""
    unique, inverse = np.unique(keys, return_inverse=True)
    width = values.shape[1]
    index = inverse[:, None] * width + np.arange(width)
    sums = np.bincount(index.ravel(), values.ravel(), minlength=len(unique) * width)
    return unique, sums.reshape(-1, width)


def spread(cells: Cells, members: Floats, base: Floats, run: Floats) -> None:
    """Add the sums of cells to those slices that their segments are in."""
    segment, slice_ = np.nonzero(members.T)  # of few segments each
    many = np.bincount(segment, minlength=members.shape[1])
    cell = np.repeat(np.arange(len(cells.tick)), many[cells.segment])
    nth = np.arange(len(cell)) - np.repeat(np.cumsum(many[cells.segment]) - many[cells.segment], many[cells.segment])
    into = slice_[(np.cumsum(many) - many)[cells.segment[cell]] + nth]
    sums = np.empty((len(cells.tick), TOTALS))
    sums[:, : 2 * K] = cells.sums[:, : 2 * K]
    sums[:, 2 * K :] = cells.sums[:, C:K] * base[cells.segment]
    sums[:, 2 * K + NO_HIT] = cells.sums[:, 2 * K]
    keys, total = summed(cells.tick[cell] * run.shape[1] + into, sums[cell])
    run.reshape(-1, TOTALS)[keys] = total
