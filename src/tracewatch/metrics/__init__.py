"""What is measured: the rows, the ten types of the first form, and (in `table`) METRICS, everything that is watched."""

from tracewatch.metrics.rows import Rows, read, table_of
from tracewatch.metrics.types import (
    LATENCY,
    MESSAGES_TYPES,
    TYPE_OF,
    TYPES,
    AnomalyType,
    Unit,
    columns_of,
    histogram,
    measure,
    used,
)

__all__ = [
    "LATENCY",
    "MESSAGES_TYPES",
    "TYPES",
    "TYPE_OF",
    "AnomalyType",
    "Rows",
    "Unit",
    "columns_of",
    "histogram",
    "measure",
    "read",
    "table_of",
    "used",
]
