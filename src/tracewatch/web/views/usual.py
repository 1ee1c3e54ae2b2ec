"""What is usual at an hour of the day, learned from the same hours of the days before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

HOUR_S, DAY_S = 3600, 86_400
THURSDAY = 3  # the day of the week on which the epoch began, from Monday as 0
DAYS_BACK = 14
HOURS_A_DAY = 3  # that are compared: the same one and its neighbours
FEWEST_DAYS = 3  # fewer hours tell no range
Z90 = 1.645  # standard deviations from p5 to the middle, and from there to p95
MAD = 1.4826  # from the median distance to a standard deviation
LEAST_SHARE = 0.05  # of the usual value: a range is never narrower, nobody would believe it

WORTH_ARRAYS = 48  # hours; fewer are sooner worked out one by one
NO_HOUR = -(2**62)  # before all that are known
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

Kind = Literal["sum", "mean", "share"]
"""Whether values are added up over time, are means over calls, or shares of calls."""

Hourly = Mapping[int, tuple[float, float]]
"""By the beginning of the hour: what was added up in it, and over how many it is divided (1 for a count)."""
Range = tuple[float, float]


class KnownHours(dict[int, tuple[float, float]]):
    """Hours that remember what was worked out of them: a page asks for the range of one moment several times."""

    __slots__ = ("worked_out",)

    def __init__(self, hours: Mapping[int, tuple[float, float]]) -> None:
        super().__init__(hours)
        self.worked_out: dict[tuple[float, float, Kind], Usual | None] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What is usual of a metric at a moment."""

    middle: float
    low: float
    high: float

    @property
    def range(self) -> Range:
        """From, to."""
        return self.low, self.high


def usual_at(hours: Hourly, at: float, step_s: float = HOUR_S, *, kind: Kind) -> Usual | None:
    """The range of p5 to p95 for a step that begins at `at`; None while too few such hours are known.

    Hours of the same time of the day and of days of the same kind (working day or weekend) are compared, with the hours
    beside them. Sums shrink with the step; means and shares of fewer calls vary more.
    """
    if not isinstance(hours, KnownHours):
        return _usual_at(hours, at, step_s, kind)
    key = (at, step_s, kind)
    if key not in hours.worked_out:
        hours.worked_out[key] = _usual_at(hours, at, step_s, kind)
    return hours.worked_out[key]


