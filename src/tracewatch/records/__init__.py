"""What tracewatch keeps: frozen dataclasses whose columns describe themselves (standard library only)."""

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
from tracewatch.records.detection import DIRECTIONS, KINDS, RESOLUTIONS, SEVERITIES, STATES, Anomaly, Baseline, Incident
from tracewatch.records.pricing import PriceOverride
from tracewatch.records.span import COST_STATUSES, MESSAGES_SOURCE, SCORE, STATUSES, Span, operation_of

RECORDS: tuple[type[Record], ...] = (Span, Anomaly, Incident, Baseline, PriceOverride)

__all__ = [
    "COST_STATUSES",
    "DIRECTIONS",
    "KINDS",
    "MESSAGES_SOURCE",
    "RECORDS",
    "RESOLUTIONS",
    "SCORE",
    "SEVERITIES",
    "STATES",
    "STATUSES",
    "Anomaly",
    "Baseline",
    "Column",
    "Incident",
    "Json",
    "PriceOverride",
    "Record",
    "Span",
    "Texts",
    "Time",
    "as_dict",
    "column",
    "column_of",
    "columns",
    "iso",
    "json_schema",
    "key_of",
    "operation_of",
]
