"""Pictures as numbers: where each line, band, mark and label stands; templates draw them as SVG and HTML.

Geometry is in a box of 1000 × 100 that stretches to any width, words are placed in per cent: so nothing needs script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from tracewatch import formats

WIDE, HIGH = 1000.0, 100.0
LOG_FROM = 50.0  # p99 over the median: beyond it a linear axis shows one spike over a flat line
MOST_FLAGS = 3
SMALLEST = 1e-12  # no axis is drawn for less
HEADROOM = 1.08  # of the highest value: a line at the very edge looks cut off

Numbers = Sequence[float | None]
Range = tuple[float, float]
"""What is expected at a moment: from, to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A label at an axis: how far along it stands, in per cent."""

    at: float
    text: str
    edge: str = ""
    """"b" at the very beginning, "e" at the very end: such a label stands inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Something that happened at a moment: a dashed line with a word on top. `at` is 0 to 1."""

    at: float
    text: str

    @property
    def left(self) -> bool:
        """Whether the word stands on the left of its line."""
        return self.at > 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A metric over time: evenly spaced values, and what was expected of each."""

    label: str
    """What the picture shows, in one sentence."""
    start: float
    """When the first step begins, UTC epoch seconds."""
    step_s: float
    values: Numbers
    """One a step; None where there were no calls."""
    expected: Sequence[Range | None] = ()
    """The range for each step; None where it is not known yet."""
    typical: Numbers = ()
    unit: str | None = None
    worse: str = "up"
    """Which way is bad: only what lies outside on that side is filled."""
    is_open: bool = False
    """Whether the last step is not over."""

    @property
    def over(self) -> Numbers:
        """The values of the steps that are over; where nothing came in them, what came so far."""
        if not self.is_open or not any(self.values[:-1]):
            return self.values
        return [*self.values[:-1], None]

    @property
    def end(self) -> float:
        """When the last step ends."""
        return self.start + self.step_s * len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A line over its expected range, ready to be drawn: lists of points for SVG, and labels in per cent."""

    label: str
    bands: list[str]
    edges: list[str]
    typical: list[str]
    unsure: list[tuple[float, float]]
    """Where nothing is expected yet: from and how wide, in the box."""
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
    known = [each for each in values if each is not None] + [each[1] for each in expected if each]
    known += [] if highest is None else [highest]
    is_log = (
        highest is None
        and _spread(values) > LOG_FROM
        and min((each for each in values if each is not None), default=0) > 0
    )
    low, high, steps = _scale(known, series.unit, is_log=is_log, ticks=ticks)
    place = _place(low, high, is_log=is_log)
    count = max(len(values), 1)

    def x(index: float) -> float:
        return WIDE * (index + 0.5) / count if count > 1 else WIDE / 2

    start, end = series.start, series.end
    first_bad = None if onset is None else max(0, min(count - 1, math.floor((onset - start) / series.step_s)))
    last_bad = count if until is None else max(0, min(count, math.ceil((until - start) / series.step_s)))
    inside = (lambda index: False) if first_bad is None else (lambda index: first_bad <= index < last_bad)
    if not marked:
        inside = _never
    lines, bad = _split(values, x, place, inside)
    window = None
    if onset is not None and end > start:
        left = max(0.0, min(1.0, (onset - start) / (end - start)))
        right = 1.0 if until is None else max(left, min(1.0, (until - start) / (end - start)))
        window = (left * WIDE, max((right - left) * WIDE, 2.0))
    shown = [each for each in flags if 0 <= each.at <= 1]
    return Band(
        label=series.label,
        bands=[_area(run, expected, x, place) for run in _runs(expected)],
        edges=[
            _line(run, [e[side] if e else None for e in expected], x, place)
            for run in _runs(expected)
            for side in (0, 1)
        ],
        typical=[_line(run, series.typical, x, place) for run in _runs(series.typical)],
        unsure=[(WIDE * a / count, WIDE * (b - a) / count) for a, b in _gaps(expected)] if any(expected) else [],
        lines=lines,
        bad=bad,
        over=list(_over(series.over, expected, x, place, inside, series.worse)),
        dots=[(x(a) / 10, place(values[a] or 0.0)) for a, b in _runs(values) if b - a == 1],
        open_end=_open_end(values, x, place) if series.is_open else "",
        grid=[place(each) for each in steps],
        y=[Tick(at=place(each), text=_axis(each, series.unit)) for each in steps],
        x=time_ticks(start, end, zone, now, most=across) if labelled else [],
        window=window,
        mark=_mark(values, first_bad, x, place),
        callout=_callout(values, first_bad, last_bad, expected, x, place),
        flags=shown[:MOST_FLAGS],
        more_flags=max(len(shown) - MOST_FLAGS, 0),
        tips=[_tip(series, index, expected, zone, now) for index in range(len(values))],
        times=[start + series.step_s * index for index in range(len(values))],
        is_log=is_log,
    )


def ends_of(series: Series, *, ticks: int, is_log: bool) -> tuple[float, float]:
    """The lowest and the highest value of the axis of a series' chart."""
    known = [each for each in series.values if each is not None] + [each[1] for each in series.expected if each]
    low, high, _ = _scale(known, series.unit, is_log=is_log, ticks=ticks)
    return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Spark:
    """A small line over its range, without axes."""

    bands: list[str]
    lines: list[str]
    bad: list[str]


