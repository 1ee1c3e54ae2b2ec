"""Conditions that a rule may set by itself: a fixed threshold, a budget, or that nothing comes any more.

They are read and checked here; whoever watches evaluates them, and keeps what it finds as incidents of detector
"rules" with the rule's name in `Incident.rule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracewatch.alerts.mistakes import Path, entries, near
from tracewatch.alerts.quiet import read_zone
from tracewatch.alerts.reading import SLICED, Reader
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import SEVERITIES, AlertRule

PERIODS = ("day", "week", "month")
Slice = Mapping[str, list[str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A metric beyond a fixed value."""

    metric: str
    """Its key in METRICS."""
    above: float | None = None
    below: float | None = None
    window_s: float = 900.0
    """The time whose calls make one value."""
    calls: int = 5
    """From how many calls on a value counts."""
    slice: Slice | None = None
    by: str | None = None
    """The column whose every value is looked at by itself."""
    severity: str = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Money, or tokens, that may be spent in a day, a week or a month of the calendar."""

    usd: float | None = None
    tokens: float | None = None
    per: str = "month"
    zone: str = "UTC"
    slice: Slice | None = None
    by: str | None = None
    severity: str = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoData:
    """No call for longer than that."""

    for_s: float
    slice: Slice | None = None
    severity: str = "high"


Condition = Threshold | Budget | NoData
CONDITIONS: Mapping[str, type[Condition]] = {"threshold": Threshold, "budget": Budget, "no_data": NoData}
ENTRIES: Mapping[str, tuple[str, ...]] = {
    "threshold": ("metric", "above", "below", "window", "calls", "slice", "by", "severity"),
    "budget": ("usd", "tokens", "per", "zone", "slice", "by", "severity"),
    "no_data": ("for", "slice", "severity"),
}
MEASURED = tuple(each.key for each in METRIC_OF.values() if each.measured is not None)
"""The metrics that a threshold may be set for."""
_SECONDS = {"window": "window_s", "for": "for_s"}


def condition_of(rule: AlertRule) -> Condition | None:
    """The condition of a rule; None where it has none."""
    if not rule.condition:
        return None
    kind, values = next(iter(rule.condition.items()))
    return CONDITIONS[kind](**values)


def read_condition(given: object, path: Path, reader: Reader) -> dict[str, Any] | None:
    """A condition as it is kept: {kind: {field: value}}."""
    kinds, wrong = entries(given, CONDITIONS, path, "a condition")
    reader.mistakes += wrong
    if len(kinds) != 1:
        if not wrong:
            reader.wrong(path, "a condition is one of threshold, budget and no_data: make a rule of each")
        return None
    kind, values = next(iter(kinds.items()))
    its, wrong = entries(values, ENTRIES[kind], (*path, kind), kind)
    reader.mistakes += wrong
    before = len(reader.mistakes)
    read = {_SECONDS.get(name, name): _value(name, value, (*path, kind, name), reader) for name, value in its.items()}
    _check(kind, read, (*path, kind), reader)
    return {kind: read} if len(reader.mistakes) == before and not wrong else None


def _value(name: str, value: object, path: Path, reader: Reader) -> Any:
    if name in _SECONDS:
        return reader.duration(value, path)
    if name in ("above", "below"):
        return reader.number(value, path, float("-inf"), float("inf"))
    if name in ("usd", "tokens"):
        return reader.number(value, path, 0.0, float("inf"))
    if name == "calls":
        number = reader.number(value, path, 1, 1e9)
        return None if number is None else int(number)
    if name == "slice":
        return _whole(reader.slice(value, path), path, reader)
    if name == "zone":
        return read_zone(value, path, reader)
    if name == "metric":
        return _measured(value, path, reader)
    return reader.text(value, path, {"severity": SEVERITIES, "per": PERIODS, "by": SLICED}[name])


def _measured(value: object, path: Path, reader: Reader) -> str | None:
    """The name of a metric that has a value of its calls."""
    given = reader.text(value, path)
    if given is not None and given not in MEASURED:
        why = "only detection tells of it" if given in METRIC_OF else "no metric is called so"
        reader.wrong(path, f"a threshold cannot be set for '{given}': {why}{near(given, MEASURED)}")
        return None
    return given


def _whole(slice: dict[str, list[str | None]] | None, path: Path, reader: Reader) -> dict[str, list[str | None]] | None:
    """A slice of whole values: a condition looks its calls up by them."""
    for name, values in (slice or {}).items():
        for each in values:
            if each is not None and "*" in each:
                reader.wrong((*path, name), f"a condition takes whole values, and not '{each}': name each of them")
    return slice


def _check(kind: str, read: Mapping[str, Any], path: Path, reader: Reader) -> None:
    """What must be there."""
    if kind == "threshold":
        if "metric" not in read:
            reader.wrong(path, "a threshold needs a metric, such as metric: error_rate")
        if ("above" in read) == ("below" in read):
            reader.wrong(path, "a threshold is either above or below a value, such as above: 0.2")
        metric, limit = METRIC_OF.get(read.get("metric") or ""), read.get("above", read.get("below"))
        if metric is not None and metric.unit == "share" and limit is not None and not 0 <= limit <= 1:
            reader.wrong(path, f"{metric.key} is a share from 0 to 1, and not {limit:g}: write 20 % as 0.2")
    if kind == "budget" and ("usd" in read) == ("tokens" in read):
        reader.wrong(path, "a budget needs an amount of one kind, such as usd: 500 or tokens: 2000000")
    if kind == "no_data" and "for_s" not in read:
        reader.wrong(path, "no_data needs a time, such as for: 30m")
