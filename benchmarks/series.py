"""Single series without drivers: how the general scorer does on made-up series of many shapes, beside three others.

The score of a set follows what the public benchmark for streams asks for: an anomaly is a window of rows; the first
row told within it earns the more the earlier it comes, and a row told elsewhere costs a little, more when it is far
from any window. Nothing told at all is 0, each window told at its first row and nothing else is 100. One threshold
serves all series of a set, the best one in hindsight, for every scorer alike. Rows of the first 15 % are not judged.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracewatch.detectors.nearest import Nearest, scores

Floats = NDArray[np.float64]
Generator = np.random.Generator

BEGIN = 1_772_409_600.0  # 2026-03-02, a Monday
STEP_S = 300.0
DAY = 288  # rows
ROWS = 14 * DAY
SEEDS = range(6)
PROBATION = 0.15
FALSE_COST = {"standard": 0.11, "few false": 0.22, "few missed": 0.11}
MISS_COST = {"standard": 1.0, "few false": 1.0, "few missed": 2.0}
WINDOW = 0.1  # of a series' rows, shared by its anomalies
THRESHOLDS = np.concatenate([np.linspace(0.02, 0.96, 48), 1 - np.geomspace(0.035, 1e-6, 24)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A series, and where its anomalies are as [first, last) rows."""

    name: str
    times: Floats
    values: Floats
    anomalies: Sequence[tuple[int, int]]


def white(rng: Generator, n: int) -> Floats:
    return rng.normal(100, 5, n)


def heavy(rng: Generator, n: int) -> Floats:
    """Latencies: a long tail that is natural."""
    return rng.lognormal(6, 0.8, n)


def counts(rng: Generator, n: int) -> Floats:
    """A few events per row."""
    return rng.poisson(4, n).astype(float)


def wandering(rng: Generator, n: int) -> Floats:
    """Load that remembers: an autoregression."""
    noise, out = rng.normal(0, 1, n), np.zeros(n)
    for row in range(1, n):
        out[row] = 0.97 * out[row - 1] + noise[row]
    return 50 + out


def daily(rng: Generator, n: int) -> Floats:
    """Traffic by the hour of the day."""
    shape = 1.2 + np.sin(2 * np.pi * (np.arange(n) / DAY - 0.3))
    return 200 * shape * rng.lognormal(0, 0.08, n)