def spark(values: Numbers, expected: Sequence[Range | None] = (), first_bad: int | None = None) -> Spark:
    """The line of some values in a box of 1000 × 100; from `first_bad` on it is marked."""
    ranges = list(expected) or [None] * len(values)
    known = [each for each in values if each is not None] + [each[1] for each in ranges if each]
    place = _place(0.0, max(known, default=1.0) * HEADROOM or 1.0, is_log=False)
    count = max(len(values) - 1, 1)

    def x(index: float) -> float:
        return WIDE * index / count

    lines, bad = _split(values, x, place, lambda index: first_bad is not None and index >= first_bad)
    return Spark(bands=[_area(run, ranges, x, place) for run in _runs(ranges)], lines=lines, bad=bad)


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeRow:
    """One step of a bridge: where its bar begins and how wide it is, in per cent, and its words."""

    name: str
    note: str
    left: float
    width: float
    link: float | None
    """Where the dotted line to the next bar stands."""
    tone: str
    """total, up, small, down or zero."""
    text: str
    share: str
    biggest: bool = False


def bridge(
    before: float,
    after: float,
    parts: Sequence[tuple[str, str, float]],
    told: Callable[[float], str],
    names: tuple[str, str] = ("Expected", "Observed"),
    notes: tuple[str, str] = ("", ""),
) -> list[BridgeRow]:
    """The rows from what was expected to what came; `parts` are name, note and change, and add up to the difference.

    Changes are rounded together, so that the texts add up as well as the numbers do.
    """  # fmt: skip
    whole = after - before
    reached, ends = before, []
    for _, _, change in parts:
        ends.append((reached, reached + change))
        reached += change
    edges = [0.0, before, after, *(each for pair in ends for each in pair)]
    low, high = min(edges), max(edges)
    width = (high - low) or 1.0

    def at(value: float) -> float:
        return 100 * (value - low) / width

    most = max((abs(each[2]) for each in parts), default=0.0)
    rows = [_end_of_bridge(names[0], notes[0], before, at, text=told(before), link=at(before))]
    for (name, note, change), (begin, end) in zip(parts, ends, strict=True):
        rows.append(
            BridgeRow(
                name=name,
                note=note,
                left=at(min(begin, end)),
                width=abs(at(end) - at(begin)),
                link=at(end),
                tone=_tone(change, most),
                text=("+" if change > 0 else "") + told(change),
                share=formats.percent(change / whole) if whole else "",
                biggest=abs(change) == most and most > 0,
            )
        )
    more = ("+" if whole > 0 else "") + told(whole)
    rows.append(_end_of_bridge(names[1], notes[1], after, at, text=told(after), share=more))
    return rows


def _end_of_bridge(
    name: str, note: str, value: float, at: Callable[[float], float], *, text: str, link: float | None = None,
    share: str = "",
) -> BridgeRow:  # fmt: skip
    """The first or the last row: a bar from nothing to the value."""
    left = at(min(0.0, value))
    width = at(max(0.0, value)) - left
    return BridgeRow(name=name, note=note, left=left, width=width, link=link, tone="total", text=text, share=share)


