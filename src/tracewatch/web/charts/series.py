"""What a chart is drawn from: a metric over time, what was expected of it, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Numbers = Sequence[float | None]
Range = tuple[float, float]
"""What is expected at a moment: from, to."""


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
    limit: float | None = None
    """What a rule says it must not cross; then that is what it is beyond, whatever is usual."""
    seams: tuple[int, ...] = ()
    """Steps from which on something else was expected: of these very calls, not of such hours."""
    calls: Sequence[tuple[float, float]] = ()
    """Single calls, each by when it began and its value; they are drawn, and `values` are the worst of each step."""
    found: tuple[float, float] | None = None
    """The one among them that was found."""

    @property
    def over(self) -> Numbers:
        """The values of the steps that are over; where nothing came in them, what came so far."""
        if not self.is_open or not any(self.values[:-1]):
            return self.values
        return [*self.values[:-1], None]

    @property
    def bounds(self) -> Sequence[Range | None]:
        """What each step is beyond when it is bad: the limit where there is one, else what was expected."""
        if self.limit is None:
            return self.expected or [None] * len(self.values)
        return [(self.limit, self.limit)] * len(self.values)

    def part(self, at: float) -> float:
        """How far along the series a moment is, from 0 to 1."""
        return min(max((at - self.start) / (self.end - self.start), 0.0), 1.0)

    @property
    def end(self) -> float:
        """When the last step ends."""
        return self.start + self.step_s * len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Something that happened at a moment: a dashed line with a word on top. `at` is 0 to 1."""

    at: float
    text: str

    @property
    def left(self) -> bool:
        """Whether the word stands on the left of its line."""
        return self.at > 0.5
