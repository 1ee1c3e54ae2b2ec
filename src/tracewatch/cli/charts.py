"""Small charts of text: a metric over time with its expected range, and signed bars that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

HEIGHT = 9  # lines: enough to tell a step from a ramp
LEAST_WIDTH = 12  # columns of a chart; narrower tells nothing
SPARE = 0.05  # of the range, above and below


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Values at even steps, None where nothing was measured, and the range in which nobody is told."""

    values: Sequence[float | None]
    calls: Sequence[int]
    lower: float | None
    upper: float | None
    unit: str | None
    adds: bool
    """Whether values of neighbouring steps add up (counts) or average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment to point at, as a share of the curve's length, 0 to 1."""

    at: float
    sign: str


def chart(curve: Curve, marks: Sequence[Mark], width: int) -> list[str]:
    """The curve as lines of text of that width: ● a value, ░ the expected range, signs below for the marks.

    >>> curve = Curve(values=[1.0, 1.0, 5.0], calls=[1, 1, 1], lower=0.5, upper=1.5, unit=None, adds=False)
    >>> lines = chart(curve, [Mark(at=0.7, sign="▲")], 24)
    >>> lines[0], lines[-1]
    ('   5.2 ┤          ●', '                  ▲')
    >>> share = Curve(values=[0.2, 1.0], calls=[5, 5], lower=0.0, upper=0.1, unit="share", adds=False)
    >>> chart(share, [], 24)[0].split()[0]
    '100'
    """
    from tracewatch import words  # only now: it brings numpy, which --help need not wait for

    known = [each for each in curve.values if each is not None and isfinite(each)]
    if not known:
        return []
    ends = [each for each in (curve.lower, curve.upper) if each is not None and isfinite(each)]
    low, high = min(*known, *ends, known[0]), max(*known, *ends, known[0])
    spare = (high - low or abs(high) or 1.0) * SPARE
    whole = 1.0 if curve.unit == "share" and high <= 1 else inf  # more than all there is not
    low, high = (max(low - spare, 0.0) if low >= 0 else low - spare), min(high + spare, whole)
    labels = [words.amount(each, curve.unit) for each in (high, (low + high) / 2, low)]
    margin = max(map(len, labels)) + 2
    room = max(width - margin - 2, LEAST_WIDTH)
    points = squeezed(curve, room)
    wide = max(1, room // len(points))
    places = [None if each is None else min(int((high - each) / (high - low) * HEIGHT), HEIGHT - 1) for each in points]
    lines = []
    for line in range(HEIGHT):
        label = {0: labels[0], HEIGHT // 2: labels[1], HEIGHT - 1: labels[2]}.get(line, "")
        top, bottom = (high - (high - low) * each / HEIGHT for each in (line, line + 1))
        band = _band(curve, bottom, top)
        cells = "".join(("●" if place == line else band) + band * (wide - 1) for place in places)
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{cells.rstrip()}")
    return [*lines, _signs(marks, margin + 2, wide * len(points))]


def squeezed(curve: Curve, room: int) -> list[float | None]:
    """The values in at most so many steps, neighbours taken together.

    >>> squeezed(Curve(values=[1.0, 3.0, None], calls=[1, 3, 0], lower=None, upper=None, unit=None, adds=False), 2)
    [2.5, None]
    """
    each = -(-len(curve.values) // room)
    found: list[float | None] = []
    for start in range(0, len(curve.values), each):
        part = [
            (value, max(count, 1))
            for value, count in zip(curve.values[start : start + each], curve.calls[start : start + each], strict=True)
            if value is not None
        ]
        total = sum(count for _, count in part)
        if not part:
            found.append(None)
        elif curve.adds:
            found.append(sum(value for value, _ in part))
        else:
            found.append(sum(value * count for value, count in part) / total)
    return found


def bars(rows: Sequence[tuple[str, float, str]], width: int) -> list[str]:
    """Named changes as signed bars around one axis: names to the left, what each is to the right.

    >>> for line in bars([("queue", 300.0, "+300 ms"), ("network", -100.0, "-100 ms")], 40):
    ...     print(line)
    queue          │████████████████ +300 ms
    network  ▒▒▒▒▒▒│                 -100 ms
    """
    if not rows:
        return []
    named, told = max(len(name) for name, _, _ in rows), max(len(text) for _, _, text in rows)
    room = max(width - named - told - 4, LEAST_WIDTH)
    least, most = min(0.0, *(value for _, value, _ in rows)), max(0.0, *(value for _, value, _ in rows))
    scale = room / (most - least or 1.0)
    left = round(-least * scale)
    lines = []
    for name, value, text in rows:
        length = max(round(abs(value) * scale), 1 if value else 0)
        before = ("▒" * min(length, left)).rjust(left) if value < 0 else " " * left
        after = ("█" * length if value > 0 else "").ljust(room - left)
        lines.append(f"{name:<{named}}  {before}│{after} {text}")
    return lines


def _band(curve: Curve, bottom: float, top: float) -> str:
    """The expected range, which shows where no value is."""
    if curve.lower is None or curve.upper is None:
        return " "
    return "░" if top > curve.lower and bottom < curve.upper else " "


def _signs(marks: Sequence[Mark], margin: int, room: int) -> str:
    line = [" "] * (room + 1)
    for each in marks:
        line[min(max(int(each.at * room), 0), room - 1)] = each.sign
    return (" " * margin + "".join(line)).rstrip()
