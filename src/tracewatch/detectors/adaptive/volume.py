"""How many sessions start, per operation, against the usual hour of such a day and how busy everything else is.

z = 2 (sqrt(k + 3/8) - sqrt(mu + 3/8)) / sqrt(1 + phi mu), Anscombe's root (1948) with a learned over-dispersion phi
per operation and window, divided by its own past 99.5 % / 2.8. Counts sessions, not calls: a loop inside one is
another room's.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Flags, Floats, Ints, Rows
from .intake import TICK
from .lulls import OWN, limits, lulls, running
from .names import Names
from .recent import Recent
from .stillness import Stillness
from .windows import DAY

SPANS = (3, 6, 12, 24, 36, 72)  # ticks
KEEP = 14 * DAY
SURGE, DROP = 1.8, 0.55  # of what is expected: less is a busy or a quiet hour
LIMITS = 5.8, 5.2  # of z up and down in windows under 3 h; +25 % from 3 h, +50 % from 6 h: a day's mood is in the sum
PRIOR_PHI = 0.05  # variance of the log rate of a human stream within an hour of the same kind of day
PRIOR_VIEWS = 30  # pseudo-windows towards it
HALF_LIFE = 6.0  # days: growth of a product is followed within a week
TYPICAL_995, MOST_G = 2.8, 4.0
YOUNG = 3 * DAY  # ticks after its first start in which an operation has no usual hour of the day yet
HOLD = 36  # ticks within which the same is not said again
LEAST_USERS, HIS_PART = 4, 0.7  # one of at least four users who starts most of the excess is the slice
SIDES = (1, -1)
LESSON = ("profile", "phi", "g", "longest", "lull")  # what a lesson says, beside the limit of stillness


def weekend(tick: Ints) -> Ints:
    """1 on Saturdays and Sundays (UTC)."""
    return np.asarray((tick // DAY + 3) % 7 >= 5).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Starts in a window and what was to be expected, given how the rest and the operation itself were doing."""

    span: int
    width: int
    side: int  # 0 up, 1 down
    starts: Floats
    mean: Floats
    times: Floats  # that a start was counted: of a sample each stands for several

    def z(self, phi: Floats) -> Floats:
        """Deviations in its direction, of what was seen: of a sample that is no more certain than it is large."""
        seen, mean = self.starts / self.times, self.mean / self.times
        return shortfall(seen, mean, phi) if self.side else roots_apart(seen, mean, phi)


def shortfall(k: Floats, mean: Floats, phi: Floats) -> Floats:
    """Deviations of k below the mean; 0 above it.

    Where streams are bursty a difference of roots is at most 2 / sqrt(phi), however much was to be expected; the root
    of the deviance from a gamma-Poisson mean goes on growing. Where they are not, it is the smaller of the two.
    """
    mean, phi, some = np.maximum(mean, 1e-9), np.maximum(phi, 1e-3), np.maximum(k, 1e-9)
    deviance = k * np.log(some / mean) - (k + 1 / phi) * np.log((1 + phi * k) / (1 + phi * mean))
    return np.where(k < mean, np.maximum(np.sqrt(2 * np.maximum(deviance, 0)), -roots_apart(k, mean, phi)), 0.0)


def roots_apart(k: Floats, mean: Floats, phi: Floats) -> Floats:
    """Deviations of k from the mean with over-dispersion phi: a difference of roots."""
    return np.asarray(2 * (np.sqrt(k + 0.375) - np.sqrt(mean + 0.375)) / np.sqrt(1 + phi * mean))


