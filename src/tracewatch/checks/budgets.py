"""When a budget will be spent, and within what: from the hours of four weeks, at the pace of the last ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import erf, inf, sqrt
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tracewatch.times import DAY_S, HOUR_S

HISTORY_S = 28 * DAY_S
ENOUGH_HOURS = 12  # before anything is said of what is to come
Z80 = 1.2816  # standard deviations from the middle to either end of a range that holds four of five
# Two windows (Beyer and others, The Site Reliability Workbook, 2018, chapter 5): the long one says that it matters, the
# short one that it still goes on. In hours.
WINDOWS = {"day": (6, 1), "week": (48, 8), "month": (72, 12)}
SURE, STILL = 0.8, 0.5
FASTEST = 10.0  # times the usual that is taken for a pace; more is a burst
LEAST_SPREAD, MOST_SPREAD = 0.05, 0.7  # of a pace
UNKNOWN_SPREAD = 0.5  # while fewer than three days say how much they differ
LIKE_HOURS = 3  # that are known of an hour of the day, on days of the same kind, before it counts for itself

Amounts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A day, week (from Monday) or month of the calendar, in UTC epoch seconds."""

    since: float
    until: float
    name: str
    """As people call it: `November`, `the week of Nov 16`, `Nov 21`."""
    zone: str = "UTC"
    """By whose calendar, and by whose clock hours are alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """Where a budget stands. Times are UTC epoch seconds, amounts of its own unit."""

    spent: float
    total: float | None
    """What the period will come to at the pace of the long window; None while too little is known."""
    low: float | None
    high: float | None
    """The range that holds it in four of five cases."""
    spent_at: float | None
    """When the budget is used up, or was; None when that is not before the end."""
    earliest: float | None
    latest: float | None
    sure: float
    """How likely it is that the budget does not last."""
    going_on: bool
    """Whether the short window says so as well."""

    @property
    def is_bad(self) -> bool:
        """Whether it is spent, or very likely will be."""
        return self.sure >= SURE and self.going_on


def period_of(per: str, now: float, zone: str) -> Period:
    """The period that a moment is in.

    >>> period_of("month", 1_763_683_200.0, "UTC").name
    'November'
    """
    local = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(zone))
    # Where clocks go back at midnight there are two: a day begins with the first, and only once.
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    if per == "day":
        since, until, name = midnight, midnight + timedelta(days=1), f"{midnight:%b} {midnight.day}"
    elif per == "week":
        since = midnight - timedelta(days=midnight.weekday())
        until, name = since + timedelta(days=7), f"the week of {since:%b} {since.day}"
    else:
        since = midnight.replace(day=1)
        until, name = (since + timedelta(days=32)).replace(day=1), f"{since:%B}"
    at, end = (each.replace(tzinfo=ZoneInfo(zone)).timestamp() for each in (since, until))
    return Period(since=at, until=end, name=name, zone=zone)


def burn(hours: Mapping[float, float], budget: float, per: str, period: Period, now: float) -> Burn:
    """Where a budget stands at a moment; `hours` is what each hour (by its beginning) came to, absent for nothing."""
    spent = sum(amount for hour, amount in hours.items() if period.since <= hour < now)
    if spent >= budget:
        at = _reached(hours, budget, period)
        return Burn(
            spent=spent, total=spent, low=spent, high=None, spent_at=at, earliest=at, latest=at, sure=1.0,
            going_on=True,
        )  # fmt: skip
    known = _History.of(hours, now, period.zone)
    if known is None:
        return Burn(
            spent=spent, total=None, low=None, high=None, spent_at=None, earliest=None, latest=None, sure=0.0,
            going_on=False,
        )  # fmt: skip
    ends = np.append(np.arange(now // HOUR_S * HOUR_S + HOUR_S, period.until, HOUR_S), period.until)
    parts = np.diff(np.concatenate([[now], ends])) / HOUR_S
    usual = known.usual(ends - 1.0) * parts
    long, short = (known.pace(window) for window in WINDOWS[per])
    middle, spread = _course(known, usual, parts, long, max(WINDOWS[per][0] / 24, 1.0))
    sure = _chance(spent + middle[-1] - budget, spread[-1])
    still = spent + short * usual.sum() >= budget
    low, high = spent + np.maximum(middle - Z80 * spread, 0.0), spent + middle + Z80 * spread
    return Burn(
        spent=spent,
        total=float(spent + middle[-1]),
        low=float(low[-1]),
        high=float(high[-1]),
        spent_at=_first(ends, spent + middle, budget),
        earliest=_first(ends, high, budget),
        latest=_first(ends, np.maximum.accumulate(low), budget),
        sure=sure,
        going_on=bool(still) and sure >= STILL,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _History:
    """The whole hours of four weeks."""

    hours: Amounts
    """Beginnings of the hours, from the first with anything on."""
    amounts: Amounts
    zone: str

    @staticmethod
    def of(hours: Mapping[float, float], now: float, zone: str) -> _History | None:
        """None where there are too few."""
        last = now // HOUR_S * HOUR_S
        first = min((hour for hour, amount in hours.items() if amount and hour >= now - HISTORY_S), default=inf)
        if last - first < ENOUGH_HOURS * HOUR_S:
            return None
        beginnings = np.arange(first, last, HOUR_S)
        amounts = np.array([hours.get(each, 0.0) for each in beginnings.tolist()])
        return _History(hours=beginnings, amounts=amounts, zone=zone)

    def usual(self, times: Amounts) -> Amounts:
        """What an hour at these times comes to: the mean of its like, else of its hour of the day, else of all."""
        ours, times = _on_the_wall(self.hours, self.zone), _on_the_wall(times, self.zone)
        kinds, clocks = _kind(ours), _clock(ours)
        out = np.full(len(times), self.amounts.mean())
        for which, wanted in ((clocks, _clock(times)), (kinds, _kind(times))):
            counts = np.bincount(which, minlength=48)
            sums = np.bincount(which, self.amounts, minlength=48)
            there = counts[wanted] >= LIKE_HOURS
            out[there] = sums[wanted][there] / counts[wanted][there]
        return out

    def pace(self, window: int) -> float:
        """How many times the usual the last hours came to; what is usual counts like an hour more of it."""
        usual = self.usual(self.hours[-window:])
        typical = float(self.amounts.mean())
        pace = (self.amounts[-window:].sum() + typical) / max(usual.sum() + typical, 1e-12)
        return float(min(pace, FASTEST))

    def spread(self) -> float:
        """By how much whole days differ from the usual, of it."""
        days = len(self.amounts) // 24
        if days < 3:
            return UNKNOWN_SPREAD
        came = self.amounts[-days * 24 :].reshape(days, 24).sum(1)
        usual = self.usual(self.hours[-days * 24 :]).reshape(days, 24).sum(1)
        return float(np.std(came / np.maximum(usual, 1e-12)))

    def noise(self) -> float:
        """The variance of an hour around the usual, of the square of the usual."""
        usual = self.usual(self.hours)
        return float(((self.amounts - usual) ** 2).sum() / max(float((usual**2).sum()), 1e-12))


def _course(
    known: _History, usual: Amounts, parts: Amounts, pace: float, window_days: float
) -> tuple[Amounts, Amounts]:
    """What will have been spent by the end of each hour to come, and by how much that may be wrong."""
    middle = pace * np.cumsum(usual)
    apart = known.noise() * np.cumsum((pace * usual) ** 2 / np.maximum(parts, 0.1))
    # How far the pace of the window, and what is taken for usual, may be from what they stand for.
    level = known.spread() * sqrt(1 / window_days + 24 / len(known.hours))
    level = min(max(level, LEAST_SPREAD), MOST_SPREAD)
    return middle, np.sqrt(apart + (level * middle) ** 2)


def _first(ends: Amounts, amounts: Amounts, budget: float) -> float | None:
    reached = np.flatnonzero(amounts >= budget)
    return float(ends[reached[0]]) if len(reached) else None


def _reached(hours: Mapping[float, float], budget: float, period: Period) -> float:
    """In which hour it was used up."""
    spent = 0.0
    for hour in sorted(each for each in hours if each >= period.since):
        spent += hours[hour]
        if spent >= budget:
            return hour
    return period.since


def _chance(beyond: float, spread: float) -> float:
    return 0.5 * (1 + erf(beyond / (spread * sqrt(2)))) if spread > 0 else float(beyond >= 0)


def _on_the_wall(times: Amounts, zone: str) -> Amounts:
    """What clocks of a zone show then, in seconds of an epoch of their own: people keep to these all year."""
    hours = (times // HOUR_S).astype(np.int64).tolist()
    return times + np.fromiter((_ahead_s(zone, each) for each in hours), np.float64, len(hours))


@lru_cache(maxsize=20_000)
def _ahead_s(zone: str, hour: int) -> float:
    """By how much the clocks of a zone are ahead of UTC in an hour since the epoch."""
    ahead = datetime.fromtimestamp(hour * HOUR_S, ZoneInfo(zone)).utcoffset()
    return ahead.total_seconds() if ahead else 0.0


def _clock(times: Amounts) -> NDArray[np.int64]:
    return (times // HOUR_S % 24).astype(np.int64)


def _kind(times: Amounts) -> NDArray[np.int64]:
    """The hour of the day, apart on weekends; the epoch began on a Thursday."""
    weekend = (times // DAY_S + 3) % 7 >= 5
    return _clock(times) + 24 * weekend.astype(np.int64)
