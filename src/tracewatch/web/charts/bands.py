"""A line over its expected range, with what lies outside of it marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from tracewatch import formats
from tracewatch.web.charts import paths
from tracewatch.web.charts.axes import WIDE, Tick, label_at, placing, scale_of, time_ticks
from tracewatch.web.charts.series import Flag, Numbers, Range, Series

LOG_FROM = 50.0  # p99 over the median: beyond it a linear axis shows one spike over a flat line
MOST_FLAGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A line over its expected range, ready to be drawn: lists of points for SVG, and labels in per cent."""

    label: str
    bands: list[str]
    edges: list[str]
    typical: list[str]
    unsure: list[tuple[float, float]]
    """Where nothing is expected yet: from and how wide, in the box."""
    points: str
    """Single calls, as one path."""
    limit: float | None
    """How far below the top the limit of a rule stands, in per cent."""
    lines: list[str]
    bad: list[str]
    over: list[str]
    """The areas between the line and its range, from the onset on."""
    dots: list[tuple[float, float]]
    """Values that stand alone, in per cent."""
    open_end: str
    grid: list[float]
    y: list[Tick]
    x: list[Tick]
    window: tuple[float, float] | None
    """From the onset on: from and how wide, in the box."""
    mark: tuple[float, float] | None
    """Where the severity's shape stands, in per cent."""
    callout: tuple[float, float] | None
    flags: list[Flag]
    more_flags: int
    tips: list[str]
    times: list[float]
    is_log: bool


def band(
    series: Series,
    zone: tzinfo,
    now: float,
    *,
    onset: float | None = None,
    until: float | None = None,
    marked: bool = True,
    flags: Sequence[Flag] = (),
    labelled: bool = True,
    ticks: int = 3,
    highest: float | None = None,
    across: int = 7,
) -> Band:
    """The chart of a series; from `onset` to `until` (epoch seconds) what lies outside its range is marked.

    Where it is not `marked`, that time is only shown. With `highest` the axis reaches at least so far, so that several
    pictures have one scale. `across` is how many labels of time there may be.
    """
    values, expected = list(series.values), list(series.expected) or [None] * len(series.values)
    seams, bounds = series.seams, series.bounds
    known = [each for each in values if each is not None] + [each[1] for each in expected if each]
    known += [each for each in (highest, series.limit) if each is not None] + [value for _, value in series.calls]
    is_log = (
        highest is None
        and _spread(values) > LOG_FROM
        and min((each for each in values if each is not None), default=0) > 0
    )
    low, high, steps = scale_of(known, series.unit, is_log=is_log, ticks=ticks)
    place = placing(low, high, is_log=is_log)
    count = max(len(values), 1)

    def x(index: float) -> float:
        return WIDE * (index + 0.5) / count if count > 1 else WIDE / 2

    start, end = series.start, series.end
    first_bad = None if onset is None else max(0, min(count - 1, math.floor((onset - start) / series.step_s)))
    last_bad = count if until is None else max(0, min(count, math.ceil((until - start) / series.step_s)))
    inside = (lambda index: False) if first_bad is None else (lambda index: first_bad <= index < last_bad)
    if not marked:
        inside = _never
    joined: Numbers = [None] * len(values) if series.calls else values  # single calls stand apart, without a line
    over: Numbers = joined if series.calls else series.over
    lines, bad = paths.split(joined, x, place, inside)
    window = None
    if first_bad is not None:  # by whole steps, as the line is: a step of which a part is bad is drawn as bad
        window = (WIDE * first_bad / count, WIDE * max(last_bad - first_bad, 1) / count)
    found = None
    if series.found is not None:
        found = round(100 * series.part(series.found[0]), 2), place(series.found[1])
    shown = [each for each in flags if 0 <= each.at <= 1]
    return Band(
        label=series.label,
        bands=[paths.area(run, expected, x, place, seams) for run in paths.pieces(expected, seams)],
        edges=[
            paths.line(run, [e[side] if e else None for e in expected], x, place, seams)
            for run in paths.pieces(expected, seams)
            for side in (0, 1)
        ],
        typical=[paths.line(run, series.typical, x, place, seams) for run in paths.pieces(series.typical, seams)],
        unsure=[] if series.calls or not any(expected) else _unsure(expected, count),
        points=paths.points([(WIDE * series.part(at), place(value)) for at, value in series.calls]),
        limit=None if series.limit is None else place(series.limit),
        lines=lines,
        bad=bad,
        over=list(paths.outside(over, bounds, x, place, inside, series.worse)),
        dots=[]
        if series.calls
        else [(x(a) / 10, place(values[a] or 0.0)) for a, b in paths.runs(values) if b - a == 1],
        open_end=paths.open_end(joined, x, place) if series.is_open else "",
        grid=[place(each) for each in steps],
        y=[Tick(at=place(each), text=label_at(each, series.unit)) for each in steps],
        x=time_ticks(start, end, zone, now, most=across) if labelled else [],
        window=window,
        mark=_mark(values, first_bad, x, place) if found is None else found,
        callout=_callout(values, first_bad, last_bad, bounds, x, place) if found is None else _beside(found),
        flags=shown[:MOST_FLAGS],
        more_flags=max(len(shown) - MOST_FLAGS, 0),
        tips=[_tip(series, index, expected, zone, now) for index in range(len(values))],
        times=[start + series.step_s * index for index in range(len(values))],
        is_log=is_log,
    )