def views(starts: Floats, mean: Floats, times: Floats, i: Ints, jobs: Collection[int]) -> Iterator[View]:
    """Every span and direction, at places i of cumulative sums. Batch jobs say nothing about how busy people are."""
    people = np.array([o not in jobs for o in range(starts.shape[1])], float)
    for j, w in enumerate(SPANS):
        k, m, v = starts[i] - starts[i - w], mean[i] - mean[i - w], max(w, 12)
        ka, ma = ((x[i] - x[i - v]) * people for x in (starts, mean))
        kb, mb = (x[i - w] - x[i - w - OWN] for x in (starts, mean))
        rest = (ka.sum(1, keepdims=True) - ka + 20) / (ma.sum(1, keepdims=True) - ma + 20)
        own, each = (kb + 10) / (mb + 10), (times[i] - times[i - w]) / w
        up, down = m * np.clip(rest, 1, 2.5) * np.clip(own, 1, 2), m * np.clip(rest, 0.15, 1) * np.clip(own, 0.4, 1)
        yield View(span=j, width=w, side=0, starts=k, mean=up, times=each)
        yield View(span=j, width=w, side=1, starts=k, mean=down, times=each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """The most surprising view of an operation at a tick."""

    z: float
    width: int
    side: int
    starts: float
    mean: float
    phi: float
    g: float

    def bounds(self) -> tuple[float, float]:
        """Starts at which the limit would have been reached, below and above the mean."""
        up, down = (limit_of(self.width, side) * self.g for side in (0, 1))
        few = np.arange(int(self.mean) + 1, dtype=float)
        low = few[shortfall(few, np.array(self.mean), np.array(self.phi)) > down]
        reach = up * float(np.sqrt(1 + self.phi * self.mean)) / 2
        return float(low.max(initial=-1.0)) + 1, (float(np.sqrt(self.mean + 0.375)) + reach) ** 2 - 0.375


def limit_of(width: int, side: int) -> float:
    """The limit of z for a window and a side (0 up, 1 down)."""
    return LIMITS[side] * (1 + 0.25 * (width >= 36) + 0.25 * (width >= 72))


class Volume:
    """Starts of sessions of 14 days by tick and operation, and what was learned from them."""

    def __init__(self) -> None:
        self.starts = np.zeros((KEEP, 0))
        self.times = np.ones((KEEP, 1))  # that a start of each tick was counted
        self.profile = np.zeros((2, DAY, 0))  # expected starts by kind of day and tick of the day
        self.phi = self.g = np.zeros((len(SPANS), 2, 0))
        self.stillness = Stillness()
        self.longest = np.zeros(0)  # expected starts without any before silence of a window means something
        self.lull = np.zeros(0)  # the same since the last start, given how busy the rest is

    def scan(
        self, first: int, ticks: int, rows: Rows | None, jobs: Collection[int], names: dict[str, Names],
        recent: Recent, alarming: bool,
    ) -> dict[int, list[Notice]]:  # fmt: skip
        """Notices by tick read; `jobs` are operations with a schedule of their own."""
        operations = names["operation_type"].size
        more = np.zeros((KEEP, operations - self.starts.shape[1]))
        new, came, times = np.zeros((ticks, operations)), np.zeros(ticks), np.ones((ticks, 1))
        if rows is not None:
            use = (rows["turn"] == 0) & rows["root"]
            use &= rows["t"] >= (first - 1) * TICK  # what comes late says nothing about how busy it is now
            came = np.asarray(np.bincount(rows["tick"][use], rows["stands_for"][use], ticks), float)
            np.maximum.at(times[:, 0], rows["tick"][use], rows["stands_for"][use])
            use &= rows["operation_type"] >= 0
            cell = rows["tick"][use] * operations + rows["operation_type"][use]
            counted = np.asarray(np.bincount(cell, rows["stands_for"][use], ticks * operations), float)
            new = counted.reshape(ticks, operations)
        self.starts = np.concatenate([np.concatenate([self.starts, more], 1), new])
        self.times = np.concatenate([self.times, times])
        out: dict[int, list[Notice]] = {}
        if alarming and self.profile.shape[2]:
            for (i, o), odd in sorted(self.odd(first, ticks, jobs).items(), key=lambda x: x[0]):
                last = np.flatnonzero(self.starts[: KEEP + i + 1, o])
                began = first - KEEP + int(last[-1]) + 1 if len(last) and not odd.starts else None
                out.setdefault(i, []).append(self.notice(first + i, o, odd, names, recent, began))
        for i, notice in self.stillness.scan(first, came, self.usual(first, ticks, jobs), alarming):
            out.setdefault(i, []).append(notice)
        self.starts, self.times = self.starts[-KEEP:], self.times[-KEEP:]
        return out

    def usual(self, first: int, ticks: int, jobs: Collection[int]) -> Floats:
        """Expected starts of everything but batch jobs, by tick read."""
        span, operations = np.arange(first, first + ticks), self.profile.shape[2]
        people = np.array([o not in jobs for o in range(operations)], float)
        return np.asarray((self.profile[weekend(span), span % DAY] * people).sum(1))

    def odd(self, first: int, ticks: int, jobs: Collection[int]) -> dict[tuple[int, int], Oddity]:
        """By tick read and operation, what is most surprising."""
        back, learned = max(SPANS) + OWN, self.profile.shape[2]
        span = np.arange(first - back, first + ticks)
        mean = self.profile[weekend(span), span % DAY]
        starts, mean, i = running(self.starts[-len(span) :, :learned]), running(mean), np.arange(ticks) + back + 1
        times = running(self.times[-len(span) :])
        best: dict[tuple[int, int], Oddity] = {}
        for view in views(starts, mean, times, i, jobs):
            phi, g = self.phi[view.span, view.side], self.g[view.span, view.side]
            z, k, m = view.z(phi) / g, view.starts, view.mean
            hit = (z > limit_of(view.width, view.side)) & (k < DROP * m if view.side else k > SURGE * m + 5)
            hit[:, [o for o in jobs if o < learned]] = False
            for t, o in zip(*(x.tolist() for x in np.nonzero(hit)), strict=True):
                enough = k[t, o] > 0 or m[t, o] / view.times[t, 0] >= self.longest[o]
                if enough and ((t, o) not in best or best[t, o].z < z[t, o]):
                    best[t, o] = Oddity(
                        z=float(z[t, o]), width=view.width, side=view.side, starts=float(k[t, o]),
                        mean=float(m[t, o]), phi=float(phi[o]), g=float(g[o]),
                    )  # fmt: skip
        for t, o, odd in self.silent(starts, mean, times, ticks, jobs):
            if (t, o) not in best or best[t, o].z < odd.z:
                best[t, o] = odd
        return best

    def silent(
        self, starts: Floats, mean: Floats, times: Floats, ticks: int, jobs: Collection[int]
    ) -> Iterator[tuple[int, int, Oddity]]:
        """Ticks and operations without a start for longer than ever, by what was to be expected since the last one."""
        people = np.array([o not in jobs for o in range(starts.shape[1])], float)
        missed, width = (x[-ticks:] for x in lulls(starts, mean, people))
        for t, o in zip(*(x.tolist() for x in np.nonzero((missed >= self.lull) & (width <= SPANS[-1]))), strict=True):
            span, wide, due = int(np.searchsorted(SPANS, width[t, o])), int(width[t, o]), float(missed[t, o])
            phi, g = float(self.phi[span, 1, o]), float(self.g[span, 1, o])
            end = len(times) - ticks + t
            each = float(times[end, 0] - times[end - wide, 0]) / wide
            z = float(shortfall(np.array(0.0), np.array(due / each), np.array(phi))) / g
            if z > limit_of(wide, 1):
                yield t, o, Oddity(z=z, width=wide, side=1, starts=0.0, mean=due, phi=phi, g=g)

    def notice(
        self, tick: int, o: int, odd: Oddity, names: dict[str, Names], recent: Recent, began: int | None
    ) -> Notice:
        """What to say, in calls that start a session; a silence began after the last one."""
        up, width = odd.side == 0, odd.width
        lower, upper = odd.bounds()
        alert = Alert(
            detected_at=float((tick + 1) * TICK), metric="call_count", direction="up" if up else "down",
            slice=self.who(tick, o, odd, names, recent) if up else {"operation_type": names["operation_type"].word[o]},
            severity=odd.z, kind="surge" if up else "drop" if odd.starts else "silence",
            since=float((tick + 1 - width if began is None else began) * TICK), observed=odd.starts,
            expected=odd.mean, lower=lower, upper=upper,
            n=int(odd.starts), score=score_of(odd.z, limit_of(width, odd.side)),
        )  # fmt: skip
        return Notice(alert=alert, key=("volume", o, SIDES[odd.side]), hold=HOLD, window=width)

    def who(self, tick: int, o: int, odd: Oddity, names: dict[str, Names], recent: Recent) -> dict[str, object]:
        """The operation, or the one user who starts most of the excess."""
        low, high = (tick + 1 - odd.width) * TICK, (tick + 1) * TICK
        users = [
            rows["user_id"][(rows["operation_type"] == o) & (rows["turn"] == 0) & within(rows, low, high)]
            for end, rows in recent
            if end * TICK > low
        ]
        codes = np.concatenate([np.zeros(0, np.int64), *users])
        n = np.bincount(codes[codes >= 0], minlength=1)
        if (n > 0).sum() >= LEAST_USERS and n.max() > HIS_PART * (odd.starts - odd.mean):
            return {"user_id": names["user_id"].word[int(n.argmax())]}
        return {"operation_type": names["operation_type"].word[o]}

    def learn(self, tick: int, first: int, jobs: Collection[int], marks: list[tuple[int, int, int]]) -> None:
        """Profile, over-dispersion and calibration; marks are (operation, from, to) of odd volume."""
        have, operations = min(KEEP, tick - first), self.starts.shape[1]
        if have < 2 * DAY:  # one day says nothing about the next
            return
        span, k = np.arange(tick - have, tick), self.starts[-have:]
        kind, weight = weekend(span), 0.5 ** ((tick - 1 - span) / DAY / HALF_LIFE)
        both = day_shape(k, weight, span)
        self.profile = np.zeros((2, DAY, operations))
        for q in (0, 1):
            days = len(np.unique(span[kind == q] // DAY))
            own = day_shape(k, weight * (kind == q), span)
            self.profile[q] = (own * days + both * 0.5) / (days + 0.5) if days else both
        mean = self.profile[kind, span % DAY]
        starts, total, i = running(k), running(mean), np.arange(max(SPANS) + OWN, have, 6)
        bad = np.zeros((len(i), operations), bool)
        for o, a, b in marks:
            if o < operations:
                bad[(span[i] >= a - OWN) & (span[i] < b + 72), o] = True
        self.calibrate(starts, total, running(self.times[-have:]), i, bad, jobs)
        self.g[:, :, starts[max(have - YOUNG, 0)] == 0] = np.inf
        people = np.array([o not in jobs for o in range(operations)], float)
        self.stillness.learn((k * people).sum(1), (mean * people).sum(1))
        self.longest = np.array([silence_of(k[:, o], total[:, o]) for o in range(operations)])
        self.lull = limits(starts, total, people, span, marks)

    def lesson(self) -> dict[str, object]:
        """What the last lesson said."""
        return {name: getattr(self, name) for name in LESSON} | {"stillness": self.stillness.limit}

    def take(self, lesson: dict[str, Any]) -> None:
        """Know what a lesson elsewhere said."""
        for name in LESSON:
            setattr(self, name, lesson[name])
        self.stillness.limit = lesson["stillness"]

    def calibrate(
        self, starts: Floats, mean: Floats, times: Floats, i: Ints, bad: Flags, jobs: Collection[int]
    ) -> None:  # fmt: skip
        """phi by moments, on the side that is tested; g from the upper .5 %."""
        self.phi, self.g = (f((len(SPANS), 2, starts.shape[1])) for f in (np.zeros, np.ones))
        first = int(len(i) * 0.995) - 1
        for view in views(starts, mean, times, i, jobs):
            gap, m = view.starts - view.mean, view.mean
            x = np.clip((gap**2 - m * view.times) / np.maximum(m, 1e-9) ** 2, -1, 2)
            use = (m > 2) & ~bad & (SIDES[view.side] * gap > 0)
            phi = ((x * use).sum(0) + PRIOR_VIEWS * PRIOR_PHI) / (use.sum(0) + PRIOR_VIEWS)
            phi = self.phi[view.span, view.side] = np.clip(phi, 0.01, 1.5)
            z = np.where(bad, 0, view.z(phi))
            self.g[view.span, view.side] = np.clip(np.partition(z, first, 0)[first] / TYPICAL_995, 1, MOST_G)


def learned(volume: Volume, *given: Any) -> dict[str, object]:
    """What a lesson says of it."""
    volume.learn(*given)
    return volume.lesson()


def within(rows: Rows, low: float, high: float) -> Flags:
    """Which rows start in [low, high)."""
    return np.asarray((rows["t"] >= low) & (rows["t"] < high))


def silence_of(k: Floats, total: Floats) -> float:
    """Starts to expect before silence means something: 1.3 times the longest stretch without any, 12 to 20."""
    at = np.flatnonzero(k > 0)
    return float(np.clip(1.3 * np.diff(total[at]).max(), 12, 20)) if len(at) > 1 else 12.0


def day_shape(k: Floats, weight: Floats, span: Ints) -> Floats:
    """Expected starts in each tick of the day: weighted hour means, smoothed round the clock, interpolated."""
    hour, operations = span % DAY // 12, k.shape[1]
    cell = hour[:, None] * operations + np.arange(operations)
    sums = np.bincount(cell.ravel(), (k * weight[:, None]).ravel(), minlength=24 * operations).reshape(24, operations)
    p = sums / np.maximum(np.bincount(hour, weight, minlength=24), 1e-9)[:, None]
    p = 0.6 * p + 0.2 * np.roll(p, 1, 0) + 0.2 * np.roll(p, -1, 0)
    x = (np.arange(DAY) + 0.5) / 12 - 0.5
    low = np.floor(x).astype(np.int64)
    part = (x - low)[:, None]
    return np.asarray(p[low % 24] * (1 - part) + p[(low + 1) % 24] * part)
