"""Spans as they stand in an OTLP body, whichever form it came in, and OTLP/JSON read into them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tracewatch.errors import BadOtlp

Attributes = dict[str, Any]
"""Attribute name -> str, bool, int, float, bytes, list or dict."""

DEPTH = 16  # values nested deeper than this are dropped: nobody's attribute is
_KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_CODES = {"UNSET": 0, "OK": 1, "ERROR": 2}
_EMPTY: tuple[Any, ...] = ()
_SPANS = ("resourceSpans", "resource_spans")

Event = tuple[str, int, Attributes]
"""Its name, when it happened (ns) and its attributes."""


@dataclass(slots=True)
class Scope:
    """What wrote some spans, and the program it ran in."""

    name: str
    version: str
    resource: Attributes


@dataclass(slots=True)
class WireSpan:
    """One span of a body. Ids are lower-case hex, or empty where they were none; times are ns, 0 where unknown."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: tuple[Event, ...]
    links: tuple[str, ...]
    """Trace ids of the spans it is linked with."""
    code: int
    """0 unset, 1 ok, 2 error."""
    message: str


@dataclass(slots=True)
class Unreadable:
    """Something that stood in the place of a span and is none."""

    why: str


@dataclass(slots=True)
class Group:
    """The spans of one scope in one program."""

    scope: Scope
    spans: list[WireSpan | Unreadable] = field(default_factory=list)


def read_json(body: bytes) -> list[Group]:
    """The spans of an OTLP/JSON body; names may be camelCase or snake_case. Raises BadOtlp."""
    try:
        tree = json.loads(body)
    except RecursionError as error:
        raise BadOtlp(form="JSON", why="it is nested too deeply") from error
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise BadOtlp(form="JSON", why=str(error)[:200]) from error
    if not isinstance(tree, dict):
        raise BadOtlp(form="JSON", why=f"it holds {_what(tree)} where an object with resourceSpans is expected")
    if tree and not any(name in tree for name in _SPANS):  # others may be new to us, but then spans stand beside them
        raise BadOtlp(form="JSON", why=f"its object has no resourceSpans, but {', '.join(sorted(tree)[:3])[:100]}")
    return list(_groups(tree))


def _groups(tree: dict[str, Any]) -> Iterator[Group]:
    for resource_spans in _list(tree, *_SPANS):
        if not isinstance(resource_spans, dict):
            yield Group(Scope("", "", {}), [Unreadable("resourceSpans holds something that is no object")])
            continue
        resource = _attributes(_get(resource_spans, "resource"))
        inner = _list(resource_spans, "scopeSpans", "scope_spans") or _list(
            resource_spans, "instrumentationLibrarySpans", "instrumentation_library_spans"
        )
        for scope_spans in inner:
            if not isinstance(scope_spans, dict):
                yield Group(Scope("", "", {}), [Unreadable("scopeSpans holds something that is no object")])
                continue
            scope = _get(scope_spans, "scope", "instrumentationLibrary")
            named = scope if isinstance(scope, dict) else {}
            who = Scope(_text(named.get("name")), _text(named.get("version")), resource)
            yield Group(who, [_span(each) for each in _list(scope_spans, "spans")])


def _span(given: Any) -> WireSpan | Unreadable:
    if not isinstance(given, dict):
        return Unreadable(f"a span is {_what(given)}, not an object")
    get = given.get
    status = get("status")
    status = status if isinstance(status, dict) else {}
    return WireSpan(
        trace_id=_hex(_get(given, "traceId", "trace_id"), 16),
        span_id=_hex(_get(given, "spanId", "span_id"), 8),
        parent_span_id=_hex(_get(given, "parentSpanId", "parent_span_id"), 8),
        name=_text(get("name")),
        kind=_enum(get("kind"), "SPAN_KIND_", _KINDS),
        start_ns=_integer(_get(given, "startTimeUnixNano", "start_time_unix_nano")),
        end_ns=_integer(_get(given, "endTimeUnixNano", "end_time_unix_nano")),
        attributes=_attributes(given),
        events=tuple(_events(given)),
        links=tuple(_links(given)),
        code=_enum(status.get("code"), "STATUS_CODE_", _CODES),
        message=_text(status.get("message")),
    )