def _unsure(expected: Sequence[Range | None], count: int) -> list[tuple[float, float]]:
    return [(WIDE * begin / count, WIDE * (end - begin) / count) for begin, end in paths.gaps(expected)]


def _never(_: int) -> bool:
    return False


def _spread(values: Numbers) -> float:
    known = sorted(each for each in values if each is not None)
    if len(known) < 10:
        return 1.0
    middle = known[len(known) // 2]
    return known[min(int(0.99 * len(known)), len(known) - 1)] / middle if middle > 0 else 1.0


def _mark(
    values: Numbers, first: int | None, x: Callable[[float], float], place: Callable[[float], float]
) -> tuple[float, float] | None:
    """At the first value of the window."""
    if first is None:
        return None
    for index in range(first, len(values)):
        value = values[index]
        if value is not None:
            return round(x(index) / 10, 2), place(value)
    return None


def _beside(found: tuple[float, float]) -> tuple[float, float]:
    """Right of the call that was found, or left of it where there is no room."""
    across, down = found
    return across + 7 if across < 80 else across - 7, min(max(down, 12.0), 88.0)


def _callout(
    values: Numbers, first: int | None, last: int, expected: Sequence[Range | None],
    x: Callable[[float], float], place: Callable[[float], float],
) -> tuple[float, float] | None:  # fmt: skip
    """In the middle of the area between the line and its range."""
    if first is None:
        return None
    there = [(index, value) for index in range(first, last) if (value := values[index]) is not None]
    if not there:
        return None
    middle, value = there[len(there) // 2]
    pair = expected[middle] if middle < len(expected) else None
    across = min(max(x(middle) / 10, 14.0), 84.0)
    down = (place(value) + place(pair[1] if value > pair[1] else pair[0])) / 2 if pair else place(value) + 14
    return round(across, 2), round(min(max(down, 12.0), 88.0), 2)


def _tip(series: Series, index: int, expected: Sequence[Range | None], zone: tzinfo, now: float) -> str:
    """What the cursor says of one step."""
    unit = "USD" if series.unit == "sum USD" else series.unit
    told = formats.money if series.unit == "sum USD" else (lambda value: formats.amount(value, unit))
    when = formats.moment(series.start + index * series.step_s, zone, now)
    value = series.values[index]
    if value is None:
        return f"{when} · no calls"
    if series.is_open and index == len(series.values) - 1:
        return f"{when} · {told(value)} so far"
    if series.calls:
        return f"{when} · {'lowest' if series.worse == 'down' else 'highest'} {told(value)}"
    pair = expected[index]
    usual = f", expected {formats.spanning(told(max(pair[0], 0.0)), told(pair[1]))}" if pair else ""
    beyond = f", limit {told(series.limit)}" if series.limit is not None else ""
    return f"{when} · {told(value)}{usual}{beyond}"
