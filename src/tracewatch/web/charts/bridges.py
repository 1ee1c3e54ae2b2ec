"""From what was expected to what came, in parts that add up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tracewatch import formats


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


def _tone(change: float, most: float) -> str:
    """What costs more is marked, what saves is green, also where all of it together saves."""
    if not change or not most:
        return "zero"
    if change < 0:
        return "down"
    return "up" if abs(change) >= 0.5 * most else "small"
