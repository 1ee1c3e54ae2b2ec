"""How our own columns stand in OTLP: under standard names where there are any, otherwise as `tracewatch.<column>`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from tracewatch.records import Column, Span, column_of, columns

SCOPE = "tracewatch"
PREFIX = "tracewatch."
PROJECT = "tracewatch.project"
"""The resource attribute by which a program says to which project its spans belong."""

RESOURCE: Mapping[str, str] = {
    "service_name": "service.name",
    "app_version": "service.version",
    "environment": "deployment.environment.name",
    "project": PROJECT,
}
"""Columns that belong to the program, and their resource attributes."""

IN_THE_SPAN = ("start_time", "end_time", "trace_id", "span_id", "parent_span_id", "span_name", "error_message")
"""Columns that an OTLP span has fields for."""

NANOSECONDS = 10**9
_LONGEST = 2**63


def _standard(each: Column) -> str | None:
    """The standard name under which a column's own value can stand; what is counted in other units has none."""
    return each.otel[0] if each.otel and each.unit != "ms" else None


NAMES: Mapping[str, str] = {
    each.name: _standard(each) or PREFIX + each.name
    for each in columns(Span)
    if each.name not in RESOURCE and each.name not in IN_THE_SPAN
}
"""Column -> the attribute that holds it in spans of our own scope."""

ANYWHERE: Mapping[str, str] = {
    PREFIX + each.name: each.name for each in columns(Span) if each.name not in ("start_time", "end_time", "project")
}
"""Attribute -> column, for spans of every scope: what is said under our own name stands before all other names."""

COLUMN_OF: Mapping[str, str] = {**{name: column for column, name in NAMES.items()}, **ANYWHERE}
"""Attribute -> column in spans of our own scope."""


def hex_id(text: str, size: int) -> str:
    """The id itself if it is `size` bytes of lower-case hex, otherwise one derived from it.

    >>> hex_id("00f067aa0ba902b7", 8), hex_id("question-7", 8)
    ('00f067aa0ba902b7', '6ca25643f8ab07e5')
    """
    if len(text) == 2 * size and not text.strip("0123456789abcdef") and text.strip("0"):
        return text
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[: 2 * size]


def nanoseconds(time_s: float) -> int:
    """Epoch seconds as whole nanoseconds, rounded once: `seconds` gives the same float back."""
    over, under = time_s.as_integer_ratio()
    return (2 * over * NANOSECONDS + under) // (2 * under)


def seconds(time_ns: int) -> float:
    """Nanoseconds as the nearest epoch seconds."""
    return time_ns / NANOSECONDS


def text_of(value: Any) -> str | None:
    """A value as text; None for what is none."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, (list, tuple)):
        return next((found for found in map(text_of, value) if found), None)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else None


def whole_of(value: Any) -> int | None:
    """A value as an integer; None for what is none, or does not fit 64 bits."""
    if type(value) is int:
        return value if -_LONGEST <= value < _LONGEST else None
    number = real_of(value)
    return round(number) if number is not None and -_LONGEST < number < _LONGEST else None


def real_of(value: Any) -> float | None:
    """A value as a finite float; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def truth_of(value: Any) -> bool | None:
    """A value as true or false; None for what is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None


def object_of(value: Any) -> dict[str, Any] | None:
    """A value as an object, read from JSON text if need be; None for what is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def texts_of(value: Any) -> tuple[str, ...] | None:
    """A value as a list of texts; None for none."""
    found = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ()
    return tuple(text for text in map(text_of, found) if text) or None


READERS: Mapping[str, Callable[[Any], Any]] = {
    "text": text_of,
    "integer": whole_of,
    "real": real_of,
    "time": real_of,
    "boolean": truth_of,
    "json": object_of,
    "list": texts_of,
}
"""Kind of a column -> what reads an attribute's value as one."""

READER_OF: Mapping[str, Callable[[Any], Any]] = {name: READERS[each.kind] for name, each in column_of(Span).items()}
"""Column -> what reads an attribute's value as one of its."""
