"""Five-minute sums of every channel and rate, by segment as they come and by slice as they are tested."""

import numpy as np

from .arrays import Floats, Ints, Rows
from .channels import C
from .rates import NO_HIT, R
from .windows import HISTORY

K = C + R  # channels, then rates


class Series:
    """Counts, sums (of residuals or hits) and expected hits, segments x series x ticks: the last day and the run."""

    def __init__(self) -> None:
        self.n, self.s = np.zeros((0, K, HISTORY)), np.zeros((0, K, HISTORY))
        self.e = np.zeros((0, R, HISTORY))

    def grow(self, segments: int) -> None:
        """Room for so many segments."""
        more = segments - len(self.n)
        if more > 0:
            pad = np.zeros((more, K, HISTORY))
            self.n, self.s = np.concatenate([self.n, pad]), np.concatenate([self.s, pad])
            self.e = np.concatenate([self.e, pad[:, :R]])

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        self.n, self.s, self.e = self.n[keep], self.s[keep], self.e[keep]

    def add(self, rows: Rows | None, ticks: int, base: Floats) -> None:
        """Append the rows of so many ticks; base is each segment's expected share of hits (segments x rates)."""
        segments = len(self.n)
        n, s, e = np.zeros((segments, K, ticks)), np.zeros((segments, K, ticks)), np.zeros((segments, R, ticks))
        if rows is not None:
            z = rows["z"]
            counts = np.concatenate([np.isfinite(z), rows["use"]], 1)
            values = np.concatenate([np.nan_to_num(z), rows["hit"]], 1)[counts]
            index = ((rows["segment"][:, None] * K + np.arange(K)) * ticks + rows["tick"][:, None])[counts]
            n[:] = np.bincount(index, minlength=n.size).reshape(n.shape)
            s[:] = np.bincount(index, values, minlength=s.size).reshape(s.shape)
            e[:] = n[:, C:] * base[:, :, None]
            use = rows["use"][:, NO_HIT]
            cell = (rows["segment"] * ticks + rows["tick"])[use]
            e[:, NO_HIT] = np.bincount(cell, rows["miss"][use], minlength=segments * ticks).reshape(segments, ticks)
        self.n, self.s, self.e = (np.concatenate([a, b], 2) for a, b in ((self.n, n), (self.s, s), (self.e, e)))

    def trim(self) -> None:
        """Forget all but the last day."""
        self.n, self.s, self.e = (x[:, :, -HISTORY:] for x in (self.n, self.s, self.e))

    def hour(self, end: int) -> tuple[Floats, Floats]:
        """Calls and hits of each rate in the hour before column `end` (segments x rates)."""
        span = slice(end - 12, end)
        return self.n[:, C:, span].sum(2), self.s[:, C:, span].sum(2)

    def by_slice(self, members: Floats) -> tuple[Floats, Floats, Floats]:
        """Cumulative counts, sums and expected hits of slices, with a leading zero (slices x series x ticks + 1)."""
        return cumulative(members, self.n), cumulative(members, self.s), cumulative(members, self.e)


def cumulative(members: Floats, x: Floats) -> Floats:
    """Running sums over ticks of each slice's segments (few of each: adding them beats a matrix product)."""
    each = np.zeros((*x.shape[:2], x.shape[2] + 1))
    np.cumsum(x, axis=2, out=each[:, :, 1:])
    out = np.empty((len(members), *each.shape[1:]))
    for total, segments in zip(out, members > 0, strict=True):
        np.add.reduce(each[segments], axis=0, out=total)
    return out