def rounded_together(
    before: float, after: float, changes: Sequence[float], digits: int
) -> tuple[float, float, list[float]]:
    """All numbers of a bridge rounded to so many digits, so that before and the changes still add up to after.

    The difference is what is told elsewhere, so it is rounded itself, and what comes before gives way. What rounding
    loses goes to the changes that lose most by it (largest remainder).

    >>> rounded_together(1.004, 2.004, [0.334, 0.333, 0.333], 2)
    (1.0, 2.0, [0.34, 0.33, 0.33])
    """
    unit = 10.0**-digits
    last = round(after / unit)
    first = last - round((after - before) / unit)
    exact = [each / unit for each in changes]
    whole = [math.floor(each) for each in exact]
    missing = (last - first) - sum(whole)
    order = sorted(range(len(exact)), key=lambda index: whole[index] - exact[index])
    step = 1 if missing > 0 else -1
    for turn in range(abs(missing)):
        if order:
            whole[order[turn % len(order)] if step > 0 else order[-1 - turn % len(order)]] += step
    return round(first * unit, digits), round(last * unit, digits), [round(each * unit, digits) for each in whole]


def time_ticks(start: float, end: float, zone: tzinfo, now: float, most: int = 7) -> list[Tick]:
    """Labels at whole hours or days of the reader's zone, each moment once, also when the clock is put back."""
    if end <= start:
        return []
    length = end - start
    step = next(
        (each for each in _TICK_STEPS_S if length / each <= most - 1), math.ceil(length / 86_400 / most) * 86_400
    )
    first, last = datetime.fromtimestamp(start, zone), datetime.fromtimestamp(end, zone)
    far = length > 2 * 86_400
    begin = Tick(at=0.0, text=_clock(first, far=far, day=length > 20 * 3600), edge="b")
    finish = Tick(at=100.0, text=("now " if abs(now - end) < 120 and not far else "") + _clock(last, far=far), edge="e")
    inner = [
        Tick(at=100 * (moment - start) / length, text=_clock(datetime.fromtimestamp(moment, zone), far=far))
        for moment in _steps(first, end, step, zone)
    ]
    # A label is about as wide as a step of the axis for each eight letters; those at the ends stand inside.
    before, after = (100 / most * (max(len(each.text), 6) / 8 + 0.35) for each in (begin, finish))
    return [begin, *(each for each in inner if before <= each.at <= 100 - after), finish]


_TICK_STEPS_S = (60, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400)


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


def _clock(there: datetime, *, far: bool = False, day: bool = False) -> str:
    date = f"{there.day} {formats.MONTHS[there.month - 1]}"
    if far:
        return date
    return f"{date} {there:%H:%M}" if day else f"{there:%H:%M}"


def _never(_: int) -> bool:
    return False


