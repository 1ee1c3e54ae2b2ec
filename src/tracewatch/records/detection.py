"""What detection keeps: anomalies, the incidents they are symptoms of, and the baseline they are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Json, Record, Texts, Time, column

SEVERITIES = ("low", "medium", "high", "critical")
RESOLUTIONS = ("pending", "acknowledged", "resolved", "dismissed")
KINDS = ("spike", "drop", "level_shift", "ramp", "drift", "rate", "silence", "surge", "first_seen", "point")
DIRECTIONS = ("up", "down")
STATES = ("open", "growing", "recovering", "closed")
CHECKED = ("self", "rules")
"""Detectors that check fixed limits: the titles of their incidents say what is wrong, and no range of what is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly(Record):
    """One finding: what came, what was expected, how bad it is and what to do."""

    table: ClassVar[str] = "anomaly_detections"
    noun: ClassVar[str] = "anomaly"
    newest_by: ClassVar[str] = "occurred_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    id: str = column("Made from what was found, so finding it twice gives the same id.", key=True)
    user_id: str | None = column("The account whose call it is.", default=None, label="User", sliced=True)
    anomaly_type: str = column("The type, such as duration, cache_miss or cost_spike.", label="Type", sliced=True)
    severity: str = column("How bad it is.", choices=SEVERITIES, sliced=True)
    confidence_score: float = column("How sure it is, 0 to 1.", label="Confidence")
    metric_name: str = column("The metric that is abnormal.", label="Metric", sliced=True)
    model_id: str | None = column("The model of the call.", default=None, label="Model", sliced=True)
    detected_value: float = column("The value that came.", label="Value")
    expected_value: float = column("The value that was expected.", label="Expected")
    threshold_value: float = column("The value beyond which it counts as abnormal.", label="Threshold")
    deviation_percentage: float = column("How far the value is from the expected one.", label="Deviation", unit="%")
    statistics: Json = column("Expected range, confidence, trace id, operation type and what else backs it up.")
    description: str = column("The finding in one sentence.")
    contributing_factors: Texts = column("What may have led to it.", default=(), label="Factors")
    recommended_actions: Texts = column("What to do next.", default=(), label="Actions")
    resolution_status: str = column(
        "What people did about it.", default="pending", label="Resolution", choices=RESOLUTIONS, sliced=True
    )
    acknowledged: bool = column("Whether somebody has taken note.", default=False)
    detected_at: Time = column("When it was found.", label="Detected")
    occurred_at: Time = column("When the abnormal call, or the abnormal period, began.", label="Since")
    trace_id: str | None = column("The trace to open.", default=None, label="Trace")
    span_id: str | None = column("The span in that trace.", default=None, label="Span")
    detector: str = column("Which detector found it.", sliced=True)
    source: str = column("Which rows it was found in: traces or messages.", default="traces", sliced=True)
    snoozed_until: Time | None = column("Until when nobody wants to hear of it.", default=None, label="Snoozed until")
    incident_id: str | None = column("The incident it belongs to.", default=None, label="Incident", sliced=True)
    kind: str | None = column("What sort of movement it is.", default=None, choices=KINDS, sliced=True)
    direction: str | None = column("Which way the metric moved.", default=None, choices=DIRECTIONS)
    slice: Json | None = column("The calls it is about, by their columns; all calls when empty.", default=None)
    ended_at: Time | None = column("When the abnormal period ended; empty while it lasts.", default=None, label="Until")
    trace_ids: Texts = column("Traces that show it best, the clearest first.", default=(), label="Examples")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(Record):
    """Everything abnormal that has one cause: its root finding in front, the symptoms folded under it."""

    # Not just "incidents": the file may be an app's own database, and have a table of that name.
    table: ClassVar[str] = "tracewatch_incidents"
    noun: ClassVar[str] = "incident"
    newest_by: ClassVar[str] = "started_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    id: str = column("Made from its first finding, so finding it twice gives the same one.", key=True)
    state: str = column("Where it stands.", default="open", choices=STATES, sliced=True)
    severity: str = column("How bad it has been at its worst.", choices=SEVERITIES, sliced=True)
    title: str = column("What happened, in one sentence.")
    root_id: str = column("The finding that stands for the incident.", label="Root finding")
    metric_name: str = column("The metric of the root finding.", label="Metric", sliced=True)
    kind: str = column("What sort of movement the root finding is.", choices=KINDS, sliced=True)
    direction: str = column("Which way the metric moved.", choices=DIRECTIONS)
    slice: Json | None = column("The calls it is about, by their columns; all calls when empty.", default=None)
    confidence_score: float = column("How sure it is that this is real, 0 to 1.", label="Confidence")
    started_at: Time = column("When it began, as far as can be told.", label="Since")
    detected_at: Time = column("When it was first known.", label="Detected")
    updated_at: Time = column("When anything about it last changed.", label="Updated")
    recovering_at: Time | None = column("When it began to look healed.", default=None, label="Recovering since")
    closed_at: Time | None = column("When it was over; empty while it lasts.", default=None, label="Closed")
    reopened: int = column("How often it came back after it was closed.", default=0)
    findings: int = column("How many findings are folded under it, the root included.", default=1)
    observed: float | None = column("What came, in the unit of the metric.", default=None)
    expected: float | None = column("What was to be expected.", default=None)
    lower: float | None = column("Lower end of the expected range.", default=None)
    upper: float | None = column("Upper end of the expected range.", default=None)
    calls: int | None = column("Calls it touched so far.", default=None)
    cost_effect_usd: float | None = column("Money it cost beyond the usual so far.", default=None, unit="USD")
    time_effect_s: float | None = column("Waiting it added beyond the usual so far.", default=None, unit="s")
    causes: Json | None = column("What explains it: slices, bridges, spans and changes, with shares.", default=None)
    contributing_factors: Texts = column("What led to it, in words.", default=(), label="Factors")
    recommended_actions: Texts = column("What to do next.", default=(), label="Actions")
    trace_ids: Texts = column("Traces that show it best, the clearest first.", default=(), label="Examples")
    detector: str = column("Which detector found it.", default="adaptive", sliced=True)
    resolution_status: str = column(
        "What people did about it.", default="pending", label="Resolution", choices=RESOLUTIONS, sliced=True
    )
    acknowledged: bool = column("Whether somebody has taken note.", default=False)
    snoozed_until: Time | None = column("Until when nobody wants to hear of it.", default=None, label="Snoozed until")
    snoozed_beyond: float | None = column(
        "How far from the expected value it may get before it is told again.",
        default=None,
        label="Snoozed until",
    )
    regressed_at: Time | None = column(
        "When it came back, or got worse, after people had settled it.", default=None, label="Regressed"
    )
    rule: str | None = column("The alert rule whose condition found it; empty where a detector did.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline(Record):
    """What a detector has learned of a project so far, so that it goes on where it stopped: a part of its state."""

    # Not just "baselines", as above.
    table: ClassVar[str] = "tracewatch_baselines"
    noun: ClassVar[str] = "baseline"
    newest_by: ClassVar[str] = "updated_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    detector: str = column("Which detector learned it.", key=True)
    part: int = column("Which part of the state this is, from 0.", key=True)
    parts: int = column("In how many parts the state is kept.")
    revision: int = column("How often it had been saved; who saves says which one it goes on from.")
    version: str = column("The form of the state: it is read by the very code that wrote it, or learned again.")
    checksum: str = column("BLAKE2b of the whole state, in hexadecimal digits.")
    size: int = column("Bytes of the whole state before it was compressed.", unit="bytes")
    updated_at: Time = column("When it was saved.", label="Updated")
    learned_rows: int = column("How many calls it has learned from.", label="Calls")
    learned_until: Time | None = column("Up to which moment it has judged calls.", default=None, label="Until")
    cursor: str = column("Up to where it has read the rows of the store, in the order they were written.")
    state: bytes = column("The state, compressed: this part of it.", unit="bytes")
