"""The row that tells of rows that were dropped, so that the store shows what it does not have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tracewatch.capture.tracing import new_span_id, new_trace_id

OPERATION = "capture"
FLAG = "rows_dropped"
"""The warning on the row that tells of rows that were dropped."""


def loss_of(losses: Mapping[str, int]) -> dict[str, Any]:
    """The fields of the row for these losses: how many rows by reason."""
    total = sum(losses.values())
    moment = time.time()
    return {
        "trace_id": new_trace_id(),
        "span_id": new_span_id(),
        "span_name": "rows dropped",
        "operation_type": OPERATION,
        "model_provider": "system",
        "model_name": OPERATION,
        "start_time": moment,
        "end_time": moment,
        "status": "error",
        "error_type": "RowsDropped",
        "error_category": FLAG,
        "error_message": told(losses),
        "warning_flags": (FLAG,),
        "metadata": {"rows_dropped": total, "reasons": dict(losses)},
    }


def told(losses: Mapping[str, int]) -> str:
    """These losses in a sentence."""
    reasons = ", ".join(f"{rows:,} because {reason}" for reason, rows in losses.items())
    return f"{sum(losses.values()):,} rows were dropped: {reasons}"