def _usual_at(hours: Hourly, at: float, step_s: float, kind: Kind) -> Usual | None:
    alike = _alike(at)
    values = [hours[hour] for hour in alike if hour in hours]
    known = [above / below for above, below in values if below > 0]
    if len(known) < FEWEST_DAYS:
        return None
    if len(known) <= HOURS_A_DAY * (FEWEST_DAYS - 1):  # more cannot be of fewer days
        days = {hour // DAY_S for hour in alike if hour in hours and hours[hour][1] > 0}
        if len(days) < FEWEST_DAYS:
            return None
    part = step_s / HOUR_S
    if kind == "share":
        return _usual_share(values, part)
    middle = _middle(known)
    spread = MAD * _middle([abs(each - middle) for each in known])
    if kind == "sum":
        middle *= part
        spread *= math.sqrt(part) if part < 1 else part
        spread = max(spread, math.sqrt(max(middle, 0.0)) * _unit(known)) if part <= 1 else spread
    elif part < 1:
        spread /= math.sqrt(part)  # a mean over fewer calls varies more
    reach = Z90 * max(spread, LEAST_SHARE * abs(middle))
    return Usual(middle=middle, low=max(middle - reach, 0.0), high=middle + reach)


def _middle(values: Sequence[float]) -> float:
    """The median; that of `statistics` takes three times as long for as few values."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _usual_share(values: Sequence[tuple[float, float]], part: float) -> Usual:
    """Shares vary as chance has it, with the number of calls; the tenth of the hours that were worst is left out."""
    known = sorted((pair for pair in values if pair[1] > 0), key=lambda pair: pair[0] / pair[1])
    kept = known[: max(math.ceil(0.9 * len(known)), 1)]
    calls = sum(below for _, below in kept)
    middle = sum(above for above, _ in kept) / calls
    each = max(calls / len(kept) * part, 1.0)
    # Half a call more than came: that none failed so far does not mean that none can.
    likely = (middle * calls + 0.5) / (calls + 1)
    reach = Z90 * math.sqrt(likely * (1 - likely) / each)
    return Usual(middle=middle, low=max(middle - reach, 0.0), high=min(middle + reach, 1.0))


def _work_out(hours: KnownHours, since: float, until: float, kind: Kind) -> None:
    """What `_usual_at` gives for every whole hour of a time, for all of them at once: a fifth of the time."""
    whole = range(int(-(-since // HOUR_S) * HOUR_S), int(until // HOUR_S * HOUR_S), HOUR_S)
    if len(whole) < WORTH_ARRAYS:
        return
    wanted = [each for each in whole if (each, HOUR_S, kind) not in hours.worked_out]
    if len(wanted) < WORTH_ARRAYS:
        return
    table = _alike_table(whole.start, whole.stop)[[(each - whole.start) // HOUR_S for each in wanted]]
    above, below = _looked_up(hours, table)
    values = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    counts = (below > 0).sum(axis=1)
    # So few hours may be of too few days: these are looked at one by one.
    enough = counts > HOURS_A_DAY * (FEWEST_DAYS - 1)
    values, above, below, counts = values[enough], above[enough], below[enough], counts[enough]
    made = _shares(values, above, below, counts) if kind == "share" else _spreads(values, counts, kind)
    places = [each for each, yes in zip(wanted, enough.tolist(), strict=True) if yes]
    for at, middle, low, high in zip(places, *(each.tolist() for each in made), strict=True):
        hours.worked_out[at, HOUR_S, kind] = Usual(middle=middle, low=low, high=high)


def _looked_up(hours: KnownHours, table: Counts) -> tuple[Floats, Floats]:
    """What was added up in each hour of a table, and over how many; 0 for an hour that is not known."""
    places = np.fromiter(hours.keys(), np.int64, len(hours)) // HOUR_S
    first = int(places.min()) if len(places) else 0
    count = int(places.max()) - first + 1 if len(places) else 0
    known = np.zeros((count + 1, 2))  # the last one stands for all that are not known
    known[places - first] = np.array(list(hours.values()), dtype=np.float64).reshape(-1, 2)
    at = table // HOUR_S - first
    found = known[np.where((at < 0) | (at >= count), count, at)]
    return found[:, :, 0], found[:, :, 1]


def _spreads(values: Floats, counts: Counts, kind: Kind) -> tuple[Floats, Floats, Floats]:
    """Middle, low and high of sums or means by the hour; one row of values an hour, NaN where there is none."""
    middle = _middles(values, counts)
    spread = MAD * _middles(np.abs(values - middle[:, None]), counts)
    if kind == "sum":
        of_calls = (np.isnan(values) | (np.mod(values, 1) == 0)).all(axis=1)
        spread = np.maximum(spread, np.sqrt(np.maximum(middle, 0.0)) * of_calls)
    reach = Z90 * np.maximum(spread, LEAST_SHARE * np.abs(middle))
    return middle, np.maximum(middle - reach, 0.0), middle + reach


def _shares(values: Floats, above: Floats, below: Floats, counts: Counts) -> tuple[Floats, Floats, Floats]:
    """Middle, low and high of shares, as `_usual_share` finds them."""
    order = np.argsort(values, axis=1, kind="stable")  # what is not known comes last
    kept = np.maximum(np.ceil(0.9 * counts), 1)
    among = np.arange(values.shape[1]) < kept[:, None]
    calls = (np.take_along_axis(below, order, axis=1) * among).sum(axis=1)
    middle = (np.take_along_axis(above, order, axis=1) * among).sum(axis=1) / calls
    likely = (middle * calls + 0.5) / (calls + 1)
    reach = Z90 * np.sqrt(likely * (1 - likely) / np.maximum(calls / kept, 1.0))
    return middle, np.maximum(middle - reach, 0.0), np.minimum(middle + reach, 1.0)


def _middles(values: Floats, counts: Counts) -> Floats:
    """The median of each row, of the `counts` values that are known."""
    ordered, rows = np.sort(values, axis=1), np.arange(len(values))
    found: Floats = (ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) / 2
    return found


def usual_over(hours: Hourly, since: float, until: float, *, kind: Kind) -> Usual | None:
    """The range for a stretch of time: of sums the sum of its hours, of means their mean; None while not known."""
    if isinstance(hours, KnownHours):
        _work_out(hours, since, until, kind)
    found = []
    worked_out = hours.worked_out if isinstance(hours, KnownHours) else {}
    at = since
    while at < until:
        length = min(until, (at // HOUR_S + 1) * HOUR_S) - at
        each = worked_out.get((at, length, kind)) or usual_at(hours, at, length, kind=kind)
        if each is None:
            return None
        found.append(each)
        at += length
    if not found:
        return None
    middle = sum(each.middle for each in found)
    # Hours of one day go together only in part: halfway between adding their spreads and adding their variances.
    apart = math.sqrt(sum((each.high - each.middle) ** 2 for each in found))
    together = sum(each.high - each.middle for each in found)
    reach = (apart + together) / 2
    if kind != "sum":
        middle, reach = middle / len(found), reach / len(found)
    return Usual(middle=middle, low=max(middle - reach, 0.0), high=middle + reach)


def ranges(
    hours: Hourly, start: float, step_s: float, count: int, *, kind: Kind, most: float = math.inf
) -> list[Range | None]:
    """The range for each of so many steps; none is above `most`."""
    if isinstance(hours, KnownHours) and step_s >= HOUR_S:
        _work_out(hours, start, start + step_s * count, kind)
    found: list[Range | None] = []
    for number in range(count):
        at = start + number * step_s
        each = (
            usual_over(hours, at, at + step_s, kind=kind) if step_s > HOUR_S else usual_at(hours, at, step_s, kind=kind)
        )
        found.append(None if each is None else (min(each.low, most), min(each.high, most)))
    return found


def middles(hours: Hourly, start: float, step_s: float, count: int, *, kind: Kind) -> list[float | None]:
    """The usual value of each of so many steps of at most an hour."""
    found = [usual_at(hours, start + number * step_s, step_s, kind=kind) for number in range(count)]
    return [None if each is None else each.middle for each in found]


def _alike(at: float) -> Sequence[int]:
    """The hours to compare with: the same one and its neighbours on earlier days of the same kind."""
    return _alike_hour(int(at // HOUR_S * HOUR_S))


@lru_cache(maxsize=16)
def _alike_table(first: int, end: int) -> Counts:
    """The hours to compare each hour of a time with, in one row for each; where a row is shorter NO_HOUR stands."""
    alike = [_alike_hour(each) for each in range(first, end, HOUR_S)]
    widest = max(map(len, alike))
    return np.array([[*each, *[NO_HOUR] * (widest - len(each))] for each in alike], dtype=np.int64)


@lru_cache(maxsize=2048)
def _alike_hour(hour: int) -> Sequence[int]:
    kind = _is_weekend(hour)
    days = [hour - number * DAY_S for number in range(1, DAYS_BACK + 1)]
    alike = [each for each in days if _is_weekend(each) == kind]
    return [each + beside * HOUR_S for each in alike for beside in (-1, 0, 1)]


def _is_weekend(at: float) -> bool:
    return (at // DAY_S + THURSDAY) % 7 >= 5


def _unit(known: Sequence[float]) -> float:
    """What one call contributes where counts are of calls: the square root of a count is then its chance variation."""
    whole = all(each == int(each) for each in known)
    return 1.0 if whole else 0.0
