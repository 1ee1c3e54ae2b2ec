"""Spans into OTLP/JSON, so that every column arrives as it was: what the guest sends to a server."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tracewatch.otlp.own import IN_THE_SPAN, NAMES, PREFIX, RESOURCE, SCOPE, hex_id, nanoseconds
from tracewatch.records import Span, column_of

_CODES = {"ok": 1, "error": 2, "timeout": 2, "fallback": 1}
_CLIENT, _INTERNAL = 3, 1
_TTFT = "gen_ai.response.time_to_first_chunk"


def encode(spans: Iterable[Span]) -> bytes:
    """An OTLP/JSON request with these spans; `decode` gives the same spans back.

    An id that is not hex of the right length is sent as one derived from it, and itself in an attribute.
    """
    programs: dict[tuple[str | None, ...], list[dict[str, Any]]] = {}
    for span in spans:
        program = tuple([getattr(span, name) for name in RESOURCE])
        programs.setdefault(program, []).append(_span(span))
    request = {"resourceSpans": [_resource_spans(program, found) for program, found in programs.items()]}
    return json.dumps(request, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def _resource_spans(program: tuple[str | None, ...], spans: list[dict[str, Any]]) -> dict[str, Any]:
    named = zip(RESOURCE.values(), program, strict=True)
    attributes = [_attribute(name, _text(value)) for name, value in named if value is not None]
    return {"resource": {"attributes": attributes}, "scopeSpans": [{"scope": {"name": SCOPE}, "spans": spans}]}


def _span(span: Span) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "traceId": hex_id(span.trace_id, 16),
        "spanId": hex_id(span.span_id, 8),
        "name": span.span_name or span.operation_type or "",
        "kind": _CLIENT if span.model_name else _INTERNAL,
        "startTimeUnixNano": str(nanoseconds(span.start_time)),
        "attributes": _attributes(span),
        "status": {"code": _CODES.get(span.status, 0)},
    }
    if span.parent_span_id:
        encoded["parentSpanId"] = hex_id(span.parent_span_id, 8)
    if span.end_time is not None:
        encoded["endTimeUnixNano"] = str(nanoseconds(span.end_time))
    if span.error_message:
        encoded["status"]["message"] = span.error_message
    return encoded


def _attributes(span: Span) -> list[dict[str, Any]]:
    found = []
    for column, name, write in _WRITERS:
        value = getattr(span, column)
        if value is not None:
            written = write(value)
            if written is not None:
                found.append({"key": name, "value": written})
    if span.ttft_ms is not None and (written := _real(span.ttft_ms / 1e3)):
        found.append({"key": _TTFT, "value": written})
    for column, size in (("trace_id", 16), ("span_id", 8), ("parent_span_id", 8)):
        text = getattr(span, column)
        if text and hex_id(text, size) != text:
            found.append(_attribute(PREFIX + column, _text(text)))
    if span.span_name is None:
        found.append(_attribute(PREFIX + "span_name", _text("")))
    return found


def _attribute(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": name, "value": value}


def _text(value: Any) -> dict[str, Any]:
    return {"stringValue": value if isinstance(value, str) else str(value)}


def _real(value: Any) -> dict[str, Any] | None:
    number = float(value)
    return {"doubleValue": number} if math.isfinite(number) else None


def _texts(value: Iterable[Any]) -> dict[str, Any]:
    return {"arrayValue": {"values": [_text(each) for each in value]}}


def _one_text(value: Any) -> dict[str, Any]:
    return _texts((value,))


def _object(value: Any) -> dict[str, Any]:
    try:
        text = json.dumps(dict(value), allow_nan=False, default=str)
    except (ValueError, RecursionError):
        text = json.dumps({str(key): str(each) for key, each in value.items()})
    return {"stringValue": text}


_KINDS: Mapping[str, Callable[[Any], dict[str, Any] | None]] = {
    "text": _text,
    "integer": lambda value: {"intValue": str(int(value))},
    "real": _real,
    "time": _real,
    "boolean": lambda value: {"boolValue": bool(value)},
    "json": _object,
    "list": _texts,
}
_WRITERS = tuple(
    (column, name, _one_text if name.endswith("finish_reasons") else _KINDS[column_of(Span)[column].kind])
    for column, name in NAMES.items()
    if column not in IN_THE_SPAN
)
