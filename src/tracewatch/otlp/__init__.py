"""Spans in OTLP, the wire format of OpenTelemetry: written for a server, and read from any instrumentation."""

from tracewatch.otlp.decoding import decode, decode_rows
from tracewatch.otlp.encoding import encode
from tracewatch.otlp.received import Received, ReceivedRows, Row
from tracewatch.otlp.recent import Merged, MergedRows, RecentCalls

__all__ = [
    "Merged",
    "MergedRows",
    "Received",
    "ReceivedRows",
    "RecentCalls",
    "Row",
    "decode",
    "decode_rows",
    "encode",
]
