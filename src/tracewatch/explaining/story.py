"""What is to be explained, and what an explanation is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tracewatch.records import Anomaly, Incident

Sliced = Mapping[str, Any]
"""Some calls, by their columns; all calls when empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One movement of one metric in one slice, as a detector tells it. Times are UTC epoch seconds."""

    metric: str
    direction: str
    """"up" or "down", of the metric as people read it."""
    kind: str
    """One of records.KINDS."""
    slice: Sliced
    since: float
    until: float | None = None
    """When it ended; None while it lasts."""
    observed: float | None = None
    """What came, in the unit of the metric."""
    expected: float | None = None
    lower: float | None = None
    """The range in which nobody would have been told."""
    upper: float | None = None
    members: tuple[tuple[str, Sliced], ...] = ()
    """Metric and slice of every other finding of the same incident."""
    detected_at: float | None = None
    confidence: float | None = None
    """How sure it is that this is real, 0 to 1."""
    trace_ids: tuple[str, ...] = ()
    """Of single calls that stand out."""
    incident_id: str | None = None
    """Its own incident, which is no reason to leave days out of what is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that explains a story: how much of it, in words, and the names that an action needs."""

    kind: str
    """Which row of ACTIONS it leads to."""
    weight: float
    """How good an explanation it is, 0 to 1; the best is told first."""
    text: str
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why something happened, what it cost, and what to do about it."""

    description: str
    """What, how much, since when, where, and how sure, in one or two sentences."""
    factors: tuple[str, ...] = ()
    """What led to it, the best explanation first."""
    actions: tuple[str, ...] = ()
    causes: Mapping[str, Any] = field(default_factory=dict)
    """Everything behind it, ready for JSON: see docs/explain.md."""
    cost_effect_usd: float | None = None
    """Money beyond the usual so far; None where no effect can be told."""
    time_effect_s: float | None = None
    """Seconds of waiting added so far, over all calls; None where no effect can be told."""
    calls: int = 0
    """Calls it touched."""
    users: int = 0
    """Users it touched, as far as calls name them."""
    trace_ids: tuple[str, ...] = ()
    """Traces that show it best, the clearest first."""


def with_why(incident: Incident, why: Explanation) -> Incident:
    """The incident with why it came, what it cost and what to do."""
    return replace(
        incident,
        calls=why.calls,
        cost_effect_usd=why.cost_effect_usd,
        time_effect_s=why.time_effect_s,
        causes=why.causes,
        contributing_factors=why.factors,
        recommended_actions=why.actions,
        trace_ids=why.trace_ids or incident.trace_ids,
    )


def story_of(found: Anomaly | Incident) -> Story:
    """The story of a finding or an incident that was kept."""
    if isinstance(found, Incident):
        return Story(
            metric=found.metric_name,
            direction=found.direction,
            kind=found.kind,
            slice=found.slice or {},
            since=found.started_at,
            until=found.closed_at,
            observed=found.observed,
            expected=found.expected,
            lower=found.lower,
            upper=found.upper,
            detected_at=found.detected_at,
            confidence=found.confidence_score,
            trace_ids=found.trace_ids,
            incident_id=found.id,
        )
    ends = found.statistics.get("expectedRange") or {}
    return Story(
        metric=found.metric_name,
        direction=found.direction or ("up" if found.detected_value >= found.expected_value else "down"),
        kind=found.kind or "point",
        slice=found.slice or {},
        since=found.occurred_at,
        until=found.ended_at,
        observed=found.detected_value,
        expected=found.expected_value,
        lower=ends.get("lower"),
        upper=ends.get("upper"),
        detected_at=found.detected_at,
        confidence=found.confidence_score,
        trace_ids=found.trace_ids or ((found.trace_id,) if found.trace_id else ()),
        incident_id=found.incident_id,
    )
