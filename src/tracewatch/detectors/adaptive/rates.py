"""Shares of calls that fail, time out, fall back, are retried or ungrounded, and of each error category, by their base.

What is expected is summed over segments (for cache hits over rows, by turn and idle time), so that a change of the
mix is not a change of a rate. z is the root of the binomial deviance against the upper plausible base p + sd(p),
divided by the series' own past 99 % / 3. Our own.
"""

from typing import Protocol

import numpy as np

from .arrays import Flags, Floats, Ints, Rows
from .channels import CHANNELS, TAILS
from .expectations import exact
from .windows import DAY, HOUR, SAMPLES, WINDOWS
from .wobble import LEAST_SAMPLES

CATEGORIES = 6  # the first six error categories that appear have a rate of their own
RATES = (
    "error_rate", "timeout_rate", "fallback_rate", "retry_rate", "hallucination_rate",
    *("error_rate",) * CATEGORIES, *(CHANNELS[c].metric for c, _, _ in TAILS), "cache_hit_rate",
)  # fmt: skip
FAMILY = (*("failure",) * 4, "quality", *("failure",) * CATEGORIES, *(CHANNELS[c].family for c, _, _ in TAILS), "cache")
UP = (*(True,) * (5 + CATEGORIES), *(side > 0 for _, _, side in TAILS), False)  # direction of the metric when its share of hits rises
FALLBACK, RETRY, HALLUCINATION, BY_CATEGORY = 2, 3, 4, 5
EMPTY = 5 + CATEGORIES  # from here: calls that are NOT in a part of the usual values, calls without a hit
NO_HIT = EMPTY + len(TAILS)
R = len(RATES)
LEAST, LEAST_PART = 0.015, 0.4  # of a share, of its base: smaller rises are nobody's incident
PSEUDO_CALLS = 20  # towards the product's own rate
WHOLE = 0.01  # a rate before anything is known
TYPICAL_99, MOST_G = 3.0, 3.0  # 99 % of the deviance root of a still series; a wilder one is said to be wild
REMEMBER = 14 * DAY  # ticks of hourly counts


class Mask(Protocol):
    """Which windows were touched by an incident: (times, width) -> slices x rates x times."""

    def __call__(self, times: Ints, width: int) -> Flags:
        """Slices x rates x times."""
        ...


def mark(rows: Rows, edge: Floats, settled: Floats, miss: Floats) -> None:
    """Add to the rows: use (does it count for each rate?), hit, and miss (chance of no cache hit)."""
    n, g = len(rows["t"]), rows["segment"]
    use, hit = np.ones((n, R), bool), np.zeros((n, R), bool)
    hit[:, 0], hit[:, 1], hit[:, FALLBACK] = rows["error"], rows["timeout"], rows["fallback"]
    use[:, RETRY] = rows["good"]
    with np.errstate(invalid="ignore"):
        hit[:, RETRY] = rows["retry_count"] > 0
        use[:, HALLUCINATION] = np.isfinite(rows["hallucination_detected"])
        hit[:, HALLUCINATION] = rows["hallucination_detected"] > 0
        for j, (c, _, side) in enumerate(TAILS):
            z = rows["z"][:, c]
            use[:, EMPTY + j] = np.isfinite(z)
            hit[:, EMPTY + j] = side * z > side * edge[g, j]
        hit[:, NO_HIT] = ~(rows["cache_read_input_tokens"] > 0)
    for j in range(CATEGORIES):
        hit[:, BY_CATEGORY + j] = rows["error"] & (rows["error_category"] == j)
    use[:, NO_HIT] = np.isfinite(rows["cache_read_input_tokens"]) & rows["good"] & (settled[g] > 0)
    rows["use"], rows["hit"] = use, hit & use
    rows["miss"] = miss[g, rows["turn_cell"], rows["warm_cell"]]


