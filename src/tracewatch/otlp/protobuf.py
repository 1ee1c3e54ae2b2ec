"""OTLP/protobuf read into the spans of `wire`: the only file here that needs a package (opentelemetry-proto)."""

from __future__ import annotations

from typing import Any

from tracewatch.errors import BadOtlp, MissingExtra
from tracewatch.otlp.wire import DEPTH, Attributes, Event, Group, Scope, WireSpan


def read_protobuf(body: bytes) -> list[Group]:
    """The spans of an OTLP/protobuf body. Raises BadOtlp, or MissingExtra without opentelemetry-proto."""
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError as error:
        raise MissingExtra(what="Reading OTLP/protobuf", package="opentelemetry-proto", extra="server") from error
    request: Any = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise BadOtlp(form="protobuf", why=str(error)[:200] or "it is no ExportTraceServiceRequest") from error
    groups = []
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            group = Group(Scope(scope.name, scope.version, resource))
            group.spans.extend([_span(each) for each in scope_spans.spans])
            groups.append(group)
    return groups


def _span(given: Any) -> WireSpan:
    status = given.status
    events = given.events
    links = given.links
    return WireSpan(
        _hex(given.trace_id, 16),
        _hex(given.span_id, 8),
        _hex(given.parent_span_id, 8),
        given.name,
        given.kind,
        given.start_time_unix_nano,
        given.end_time_unix_nano,
        _attributes(given.attributes),
        tuple([_event(each) for each in events]) if events else (),
        tuple([_hex(each.trace_id, 16) for each in links]) if links else (),
        status.code,
        status.message,
    )


def _event(given: Any) -> Event:
    return given.name, given.time_unix_nano, _attributes(given.attributes)


def _attributes(given: Any) -> Attributes:
    found: Attributes = {}
    for each in given:
        value = each.value
        kind = value.WhichOneof("value")
        if kind == "string_value":
            found[each.key] = value.string_value
        elif kind == "int_value":
            found[each.key] = value.int_value
        elif kind is not None:
            found[each.key] = _value(value, kind, DEPTH)
    return found


def _value(given: Any, kind: str | None, depth: int) -> Any:
    if kind == "array_value":
        values = given.array_value.values if depth else ()
        return [_value(each, each.WhichOneof("value"), depth - 1) for each in values]
    if kind == "kvlist_value":
        pairs = given.kvlist_value.values if depth else ()
        return {each.key: _value(each.value, each.value.WhichOneof("value"), depth - 1) for each in pairs}
    return None if kind is None else getattr(given, kind)


def _hex(octets: bytes, size: int) -> str:
    return octets.hex() if len(octets) == size and any(octets) else ""
