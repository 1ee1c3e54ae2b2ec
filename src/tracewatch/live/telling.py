"""From what the engine says to the records that are kept, in plain words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tracewatch.detectors.adaptive import Alert
from tracewatch.detectors.adaptive.confidence import confidence
from tracewatch.explaining.measures import measure_of
from tracewatch.explaining.story import Story
from tracewatch.explaining.telling import describe
from tracewatch.incidents import Change, identity
from tracewatch.judge import KNOWN_DAYS
from tracewatch.kinship import began
from tracewatch.live.baselines import DETECTOR
from tracewatch.metrics import TYPES
from tracewatch.records import SEVERITIES, Anomaly, Incident
from tracewatch.severity import severity_of

_TYPE_OF = {metric.name: metric.key for metric in TYPES}


def note_of(project: str, note: Alert, known_days: int) -> Anomaly:
    """The finding that is kept for a note: of no incident, and never bad."""
    return replace(anomaly_of(project, note, None, known_days), severity=SEVERITIES[0])


def anomaly_of(project: str, alert: Alert, incident_id: str | None, known_days: int) -> Anomaly:
    """The finding that is kept for an alert whose calls were known for so many days."""
    sure = confidence(alert)
    first = alert.trace_ids[0] if alert.trace_ids else None
    return Anomaly(
        project=project,
        id=identity(project, alert),
        user_id=_text(alert.slice.get("user_id")),
        anomaly_type=_TYPE_OF.get(alert.metric, alert.metric),
        severity=severity_of(alert),
        confidence_score=sure,
        metric_name=alert.metric,
        model_id=_text(alert.slice.get("model_name")),
        detected_value=alert.observed,
        expected_value=alert.expected,
        threshold_value=alert.upper if alert.direction == "up" else alert.lower,
        deviation_percentage=_deviation(alert.observed, alert.expected),
        statistics=_statistics(alert, sure, first, known_days),
        description=sentence(alert, sure),
        detected_at=alert.detected_at,
        occurred_at=began(alert),
        trace_id=first,
        detector=DETECTOR,
        incident_id=incident_id,
        kind=alert.kind,
        direction=alert.direction,
        slice=dict(alert.slice),
        trace_ids=alert.trace_ids,
    )


def incident_of(project: str, change: Change) -> Incident:
    """The incident that is kept, as it stands after a change."""
    root, seen, sure = change.root, change.figures, confidence(change.root)
    closed = change.closed if change.state == "closed" else None
    return Incident(
        project=project,
        id=change.id,
        state=change.state,
        severity=change.severity,
        title=sentence(replace(seen, kind=root.kind, slice=root.slice), sure, change.since, closed),
        root_id=identity(project, root),
        metric_name=root.metric,
        kind=root.kind,
        direction=root.direction,
        slice=dict(root.slice),
        confidence_score=sure,
        started_at=change.since,
        detected_at=change.detected,
        updated_at=change.at,
        recovering_at=change.recovering,
        closed_at=closed,
        reopened=change.reopened,
        findings=change.findings,
        observed=seen.observed,
        expected=seen.expected,
        lower=seen.lower,
        upper=seen.upper,
        trace_ids=root.trace_ids,
        detector=DETECTOR,
    )


def sentence(alert: Alert, confidence: float, since: float | None = None, until: float | None = None) -> str:
    """An alert in one sentence: what came, where, what is usual, and how sure it is.

    `since` is when it began where that is not when the alert says, `until` when it was over (epoch seconds).
    """
    story = Story(
        metric=alert.metric,
        direction=alert.direction,
        kind=alert.kind,
        slice=alert.slice,
        since=began(alert) if since is None else since,
        until=until if until is not None and until > began(alert) else None,
        observed=alert.observed,
        expected=alert.expected,
        lower=alert.lower,
        upper=alert.upper,
        confidence=confidence,
    )
    return describe(story, measure_of(alert.metric), ())


def _statistics(alert: Alert, sure: float, trace_id: str | None, known_days: int) -> dict[str, Any]:
    return {
        "expectedRange": {"lower": alert.lower, "upper": alert.upper},
        "confidence": sure,
        "trace_id": trace_id,
        "operation_type": alert.slice.get("operation_type"),
        "unit": measure_of(alert.metric).unit,
        "n": alert.n,
        "deviations": alert.severity,
        "learning": {"days": known_days, "of": KNOWN_DAYS},
    }


def _deviation(observed: float, expected: float) -> float:
    """How far it is from what was expected, in percent; of nothing, the whole."""
    return (observed - expected) / abs(expected) * 100 if expected else 100.0 * (observed > 0)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
