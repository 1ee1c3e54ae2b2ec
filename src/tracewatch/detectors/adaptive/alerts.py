"""What the engine says: an alert, and the notice of one that still has to pass the gate of repeats."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .arrays import Floats, Ints
from .intake import session_slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One movement of one metric in one slice. Values are in the metric's own unit; times are UTC epoch seconds."""

    detected_at: float  # the end of the five minutes that gave it away; no later row was used
    metric: str
    direction: str  # "up" or "down", of the metric as people read it
    slice: dict[str, object]  # column -> value; {} is everything
    trace_ids: tuple[str, ...] = ()  # of a single call that stands out, otherwise empty
    severity: float  # deviations, after natural movement was allowed for
    kind: str  # spike, drop, level_shift, ramp, rate, silence, surge, first_seen, point
    since: float | None = None  # when it began, as far as can be told
    observed: float  # call_count: of a session or user its calls, of an operation those that start a session
    expected: float  # of the same calls, given what drove them
    lower: float  # the range in which nobody would have been told, for a part of what raised it three deviations
    upper: float
    n: int  # calls behind `observed`
    score: float  # 0..1: see `score_of`
    story: int = 0  # the movement it tells of, numbered within the engine's life as it is told


def score_of(severity: float, limit: float) -> float:
    """A severity on a scale of 0 to 1: one half at the limit of alarm, 3/4 at twice of it. Our own.

    >>> score_of(5.5, limit=5.5)
    0.5
    """
    return 1.0 - float(2.0 ** (-max(severity, 0.0) / limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Evidence call by call, so that what belongs to an incident that was told can be taken off."""

    tick: Ints
    segment: Ints
    gain: Floats
    least: float  # that must be left


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An alert and what decides whether it is news."""

    alert: Alert
    key: tuple[object, ...] | None = None  # same key within `hold` ticks: the same story
    hold: int = 0
    window: int = 0  # ticks it is about, for what learning must not see
    segment: int = -1  # of a single call
    excess: float = 0.0  # of a single call: log units over its segment's limit
    segments: tuple[int, ...] = ()  # of a part: it is no news while an incident of its family is open in one of them
    families: tuple[str, ...] = ()  # those, where the key does not name one
    proof: Proof | None = None
    level: bool = False  # it lasts until it is the new normal


def named(notices: Mapping[int, list[Notice]], names: Mapping[str, Any]) -> dict[int, list[Notice]]:
    """Notices by tick whose slices have words instead of codes, by the names of each column."""
    return {tick: [_named(each, names) for each in some] for tick, some in notices.items()}


def _named(notice: Notice, names: Mapping[str, Any]) -> Notice:
    words: dict[str, object] = {}
    for column, code in notice.alert.slice.items():
        word = names[column].word[code]
        words |= session_slice(word) if column == "session_id" else {column: word}
    return replace(notice, alert=replace(notice.alert, slice=words))
