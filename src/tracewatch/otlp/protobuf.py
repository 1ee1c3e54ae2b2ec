"""OTLP/protobuf read into the spans of `wire`: the only files that need a package are this and `shallow`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tracewatch.errors import BadOtlp, MissingExtra
from tracewatch.otlp.wire import DEPTH, Attributes, Event, Group, Scope, WireSpan

MOST_PAIRS = 16_384  # attributes that are remembered by their bytes
LONGEST_PAIR = 128  # bytes of one that is remembered: what is longer is hardly said twice

_double = struct.Struct("<d").unpack
_pairs: dict[bytes, tuple[str, Any]] = {}


def read_protobuf(body: bytes) -> list[Group]:
    """The spans of an OTLP/protobuf body. Raises BadOtlp, or MissingExtra without opentelemetry-proto."""
    with told():
        return [Group(scope, [read_span(each) for each in spans]) for scope, spans in scopes(body)]


def scopes(body: bytes) -> Iterator[tuple[Scope, Any]]:
    """The scopes of a body, each with its spans as messages whose attributes are bytes (`shallow.Request`)."""
    from tracewatch.otlp.shallow import Request

    for resource_spans in Request.FromString(body).resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            yield Scope(scope.name, scope.version, resource), scope_spans.spans


@contextmanager
def told() -> Iterator[None]:
    """Turns what protobuf says of a body into BadOtlp, and its absence into MissingExtra."""
    try:
        from google.protobuf.message import DecodeError

        import tracewatch.otlp.shallow  # noqa: F401 - so that its absence is told before anything is read
    except ImportError as error:
        raise MissingExtra(what="Reading OTLP/protobuf", package="opentelemetry-proto", extra="server") from error
    try:
        yield
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadOtlp(form="protobuf", why=str(error)[:200] or "it is no ExportTraceServiceRequest") from error


def read_span(given: Any) -> WireSpan:
    """One span of `scopes`. Raises DecodeError or UnicodeDecodeError."""
    status = given.status
    events = given.events
    links = given.links
    return WireSpan(
        hex_of(given.trace_id, 16),
        hex_of(given.span_id, 8),
        hex_of(given.parent_span_id, 8),
        given.name,
        given.kind,
        given.start_time_unix_nano,
        given.end_time_unix_nano,
        _read(given.attributes),
        tuple([_event(each) for each in events]) if events else (),
        tuple([hex_of(each.trace_id, 16) for each in links]) if links else (),
        status.code,
        status.message,
    )


def _event(given: Any) -> Event:
    return given.name, given.time_unix_nano, _attributes(given.attributes)


def _read(given: Any) -> Attributes:
    """Attributes from their bytes. Most pairs of name and value come again and again, and are read once."""
    found: Attributes = {}
    known = _pairs.get
    for each in given:
        name, value = known(each) or _pair(each)
        if value is not None:
            found[name] = value
    return found


def _pair(given: bytes) -> tuple[str, Any]:
    pair = plain_pair(given) or _parsed(given)
    if len(given) <= LONGEST_PAIR and isinstance(pair[1], (str, int, float)):
        if len(_pairs) >= MOST_PAIRS:
            _pairs.clear()
        _pairs[given] = pair
    return pair


def plain_pair(given: bytes) -> tuple[str, Any] | None:
    """An attribute in the form in which nearly all are written; None for any other form.

    A name of less than 128 bytes, then a value that is one text, one integer up to 2**63 - 1 or one real number.
    """
    size = len(given)
    if size < 6 or given[0] != 0x0A or (at := given[1] + 2) > 129 or at + 4 > size or given[at] != 0x12:
        return None
    inner, begin = given[at + 1], at + 2
    if inner > 127:
        inner, begin = (inner & 127) | given[begin] << 7, begin + 1
    if begin + inner != size or inner < 2 or (size > 16_000):
        return None
    kind, value = given[begin], given[begin + 1]
    name = given[2:at]
    if kind == 0x0A:
        start = begin + 2
        if value > 127:
            if inner < 3:
                return None
            value, start = (value & 127) | given[start] << 7, start + 1
        return (name.decode(), given[start:].decode()) if start + value == size else None
    if kind == 0x18 and size - begin <= 10:
        return _whole(name, given, begin + 1)
    if kind == 0x21 and inner == 9:
        return name.decode(), _double(given[begin + 1 :])[0]
    return None


def _whole(name: bytes, given: bytes, begin: int) -> tuple[str, Any] | None:
    number = shift = 0
    for octet in given[begin:-1]:
        if octet < 128:
            return None
        number |= (octet & 127) << shift
        shift += 7
    return (name.decode(), number | given[-1] << shift) if given[-1] < 128 else None


def _parsed(given: bytes) -> tuple[str, Any]:
    """An attribute in any form. Raises DecodeError."""
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    pair = KeyValue.FromString(given)
    return pair.key, _value(pair.value, pair.value.WhichOneof("value"), DEPTH)


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


def hex_of(octets: bytes, size: int) -> str:
    """The id in lower-case hex; empty for what is no id of that size, and for one of zeros."""
    return octets.hex() if len(octets) == size and any(octets) else ""
