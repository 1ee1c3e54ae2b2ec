"""Five-minute sums of every channel and rate by slice, as running totals: any window is the difference of two rows.

A series (one measure of one slice) costs (HISTORY + 1 + LONG_RUN) x 2.5 totals of 8 bytes here, 11.5 KB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Ints, Rows
from .channels import C
from .errands import Shared, Table
from .expectations import GRAIN
from .failover import moved
from .rates import FALLBACK, NO_HIT, R
from .slices import SLICES, Pairs
from .windows import DAY, HISTORY, HOUR

K = C + R  # channels, then rates
TOTALS = 2 * K + R  # of a slice and tick: calls and sums (of residuals or hits) of K series, expected hits of R
MANY = 150  # slices: with more, shorter runs take less room
LONG_RUN, SHORT_RUN = DAY, DAY // 6  # ticks read at once
FEW = 4  # ticks whose sums are taken out for all slices at once: a tenth of the time of one after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Sums of each tick and segment that has calls, in the order of ticks."""

    tick: Ints  # of the run
    segment: Ints
    sums: Floats  # (K counts, K sums, expected calls without a cache hit) x cells


class Series:
    """Running totals, ticks x slices x TOTALS; exact, as residuals and bases are multiples of a grain."""

    def __init__(self) -> None:
        self.slices = 0
        self.shared: Shared | None = None  # what `total` is part of, if others see it too
        self.sharing = False
        self.total = room_for(0)  # may have more slices than there are
        self.end = HISTORY  # the row of the last tick

    @property
    def table(self) -> Table:
        """The totals, as another process can have them."""
        return self.total if self.shared is None else self.shared.place

    @property
    def run(self) -> int:
        """Ticks that may be read at once."""
        return len(self.total) - HISTORY - 1

    @property
    def full(self) -> bool:
        """Whether there is no room for another tick."""
        return self.end + 1 >= len(self.total)

    def grow(self, slices: int) -> None:
        """Room for so many slices, and a quarter more: a copy of all for each new one would be felt."""
        if slices > self.total.shape[1]:
            self.move(max(slices, min(slices + slices // 4, SLICES)), np.arange(self.slices))
        self.slices = slices

    def keep_slices(self, keep: Ints) -> None:
        """Renumber slices."""
        if len(keep) < self.slices // 2:
            self.move(len(keep), keep)
        else:  # the room stays: a new table of some hundred MB takes half a second
            for row in self.total[self.end - HISTORY : self.end + 1]:
                row[: len(keep)] = row[keep]
        self.slices = len(keep)

    def move(self, slices: int, keep: Ints, ticks: int = 0) -> None:
        """The last day of the slices to keep, to a table with room for so many slices, and ticks at once."""
        self.forget()
        shape = shape_for(slices, ticks)
        self.shared = Shared(shape) if self.sharing else None
        total = self.shared.table if self.shared else np.zeros(shape)
        total[: HISTORY + 1, : len(keep)] = self.total[: HISTORY + 1, keep]
        self.total = total

    def add(self, cells: Cells | None, ticks: int, pairs: Pairs, base: Floats) -> None:
        """Append the cells of so many ticks; base is each segment's expected share of hits (segments x rates)."""
        if self.end + ticks >= len(self.total):
            self.forget()
        if ticks > self.run:  # as the slices became many since it was decided how much to read
            self.move(self.total.shape[1], np.arange(self.slices), ticks)
        first, self.end = self.end + 1, self.end + ticks
        run = self.total[first : self.end + 1, : self.slices]
        if cells is None:
            run[:] = 0
        else:
            spread(cells, pairs, base, run)
        before = self.total[first - 1, : self.slices]
        for now in run:  # numpy's own cumulative sum over the first axis is five times slower
            now += before
            before = now

    def __getstate__(self) -> dict[str, Any]:
        """What a snapshot keeps: of the last day, tick by tick, what was not nothing, in whole numbers of grains."""
        day = self.total[self.end - HISTORY : self.end + 1, : self.slices]
        # Tick by tick, and twice: a table of all changes would be some times what is kept.
        many = [int(np.count_nonzero(now != before)) for before, now in pairwise(day)]
        largest = max((float(np.abs(now - before).max(initial=0)) for before, now in pairwise(day)), default=0.0)
        there = np.zeros((HISTORY, -(-day[0].size // 8)), np.uint8)
        grains: Ints = np.zeros(sum(many), "i4" if largest * GRAIN < 2**31 else "i8")
        first = 0
        for bits, count, (before, now) in zip(there, many, pairwise(day), strict=True):
            change = now - before
            bits[:] = np.packbits(change != 0)
            grains[first : first + count] = change[change != 0] * GRAIN
            first += count
        return {"slices": self.slices, "there": there, "grains": grains}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As it was, but for what lies further back than a day."""
        self.slices, self.end = state["slices"], HISTORY
        self.shared, self.sharing = None, False
        self.total, first = room_for(self.slices), 0
        for bits, before, now in zip(state["there"], self.total, self.total[1:], strict=False):
            something = np.unpackbits(bits, count=now.size).view(bool).reshape(now.shape)
            last = first + int(np.count_nonzero(something))
            now[:] = before
            now[something] += state["grains"][first:last] / GRAIN
            first = last

    def forget(self) -> None:
        """All but the last day; totals start again from zero, lest they grow beyond what a float holds exactly."""
        start = self.end - HISTORY
        zero = self.total[start].copy()
        for row in range(HISTORY + 1):
            np.subtract(self.total[start + row], zero, out=self.total[row])
        self.end = HISTORY


def room_for(slices: int) -> Floats:
    """No totals of so many slices."""
    return np.zeros(shape_for(slices))


def shape_for(slices: int, ticks: int = 0) -> tuple[int, int, int]:
    """Of totals of the longest window that ends before the run, and of a run of (some) ticks."""
    return HISTORY + 1 + max(ticks, LONG_RUN if slices <= MANY else SHORT_RUN), slices, TOTALS


def cells_of(rows: Rows, segments: int) -> Cells:
    """The sums of rows that have a tick, a segment, z, use, hit and miss."""
    z, miss = rows["z"].T, np.where(rows["use"][:, NO_HIT], rows["miss"], 0)
    use, hit, keys = rows["use"].T, rows["hit"].T, rows["tick"] * segments + rows["segment"]
    values = [*np.isfinite(z), *use, *np.nan_to_num(z), *hit, miss]
    away = moved(rows)
    if away.any():  # a fallback counts as the failure of the segment it stands in for
        keys = np.concatenate([keys, rows["tick"][away] * segments + rows["fails_as"][away]])
        values = [np.concatenate([value, np.zeros(np.count_nonzero(away))]) for value in values]
        for at in (C + FALLBACK, K + C + FALLBACK):
            values[at][: len(away)][away], values[at][len(away) :] = 0, 1
    keys, sums = summed(keys, values)
    return Cells(tick=keys // segments, segment=keys % segments, sums=sums)


def by_hour(cells: Cells, first: int, segments: int) -> tuple[Ints, Ints, Floats, Floats]:
    """Hours, segments, and their calls and hits of each rate (pairs of hour and segment x rates)."""
    hours = (first + cells.tick) // HOUR
    keys, sums = summed(hours * segments + cells.segment, [*cells.sums[C:K], *cells.sums[K + C : 2 * K]])
    return keys // segments, keys % segments, sums[:R].T, sums[R:].T


def summed(keys: Ints, columns: Sequence[NDArray[Any]]) -> tuple[Ints, Floats]:
    """Each key once, in order, and the sums of each column (columns x keys)."""
    unique, place = np.unique(keys, return_inverse=True)
    out = np.zeros((len(columns), len(unique)))
    for total, column in zip(out, columns, strict=True):
        if column.any():
            total[:] = np.bincount(place, column, len(unique))
    return unique, out


def spread(cells: Cells, pairs: Pairs, base: Floats, run: Floats) -> None:
    """The sums of cells, in the slices that their segments are in (ticks x slices x TOTALS; all is written)."""
    present, place = np.unique(cells.segment, return_inverse=True)
    sums = np.zeros((len(present), len(run), TOTALS))
    sums[place, cells.tick, : 2 * K] = cells.sums[: 2 * K].T
    sums[:, :, 2 * K :] = sums[:, :, C:K] * base[present][:, None]
    sums[place, cells.tick, 2 * K + NO_HIT] = cells.sums[2 * K]
    at = np.full(len(base), -1)
    at[present] = np.arange(len(present))
    slices, segments = pairs
    there = at[segments] >= 0
    slices, which = slices[there], at[segments[there]]
    starts = np.flatnonzero(np.diff(slices, prepend=-1))
    run[:] = 0
    if len(run) <= FEW:
        run[:, slices[starts]] = np.add.reduceat(sums[which], starts, axis=0).swapaxes(0, 1)
        return
    for begin, end in pairwise([*starts.tolist(), len(slices)]):
        its = which[begin:end].tolist()
        together = sums[its[0]]
        if len(its) > 1:
            together = together + sums[its[1]]
        for i in its[2:]:
            together += sums[i]
        run[:, slices[begin]] = together
