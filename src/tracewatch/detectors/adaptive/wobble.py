"""How much the window means of each series move by themselves."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .arrays import Flags, Floats, Ints
from .channels import C
from .windows import HOUR, SAMPLES, WINDOWS, hours_between

SHORT = tuple(w for w in WINDOWS if w <= HOUR)  # sums of these are kept; longer windows are sums of hours
HOURS = SAMPLES + WINDOWS[-1] // HOUR - 1  # kept: the longest window that ends with the first sample, and the samples
NEVER = 1 << 60  # a tick
AT_ONCE = 256  # series learned together: a few such tables fit a processor's cache
PRIOR = 0.30  # in deviations of a row, for windows up to 3 h: what the benchmark's quiet months show
PRIOR_WINDOWS = 6  # pseudo-windows of the prior: a conjugate mean
Singles = NDArray[np.float32]
LEAST_SAMPLES = 48  # hours before anything is learned
FLOOR = 0.0225  # of the prior variance (.15 of its deviation): no series is perfectly still
TYPICAL_99 = 2.6  # 99 % of |z| of a normal series
MOST_G = 4.0  # a series that moves more than this is said to be moving


class Mask(Protocol):
    """Which windows were touched by an incident: (times, width) -> slices x channels x times."""

    def __call__(self, times: Ints, width: int) -> Flags:
        """Slices x channels x times."""
        ...


def prior_variance() -> Floats:
    """Of window means, by window: a walk that forgets in 3 h."""
    hours = np.array(WINDOWS) / HOUR
    return np.asarray(PRIOR**2 * np.minimum(1, 6 / (3 + hours)))


def top_of(z: Singles, share: float) -> Singles:
    """The upper part of each row of z, from the order statistic at `share` on, sorted."""
    first = int(z.shape[1] * share) - 1
    return np.sort(np.partition(z, first, axis=1)[:, first:], axis=1)


class Wobble:
    """Hourly counts n and sums s of every series, its natural variance s2 and the calibration g of its z.

    A series costs len(SHORT) x HOURS x 2 numbers of 4 bytes here: 8.6 KB.
    """

    def __init__(self) -> None:
        self.n, self.s = (np.zeros((len(SHORT), HOURS, 0, C), np.float32) for _ in range(2))
        self.watched = np.zeros((0, C), np.int64)  # tick from which on a series is learned from
        self.s2, self.g = np.zeros((len(WINDOWS), 0, C)), np.ones((len(WINDOWS), 0, C))

    def grow(self, slices: int) -> None:
        """Room for so many slices."""
        more = slices - self.n.shape[2]
        if more <= 0:
            return
        pad = np.zeros((len(SHORT), HOURS, more, C), np.float32)
        self.n, self.s = np.concatenate([self.n, pad], 2), np.concatenate([self.s, pad], 2)
        self.watched = np.concatenate([self.watched, np.full((more, C), NEVER)])
        prior = np.broadcast_to(prior_variance()[:, None, None], (len(WINDOWS), more, C))
        self.s2 = np.concatenate([self.s2, prior], 1)
        self.g = np.concatenate([self.g, np.ones((len(WINDOWS), more, C))], 1)

    def keep_slices(self, keep: Ints) -> None:
        """Renumber slices."""
        self.n, self.s, self.watched = self.n[:, :, keep], self.s[:, :, keep], self.watched[keep]
        self.s2, self.g = self.s2[:, keep], self.g[:, keep]

    def watch(self, live: Flags, tick: int) -> None:
        """Learn from now on from the series (slices x series, channels first) that are live."""
        live = live[:, :C]
        self.watched[: len(live)][live] = np.minimum(self.watched[: len(live)][live], tick)

    def sample(self, n: Floats, s: Floats, ends: Ints, hours: Ints) -> None:
        """Take note of hours that end in these rows of running totals (ticks x slices x series, channels first)."""
        for j, width in enumerate(SHORT):
            for kept, total in ((self.n, n), (self.s, s)):
                kept[j, hours % HOURS] = total[ends, :, :C] - total[ends - width, :, :C]

    def learn(self, tick: int, since: int, mask: Mask, slices: slice) -> None:
        """Relearn some slices at midnight, or within the hour after it, from samples not older than `since`."""
        times = hours_between(since, tick)
        if len(times) < LEAST_SAMPLES:
            return
        before = HOURS - SAMPLES
        hours = np.arange(times[0] // HOUR - before, times[-1] // HOUR + 1) % HOURS
        watched = self.watched[slices].reshape(-1)
        live = np.flatnonzero((watched < tick) & self.n[-1, hours, slices].any(0).reshape(-1))
        masks = [mask(times, width)[slices].reshape(-1, len(times)) for width in WINDOWS]
        n, s = (
            np.ascontiguousarray(x[:, hours, slices].reshape(len(SHORT), len(hours), -1).swapaxes(1, 2))
            for x in (self.n, self.s)
        )
        for some in np.split(live, range(AT_ONCE, len(live), AT_ONCE)):
            early, series = times < watched[some, None], some + slices.start * C
            counts, sums = windows(n[:, some], before), windows(s[:, some], before)
            for w, touched in enumerate(masks):
                self.learn_window(w, series, counts[w], sums[w], touched[some] | early)

    def learn_window(self, i: int, live: Ints, n: Singles, s: Singles, touched: Flags) -> None:
        """s2 from non-overlapping windows, each square capped at nine times its expectation; g from the upper 1 %."""
        good, prior = (n >= 3) & ~touched, np.float32(prior_variance()[i])
        one = 1 / np.maximum(n, 1)
        m = s * one
        excess = (np.minimum(m * m, 9 * (one + prior)) - one) * good
        count = good.sum(1)
        independent = count / max(1.0, WINDOWS[i] / HOUR)
        v = excess.sum(1) / np.maximum(count, 1)
        s2 = np.maximum((PRIOR_WINDOWS * prior + independent * v) / (PRIOR_WINDOWS + independent), FLOOR * prior)
        z2 = m * m / (one + s2[:, None].astype(np.float32)) * good
        top = top_of(z2, 0.98)
        back = np.maximum(np.ceil(0.01 * count).astype(np.int64), 1)
        high = np.sqrt(np.take_along_axis(top, np.maximum(top.shape[1] - back, 0)[:, None], 1)[:, 0])
        self.s2[i].reshape(-1)[live] = s2
        self.g[i].reshape(-1)[live] = np.sqrt(np.clip(high / TYPICAL_99, 1, MOST_G))


def windows(kept: Singles, before: int) -> list[Singles]:
    """Sums over every kind of window (series x times) of what is kept (short windows x series x hours)."""
    total = np.cumsum(kept[-1], axis=1, dtype=float)
    total = np.concatenate([np.zeros((len(total), 1)), total], axis=1)
    hours = [width // HOUR for width in WINDOWS[len(SHORT) :]]
    long = (total[:, before + 1 :] - total[:, before + 1 - h : total.shape[1] - h] for h in hours)
    return [*kept[:, :, before:], *(x.astype(np.float32) for x in long)]
