"""Series of aggregates without drivers, such as cost by the hour: each judged by its own past alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from tracewatch.detectors.nearest import ALARM, Nearest, decades

ROOM = 96  # series at a time, of at most 64 kB each: those of the table and the user's own
STALE_S = 30 * 86_400.0  # a series not fed for so long gives its room away


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """A value of a series that is unlike all before it."""

    name: str
    at: float
    """When it could be known: the end of the hour, in epoch seconds."""
    direction: str
    """`up` or `down`, of the value against what is usual at that half hour of the week."""
    observed: float
    expected: float
    severity: float
    """Decades of surprise."""
    score: float
    """The same from 0 to 1."""


class Aggregates:
    """Scores the values of some series as they come, and tells those that are alarming. Bounded, picklable.

    The scorer of `nearest.py` with its own limit: a series says nothing in its first 200 values, and is told again only
    beyond what it said among its last 120.
    """

    def __init__(self, limit: float = ALARM) -> None:
        self.limit = limit
        self._series: dict[str, Nearest] = {}
        self._last: dict[str, float] = {}

    def take(self, at: float, values: Mapping[str, float]) -> list[Surprise]:
        """What is told of the values of one moment (epoch seconds), by name.

        A value that is not finite is left out, and so is one of a moment that its series has seen already: an hour may
        be given twice. Series beyond ROOM wait until another one is stale.
        """
        found = (self._judged(name, at, value) for name, value in values.items() if isfinite(value))
        return [each for each in found if each is not None]

    @property
    def names(self) -> tuple[str, ...]:
        """The series it has, in the order in which they came."""
        return tuple(self._series)

    def _judged(self, name: str, at: float, value: float) -> Surprise | None:
        if at <= self._last.get(name, float("-inf")) or not self._admit(name, at):
            return None
        self._last[name] = at
        series = self._series[name]
        score = series.score(at, value)
        if score < self.limit:
            return None
        return Surprise(
            name=name,
            at=at,
            direction="up" if value > series.expected else "down",
            observed=value,
            expected=series.expected,
            severity=decades(score),
            score=score,
        )

    def _admit(self, name: str, at: float) -> bool:
        """Whether the series has room, which the longest unfed one gives up once it is stale."""
        if name in self._series:
            return True
        if len(self._series) >= ROOM:
            oldest = min(self._last, key=self._last.__getitem__)
            if at - self._last[oldest] < STALE_S:
                return False
            del self._series[oldest], self._last[oldest]
        self._series[name] = Nearest()
        return True
