"""Bodies to decode: the captured ones, and small ones made for a test."""

import functools
import io
import json
import lzma
import tarfile
from pathlib import Path

from tracewatch.otlp import decode

DATA = Path(__file__).parent / "data"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
START_NS = 1_795_311_972_000_000_000


@functools.cache
def captures():
    """`instrumentation/scenario` -> protobuf body."""
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress((DATA / "captures.tar.xz").read_bytes()))) as tar:
        return {each.name.removesuffix(".pb"): tar.extractfile(each).read() for each in tar}


@functools.cache
def captured(name):
    """All spans of a capture, the recording harness's own left out."""
    received = decode(captures()[name], json=False)
    assert received.reasons == {}
    return tuple(each for each in received.spans if each.instrumentation != "opentelemetry.instrumentation.urllib")


def call_of(name, scope=None):
    """The one call of a model in a capture."""
    calls = [
        each
        for each in captured(name)
        if each.operation_type in ("chat", "completion", "embedding")
        and (scope is None or scope in each.instrumentation)
    ]
    assert len(calls) == 1, [each.span_name for each in calls]
    return calls[0]


def a_value(value):
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [a_value(each) for each in value]}}
    return {"stringValue": value}


def attributes(given):
    return [{"key": key, "value": a_value(value)} for key, value in given.items()]


def a_span(
    span_id="00f067aa0ba902b7", *, trace_id="4bf92f3577b34da6a3ce929d0e0e4736", ms=100.0, at=0.0, events=(), **given
):
    """One OTLP/JSON span; `at` and `ms` are when it begins and how long it takes; attributes go by `sets={}`."""
    start = START_NS + int(at * 1e6)
    span = {
        "traceId": trace_id,
        "spanId": span_id,
        "name": given.pop("name", "call"),
        "kind": given.pop("kind", 3),
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + int(ms * 1e6)),
        "attributes": attributes(given.pop("sets", {})),
        "status": given.pop("status", {}),
        "events": [
            {"name": name, "timeUnixNano": str(start + int(after * 1e6)), "attributes": attributes(sets)}
            for name, after, sets in events
        ],
    }
    return span | {key: value for key, value in given.items() if value is not None}


def a_body(*spans, scope="", version="", resource=None):
    scope_spans = [{"scope": {"name": scope, "version": version}, "spans": list(spans)}]
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource or {})}, "scopeSpans": scope_spans}]}


def read(*spans, scope="", version="", resource=None, **how):
    """The spans that these become."""
    received = decode(
        json.dumps(a_body(*spans, scope=scope, version=version, resource=resource)).encode(), json=True, **how
    )
    assert received.reasons == {}
    return received.spans


def read_one(sets, *, scope="", version="", **span):
    """The span that one with these attributes becomes."""
    (found,) = read(a_span(sets=sets, **span), scope=scope, version=version)
    return found


CHAT_NAMES = (
    *("metadata", "tag.tags", "mlflow.chat.tokenUsage", "gen_ai.usage.raw", "langfuse.observation.usage_details"),
    *("output.value", "llm.invocation_parameters", "logfire.span_type", "duration", "http.status_code", "stream"),
    *("langfuse.observation.completion_start_time", "retrieval.documents.0.document.score", "exception.type"),
    *("langfuse.observation.cost_details", "mlflow.spanOutputs", "litellm.model_group", "db.system"),
)
"""Attributes that are read in a way of their own."""
