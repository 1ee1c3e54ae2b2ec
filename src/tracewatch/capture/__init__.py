"""The guest in the user's program: what makes spans of its calls and brings them to a store (standard library only)."""

from tracewatch.capture.attempts import Attempt, attempts, fallback
from tracewatch.capture.batches import BatchRun, batch
from tracewatch.capture.carrying import carry, in_context, resume, traceparent
from tracewatch.capture.configuring import init
from tracewatch.capture.instrumenting import instrument, uninstrument, wrap
from tracewatch.capture.observing import observe
from tracewatch.capture.recording import log_usage, rag, record, retrieval, score
from tracewatch.capture.sending import flush, shutdown
from tracewatch.capture.tracing import LiveSpan, current, span, start, trace, use

__all__ = [
    "Attempt",
    "BatchRun",
    "LiveSpan",
    "attempts",
    "batch",
    "carry",
    "current",
    "fallback",
    "flush",
    "in_context",
    "init",
    "instrument",
    "log_usage",
    "observe",
    "rag",
    "record",
    "resume",
    "retrieval",
    "score",
    "shutdown",
    "span",
    "start",
    "trace",
    "traceparent",
    "uninstrument",
    "use",
    "wrap",
]