def weekly(rng: Generator, n: int) -> Floats:
    """The same, and quiet at weekends."""
    quiet = np.where(np.arange(n) // DAY % 7 >= 5, 0.35, 1.0)
    return daily(rng, n) * quiet


def machine(rng: Generator, n: int) -> Floats:
    """On and off in turns, two levels."""
    lengths = rng.integers(20, 60, n)
    on = np.repeat(np.arange(n) % 2, lengths)[:n]
    return np.where(on == 1, 80.0, 30.0) + rng.normal(0, 1.5, n)


def quantised(rng: Generator, n: int) -> Floats:
    """A gauge of few levels."""
    return np.round(rng.normal(10, 1.2, n))


def sparse(rng: Generator, n: int) -> Floats:
    """Mostly nothing, now and then something."""
    return np.where(rng.random(n) < 0.03, rng.gamma(2, 10, n), 0.0)


def constant(rng: Generator, n: int) -> Floats:
    return np.full(n, float(rng.integers(1, 100)))


def growing(rng: Generator, n: int) -> Floats:
    """Growth that is no incident."""
    return 100 + np.arange(n) * 0.01 + rng.normal(0, 3, n)


BASES: tuple[Callable[[Generator, int], Floats], ...] = (
    white, heavy, counts, wandering, daily, weekly, machine, quantised, sparse, constant, growing,
)  # fmt: skip


def spread_of(values: Floats) -> float:
    """How far values usually are from each other."""
    low, high = np.quantile(values, [0.02, 0.98])
    return float(high - low) or float(abs(values[0])) or 1.0


def spike(values: Floats, at: int, rng: Generator) -> int:
    """A few rows far out."""
    rows = int(rng.integers(1, 4))
    values[at : at + rows] = values.max() + rng.uniform(0.6, 1.5) * spread_of(values)
    return rows


def dip(values: Floats, at: int, rng: Generator) -> int:
    rows = int(rng.integers(2, 8))
    values[at : at + rows] = values.min() - rng.uniform(0.4, 1.0) * spread_of(values)
    return rows


def step(values: Floats, at: int, rng: Generator) -> int:
    """A new level that stays for half a day."""
    values[at : at + DAY // 2] += rng.uniform(0.7, 1.4) * spread_of(values)
    return DAY // 2


def ramp(values: Floats, at: int, rng: Generator) -> int:
    """A leak: up over half a day, then repaired."""
    rows = DAY // 2
    part = values[at : at + rows]
    part += np.linspace(0, rng.uniform(1.2, 2.0), len(part)) * spread_of(values)
    return rows


def stuck(values: Floats, at: int, rng: Generator) -> int:
    """A sensor that says nothing but one odd number."""
    rows = int(rng.integers(30, 90))
    values[at : at + rows] = np.quantile(values, 0.5) - 0.8 * spread_of(values)
    return rows


def noisy(values: Floats, at: int, rng: Generator) -> int:
    """Wilder than usual for some hours."""
    rows = 40
    part = values[at : at + rows]
    part += rng.normal(0, 0.8 * spread_of(values), len(part))
    return rows


def misplaced(values: Floats, at: int, rng: Generator) -> int:
    """Twelve hours out of phase: ordinary numbers at an unusual time."""
    rows = DAY // 4
    at = min(at, len(values) - rows - DAY // 2)
    values[at : at + rows] = values[at + DAY // 2 : at + rows + DAY // 2].copy()
    return rows


FAULTS = (spike, dip, step, ramp, stuck, noisy)


def cases(seeds: Iterable[int] = SEEDS) -> Iterator[Case]:
    """Every base with two faults of different kinds each, some without any, some with rows missing, some long."""
    for seed in seeds:
        for number, base in enumerate(BASES):
            rng = np.random.default_rng((seed, number))
            n = ROWS * 5 if (seed + number) % 6 == 5 else ROWS
            values = base(rng, n)
            faults = [FAULTS[(seed + number) % 6], FAULTS[(seed * 2 + number * 3 + 1) % 6]]
            if base in (daily, weekly) and seed % 2:
                faults[1] = misplaced
            if (seed + 2 * number) % 7 == 0:
                faults = []
            yield _spoilt(f"{base.__name__} {seed}", values, faults, rng, lossy=(seed + number) % 4 == 3)


def _spoilt(name: str, values: Floats, faults: Sequence[Callable[..., int]], rng: Generator, lossy: bool) -> Case:
    n, found = len(values), []
    for place, fault in enumerate(faults):
        at = int(n * (0.3 + 0.35 * place) + rng.integers(0, n // 5))
        rows = fault(values, at, rng)
        found.append((at, at + rows))
    times = BEGIN + STEP_S * np.arange(n)
    if lossy:
        kept = np.flatnonzero(rng.random(n) > 0.2)
        kept = kept[(kept < n // 2) | (kept > n // 2 + DAY // 3)]  # and eight hours nobody sent anything
        times, values = times[kept], values[kept]
        found = [(int(np.searchsorted(kept, a)), int(np.searchsorted(kept, b))) for a, b in found]
    return Case(name=name, times=times, values=values, anomalies=[(a, max(b, a + 1)) for a, b in found])


def by_deviation(times: Floats, values: Floats, halflife: float = math.inf) -> Floats:
    """How improbable a value is under a normal law of what came before, all of it or mostly the latest."""
    out, mean, square, weight = np.zeros(len(values)), 0.0, 0.0, 0.0
    keep = 0.5 ** (1 / halflife)
    for row, value in enumerate(values.tolist()):
        deviation = math.sqrt(max(square / weight - (mean / weight) ** 2, 0)) if weight else 0.0
        if deviation:
            out[row] = 1 - math.erfc(abs(value - mean / weight) / deviation / math.sqrt(2))
        mean, square, weight = keep * mean + value, keep * square + value * value, keep * weight + 1
    return out


def by_ewma(times: Floats, values: Floats) -> Floats:
    """Distance from an exponentially weighted mean in its own deviations, half-life 100 rows."""
    return by_deviation(times, values, halflife=100)


def by_median(times: Floats, values: Floats, rows: int = 2 * DAY) -> Floats:
    """Distance from the median of the last two days in median absolute deviations."""
    out = np.zeros(len(values))
    for begin in range(16, len(values), 16):
        past = values[max(begin - rows, 0) : begin]
        middle = np.median(past)
        spread = 1.4826 * np.median(np.abs(past - middle)) or 1e-9
        far = np.abs(values[begin : begin + 16] - middle) / spread
        out[begin : begin + 16] = far / (far + 6)
    return out


def by_nearest(times: Floats, values: Floats) -> Floats:
    """Our own general scorer."""
    return np.fromiter(scores(times.tolist(), values.tolist()), float, len(values))


SCORERS: tuple[tuple[str, Callable[[Floats, Floats], Floats]], ...] = (
    ("nearest (ours)", by_nearest),
    ("z-score of the past", by_deviation),
    ("EWMA", by_ewma),
    ("median / MAD", by_median),
)


def worth(place: float) -> float:
    """Of a row told: 1 at the beginning of a window (-1), 0 at its end (0), -1 long after it.

    >>> round(worth(-1.0), 2), worth(0.0), round(worth(3.0), 2)
    (0.99, 0.0, -1.0)
    """
    return 2 / (1 + math.exp(min(5 * place, 50.0))) - 1


def windows_of(case: Case) -> list[tuple[int, int]]:
    """Where telling counts: about each anomaly's beginning, one tenth of the series in all."""
    n = len(case.values)
    wide = int(n * WINDOW / max(len(case.anomalies), 1))
    return [(max(a - wide // 4, 0), min(max(a + wide * 3 // 4, a + 1), n)) for a, _ in case.anomalies]


def gained(case: Case, told: NDArray[np.int64], profile: str) -> float:
    """What telling these rows is worth."""
    total, windows = 0.0, windows_of(case)
    taken = np.zeros(len(told), bool)
    for begin, end in windows:
        within = (told >= begin) & (told < end)
        taken |= within
        if within.any():
            total += worth((told[within][0] - end) / (end - begin))
        else:
            total -= MISS_COST[profile]
    wide = windows[0][1] - windows[0][0] if windows else 1
    for row in told[~taken].tolist():
        before = [end for _, end in windows if end <= row]
        total += FALSE_COST[profile] * (worth((row - max(before)) / wide) if before else -1.0)
    return total


def rated(cases: Sequence[Case], scored: Sequence[Floats], profile: str) -> tuple[float, float]:
    """0 (silence) to 100 (perfect) at the best threshold, and the threshold."""
    anomalies = sum(len(case.anomalies) for case in cases)
    silence, perfect = -MISS_COST[profile] * anomalies, worth(-1.0) * anomalies
    best = max((_total(cases, scored, profile, float(limit)), float(limit)) for limit in THRESHOLDS)
    return 100 * (best[0] - silence) / (perfect - silence), best[1]


def _total(cases: Sequence[Case], scored: Sequence[Floats], profile: str, limit: float) -> float:
    total = 0.0
    for case, found in zip(cases, scored, strict=True):
        told = np.flatnonzero(found >= limit)
        total += gained(case, told[told >= PROBATION * len(found)], profile)
    return total


def false_a_week(cases: Sequence[Case], scored: Sequence[Floats], limit: float) -> float:
    """Rows told outside of windows, per week of a series."""
    told, weeks = 0, 0.0
    for case, found in zip(cases, scored, strict=True):
        rows = np.flatnonzero(found >= limit)
        rows = rows[rows >= PROBATION * len(found)]
        outside = np.ones(len(rows), bool)
        for begin, end in windows_of(case):
            outside &= (rows < begin) | (rows >= end)
        told, weeks = told + int(outside.sum()), weeks + len(found) / (7 * DAY)
    return told / weeks


def run() -> Iterator[str]:
    """A line per scorer, then what each base gives ours, then its price."""
    made = list(cases())
    rows = sum(len(case.values) for case in made)
    yield f"{len(made)} series, {rows:,} rows, {sum(len(case.anomalies) for case in made)} anomalies"
    yield ""
    yield "scorer".ljust(24) + "".join(f"{name:>14}" for name in (*FALSE_COST, "false/week", "CPU µs/row"))
    ours: list[Floats] = []
    for name, scorer in SCORERS:
        started = time.process_time()
        scored = [scorer(case.times, case.values) for case in made]
        took_us = (time.process_time() - started) / rows * 1e6
        ours = ours or scored
        figures = [rated(made, scored, profile) for profile in FALSE_COST]
        line = "".join(f"{figure:>14.1f}" for figure, _ in figures)
        yield name.ljust(24) + line + f"{false_a_week(made, scored, figures[0][1]):>14.2f}{took_us:>14.1f}"
    yield ""
    yield "ours by shape (standard, at the threshold of the whole set)"
    yield from by_shape(made, ours)
    yield ""
    yield from price()


def by_shape(made: Sequence[Case], scored: Sequence[Floats]) -> Iterator[str]:
    """The standard score of each base."""
    limit = rated(made, scored, "standard")[1]
    for base in BASES:
        some = [place for place, case in enumerate(made) if case.name.split()[0] == base.__name__]
        part, found = [made[place] for place in some], [scored[place] for place in some]
        anomalies = sum(len(case.anomalies) for case in part)
        gain = (_total(part, found, "standard", limit) + anomalies) / (2 * anomalies) * 100
        yield f"{base.__name__:<24}{gain:>14.1f}"


def price() -> Iterator[str]:
    """Time of a row and size of the state after a year of five-minute values."""
    rng = np.random.default_rng(1)
    values = weekly(rng, 365 * DAY).tolist()
    series, started = Nearest(), time.process_time()
    for row, value in enumerate(values):
        series.score(BEGIN + STEP_S * row, value)
    took_us = (time.process_time() - started) / len(values) * 1e6
    yield f"a year of values: {took_us:.1f} µs of CPU a row, {len(pickle.dumps(series)) / 1000:.1f} kB stored"