def _events(given: dict[str, Any]) -> Iterator[Event]:
    for each in given.get("events") or _EMPTY if isinstance(given.get("events"), list) else _EMPTY:
        if isinstance(each, dict):
            yield _text(each.get("name")), _integer(_get(each, "timeUnixNano", "time_unix_nano")), _attributes(each)


def _links(given: dict[str, Any]) -> Iterator[str]:
    for each in _list(given, "links"):
        if isinstance(each, dict):
            yield _hex(_get(each, "traceId", "trace_id"), 16)


def _attributes(holder: Any) -> Attributes:
    found: Attributes = {}
    given = holder.get("attributes") if isinstance(holder, dict) else None
    if isinstance(given, dict):  # not OTLP, but what people write by hand, and it can mean one thing only
        return {str(key): value for key, value in given.items() if value is not None}
    for each in given if isinstance(given, list) else _EMPTY:
        if isinstance(each, dict) and isinstance(each.get("key"), str):
            value = _value(each.get("value"), DEPTH)
            if value is not None:
                found[each["key"]] = value
    return found


def _value(given: Any, depth: int) -> Any:
    """The value that an AnyValue holds; None for none, and for what is nested too deeply."""
    if not isinstance(given, dict) or depth == 0:
        return given if isinstance(given, (str, bool, int, float)) else None
    for name, value in given.items():
        kind = name.replace("_", "").lower()
        if kind == "stringvalue":
            return value if isinstance(value, str) else None
        if kind == "intvalue":
            return _whole(value)
        if kind == "doublevalue":
            return _real(value)
        if kind == "boolvalue":
            return value if isinstance(value, bool) else None
        if kind == "arrayvalue":
            values = value.get("values") if isinstance(value, dict) else None
            return [_value(each, depth - 1) for each in values] if isinstance(values, list) else []
        if kind == "kvlistvalue":
            pairs = value.get("values") if isinstance(value, dict) else None
            return _pairs(pairs, depth - 1)
        if kind == "bytesvalue":
            return value if isinstance(value, str) else None
    return None


def _pairs(pairs: Any, depth: int) -> Attributes:
    return {
        each["key"]: _value(each.get("value"), depth)
        for each in (pairs if isinstance(pairs, list) else _EMPTY)
        if isinstance(each, dict) and isinstance(each.get("key"), str)
    }


def _get(given: dict[str, Any], *names: str) -> Any:
    for name in names:
        if name in given:
            return given[name]
    return None


def _list(given: dict[str, Any], *names: str) -> list[Any]:
    found = _get(given, *names)
    return found if isinstance(found, list) else []


def _text(given: Any) -> str:
    return given if isinstance(given, str) else ""


def _whole(given: Any) -> int | None:
    """An integer of JSON: 64-bit ones are written as text."""
    if isinstance(given, bool):
        return None
    if isinstance(given, float):
        return int(given) if given.is_integer() else None
    try:
        return int(given) if isinstance(given, (int, str)) else None
    except ValueError:
        return None


def _real(given: Any) -> float | None:
    """A double of JSON: what is not finite is written as text."""
    try:
        return float(given) if isinstance(given, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None


def _integer(given: Any) -> int:
    return _whole(given) or 0


def _enum(given: Any, prefix: str, words: dict[str, int]) -> int:
    if isinstance(given, str):
        return words.get(given.removeprefix(prefix), 0) if not given.isdecimal() else min(int(given[:4]), 9)
    return given if isinstance(given, int) else 0


def _hex(given: Any, size: int) -> str:
    """The id in lower-case hex; "" for what is no id of `size` bytes, and for one of zeros."""
    if not isinstance(given, str):
        return ""
    if len(given) == 2 * size:
        try:
            octets = bytes.fromhex(given)
        except ValueError:
            return ""
    else:
        octets = _base64(given, size)
    return octets.hex() if len(octets) == size and any(octets) else ""


def _base64(given: str, size: int) -> bytes:
    """The id of an exporter that writes it as protobuf's own JSON does."""
    if len(given) != 4 * ((size + 2) // 3):
        return b""
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _what(given: Any) -> str:
    return {list: "a list", str: "a text", type(None): "null", bool: "a truth"}.get(type(given), "a number")
