"""A second report of a call that is stored already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Record, Time, column

MATCHES = (
    "response_id",  # both carry the provider's id of the answer
    "time_and_tokens",  # at the same time, of the same model, with the same tokens or the same end
    "stream",  # the record that an instrumentation writes at the end of a stream, beside that of the request
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Record):
    """The span of another instrumentation about a call that is a Span already; what it adds is merged into that.

    It lies in a table of its own, so that nothing that counts calls, tokens or money can count it.
    """

    table: ClassVar[str] = "llm_trace_duplicates"
    noun: ClassVar[str] = "duplicate"
    newest_by: ClassVar[str] = "start_time"

    start_time: Time = column("When the call began, as this report has it.", label="Time")
    duration_ms: float | None = column(
        "How long it took, as this report has it.", default=None, label="Duration", unit="ms"
    )
    input_tokens: int | None = column("Input tokens, as this report has them.", default=None, unit="tokens")
    output_tokens: int | None = column("Output tokens, as this report has them.", default=None, unit="tokens")
    status: str = column("How it ended, as this report has it.", default="ok")
    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    trace_id: str = column("The trace the report came in.", key=True, label="Trace")
    span_id: str = column("Its span in that trace.", key=True, label="Span")
    parent_span_id: str | None = column("The span that caused it.", default=None, label="Parent span")
    kept_trace_id: str = column("The trace of the span that is counted.", label="Kept trace")
    kept_span_id: str = column("The span that is counted.", label="Kept span")
    matched_by: str = column("How they were found to be one call.", choices=MATCHES, label="Matched by")
    span_name: str | None = column("What the report calls it.", default=None, label="Name")
    model_name: str | None = column("The model, as this report names it.", default=None, label="Model")
    response_id: str | None = column("The provider's id of the answer.", default=None, label="Response id")
    instrumentation: str | None = column("The library that reported it.", default=None)
    convention: str | None = column("The convention it was read by.", default=None)
