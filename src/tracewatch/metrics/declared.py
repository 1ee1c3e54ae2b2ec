"""What the hours of declared metrics say, as alerts and endings like those of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tracewatch.detectors.adaptive import Alert, Ending
from tracewatch.detectors.adaptive.alerts import score_of
from tracewatch.detectors.aggregates import Surprise
from tracewatch.detectors.nearest import ALARM, decades
from tracewatch.metrics.custom import Custom
from tracewatch.metrics.hourly import Hour, Hourly
from tracewatch.times import HOUR_S

ACCEPTED_S = 120 * HOUR_S  # a value is no surprise again to its series for so many values: by then the level is normal
HALFWAY = 0.5  # of the way back to what was expected: nearer to it than to the surprise, it is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """A surprise that is not over."""

    name: str
    at: float
    observed: float
    expected: float

    def is_back(self, value: float) -> bool:
        """Whether a later value is nearer to what was expected than to what came, or beyond it."""
        moved = self.observed - self.expected
        return (value - self.expected) * moved <= HALFWAY * moved * moved


class Declared:
    """Judges the metrics that a user declared. Picklable; its stories are numbered below 0, apart from the engine's."""

    def __init__(self, customs: Sequence[Custom]) -> None:
        self.hourly = Hourly(customs)
        self.stories = 0
        self.lasting: dict[int, Lasting] = {}

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of spans it reads."""
        return self.hourly.needs

    def feed(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Takes some calls, in any order."""
        self.hourly.feed(columns)

    def advance(self, now: float) -> tuple[list[Alert], list[Ending]]:
        """What can be known at that moment (epoch seconds) and could not before, in order."""
        alerts: list[Alert] = []
        endings: list[Ending] = []
        for hour in self.hourly.advance(now):
            endings += self._endings(hour)
            alerts += [self._alert(hour, surprise) for _, surprise in hour.told]
        return alerts, endings

    def _endings(self, hour: Hour) -> Iterator[Ending]:
        for story, each in list(self.lasting.items()):
            back = each.name in hour.values and each.is_back(hour.values[each.name])
            if back or hour.end - each.at >= ACCEPTED_S:
                del self.lasting[story]
                yield Ending(story=story, at=hour.end, accepted=not back)

    def _alert(self, hour: Hour, surprise: Surprise) -> Alert:
        self.stories -= 1
        self.lasting[self.stories] = Lasting(
            name=surprise.name, at=hour.end, observed=surprise.observed, expected=surprise.expected
        )
        return Alert(
            detected_at=hour.end,
            metric=surprise.name,
            direction=surprise.direction,
            slice={},
            severity=surprise.severity,
            kind="spike" if surprise.direction == "up" else "drop",
            since=hour.end - HOUR_S,
            observed=surprise.observed,
            expected=surprise.expected,
            # The scorer compares with the most alike moments before and knows no range.
            lower=surprise.expected,
            upper=surprise.expected,
            n=hour.calls,
            score=score_of(surprise.severity, decades(ALARM)),
            story=self.stories,
        )
