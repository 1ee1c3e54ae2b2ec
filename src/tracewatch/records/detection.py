"""What detection keeps: anomalies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Json, Record, Texts, Time, column

SEVERITIES = ("low", "medium", "high", "critical")
RESOLUTIONS = ("pending", "acknowledged", "resolved", "dismissed")


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
