"""The evidence for an incident: its metric, what explains it, and what was looked at and found normal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tracewatch.access import Caller
from tracewatch.explaining.measures import measure_of
from tracewatch.records import Incident
from tracewatch.stores.base import Store
from tracewatch.times import parse_time
from tracewatch.web.charts import Series
from tracewatch.web.views.hours import Hours
from tracewatch.web.views.judged import Judged, course
from tracewatch.web.views.series import can_be_rolled, series, source_of, step_for, where_of
from tracewatch.web.views.usual import Usual, usual_over

HOUR_S, DAY_S = 3600.0, 86_400.0
LEAD = 3.0  # of an incident's own length are shown before it
LEAST_LEAD_S, MOST_LEAD_S = 6 * HOUR_S, 3 * DAY_S
MOST_S = 14 * DAY_S  # of an incident that are shown; longer ones end at its end

BEHIND = {
    "cache": "cache_hit_rate",
    "cache_prefix": "cache_hit_rate",
    "cache_lifetime": "cache_hit_rate",
    "queue": "queue_time_ms",
    "first_token": "ttft_ms",
    "longer_answers": "output_tokens",
    "slower_speed": "tokens_per_second",
    "retrieval": "retrieval_latency_ms",
    "retries": "retry_rate",
    "more_calls": "call_count",
    "tokens": "input_tokens",
    "prompt": "input_tokens",
    "context": "context_tokens",
    "network": "network_time_ms",
    "loop": "call_count",
    "failed_primary": "error_rate",
    "unrecorded_primary": "fallback_rate",
    "rate_limit": "error_rate",
    "timeout": "timeout_rate",
    "server_error": "error_rate",
}
"""The metric that shows a cause, by its kind."""

CHECKED = (
    ("call_count", "calls"),
    ("input_tokens", "prompt tokens"),
    ("output_tokens", "answer tokens"),
    ("cost_usd", "cost per call"),
    ("cache_hit_rate", "cache hits"),
    ("duration_ms", "latency"),
    ("ttft_ms", "first token"),
    ("queue_time_ms", "queue"),
    ("error_rate", "errors"),
    ("fallback_rate", "fallbacks"),
    ("retry_rate", "retries"),
)
"""What is looked at beside an incident's own metric, and what it is called in a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One picture of the evidence."""

    metric: str
    series: Series
    role: str
    """symptom, cause or normal."""
    before: float | None
    """What is usual."""
    now: float | None
    """What came, over the whole incident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The pictures, with one axis of time, and the names of what was found normal and of what was not."""

    shown: tuple[Shown, ...]
    normal: tuple[str, ...]
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """One metric over the incident, against what is usual of that time."""

    metric: str
    name: str
    value: float | None
    usual: Usual | None

    @property
    def is_normal(self) -> bool:
        return self.value is not None and self.usual is not None and self.usual.low <= self.value <= self.usual.high


def evidence(store: Store, caller: Caller, incident: Incident, now: float) -> Evidence:
    """What there is to show. Reads rollups; where these do not hold the metric, the course that was kept."""
    end = incident.closed_at if incident.closed_at is not None else now
    lasted = max(end - incident.started_at, 0.0)
    since = incident.started_at - min(max(LEAD * lasted, LEAST_LEAD_S), MOST_LEAD_S)
    until = min(now, end + max(min(lasted / 2, LEAST_LEAD_S), HOUR_S))
    slice, step = incident.slice or {}, step_for(since, until, now)
    checked = list(_checked(store, caller, incident, end, now)) if can_be_rolled(slice) else []
    by_metric = {each.metric: each for each in checked}
    judged = Judged.of_incident(incident)
    found: list[Shown] = []
    for metric, role in _wanted(incident, checked):
        if role == "symptom":
            drawn = course(store, caller, judged, since, until, now, step_s=step) or _kept(incident)
        else:
            drawn = series(store, caller, metric, slice, since, until, now, step_s=step, worse=_worse(metric))
        if drawn is None or not any(each is not None for each in drawn.values):
            continue
        known = by_metric.get(metric)
        symptom = role == "symptom"
        before = incident.expected if symptom else known.usual.middle if known and known.usual else None
        value = incident.observed if symptom else known.value if known else None
        found.append(Shown(metric=metric, series=drawn, role=role, before=before, now=value))
    own = {each.metric for each in found if each.role != "normal"} | {incident.metric_name}
    normal = tuple(each.name for each in checked if each.is_normal and each.metric not in own)
    return Evidence(shown=tuple(found), normal=normal, since=since, until=until)


def _wanted(incident: Incident, checked: list[_Checked]) -> Iterator[tuple[str, str]]:
    """The metric itself, what shows the best cause, and one that stayed normal."""
    yield incident.metric_name, "symptom"
    taken = {incident.metric_name}
    causes: Mapping[str, Any] = incident.causes or {}
    behind = [BEHIND.get(each["kind"], "") for each in causes.get("because") or ()]
    moved = [each["metric"] for each in causes.get("moved") or ()]
    for metric in (*behind, *moved):
        if metric and metric not in taken and source_of(metric) is not None:
            yield metric, "cause"
            taken.add(metric)
            break
    for each in checked:
        if each.is_normal and each.metric not in taken:
            yield each.metric, "normal"
            return


def _checked(store: Store, caller: Caller, incident: Incident, end: float, now: float) -> Iterator[_Checked]:
    begin = max(incident.started_at, end - MOST_S)
    sources = {metric: source for metric, _ in CHECKED if (source := source_of(metric)) is not None}
    needs = tuple(dict.fromkeys(name for each in sources.values() for name in each.needs))
    hours = Hours.read(store, caller, begin, end, now, where=where_of(incident.slice or {}), measures=needs)
    during = [row for row in hours.rows if begin // HOUR_S * HOUR_S <= row["bucket"] < end]
    for metric, name in CHECKED:
        source = sources.get(metric)
        if source is None:
            continue
        pairs = [source.amount(row) for row in during]
        above = sum(pair[0] for pair in pairs)
        below = 1.0 if source.kind == "sum" else sum(pair[1] for pair in pairs)
        # Whole hours are compared with whole hours, whatever part of them the incident took.
        first, last = begin // HOUR_S * HOUR_S, -(-end // HOUR_S) * HOUR_S
        hourly = hours.hourly(source.amount)
        usual = usual_over(hourly, first, min(last, now), kind=source.kind)
        seen = any(pair[1] > 0 for pair in hourly.values())
        if seen and (above or metric.endswith(("_rate", "_count"))):
            yield _Checked(metric=metric, name=name, value=above / below if below > 0 else None, usual=usual)


def _kept(incident: Incident) -> Series | None:
    """The course as it was kept with the explanation, for slices that rollups do not tell apart."""
    told: Mapping[str, Any] = (incident.causes or {}).get("course") or {}
    if not told.get("values"):
        return None
    measure = measure_of(incident.metric_name)
    volume = measure.family == "volume"
    known = not volume and incident.lower is not None and incident.upper is not None
    pair = (max(incident.lower or 0.0, 0.0), incident.upper or 0.0) if known else None
    return Series(
        label="",
        start=parse_time(told["start"]),
        step_s=told["step_s"],
        values=tuple(told["values"]),
        expected=tuple(pair for _ in told["values"]),
        unit=None if volume else measure.unit,
        worse=incident.direction,
    )


def _worse(metric: str) -> str:
    return "down" if metric in ("cache_hit_rate", "tokens_per_second") else "up"