def _spread(values: Numbers) -> float:
    known = sorted(each for each in values if each is not None)
    if len(known) < 10:
        return 1.0
    middle = known[len(known) // 2]
    return known[min(int(0.99 * len(known)), len(known) - 1)] / middle if middle > 0 else 1.0


def _scale(known: Sequence[float], unit: str | None, *, is_log: bool, ticks: int) -> tuple[float, float, list[float]]:
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


def _axis(value: float, unit: str | None) -> str:
    """A label at the axis: money of single calls in cents, everything in few digits."""
    if unit == "ms":
        return formats.duration(value).replace(f".00{formats.THIN}s", f"{formats.THIN}s") if value else "0"
    if unit == "sum USD":
        return formats.money(value).removesuffix(".00")
    if unit == "USD":
        return formats.call_cost(value).removesuffix(".00")
    return formats.amount(value, unit) if unit != "score" else f"{value:g}"


def _place(low: float, high: float, *, is_log: bool) -> Callable[[float], float]:
    """From a value to how far below the top it stands, in per cent."""

    def linear(value: float) -> float:
        return round(HIGH - HIGH * (value - low) / ((high - low) or 1.0), 2)

    def logarithmic(value: float) -> float:
        if value <= low:
            return HIGH
        return round(HIGH - HIGH * math.log(value / low) / (math.log(high / low) or 1.0), 2)

    return logarithmic if is_log else linear


def _runs(values: Sequence[object | None]) -> Iterator[tuple[int, int]]:
    """Stretches without gaps: from, to (not included)."""
    begin = None
    for index, value in enumerate(values):
        if value is None:
            if begin is not None:
                yield begin, index
            begin = None
        elif begin is None:
            begin = index
    if begin is not None:
        yield begin, len(values)


def _gaps(values: Sequence[object | None]) -> Iterator[tuple[int, int]]:
    yield from _runs([None if each is not None else 0 for each in values])


def _line(run: tuple[int, int], values: Numbers, x: Callable[[float], float], place: Callable[[float], float]) -> str:
    return " ".join(_at(x(index), place(value)) for index in range(*run) if (value := values[index]) is not None)


def _area(
    run: tuple[int, int], ranges: Sequence[Range | None], x: Callable[[float], float], place: Callable[[float], float]
) -> str:
    there = [(index, pair) for index in range(*run) if (pair := ranges[index]) is not None]
    if len(there) == 1:  # a single step has no width of its own
        index, (low, high) = there[0]
        left, right = x(index - 0.5), x(index + 0.5)
        return " ".join(_at(at, place(value)) for at, value in ((left, high), (right, high), (right, low), (left, low)))
    top = [_at(x(index), place(high)) for index, (_, high) in there]
    bottom = [_at(x(index), place(low)) for index, (low, _) in reversed(there)]
    return " ".join((*top, *bottom))


def _split(
    values: Numbers, x: Callable[[float], float], place: Callable[[float], float], inside: Callable[[int], bool]
) -> tuple[list[str], list[str]]:
    """The line outside and inside the window; they meet in the point before the window begins."""
    lines: list[str] = []
    bad: list[str] = []
    for begin, end in _runs(values):
        start = begin
        for index in range(begin + 1, end + 1):
            if index == end or inside(index) != inside(start):
                first = start - 1 if inside(start) and start > begin else start
                last = index + 1 if index < end and inside(start) and not inside(index) else index
                if last - first > 1:
                    (bad if inside(start) else lines).append(_line((first, last), values, x, place))
                start = index
    return lines, bad


def _over(
    values: Numbers, expected: Sequence[Range | None], x: Callable[[float], float], place: Callable[[float], float],
    inside: Callable[[int], bool], worse: str,
) -> Iterator[str]:  # fmt: skip
    """Areas between the line and the edge of its range, one for each stretch that lies beyond it."""
    beyond: list[tuple[float, float] | None] = []
    for index, (value, pair) in enumerate(zip(values, expected, strict=True)):
        if value is None or pair is None or not (inside(index) or inside(index + 1)):
            beyond.append(None)
            continue
        edge = pair[0] if worse == "down" else pair[1]
        out = value < edge if worse == "down" else value > edge
        beyond.append((value, edge) if out else (edge, edge) if inside(index + 1) and not inside(index) else None)
    for begin, end in _runs(beyond):
        there = [(index, pair) for index in range(begin, end) if (pair := beyond[index]) is not None]
        if len(there) > 1:
            line = [_at(x(index), place(value)) for index, (value, _) in there]
            back = [_at(x(index), place(edge)) for index, (_, edge) in reversed(there)]
            yield " ".join((*line, *back))


def _open_end(values: Numbers, x: Callable[[float], float], place: Callable[[float], float]) -> str:
    """The last piece of the line, whose step is not over."""
    if len(values) < 2 or values[-1] is None or values[-2] is None:
        return ""
    return _line((len(values) - 2, len(values)), values, x, place)


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


def _tone(change: float, most: float) -> str:
    """What costs more is marked, what saves is green, also where all of it together saves."""
    if not change or not most:
        return "zero"
    if change < 0:
        return "down"
    return "up" if abs(change) >= 0.5 * most else "small"


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
    pair = expected[index]
    usual = f", expected {formats.spanning(told(max(pair[0], 0.0)), told(pair[1]))}" if pair else ""
    return f"{when} · {told(value)}{usual}"


def _at(x: float, y: float) -> str:
    return f"{x:.1f},{y:.1f}"
