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
from tracewatch.records.detection import RESOLUTIONS, SEVERITIES, Anomaly
from tracewatch.records.pricing import PriceOverride
from tracewatch.records.span import COST_STATUSES, MESSAGES_SOURCE, STATUSES, Span

RECORDS: tuple[type[Record], ...] = (Span, Anomaly, PriceOverride)

__all__ = [
    "COST_STATUSES",
    "MESSAGES_SOURCE",
    "RECORDS",
    "RESOLUTIONS",
    "SEVERITIES",
    "STATUSES",
    "Anomaly",
    "Column",
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
]
