"""Summary records of batch runs: how long a run took, whether it failed, and what it counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracewatch.detectors.adaptive.runs import DURATION, Run
from tracewatch.metrics.base import is_word
from tracewatch.metrics.entries import objects
from tracewatch.metrics.found import number_of
from tracewatch.metrics.rows import Rows
from tracewatch.metrics.shares import Flags

MOST_COUNTS = 12  # numbers of a record that are judged
FAULTS = ("fail", "error", "skip", "reject", "invalid", "miss", "retr")
"""Counts whose names have one of these are bad news when they rise, and good when they fall."""
NEEDS = ("model_provider", "model_name", "usage_type", "operation_type", "duration_ms", "start_time", "status",
         "metadata", "trace_id")  # fmt: skip


def summaries(rows: Rows) -> Flags:
    """Which rows are summaries of batch runs."""
    if not {"system", "batch"} <= {*rows.codes("model_provider")[1], *rows.codes("model_name")[1]}:
        return np.zeros(len(rows), bool)
    both: Flags = is_word(rows, "model_provider", "system") * is_word(rows, "model_name", "batch") > 0
    return both


def runs(rows: Rows, trace_ids: NDArray[Any]) -> Iterator[Run]:
    """The runs that these rows sum up."""
    at = np.flatnonzero(summaries(rows))
    if not len(at):
        return
    texts = {name: rows.texts(name, at) for name in ("usage_type", "operation_type", "status", "metadata")}
    counts = list(objects([text or "{}" for text in texts["metadata"]]))
    for place, row in enumerate(at.tolist()):
        usage, operation = texts["usage_type"][place], texts["operation_type"][place]
        took, start = rows.numbers("duration_ms")[row], float(rows.numbers("start_time")[row])
        numbers = {DURATION: float(took)} if np.isfinite(took) and took >= 0 else {}
        for name, value in list(counts[place].items())[:MOST_COUNTS]:
            number = number_of(value)
            if number is not None and not isinstance(value, bool):
                numbers[f"metadata.{name}"] = number
        yield Run(
            job={"usage_type": usage} if usage else {"operation_type": operation or "batch"},
            end=start + numbers.get(DURATION, 0.0) / 1000,
            failed=texts["status"][place] in ("error", "timeout"),
            numbers=numbers,
            bad={name: "up" for name in numbers if name == DURATION or any(word in name for word in FAULTS)},
            trace_id=trace_ids[row],
        )
