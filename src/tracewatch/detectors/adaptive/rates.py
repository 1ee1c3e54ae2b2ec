"""Shares of calls that fail, time out, fall back, are retried or ungrounded, and of each error category, by their base.

What is expected is summed over segments (for cache hits over rows, by turn and idle time), so that a change of the
mix is not a change of a rate. z is the root of the binomial deviance against the upper plausible base p + sd(p),
divided by the series' own past 99 % / 3. Our own.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .arrays import Flags, Floats, Ints, Rows
from .channels import CHANNELS, FAR, LEAST_MS, TAILS, TTFT
from .expectations import Expectations, exact
from .ledger import Groups
from .windows import HOUR, SAMPLES, WINDOWS, hours_between
from .wobble import LEAST_SAMPLES

CATEGORIES = 6  # the first six error categories that appear have a rate of their own
RATES = (
    "error_rate", "timeout_rate", "fallback_rate", "retry_rate", "hallucination_rate",
    *("error_rate",) * CATEGORIES, *(CHANNELS[each[0]].metric for each in FAR), "unstreamed_rate",
    *(CHANNELS[tail.channel].metric for tail in TAILS), "cache_hit_rate",
)  # fmt: skip
FAMILY = (
    *("failure",) * 4, "quality", *("failure",) * CATEGORIES, *(CHANNELS[each[0]].family for each in FAR), "latency",
    *(CHANNELS[tail.channel].family for tail in TAILS), "cache",
)  # fmt: skip
UP = (
    *(True,) * (5 + CATEGORIES + len(FAR) + 1),
    *(tail.side > 0 for tail in TAILS),
    False,
)  # direction when its share of hits rises
ERROR, FALLBACK, RETRY, HALLUCINATION, BY_CATEGORY = 0, 2, 3, 4, 5
FAR_OFF = 5 + CATEGORIES  # from here: calls that are far slower in one of some channels
UNSTREAMED = FAR_OFF + len(FAR)  # calls whose first token comes with the last
EMPTY = UNSTREAMED + 1  # from here: calls that are NOT in a part of the usual values, calls without a hit
NO_HIT = EMPTY + len(TAILS)
R = len(RATES)
FAILURES = 0.88  # of the limit of alarm: half a count and the base's own doubt are taken off already
ROOM = np.array(
    [FAILURES if family == "failure" else 1.0 for family in FAMILY[:EMPTY]]
    + [CHANNELS[tail.channel].room for tail in TAILS]
    + [1.0]
)
LEAST, LEAST_PART = 0.015, 0.4  # of a share, of its base: smaller rises are nobody's incident
PSEUDO_CALLS = 20  # towards the product's own rate
YOUNG = 0.3  # share of failures, until the first midnight, that a new slice may have: twelve in a row are told
WHOLE = 0.01  # a rate before anything is known
TYPICAL_99, MOST_G = 3.0, 3.0  # 99 % of the deviance root of a still series; a wilder one is said to be wild
UNUSUAL = np.dtype([("tick", "i4"), ("slice", "i2"), ("rate", "u1"), ("window", "u1"), ("z", "f4")])
MOST_UNUSUAL = 1_000_000  # samples kept at midnight, the latest: 12 MB even if everything is unusual all the time


class Mask(Protocol):
    """Which windows were touched by an incident: (times, width) -> slices x rates x times."""

    def __call__(self, times: Ints, width: int) -> Flags:
        """Slices x rates x times."""
        ...


def mark(rows: Rows, expect: Expectations) -> None:
    """Add to the rows: use (does it count for each rate?), hit, and miss (chance of no cache hit)."""
    n, g, settled = len(rows["t"]), rows["segment"], expect.settled
    use, hit = np.ones((n, R), bool), np.zeros((n, R), bool)
    hit[:, 0], hit[:, 1], hit[:, FALLBACK] = rows["error"], rows["timeout"], rows["fallback"]
    use[:, RETRY] = rows["good"]
    use[:, UNSTREAMED] = (rows["streams"] >= 0) & (expect.known[g, TTFT] > 0)
    hit[:, UNSTREAMED] = rows["streams"] == 0
    with np.errstate(invalid="ignore"):
        hit[:, RETRY] = rows["retry_count"] > 0
        use[:, HALLUCINATION] = np.isfinite(rows["hallucination_detected"])
        hit[:, HALLUCINATION] = rows["hallucination_detected"] > 0
        for j, channels in enumerate(FAR):
            use[:, FAR_OFF + j] = np.isfinite(rows["z"][:, channels]).any(1)
            hit[:, FAR_OFF + j] = far(rows, expect, channels)
        for j, tail in enumerate(TAILS):
            z = rows["z"][:, tail.channel]
            use[:, EMPTY + j] = np.isfinite(z)
            hit[:, EMPTY + j] = tail.side * z > tail.side * expect.edge[g, j]
        hit[:, NO_HIT] = ~(rows["cache_read_input_tokens"] > 0)
    for j in range(CATEGORIES):
        hit[:, BY_CATEGORY + j] = rows["error"] & (rows["error_category"] == j)
    use[:, NO_HIT] = np.isfinite(rows["cache_read_input_tokens"]) & rows["good"] & (settled[g] > 0)
    rows["use"], rows["hit"] = use, hit & use
    rows["miss"] = expect.miss[g, rows["turn_cell"], rows["warm_cell"]]


def far(rows: Rows, expect: Expectations, channels: list[int]) -> Flags:
    """Which rows are far slower than expected in one of the channels, by what anybody would notice."""
    out = np.zeros(len(rows["t"]), bool)
    for c in channels:
        some = np.flatnonzero(rows["r"][:, c] > expect.far[rows["segment"], c])
        more = -rows["y"][some, c] * np.expm1(-rows["r"][some, c])
        out[some[more >= LEAST_MS[c]]] = True
    return out


def unusual_of(ticks: Ints, w: int, slices: Ints, rates: Ints, z: Floats) -> NDArray[Any]:
    """What is unusual at the end of an hour."""
    keep = np.flatnonzero((ticks % HOUR == HOUR - 1) & (z.astype(np.float32) > TYPICAL_99))
    new = np.zeros(len(keep), UNUSUAL)
    new["window"] = w
    for name, values in (("tick", ticks), ("slice", slices), ("rate", rates), ("z", z)):
        new[name] = values[keep]
    return new


class Rates:
    """Bases by segment and slice, hourly counts (n calls, k hits, e expected hits) and hourly z to learn them from."""

    def __init__(self) -> None:
        self.whole = np.full(R, WHOLE)
        self.whole[UNSTREAMED] = 1.0  # of who is not known it is not expected that he streams
        self.segment = np.zeros((0, R))
        self.n, self.k = (np.zeros((0, R, SAMPLES), np.float32) for _ in range(2))
        self.base, self.upper = np.zeros((0, R)), np.ones((0, R))
        self.g = np.ones((len(WINDOWS), 0, R))
        self.begun = 0  # the last hour that is counted
        self.unusual = [np.zeros(0, UNUSUAL)]  # samples with z over TYPICAL_99, at whole hours

    @property
    def margin(self) -> Floats:
        """From the base of each slice to its upper plausible value."""
        return self.upper - self.base

    def grow(self, segments: int, slices: int) -> None:
        """Room for so many segments and slices."""
        more = segments - len(self.segment)
        if more > 0:
            self.segment = np.concatenate([self.segment, np.repeat(exact(self.whole)[None], more, 0)])
            pad = np.zeros((more, R, SAMPLES), np.float32)
            self.n, self.k = np.concatenate([self.n, pad]), np.concatenate([self.k, pad])
        more = slices - len(self.base)
        if more > 0:
            self.base = np.concatenate([self.base, np.zeros((more, R))])
            new = np.ones((more, R))
            new[:, ERROR] = YOUNG
            self.upper = np.concatenate([self.upper, new])
            self.g = np.concatenate([self.g, np.ones((len(WINDOWS), more, R))], 1)

    def keep(self, segments: Ints, slices: Ints) -> None:
        """Renumber segments and slices."""
        self.segment, self.n, self.k = self.segment[segments], self.n[segments], self.k[segments]
        self.base, self.upper = self.base[slices], self.upper[slices]
        self.g = self.g[:, slices]
        unusual = np.concatenate(self.unusual)
        place = np.full(max(int(slices.max(initial=-1)), int(unusual["slice"].max(initial=-1))) + 1, -1)
        place[slices] = np.arange(len(slices))
        unusual["slice"] = place[unusual["slice"]]
        self.unusual = [unusual[unusual["slice"] >= 0]]

    def begin_hours(self, first: int, ticks: int) -> None:
        """Nothing is counted yet in the hours that begin within a run of ticks."""
        hours = np.arange(-(-first // HOUR), -(-(first + ticks) // HOUR))
        self.begun = int(hours.max(initial=self.begun))
        self.n[:, :, hours % SAMPLES] = self.k[:, :, hours % SAMPLES] = 0

    def count(self, hours: Ints, segments: Ints, n: Floats, k: Floats) -> None:
        """Add calls and hits (pairs of hour and segment x rates); no pair comes twice."""
        slots = hours % SAMPLES
        self.n[segments, :, slots] += n
        self.k[segments, :, slots] += k

    def learn(self, members: Floats, tick: int, since: int, mask: Mask) -> None:
        """Bases from the clean hours of 14 days until a midnight; then the calibration of z."""
        times = hours_between(tick - SAMPLES * HOUR, tick)
        slots, bad = times // HOUR % SAMPLES, mask(times, HOUR)
        dirty = np.zeros(self.n.shape, bool)
        for i in np.flatnonzero(bad.any((1, 2))).tolist():
            dirty[members[i] > 0] |= bad[i][:, np.argsort(slots)]
        dirty[:, :, np.arange(tick // HOUR, self.begun + 1) % SAMPLES] = True  # of the day that has begun since
        some = np.flatnonzero(dirty.any((1, 2)))
        n, k = (x.sum(2, dtype=float) for x in (self.n, self.k))  # whole numbers: in any order the same
        for sums, x in ((n, self.n), (k, self.k)):
            sums[some] = np.where(dirty[some], 0, x[some]).sum(2, dtype=float)
        whole = k.sum(0) / np.maximum(n.sum(0), 1)
        whole[UNSTREAMED] = 1.0
        self.whole = whole
        self.segment = exact((k + PSEUDO_CALLS * whole) / (n + PSEUDO_CALLS))
        e, n = members @ (n * self.segment), members @ n
        p = self.base = (e + PSEUDO_CALLS * whole) / (n + PSEUDO_CALLS)
        calls = n + PSEUDO_CALLS
        self.upper = p + np.sqrt(p * np.maximum(1 - p, 0) / calls) + 0.5 / calls
        self.forget(tick)
        times = hours_between(since, tick)
        if len(times) >= LEAST_SAMPLES:
            self.calibrate(times, mask)

    def forget(self, tick: int) -> None:
        """Samples that are too old, or too many."""
        unusual = np.concatenate(self.unusual)
        oldest = tick - SAMPLES * HOUR
        if len(unusual) > MOST_UNUSUAL:
            oldest = max(oldest, int(np.sort(unusual["tick"])[-MOST_UNUSUAL]))
        self.unusual = [unusual[unusual["tick"] > oldest]]

    def calibrate(self, times: Ints, mask: Mask) -> None:
        """g of each window from the 99 % of its own past; its root for shares that fall empty: they are rare anyway."""
        unusual, rank = self.unusual[0], len(times) - int(len(times) * 0.99) + 1  # of the 99 %, counted from the top
        unusual = unusual[unusual["tick"] >= times[0]]
        self.g[:] = 1.0
        for w, width in enumerate(WINDOWS):
            high = unusual[unusual["window"] == w]
            if len(high) < rank:
                continue
            bad = mask(times, width)[high["slice"], high["rate"], (high["tick"] - times[0]) // HOUR]
            high = np.sort(high[~bad], order="z")
            groups = Groups(high["slice"].astype(np.int64) * R + high["rate"])
            wild = groups.sizes >= rank  # others cannot have g over 1
            z = high["z"][groups.order][(groups.starts + groups.sizes - rank)[wild]]
            self.g[w].reshape(-1)[groups.keys[wild]] = np.clip(z / TYPICAL_99, 1, MOST_G)
        self.g[..., EMPTY:] **= 0.5
