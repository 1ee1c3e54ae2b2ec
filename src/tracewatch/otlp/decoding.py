"""OTLP bodies into spans: protobuf and JSON, spans of our own and of every instrumentation we know."""

from __future__ import annotations

from collections import Counter

from tracewatch.otlp import own
from tracewatch.otlp.reading import Program, program_of, read_values
from tracewatch.otlp.received import Received, ReceivedRows, Row
from tracewatch.otlp.timing import LATEST_NS
from tracewatch.otlp.wire import Unreadable, WireSpan, read_json
from tracewatch.records import Span
from tracewatch.records.bounds import bound, without_content


def decode(body: bytes, *, json: bool, content: bool = False, project: str | None = None) -> Received:
    """The spans of an OTLP request body (not compressed), protobuf or JSON.

    `project` is the one they all belong to; without it each program says so (`tracewatch.project`), or it is "default".
    Text of prompts and answers is dropped unless `content`. A span that cannot be kept is counted in `reasons`, and
    never stops the others. Raises BadOtlp for a body that is no OTLP, and MissingExtra without opentelemetry-proto.
    """
    received = decode_rows(body, json=json, content=content, project=project)
    return Received(spans=tuple(Span(**each) for each in received.rows), reasons=received.reasons)


def decode_rows(body: bytes, *, json: bool, content: bool = False, project: str | None = None) -> ReceivedRows:
    """Like `decode`, but the spans as rows."""
    if json:
        groups = read_json(body)
    else:
        from tracewatch.otlp.protobuf import read_protobuf

        groups = read_protobuf(body)
    reasons: Counter[str] = Counter()
    rows: list[Row] = []
    for group in groups:
        program = program_of(group.scope, project)
        for each in group.spans:
            refused = refused_why(each)
            if refused or isinstance(each, Unreadable):
                reasons[refused] += 1
                continue
            row = row_of(each, program, content=content)
            if row is not None:
                rows.append(row)
    return ReceivedRows(rows=rows, reasons=dict(reasons))


def row_of(span: WireSpan, program: Program, *, content: bool) -> Row | None:
    """The columns that a span fills; None for a placeholder of one that is still to come."""
    if program.scope == own.SCOPE:
        return _own_values(span, program, content)
    return read_values(span, program, content=content)


def refused_why(span: WireSpan | Unreadable) -> str:
    """Why a span cannot be kept; empty if it can."""
    if isinstance(span, Unreadable):
        return span.why
    if not span.trace_id:
        return "the trace id is not 16 bytes (32 hex digits) that are not all zero"
    if not span.span_id:
        return "the span id is not 8 bytes (16 hex digits) that are not all zero"
    if not 0 < span.start_ns < LATEST_NS:
        return "the start time is missing, or no time"
    return ""


def _own_values(span: WireSpan, program: Program, content: bool) -> Row:
    """A span of our own scope, its columns as they were sent."""
    values: Row = {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id or None,
        "span_name": span.name or None,
        "start_time": own.seconds(span.start_ns),
        "end_time": own.seconds(span.end_ns) if 0 < span.end_ns < LATEST_NS else None,
        "error_message": span.message or None,
    }
    for name, value in span.attributes.items():
        column = own.COLUMN_OF.get(name)
        if column is not None:
            read = own.READER_OF[column](value)
            if read is not None or column == "span_name":
                values[column] = read
    values |= {name: text for name, text in program.columns.items() if name in own.RESOURCE}
    if not content:
        values.pop("reasoning", None)
        metadata = values.get("metadata")
        if isinstance(metadata, dict):
            values["metadata"] = without_content(metadata)[0] or None
    bound(values)
    return {name: value for name, value in values.items() if value is not None}
