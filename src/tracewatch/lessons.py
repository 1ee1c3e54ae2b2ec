"""What people taught, applied to what is found: movements that are known are set apart. Pure: no clock, no store.

The engine learns as if nobody had taught anything. The same alerts and lessons in any batches give the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from tracewatch.detectors.adaptive import Alert, Ending, Return
from tracewatch.detectors.adaptive.intake import TICK
from tracewatch.kinship import began
from tracewatch.records import Anomaly, Lesson
from tracewatch.severity import ROOTS_OF_SHARES, SHARES, VOLUME
from tracewatch.times import DAY_S

WORSE = 1.5  # times what was dismissed, in size or in time: beyond, it is another thing and is told
ADAPTIVE = "adaptive"
RELEARNED_S = 7 * DAY_S  # by then the engine, which takes a level as normal after three days, has seen a whole week
FORGET_S = DAY_S  # a movement that is back later is another one
MOST_HELD = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """What a finding says, as far as lessons ask. Its time is when it was found, or of single calls when they began."""

    detector: str
    metric: str
    direction: str
    slice: Mapping[str, object]
    single: bool
    observed: float
    expected: float
    at: float

    @property
    def size(self) -> float | None:
        """How far it moved: shares and calls by the difference, anything else by the factor less 1.

        None where that cannot be told: nothing was to be expected, or nothing came.

        >>> ordinary = dict(detector="adaptive", direction="up", slice={}, single=False, at=0.0)
        >>> Movement(metric="cost_usd", observed=4.0, expected=1.0, **ordinary).size
        3.0
        >>> Movement(metric="error_rate", observed=0.5, expected=0.25, **ordinary).size
        0.25
        """
        if is_share(self.metric) or self.metric == VOLUME:
            return abs(self.observed - self.expected)
        low, high = sorted((abs(self.observed), abs(self.expected)))
        return high / low - 1.0 if low > 0 else None


def is_share(metric: str) -> bool:
    """Whether a metric is a share or a score, whose movements are told as differences."""
    root = metric.partition(".")[0]
    return metric.endswith("_rate") or metric in SHARES or root in ROOTS_OF_SHARES or root == "quality"


def of_alert(alert: Alert) -> Movement:
    """What an alert of the engine says."""
    return Movement(
        detector=ADAPTIVE, metric=alert.metric, direction=alert.direction, slice=alert.slice,
        single=alert.kind == "point", observed=alert.observed, expected=alert.expected, at=alert.detected_at,
    )  # fmt: skip


def of_finding(finding: Anomaly) -> Movement:
    """What a kept finding says."""
    return of_values({name: getattr(finding, name) for name in SAID_BY})


SAID_BY = (
    "detector", "metric_name", "anomaly_type", "direction", "slice", "kind", "model_id", "statistics", "detected_value",
    "expected_value", "detected_at", "occurred_at",
)  # fmt: skip
"""The columns of a finding that `of_values` asks for."""


def of_values(finding: Mapping[str, Any]) -> Movement:
    """What a kept finding says, by the names of its columns.

    Those of the first detectors are told apart by their type, operation and model.
    """
    adaptive = finding["detector"] == ADAPTIVE
    statistics = finding["statistics"] or {}
    calls = {"operation_type": statistics.get("operation_type"), "model_name": finding["model_id"]}
    calls |= {"usage_type": statistics.get("usage_type")}
    up = finding["detected_value"] >= finding["expected_value"]
    return Movement(
        detector=finding["detector"],
        metric=finding["metric_name"] if adaptive else finding["anomaly_type"],
        direction=finding["direction"] or ("up" if up else "down"),
        slice=dict(finding["slice"] or {}) if adaptive else {k: v for k, v in calls.items() if v is not None},
        single=finding["kind"] == "point" or finding["detector"] == "spec",
        observed=finding["detected_value"],
        expected=finding["expected_value"],
        at=finding["detected_at"] if adaptive else finding["occurred_at"],
    )


def covers(lesson: Lesson, it: Movement) -> bool:
    """Whether a movement is one that is known by a lesson, and not clearly larger. Time in between does not matter."""
    same = (lesson.detector, lesson.metric_name, lesson.direction, lesson.single)
    calls: Mapping[str, Any] = lesson.slice or {}
    if same != (it.detector, it.metric, it.direction, it.single) or not calls.items() <= it.slice.items():
        return False
    if lesson.teaching == "expected":
        if calls == it.slice and _within(lesson.level, it):
            return True
        if it.at > lesson.since + RELEARNED_S:
            return False
    if lesson.effect is None:
        return True
    size = it.size
    return size is not None and size <= WORSE * lesson.effect


def _within(level: float | None, it: Movement) -> bool:
    """Whether a movement stays within a level that was called normal."""
    return level is not None and (it.observed <= level if it.direction == "up" else it.observed >= level)


def counts(lesson: Lesson, at: float) -> bool:
    """Whether a lesson is about what was found at that moment."""
    return lesson.since < at and (lesson.until is None or at <= lesson.until)


def known_by(lessons: Iterable[Lesson], it: Movement) -> Lesson | None:
    """The lesson by which a movement is known; one that says so of any length before one that does not."""
    found = [each for each in lessons if counts(each, it.at) and covers(each, it)]
    return min(found, key=lambda each: (each.lasted_s is not None, each.id), default=None)


@dataclass(slots=True)
class Held:
    """A movement that is only known to be noise while it is short."""

    alert: Alert
    length_s: float
    until: float
    """When it has lasted too long to be that."""
    ended: float | None = None


@dataclass(slots=True)
class Sieve:
    """Sets apart what is known, and lets it through after all when it lasts longer than what was dismissed."""

    held: dict[int, Held] = field(default_factory=dict)

    def sift(
        self, alerts: Sequence[Alert], news: Sequence[Ending | Return], lessons: Sequence[Lesson], now: float
    ) -> tuple[list[Alert], list[tuple[Alert, Lesson]]]:
        """What is to be told, in order, and what is known with the lesson that says so."""
        heard: list[Alert] = []
        known: list[tuple[Alert, Lesson]] = []
        for alert in alerts:
            lesson = known_by(lessons, of_alert(alert)) if lessons else None
            if lesson is None or (lesson.lasted_s is not None and not self._hold(alert, lesson.lasted_s)):
                heard.append(alert)
            else:
                known.append((alert, lesson))
        released = self._release(news, now)
        return sorted([*heard, *released], key=attrgetter("detected_at")) if released else heard, known

    def _hold(self, alert: Alert, lasted_s: float) -> bool:
        """Waits for the end of a movement; not if it has lasted for too long already."""
        length = WORSE * lasted_s
        until = _tick(began(alert) + length)
        if until <= alert.detected_at:
            return False
        self.held[alert.story] = Held(alert=alert, length_s=length, until=until)
        for story in list(self.held)[: max(len(self.held) - MOST_HELD, 0)]:
            del self.held[story]
        return True

    def _release(self, news: Sequence[Ending | Return], now: float) -> list[Alert]:
        """What has lasted too long by now, as found when that became so."""
        out = []
        for story, held in list(self.held.items()):
            if self._lasted(held, [each for each in news if each.story == story], now):
                out.append(replace(held.alert, detected_at=held.until))
                del self.held[story]
            elif held.ended is not None and now - held.ended > FORGET_S:
                del self.held[story]
        return out

    @staticmethod
    def _lasted(held: Held, news: Sequence[Ending | Return], now: float) -> bool:
        for each in news:
            if held.ended is None and held.until < each.at:
                return True
            if isinstance(each, Return):
                held.ended, held.until = None, _tick(each.at + held.length_s)
            else:
                held.ended = each.at
        return held.ended is None and held.until <= now


def _tick(at: float) -> float:
    """The end of the five minutes that a moment is in."""
    return math.ceil(at / TICK) * TICK


def settled(finding: Anomaly, lessons: Sequence[Lesson]) -> Anomaly:
    """A finding as it is kept: dismissed, with the lesson that says why, where it is known."""
    lesson = known_by(lessons, of_finding(finding)) if lessons else None
    return finding if lesson is None else as_known(finding, lesson)


def as_known(finding: Anomaly, lesson: Lesson) -> Anomaly:
    """A finding that is known: dismissed before anybody has seen it."""
    why = {"id": lesson.id, "teaching": lesson.teaching, "reason": lesson.reason, "about": lesson.about}
    statistics = {**finding.statistics, "known": why}
    return replace(finding, resolution_status="dismissed", acknowledged=True, statistics=statistics)
