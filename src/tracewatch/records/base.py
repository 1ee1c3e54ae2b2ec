"""What a stored thing is: a frozen dataclass whose columns describe themselves.

Tables, JSON schema, import aliases, OTLP names, labels on screen and the field docs are read off `columns(...)`.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

Kind = Literal["text", "integer", "real", "boolean", "time", "json", "list", "bytes"]

Time = Annotated[float, "time"]
"""A moment: UTC epoch seconds."""

Json = Annotated[Mapping[str, Any], "json"]
"""A free object, stored as JSON text."""

Texts = Annotated[tuple[str, ...], "list"]
"""A list of short texts, stored as a JSON array."""

_KINDS: dict[Any, Kind] = {str: "text", int: "integer", float: "real", bool: "boolean", bytes: "bytes"}
_REQUIRED: Any = dataclasses.MISSING


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One field of a record, and everything the rest of the house needs to know about it."""

    name: str
    kind: Kind
    help: str
    label: str
    unit: str | None
    key: bool
    required: bool
    choices: tuple[str, ...]
    otel: tuple[str, ...]
    aliases: tuple[str, ...]
    sliced: bool
    watched: bool
    rolled: Literal["slice", "sum", "sketch"] | None
    content: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A stored thing. A subclass names its table and declares its columns with `column`."""

    table: ClassVar[str]
    noun: ClassVar[str]
    newest_by: ClassVar[str]


_DESCRIBED: dict[type[Record], Mapping[str, Column]] = {}


def column(
    help: str,
    *,
    default: Any = _REQUIRED,
    label: str = "",
    unit: str | None = None,
    key: bool = False,
    choices: tuple[str, ...] = (),
    otel: tuple[str, ...] | str = (),
    aliases: tuple[str, ...] | str = (),
    sliced: bool = False,
    watched: bool = False,
    rolled: Literal["slice", "sum", "sketch"] | None = None,
    content: bool = False,
) -> Any:
    """A dataclass field that carries its own description (see `Column` for what each word says)."""
    described = {
        "help": help,
        "label": label,
        "unit": unit,
        "key": key,
        "choices": choices,
        "otel": (otel,) if isinstance(otel, str) else otel,
        "aliases": (aliases,) if isinstance(aliases, str) else aliases,
        "sliced": sliced,
        "watched": watched,
        "rolled": rolled,
        "content": content,
    }
    return dataclasses.field(default=default, metadata=described)


def column_of(record_type: type[Record]) -> Mapping[str, Column]:
    """The columns of a record by name, in the order in which they are declared and stored."""
    if record_type not in _DESCRIBED:
        hints = get_type_hints(record_type, include_extras=True)
        fields = dataclasses.fields(record_type)
        _DESCRIBED[record_type] = {field.name: _described(field, hints[field.name]) for field in fields}
    return _DESCRIBED[record_type]


def columns(record_type: type[Record]) -> tuple[Column, ...]:
    """The columns of a record, in the order in which they are declared and stored."""
    return tuple(column_of(record_type).values())


def key_of(record_type: type[Record]) -> tuple[str, ...]:
    """Names of the columns that together identify one record."""
    return tuple(each.name for each in columns(record_type) if each.key)


def as_dict(record: Record) -> dict[str, Any]:
    """The record as a JSON-ready object: times as ISO 8601 in UTC, lists as arrays, bytes as base64."""
    names, get, told = _telling(type(record))
    values = dict(zip(names, get(record), strict=True))
    for name, tell in told:
        if values[name] is not None:
            values[name] = tell(values[name])
    return values


def json_schema(record_type: type[Record]) -> dict[str, Any]:
    """JSON Schema (2020-12) of what `as_dict` gives for this record."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": record_type.__name__,
        "type": "object",
        "required": [each.name for each in columns(record_type) if each.required],
        "properties": {each.name: _property(each) for each in columns(record_type)},
    }


def iso(time_s: float) -> str:
    """A moment as ISO 8601 text with milliseconds, in UTC.

    >>> iso(0.5)
    '1970-01-01T00:00:00.500Z'
    """
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_TOLD: Mapping[Kind, Callable[[Any], Any]] = {
    "time": iso, "list": list, "bytes": lambda value: base64.b64encode(value).decode(),
}  # fmt: skip


_Telling = tuple[tuple[str, ...], Callable[[Record], tuple[Any, ...]], tuple[tuple[str, Callable[[Any], Any]], ...]]
_TELLING: dict[type[Record], _Telling] = {}


def _telling(record_type: type[Record]) -> _Telling:
    """The names of the columns, how all values are got at once, and how those are told that JSON does not have."""
    if record_type not in _TELLING:
        names = tuple(column_of(record_type))
        told = tuple((each.name, _TOLD[each.kind]) for each in columns(record_type) if each.kind in _TOLD)
        _TELLING[record_type] = names, attrgetter(*names), told
    return _TELLING[record_type]


def _described(field: dataclasses.Field[Any], hint: Any) -> Column:
    described = dict(field.metadata)
    label = described.pop("label") or field.name.replace("_", " ").capitalize()
    return Column(
        name=field.name, kind=_kind(hint), label=label, required=field.default is dataclasses.MISSING, **described
    )


def _kind(hint: Any) -> Kind:
    """The kind of a column from its annotation; `| None` is looked through."""
    if get_origin(hint) is Annotated:
        kind: Kind = get_args(hint)[1]
        return kind
    if hint in _KINDS:
        return _KINDS[hint]
    inner = [_kind(each) for each in get_args(hint) if each is not type(None)]
    assert len(inner) == 1, f"a column cannot be annotated {hint!r}"
    return inner[0]


_JSON_TYPES: dict[Kind, dict[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "real": {"type": "number"},
    "boolean": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "json": {"type": "object"},
    "list": {"type": "array", "items": {"type": "string"}},
    "bytes": {"type": "string", "contentEncoding": "base64"},
}


def _property(each: Column) -> dict[str, Any]:
    described = dict(_JSON_TYPES[each.kind])
    if each.choices:
        described["enum"] = list(each.choices) if each.required else [*each.choices, None]
    if not each.required:
        described["type"] = [described["type"], "null"]
    described["description"] = each.help + (f" Unit: {each.unit}." if each.unit else "")
    return described
