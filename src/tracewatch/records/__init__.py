"""What tracewatch keeps: frozen dataclasses whose columns describe themselves (standard library only)."""

from tracewatch.records.access import RIGHTS, ApiKey, Project
from tracewatch.records.alerting import (
    DELIVERY_STATES,
    EVENTS,
    VERDICTS,
    AlertChannel,
    AlertRule,
    Delivery,
    Verdict,
)
from tracewatch.records.base import (
    Column,
    Json,
    Record,
    Texts,
    Time,
    as_dict,
    column,
    column_of,
    columns,
    iso,
    json_schema,
    key_of,
)
from tracewatch.records.deed import REASONS, VERBS, Deed
from tracewatch.records.detection import (
    CHECKED,
    DIRECTIONS,
    KINDS,
    RESOLUTIONS,
    SEVERITIES,
    STATES,
    Anomaly,
    Baseline,
    Incident,
)
from tracewatch.records.duplicate import MATCHES, Duplicate
from tracewatch.records.lesson import TEACHINGS, Lesson
from tracewatch.records.pricing import PriceOverride
from tracewatch.records.span import (
    ANSWERED,
    CONTENT_ENTRIES,
    COST_STATUSES,
    MESSAGES_SOURCE,
    SCORE,
    STATUSES,
    STEPS,
    Span,
    operation_of,
)
from tracewatch.records.watching import Headway, Intake, Lease

RECORDS: tuple[type[Record], ...] = (
    *(Span, Duplicate, Anomaly, Incident, Baseline),
    *(PriceOverride, Project, ApiKey, Deed, Lesson, Lease, Headway, Intake),
    *(AlertRule, AlertChannel, Delivery, Verdict),
)

__all__ = [
    "ANSWERED",
    "CHECKED",
    "CONTENT_ENTRIES",
    "COST_STATUSES",
    "DELIVERY_STATES",
    "DIRECTIONS",
    "EVENTS",
    "KINDS",
    "MATCHES",
    "MESSAGES_SOURCE",
    "REASONS",
    "RECORDS",
    "RESOLUTIONS",
    "RIGHTS",
    "SCORE",
    "SEVERITIES",
    "STATES",
    "STATUSES",
    "STEPS",
    "TEACHINGS",
    "VERBS",
    "VERDICTS",
    "AlertChannel",
    "AlertRule",
    "Anomaly",
    "ApiKey",
    "Baseline",
    "Column",
    "Deed",
    "Delivery",
    "Duplicate",
    "Headway",
    "Incident",
    "Intake",
    "Json",
    "Lease",
    "Lesson",
    "PriceOverride",
    "Project",
    "Record",
    "Span",
    "Texts",
    "Time",
    "Verdict",
    "as_dict",
    "column",
    "column_of",
    "columns",
    "iso",
    "json_schema",
    "key_of",
    "operation_of",
]
