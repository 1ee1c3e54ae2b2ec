"""The z-score detections as a replay: at each full hour the last 24 hours are judged, and the last one is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracewatch.detectors import spec
from tracewatch.detectors.spec import Direction, Floats, Integers, Outliers
from tracewatch.times import HOUR_S

WINDOW_S = 24 * HOUR_S  # what the detections are defined over
NAMED = 20  # traces an alert names; nobody opens more
SLICE = ("operation_type", "model_name")
TEXTS = ("trace_id", *SLICE)

Columns = Mapping[str, NDArray[Any]]


class Judged(Protocol):
    """A metric, as far as it is judged here."""

    @property
    def name(self) -> str: ...
    @property
    def bad(self) -> Direction: ...
    @property
    def threshold(self) -> float: ...
    @property
    def lowest(self) -> float: ...
    @property
    def highest(self) -> float: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def measured(self) -> Callable[..., Floats]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyAlert:
    """The outliers of one metric in one kind of call within one hour. Times are UTC epoch seconds."""

    detected_at: float
    """The end of the hour; no later row was used."""
    metric: str
    direction: Direction
    slice: Mapping[str, object]
    trace_ids: tuple[str, ...]
    """The worst ones first."""
    severity: float
    """The largest distance from the mean, in standard deviations."""
    kind: str = "point"
    since: float
    """When the first of the calls began."""
    observed: float
    """The worst value."""
    expected: float
    lower: float
    upper: float
    n: int
    """Calls beyond the threshold."""
    score: float
    """How sure the worst of them makes us, 0 to 1."""


class Hourly:
    """Judges calls by the ten z-score detections, hour by hour.

    One alert for each metric × operation × model × hour with outliers: one for each row would be what nobody reads,
    one a day would be late. A row is told in the hour it began in; one that arrives later is only compared with.
    """

    def __init__(self, metrics: Sequence[Judged]) -> None:
        self._metrics = metrics
        self._waiting: list[dict[str, NDArray[Any]]] = []
        self._window: dict[str, NDArray[Any]] = {}
        self._judged_until = 0.0

    def feed(self, columns: Columns) -> None:
        """Takes calls as equally long columns, in any order: numbers with NaN for absent, texts as objects."""
        rows: dict[str, NDArray[Any]] = {"start_time": columns["start_time"]}
        rows |= {name: columns[name] for name in TEXTS}
        for metric in self._metrics:
            rows[metric.name] = metric.measured(*(columns[name] for name in metric.needs))
        self._waiting.append(rows)

    def advance(self, now: float) -> list[HourlyAlert]:
        """The alerts of all hours that are over by `now` (epoch seconds), in order."""
        alerts: list[HourlyAlert] = []
        for end in self._hours(now // HOUR_S * HOUR_S):
            self._slide(end)
            alerts += (alert for metric in self._metrics for alert in self._judge(metric, end))
            self._judged_until = end
        return alerts

    def _hours(self, until: float) -> list[float]:
        """The ends of the hours that waiting calls began in."""
        times = [rows["start_time"] for rows in self._waiting]
        if not times:
            return []
        ends = (np.unique(np.concatenate(times) // HOUR_S) + 1) * HOUR_S
        return [end for end in ends.tolist() if self._judged_until < end <= until]

    def _slide(self, end: float) -> None:
        """Moves what waits until `end` into the window, and what is too old out of it."""
        rows = joined([self._window, *self._waiting] if self._window else self._waiting)
        times = rows["start_time"]
        later = times >= end
        self._waiting = [{name: values[later] for name, values in rows.items()}] if later.any() else []
        kept = ~later & (times >= end - WINDOW_S)
        self._window = {name: values[kept] for name, values in rows.items()}

    def _judge(self, metric: Judged, end: float) -> Iterator[HourlyAlert]:
        found = spec.outliers(
            self._window[metric.name], metric.threshold, metric.bad, lowest=metric.lowest, highest=metric.highest
        )
        if found is None or not len(found.rows):
            return
        of_hour = np.flatnonzero(self._window["start_time"][found.rows] >= end - HOUR_S)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place in of_hour[np.argsort(-np.abs(found.z[of_hour]), kind="stable")].tolist():
            row = found.rows[place]
            groups.setdefault(tuple(self._window[name][row] for name in SLICE), []).append(place)
        for words, places in groups.items():
            yield self._alert(metric, end, words, found, np.array(places, np.int64))

    def _alert(
        self, metric: Judged, end: float, words: tuple[Any, ...], found: Outliers, places: Integers
    ) -> HourlyAlert:
        """The alert of some outliers, the worst one first."""
        rows, worst = found.rows[places], places[0]
        traces = self._window["trace_id"][rows[:NAMED]].tolist()
        return HourlyAlert(
            detected_at=end,
            metric=metric.name,
            direction=metric.bad,
            slice={name: word for name, word in zip(SLICE, words, strict=True) if word is not None},
            trace_ids=tuple(trace for trace in traces if trace is not None),
            severity=abs(float(found.z[worst])),
            since=float(self._window["start_time"][rows].min()),
            observed=float(found.values[worst]),
            expected=found.mean,
            lower=found.lower,
            upper=found.upper,
            n=len(places),
            score=float(spec.confidences(found.z[worst : worst + 1], found.n)[0]),
        )


def joined(parts: Sequence[Columns]) -> dict[str, NDArray[Any]]:
    """Some columns one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