class Rates:
    """Bases by segment and slice, hourly counts (n calls, k hits, e expected hits) and hourly z to learn them from."""

    def __init__(self) -> None:
        self.whole = np.full(R, WHOLE)
        self.segment = np.zeros((0, R))
        self.n, self.k = np.zeros((0, R, SAMPLES)), np.zeros((0, R, SAMPLES))
        self.base, self.upper = np.zeros((0, R)), np.ones((0, R))
        self.g = np.ones((len(WINDOWS), 0, R))
        self.z = np.zeros((len(WINDOWS), 0, R, SAMPLES), np.float32)

    @property
    def margin(self) -> Floats:
        """From the base of each slice to its upper plausible value."""
        return self.upper - self.base

    def grow(self, segments: int, slices: int) -> None:
        """Room for so many segments and slices."""
        more = segments - len(self.segment)
        if more > 0:
            self.segment = np.concatenate([self.segment, np.repeat(self.whole[None], more, 0)])
            pad = np.zeros((more, R, SAMPLES))
            self.n, self.k = np.concatenate([self.n, pad]), np.concatenate([self.k, pad])
        more = slices - len(self.base)
        if more > 0:
            self.base = np.concatenate([self.base, np.zeros((more, R))])
            self.upper = np.concatenate([self.upper, np.ones((more, R))])
            self.g = np.concatenate([self.g, np.ones((len(WINDOWS), more, R))], 1)
            self.z = np.concatenate([self.z, np.zeros((len(WINDOWS), more, R, SAMPLES), np.float32)], 1)

    def keep(self, segments: Ints, slices: Ints) -> None:
        """Renumber segments and slices."""
        self.segment, self.n, self.k = self.segment[segments], self.n[segments], self.k[segments]
        self.base, self.upper = self.base[slices], self.upper[slices]
        self.g, self.z = self.g[:, slices], self.z[:, slices]

    def learn(self, members: Floats, times: Ints, tick: int, since: int, mask: Mask) -> None:
        """Bases from the clean hours of 14 days; then the calibration of z."""
        clean = np.broadcast_to((times >= 0) & (times > tick - REMEMBER), self.n.shape).copy()
        bad = mask(times, HOUR)
        for i in np.flatnonzero(bad.any((1, 2))).tolist():
            clean[members[i] > 0] &= ~bad[i]
        n, k = (self.n * clean).sum(2), (self.k * clean).sum(2)
        self.whole = whole = k.sum(0) / np.maximum(n.sum(0), 1)
        self.segment = exact((k + PSEUDO_CALLS * whole) / (n + PSEUDO_CALLS))
        e, n = members @ (n * self.segment), members @ n
        p = self.base = (e + PSEUDO_CALLS * whole) / (n + PSEUDO_CALLS)
        calls = n + PSEUDO_CALLS
        self.upper = p + np.sqrt(p * np.maximum(1 - p, 0) / calls) + 0.5 / calls
        use = np.flatnonzero(times >= since)
        if len(use) >= LEAST_SAMPLES:
            self.calibrate(times[use], use, mask)

    def calibrate(self, times: Ints, use: Ints, mask: Mask) -> None:
        """g of each window from the 99 % of its own past; its root for shares that fall empty: they are rare anyway."""
        first = int(len(use) * 0.99) - 1
        for i, width in enumerate(WINDOWS):
            z = self.z[i].reshape(-1, SAMPLES)[:, use]
            wild = np.flatnonzero(
                np.count_nonzero(z > TYPICAL_99, axis=1) >= len(use) - first
            )  # others cannot have g over 1
            z = z[wild].astype(float)
            z[mask(times, width).reshape(-1, len(use))[wild]] = 0
            g = np.ones(self.base.size)
            g[wild] = np.clip(np.partition(z, first, axis=1)[:, first] / TYPICAL_99, 1, MOST_G)
            self.g[i] = g.reshape(self.base.shape)
            self.g[i, :, EMPTY:] **= 0.5
