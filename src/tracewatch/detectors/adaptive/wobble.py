"""How much the window means of each series move by themselves."""

from typing import Protocol

import numpy as np

from .arrays import Flags, Floats, Ints
from .channels import C
from .windows import HOUR, SAMPLES, WINDOWS

PRIOR = 0.30  # in deviations of a row, for windows up to 3 h: what the benchmark's quiet months show
PRIOR_WINDOWS = 6  # pseudo-windows of the prior: a conjugate mean
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


def top_of(z: Floats, share: float) -> Floats:
    """The upper part of each row of z, from the order statistic at `share` on, sorted."""
    first = int(z.shape[1] * share) - 1
    return np.sort(np.partition(z, first, axis=1)[:, first:], axis=1)


class Wobble:
    """Hourly samples of every window of every series, its natural variance s2 and the calibration g of its z."""

    def __init__(self) -> None:
        self.mean = np.full((len(WINDOWS), 0, C, SAMPLES), np.nan, np.float32)
        self.n = self.mean.copy()
        self.s2, self.g = np.zeros((len(WINDOWS), 0, C)), np.ones((len(WINDOWS), 0, C))

    def grow(self, slices: int) -> None:
        """Room for so many slices."""
        more = slices - self.mean.shape[1]
        if more <= 0:
            return
        pad = np.full((len(WINDOWS), more, C, SAMPLES), np.nan, np.float32)
        self.mean, self.n = np.concatenate([self.mean, pad], 1), np.concatenate([self.n, pad], 1)
        prior = np.broadcast_to(prior_variance()[:, None, None], (len(WINDOWS), more, C))
        self.s2 = np.concatenate([self.s2, prior], 1)
        self.g = np.concatenate([self.g, np.ones((len(WINDOWS), more, C))], 1)

    def keep_slices(self, keep: Ints) -> None:
        """Renumber slices."""
        self.mean, self.n = self.mean[:, keep], self.n[:, keep]
        self.s2, self.g = self.s2[:, keep], self.g[:, keep]

    def learn(self, times: Ints, since: int, mask: Mask) -> None:
        """Relearn from the samples taken at `times` (ticks by place, -1: none) that are not older than `since`."""
        use = np.flatnonzero(times >= since)
        if len(use) < LEAST_SAMPLES:
            return
        live = np.flatnonzero((self.n[-1] > 0).reshape(-1, SAMPLES)[:, use].any(1))
        for i, width in enumerate(WINDOWS):
            touched = mask(times[use], width).reshape(-1, len(use))[live]
            self.learn_window(i, live, use, touched)

    def learn_window(self, i: int, live: Ints, use: Ints, touched: Flags) -> None:
        """s2 from non-overlapping windows, each square capped at nine times its expectation; g from the upper 1 %."""
        m = self.mean[i].reshape(-1, SAMPLES)[live[:, None], use].astype(float)
        n = self.n[i].reshape(-1, SAMPLES)[live[:, None], use].astype(float)
        bad, one, prior = ~(n >= 3) | touched, 1 / np.maximum(n, 1), prior_variance()[i]
        excess = np.minimum(m * m, 9 * (one + prior)) - one
        excess[bad] = 0
        count = (~bad).sum(1)
        independent = count / max(1.0, WINDOWS[i] / HOUR)
        v = excess.sum(1) / np.maximum(count, 1)
        s2 = np.maximum((PRIOR_WINDOWS * prior + independent * v) / (PRIOR_WINDOWS + independent), FLOOR * prior)
        z = np.abs(m) / np.sqrt(one + s2[:, None])
        z[bad] = 0
        top = top_of(z, 0.98)
        back = np.maximum(np.ceil(0.01 * count).astype(np.int64), 1)
        high = np.take_along_axis(top, np.maximum(top.shape[1] - back, 0)[:, None], 1)[:, 0]
        self.s2[i].reshape(-1)[live] = s2
        self.g[i].reshape(-1)[live] = np.sqrt(np.clip(high / TYPICAL_99, 1, MOST_G))
