"""Spans in OTLP, the wire format of OpenTelemetry: written for a server, and read from any instrumentation."""

from tracewatch.otlp.decoding import decode
from tracewatch.otlp.encoding import encode
from tracewatch.otlp.received import Received

__all__ = ["Received", "decode", "encode"]
