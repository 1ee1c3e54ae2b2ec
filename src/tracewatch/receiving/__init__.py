"""From the body of an OTLP request to rows that are ready to be stored."""

from tracewatch.receiving.decoding import Decoded, Decoder, Request
from tracewatch.receiving.reading import Reading, Ready
from tracewatch.receiving.workers import Work, Workers, keep_what_is_there

__all__ = ["Decoded", "Decoder", "Reading", "Ready", "Request", "Work", "Workers", "keep_what_is_there"]
