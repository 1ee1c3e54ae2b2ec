"""The level of every measure of every segment, day by day and for thirteen weeks, by one and the same yardstick.

A segment's expectations follow it; the yardstick is what they were when its days began, so that days far apart can be
compared, given what drives each measure. Our own.

A series costs 91 days x 5 bytes (a rate: 8) and its part of a yardstick, 940 numbers of 8 bytes a segment: 0.9 KB.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from .arrays import Flags, Floats, Ints, Rows
from .channels import CACHE, COST, IS_LOG, C
from .expectations import Expectations
from .memory import CELLS
from .rates import HALLUCINATION, Rates
from .windows import DAY, HOUR, SAMPLES

WEEK = 7  # days: of the same days of the week each, so that weekends are no movement
WEEKS = 13
DAYS = WEEKS * WEEK
SHARES = HALLUCINATION + 1  # the rates whose days are kept: those that are not told by something else
LEAST_ROWS = 5  # of a day, before it has a level
LEAST_DAYS, LEAST_CALLS = 3, 20  # of a week
STEP_DAYS = 3  # before a step that was accepted, to know how high it was
YARDSTICK = ("beta", "level", "idle", "turn", "hours", "scale", "centre", "known")  # by channel
LONG_AGO = -(1 << 40)  # a tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Weeks:
    """Levels of weeks, the oldest first (segments x series x weeks); of rates the arcsine of the root of the share,
    whose variance by chance does not depend on the share.
    """

    level: Floats
    chance: Floats  # variance by chance
    fresh: Ints  # the last weeks, of which a line may go through (segments x series)


class Levels:
    """Days of segments, each at its place in a ring; nan or no calls where nothing is known."""

    def __init__(self) -> None:
        self.yardstick = Expectations()
        self.level = np.zeros((0, C, DAYS), np.float32)  # median residual; mean of what is not a log
        self.count = np.zeros((0, C, DAYS), np.uint8)  # rows behind it
        self.n, self.k = (np.zeros((0, SHARES, DAYS), np.float32) for _ in range(2))
        self.begun = np.zeros((0, C + SHARES), np.int64)  # tick from which on a line may go through the weeks

    def grow(self, segments: int) -> None:
        """Room for so many segments."""
        more = segments - len(self.level)
        if more > 0:
            self.yardstick.grow(segments)
            self.level = np.concatenate([self.level, np.full((more, C, DAYS), np.nan, np.float32)])
            self.count = np.concatenate([self.count, np.zeros((more, C, DAYS), np.uint8)])
            none = np.zeros((more, SHARES, DAYS), np.float32)
            self.n, self.k = (np.concatenate([x, none]) for x in (self.n, self.k))
            self.begun = np.concatenate([self.begun, np.full((more, C + SHARES), LONG_AGO)])

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        self.grow(int(keep.max(initial=-1)) + 1)
        self.yardstick.keep_segments(keep)
        self.level, self.count, self.begun = self.level[keep], self.count[keep], self.begun[keep]
        self.n, self.k = self.n[keep], self.k[keep]

    def close_day(self, some: Ints, rows: list[Rows | None], expect: Expectations, rates: Rates, tick: int) -> None:
        """Take the day of some segments that ended with a tick, from its sample of their rows."""
        today = tick // DAY % DAYS
        self.level[some, :, today], self.count[some, :, today] = np.nan, 0
        hours = (tick // HOUR - 1 - np.arange(DAY // HOUR)) % SAMPLES
        for kept, counted in ((self.n, rates.n), (self.k, rates.k)):
            kept[some, :, today] = counted[some][:, :SHARES][:, :, hours].sum(2)
        there = [(g, mine) for g, mine in zip(some.tolist(), rows, strict=True) if mine is not None]
        if there:
            self.measure(there, expect, today)

    def measure(self, there: list[tuple[int, Rows]], expect: Expectations, today: int) -> None:
        """The levels of segments by their rows of a day."""
        segments, sizes = np.array([g for g, _ in there]), [len(rows["t"]) for _, rows in there]
        self.take_yardsticks(segments, expect)
        names = ("y", "work", "tokens", *CELLS)
        table: Rows = {name: np.concatenate([rows[name] for _, rows in there]) for name in names}
        table = {name: x.astype(np.int64 if name in CELLS else float) for name, x in table.items()}
        table["segment"] = np.repeat(segments, sizes)
        self.yardstick.residuals(table)
        each = np.full((len(there), max(sizes), C), np.nan)
        each[np.repeat(np.arange(len(there)), sizes), np.concatenate([np.arange(size) for size in sizes])] = table["r"]
        count = np.isfinite(each).sum(1)
        middle = middles(each, count)
        middle[:, ~IS_LOG] = np.nansum(each[:, :, ~IS_LOG], 1) / np.maximum(count[:, ~IS_LOG], 1)
        self.level[segments, :, today] = np.where(count >= LEAST_ROWS, middle, np.nan)
        self.count[segments, :, today] = np.minimum(count, 255)

    def take_yardsticks(self, segments: Ints, expect: Expectations) -> None:
        """What is known by now is the yardstick of what had none."""
        known = (expect.known[segments] > 0) & (expect.mature[segments] > 0)[:, None]
        known[:, CACHE] &= expect.settled[segments] > 0
        at, channel = np.nonzero(known & ~(self.yardstick.known[segments] > 0))
        mine = segments[at]
        for name in YARDSTICK:
            getattr(self.yardstick, name)[mine, channel] = getattr(expect, name)[mine, channel]
        self.yardstick.price[mine[channel == COST]] = expect.price[mine[channel == COST]]
        self.yardstick.mature[mine] = self.yardstick.settled[mine] = 1

    def take_out(self, segments: Ints, channels: Flags, since: int, tick: int) -> None:
        """A step that was told and accepted is no creeping: the days before it are raised to what came after."""
        ago = np.minimum((tick - since) // DAY + np.arange(DAYS), DAYS)  # days, of those before it
        before = (tick // DAY - ago[ago < DAYS]) % DAYS
        after = (tick // DAY - np.arange(ago[0])) % DAYS
        if ago[0] == 0 or not len(before):
            return
        for g, c in product(segments.tolist(), np.flatnonzero(channels).tolist()):
            days = self.level[g, c]
            low, high = days[before[: STEP_DAYS + 1]], days[after]
            if np.isfinite(low).any() and np.isfinite(high).any():
                days[before] += np.nanmedian(high) - np.nanmedian(low)

    def leave_out(self, segments: Ints, rates: Flags, tick: int) -> None:
        """Calls of the day that ended with a tick say nothing of what is usual."""
        at = np.ix_(segments, np.flatnonzero(rates), np.array([tick // DAY % DAYS]))
        self.n[at] = self.k[at] = 0

    def begin_anew(self, segments: Ints, series: Flags, tick: int) -> None:
        """Lines go through the last week and those that follow; how the others swayed is still known."""
        self.begun[np.ix_(segments, np.flatnonzero(series))] = tick - WEEK * DAY

    def weeks(self, some: Ints, tick: int) -> Weeks:
        """The weeks until a tick of some segments."""
        days = (tick // DAY - DAYS + 1 + np.arange(DAYS)) % DAYS
        level, count, n, k = (
            x[some][:, :, days].reshape(len(some), -1, WEEKS, WEEK) for x in (self.level, self.count, self.n, self.k)
        )
        known, calls = np.isfinite(level).sum(3), count.sum(3, dtype=float)
        middle = middles(np.moveaxis(level, 3, 1).astype(float), known)
        middle[(known < LEAST_DAYS) | (calls < LEAST_CALLS)] = np.nan
        chance = (self.yardstick.scale[some] ** 2)[:, :, None] * np.where(IS_LOG, np.pi / 2, 1.0)[:, None]
        n, k, there = n.sum(3, dtype=float), k.sum(3, dtype=float), (n > 0).sum(3)
        share = np.where((there < LEAST_DAYS) | (n < LEAST_CALLS), np.nan, np.arcsin(np.sqrt(k / np.maximum(n, 1))))
        return Weeks(
            level=np.concatenate([middle, share], 1),
            chance=np.concatenate([chance / np.maximum(calls, 1), 0.25 / np.maximum(n, 1)], 1),
            fresh=np.minimum((tick - self.begun[some]) // (WEEK * DAY), WEEKS),
        )


def middles(each: Floats, count: Ints) -> Floats:
    """Medians over the second axis, nan where there are none; `count` says how many are there.

    >>> middles(np.array([[[3.0], [np.nan], [1.0], [2.5]]]), np.array([[3]])).tolist()
    [[2.5]]
    """
    ordered = np.sort(each, axis=1)  # nan sorts last
    low, high = (np.maximum(count - 1, 0) // 2)[:, None], (count // 2)[:, None]
    ends = (np.take_along_axis(ordered, np.minimum(at, each.shape[1] - 1), 1)[:, 0] for at in (low, high))
    return np.where(count > 0, sum(ends) / 2, np.nan)
