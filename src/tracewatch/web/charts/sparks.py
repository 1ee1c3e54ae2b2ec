"""A small line over its range, without axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracewatch.web.charts import paths
from tracewatch.web.charts.axes import HEADROOM, WIDE, placing
from tracewatch.web.charts.series import Numbers, Range


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
    place = placing(0.0, max(known, default=1.0) * HEADROOM or 1.0, is_log=False)
    count = max(len(values) - 1, 1)

    def x(index: float) -> float:
        return WIDE * index / count

    lines, bad = paths.split(values, x, place, lambda index: first_bad is not None and index >= first_bad)
    return Spark(bands=[paths.area(run, ranges, x, place) for run in paths.runs(ranges)], lines=lines, bad=bad)
