"""Spans in OTLP, the wire format of OpenTelemetry: written for a server, and read from any instrumentation."""

from tracewatch.otlp.decoding import decode
from tracewatch.otlp.encoding import encode
from tracewatch.otlp.received import Received
from tracewatch.otlp.recent import Merged, RecentCalls

__all__ = ["Merged", "Received", "RecentCalls", "decode", "encode"]
