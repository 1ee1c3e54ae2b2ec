"""Axes: from values to places in a box, and where the labels of values and of time stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from tracewatch import formats
from tracewatch.web.charts.series import Series

WIDE, HIGH = 1000.0, 100.0
SMALLEST = 1e-12  # no axis is drawn for less
HEADROOM = 1.08  # of the highest value: a line at the very edge looks cut off


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A label at an axis: how far along it stands, in per cent."""

    at: float
    text: str
    edge: str = ""
    """"b" at the very beginning, "e" at the very end: such a label stands inside.
    "w" where only a wide screen has room for it."""


def ends_of(series: Series, *, ticks: int, is_log: bool) -> tuple[float, float]:
    """The lowest and the highest value of the axis of a series' chart."""
    known = [each for each in series.values if each is not None] + [each[1] for each in series.expected if each]
    low, high, _ = scale_of(known, series.unit, is_log=is_log, ticks=ticks)
    return low, high


def scale_of(known: Sequence[float], unit: str | None, *, is_log: bool, ticks: int) -> tuple[float, float, list[float]]:
    """The ends of the axis and where its lines stand."""
    top = max(known, default=1.0)
    if is_log:
        low = 10.0 ** math.floor(math.log10(min(each for each in known if each > 0)))
        high = 10.0 ** math.ceil(math.log10(top * HEADROOM))
        powers = round(math.log10(high / low))
        stride = max(1, math.ceil(powers / ticks))
        return low, high, [low * 10.0**power for power in range(0, powers + 1, stride)]
    if unit in ("share", "score") and top > 0.5:
        return 0.0, 1.0, [0.0, 0.5, 1.0]
    high = top * HEADROOM if top > SMALLEST else 1.0
    step = _nice(high / ticks)
    high = max(high, step)
    return 0.0, high, [step * number for number in range(int(high / step + 1e-9) + 1)]


def _nice(rough: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(each for each in (1, 2, 2.5, 5, 10) if each * power >= rough * 0.999)


def label_at(value: float, unit: str | None) -> str:
    """A label at the axis: money of single calls in cents, everything in few digits."""
    if unit == "ms":
        return formats.duration(value).replace(f".00{formats.THIN}s", f"{formats.THIN}s") if value else "0"
    if unit == "sum USD":
        return formats.money(value).removesuffix(".00")
    if unit == "USD":
        return formats.call_cost(value).removesuffix(".00")
    return formats.amount(value, unit) if unit != "score" else f"{value:g}"


def placing(low: float, high: float, *, is_log: bool) -> Callable[[float], float]:
    """From a value to how far below the top it stands, in per cent."""

    def linear(value: float) -> float:
        return round(HIGH - HIGH * (value - low) / ((high - low) or 1.0), 2)

    def logarithmic(value: float) -> float:
        if value <= low:
            return HIGH
        return round(HIGH - HIGH * math.log(value / low) / (math.log(high / low) or 1.0), 2)

    return logarithmic if is_log else linear


def time_ticks(start: float, end: float, zone: tzinfo, now: float, most: int = 7) -> list[Tick]:
    """Labels at whole hours or days of the reader's zone, each moment once, also when the clock is put back.

    Over a few days midnights say the day and the rest the hour, over more only days are named. Those that a phone has
    no room for are marked.
    """
    if end <= start:
        return []
    length = end - start
    step = next(
        (each for each in _TICK_STEPS_S if length / each <= most - 1), math.ceil(length / 86_400 / most) * 86_400
    )
    of_days = step >= 86_400
    first, last = datetime.fromtimestamp(start, zone), datetime.fromtimestamp(end, zone)
    opens = _day(first) if of_days else f"{_day(first)} {first:%H:%M}" if length > 20 * 3600 else f"{first:%H:%M}"
    closes = _day(last) if of_days else f"{'now ' if abs(now - end) < 120 else ''}{last:%H:%M}"
    places = [
        (100 * (moment - start) / length, _at_midnight(datetime.fromtimestamp(moment, zone), of_days=of_days))
        for moment in _steps(first, end, step, zone)
    ]
    inner = _between(places, opens, closes, most)
    narrow = {at for at, _ in _between(places[:: _stride(places)], opens, closes, NARROW)}
    return [
        Tick(at=0.0, text=opens, edge="b"),
        *(Tick(at=at, text=text, edge="" if at in narrow else "w") for at, text in inner),
        Tick(at=100.0, text=closes, edge="e"),
    ]


NARROW = 4  # labels beside each other on a phone
LABEL_PX, LETTER_PX, APART_PX = 80.0, 6.0, 10.0  # what a label may take, a letter takes, and stands between two
_TICK_STEPS_S = (60, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400)


def _between(places: Sequence[tuple[float, str]], opens: str, closes: str, most: int) -> list[tuple[float, str]]:
    """Those that stand clear of the labels at both ends, which stand inside."""
    before, after = (_share(len(each) + 3, most) for each in (opens, closes))
    return [each for each in places if before <= each[0] <= 100 - after and each[1] not in (opens, closes)]


def _stride(places: Sequence[tuple[float, str]]) -> int:
    """Of how many labels a phone shows one."""
    if len(places) < 2:
        return 1
    return max(math.ceil(_share(6, NARROW) / (places[1][0] - places[0][0])), 1)


def _share(letters: int, most: int) -> float:
    """What so many letters take of an axis that has room for so many labels, in per cent."""
    return 100 * (letters * LETTER_PX + APART_PX) / (LABEL_PX * most)


def _at_midnight(there: datetime, *, of_days: bool) -> str:
    """The day at its beginning, else the hour."""
    return _day(there) if of_days or (there.hour, there.minute) == (0, 0) else f"{there:%H:%M}"


def _day(there: datetime) -> str:
    return f"{there.day} {formats.MONTHS[there.month - 1]}"


def _steps(first: datetime, end: float, step: float, zone: tzinfo) -> Iterator[float]:
    """Moments whose local time is a multiple of the step, in order."""
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    number, before = 0, -math.inf
    while number < 2000:
        local = midnight + timedelta(seconds=step * number)
        moment = local.replace(tzinfo=zone).timestamp()
        number += 1
        if moment >= end:
            return
        if (
            moment > max(first.timestamp(), before)
            and datetime.fromtimestamp(moment, zone).replace(tzinfo=None) == local
        ):
            before = moment
            yield moment
