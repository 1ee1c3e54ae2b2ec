"""Which windows of which series are beyond their limits: all are looked at, most of them as cheaply as can be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Flags, Floats, Ints
from .channels import NOISE, ROOM, C
from .errands import Table, array_of
from .knowledge import Knowledge
from .panel import LEAST_N
from .rates import ROOM as RATE_ROOM
from .rates import TYPICAL_99, R, unusual_of
from .series import TOTALS, K
from .windows import CERTAIN, HISTORY, HOUR, STEPS, WINDOWS, deviance_root

AT_ONCE = 1 << 20  # totals taken out of a table at a time: 8 MB of each kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One kind of window at the ticks it is looked at: where among rows taken out each begins and ends."""

    w: int
    ticks: Ints
    starts: slice | Ints
    ends: slice | Ints

    def rows(self, i: Ints) -> tuple[Ints, Ints]:
        """Where the i-th windows begin and end."""
        first, last = (
            at[i] if isinstance(at, np.ndarray) else at.start + i * at.step for at in (self.starts, self.ends)
        )
        return first, last


def place_of(some: Ints, rows: Ints) -> slice | Ints:
    """Where some evenly spaced rows are among (sorted) others; as a slice, which needs no copy, if none is missing."""
    if len(rows) <= rows[-1] - rows[0] or len(some) < 2:
        return np.searchsorted(rows, some)
    return slice(int(some[0] - rows[0]), int(some[-1] - rows[0]) + 1, int(some[1] - some[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a search looks at: a run of ticks within running totals, and what is usual."""

    total: Table
    slices: int  # that there are
    before: int  # the row of the last tick before the run
    first: int
    ticks: int
    live: Flags  # slices x series to look at
    z: float
    wobble_g: Floats
    wobble_s2: Floats
    rate_g: Floats
    margin: Floats


def sight(known: Knowledge, first: int, ticks: int, live: Flags) -> Sight:
    """Of the last run of so many ticks."""
    series = known.series
    return Sight(
        total=series.table, slices=series.slices, before=series.end - ticks, first=first, ticks=ticks,
        live=live & ~known.slices.same[:, None], z=known.settings.z, wobble_g=known.wobble.g,
        wobble_s2=known.wobble.s2, rate_g=known.rates.g, margin=known.rates.margin,
    )  # fmt: skip


def search(sight: Sight, alarming: bool) -> tuple[Floats, list[NDArray[Any]]]:
    """Surprises, one a row: tick read, slice, series, kind of window, z, n, s; in order of ticks. And unusual hours."""
    return Search(sight).run(alarming)


class Search:
    """Looks at every window of every live series; keeps unusual hours, and what is beyond the limits."""

    def __init__(self, sight: Sight) -> None:
        self.sight, self.total = sight, array_of(sight.total)
        columns = np.flatnonzero(sight.live.ravel())
        slices, series = columns // K, columns % K
        now, then = (
            self.total[row, : sight.slices, K : 2 * K] for row in (sight.before + sight.ticks, sight.before - HISTORY)
        )
        hits = now > then
        mean, rate = series < C, (series >= C) & hits[slices, series]  # a rate without any hit cannot have risen
        self.mean = slices[mean], series[mean]
        self.rate = slices[rate], series[rate] - C
        self.found: list[Floats] = []
        self.unusual: list[NDArray[Any]] = []

    def run(self, alarming: bool) -> tuple[Floats, list[NDArray[Any]]]:
        """What `search` returns."""
        for some in self.portions(self.mean) if alarming else ():
            self.means(STEPS, *some)
        for some in self.portions(self.rate):
            self.rates(STEPS if alarming else (HOUR,) * len(STEPS), alarming, *some)
        found = np.concatenate(self.found) if self.found else np.zeros((0, 7))
        order = np.lexsort((found[:, 2], found[:, 1], found[:, 2] >= C, found[:, 3], found[:, 0]))
        return found[order], self.unusual

    def portions(self, columns: tuple[Ints, Ints]) -> Iterator[tuple[Ints, Ints]]:
        """The same columns, fewer at a time where many ticks are read: what is taken out would be some 100 MB."""
        ticks = self.sight.ticks
        most = AT_ONCE // (ticks + min(HISTORY, ticks * len(WINDOWS)))
        slices, series = columns
        for low in range(0, len(slices), most):
            yield slices[low : low + most], series[low : low + most]

    def take(self, steps: Sequence[int], columns: Ints) -> tuple[Floats, list[Look]]:
        """The rows of running totals that windows begin or end with (rows x columns), and where in them each does."""
        sight, total = self.sight, self.total
        at = [np.arange(-(sight.first + 1) % step, sight.ticks, step) for step in steps]
        ends = [sight.before + 1 + x for x in at]
        rows = np.unique(np.concatenate([*ends, *(x - width for x, width in zip(ends, WINDOWS, strict=True))]))
        looks = [
            Look(w=w, ticks=at[w], starts=place_of(ends[w] - WINDOWS[w], rows), ends=place_of(ends[w], rows))
            for w in range(len(WINDOWS))
            if len(at[w])
        ]
        flat = total.reshape(len(total), -1)
        if len(rows) and len(rows) > rows[-1] - rows[0]:  # without a gap: a third of the time
            return flat[rows[0] : rows[-1] + 1].take(columns, axis=1), looks
        out = np.empty((len(rows), len(columns)))
        for row, taken in zip(rows.tolist(), out, strict=True):  # row by row: a third of the time
            flat[row].take(columns, out=taken, mode="clip")
        return out, looks

    def means(self, steps: Sequence[int], slices: Ints, series: Ints) -> None:
        """Means of some series whose |z| is over the limit."""
        sight = self.sight
        calls, many = slices * TOTALS + series, len(slices)
        total, looks = self.take(steps, np.concatenate([calls, calls + K]))
        for look in looks:
            sums = total[look.ends] - total[look.starts]
            n, s, g, s2 = (
                sums[:, :many],
                sums[:, many:],
                *(x[look.w, slices, series] for x in (sight.wobble_g, sight.wobble_s2)),
            )
            limit, noise = sight.z * ROOM[series] * g, NOISE[series]
            # Two bounds of the limit of |s|, cheaper than itself: that of the fewest calls, and that of ever so many.
            few, slope = limit * np.sqrt(LEAST_N * (noise + LEAST_N * s2)), limit * np.sqrt(s2)
            i, c = np.nonzero(np.abs(s) > np.maximum(few, n * slope))
            n, s = n[i, c], s[i, c]
            over = (s * s > n * (noise[c] + n * s2[c]) * limit[c] ** 2) & (n >= LEAST_N)
            z = s / (g[c] * np.sqrt(n * (noise[c] + n * s2[c])))
            self.keep(over, look.ticks[i], slices[c], series[c], look.w, z, n, s)

    def rates(self, steps: Sequence[int], alarming: bool, slices: Ints, series: Ints) -> None:
        """Rates of some series whose z is over the limit; those of whole hours that are unusual are remembered."""
        sight = self.sight
        calls, margin = slices * TOTALS + C + series, sight.margin[slices, series]
        total, looks = self.take(steps, np.concatenate([calls, calls + K, calls + K + R]))
        n, k, e = np.split(total, 3, axis=1)
        excess = k - e - n * margin
        for look in looks:
            i, c = np.nonzero(excess[look.ends] - excess[look.starts] > 0.5)  # of others the deviance is 0
            first, last = look.rows(i)
            hits, many, expected = (x[last, c] - x[first, c] for x in (k, n, e))
            p = np.minimum(expected / many + margin[c], CERTAIN)
            bound = (hits - 0.5 - many * p) ** 2 / (many * p * (1 - p))  # of the deviance
            some = np.flatnonzero(bound > TYPICAL_99**2)
            i, c, hits, many = i[some], c[some], hits[some], many[some]
            z = deviance_root(hits, many, p[some])
            self.unusual.append(unusual_of(sight.first + look.ticks[i], look.w, slices[c], series[c], z))
            if alarming:
                g, where = sight.rate_g[look.w, slices[c], series[c]], (look.ticks[i], slices[c], series[c] + C, look.w)
                self.keep(z > sight.z * RATE_ROOM[series[c]] * g, *where, z / g, many, hits)

    def keep(self, over: Flags, *columns: Ints | Floats | int) -> None:
        """Remember what is over its limit."""
        if over.any():
            rows = [x[over] if isinstance(x, np.ndarray) else x for x in columns]
            self.found.append(np.stack(np.broadcast_arrays(*rows), 1).astype(float, copy=False))
