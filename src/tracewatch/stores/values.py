"""The edge between records and rows of a database: every value is converted here, once (standard library only)."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from tracewatch.errors import BadRecord, UnknownColumn
from tracewatch.records import Column, Record, columns

INTEGERS = range(
    -(2**63), 2**63
)  # what an 8-byte column holds; anything beyond is no count of anything and is kept empty
MOMENTS = (-62_135_596_800.0, 1e11)  # epoch seconds of the years 1, where calendars begin, and 5138
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # NUL ends a text in C, and half a surrogate pair has no UTF-8
REPLACEMENT = "\ufffd"

Row = tuple[Any, ...]
T = TypeVar("T")


def _once(make: Callable[[type[Record]], T]) -> Callable[[type[Record]], T]:
    """What is read off a record's columns is read once for each type of record."""
    made: dict[type[Record], T] = {}

    @wraps(make)
    def get(record_type: type[Record]) -> T:
        if record_type not in made:
            made[record_type] = make(record_type)
        return made[record_type]

    return get


def to_row(record: Record) -> Row:
    """The record's values as a database holds them, in the order of its columns. Raises BadRecord."""
    return tuple([convert(getattr(record, name)) for name, convert in _writers(type(record))])


def to_values(record_type: type[Record], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given columns as a database holds them, with the defaults of others that must not be empty.

    Raises BadRecord, or UnknownColumn.
    """
    writers, plain, filled, required = _converting(record_type)
    found = filled.copy()
    try:
        for name, value in given.items():
            # Short texts and small numbers are nearly all there is, and are stored as they are: half the time.
            kind = type(value)
            if kind is plain[name] and (value.isprintable() if kind is str else -_PLAIN < value < _PLAIN):
                found[name] = value
            elif value is not None:
                found[name] = writers[name](value)
        if not required <= found.keys() or any(found[name] is None for name in required):
            for name in required:
                writers[name](found.get(name))  # says which one is missing
    except KeyError as error:
        known = ", ".join(sorted(writers))
        raise UnknownColumn(table=record_type.table, name=error.args[0], columns=known) from error
    return found


def from_values(record_type: type[Record], values: Mapping[str, Any]) -> Any:
    """The record that values of columns, as `to_values` gives them, hold."""
    found = dict(values)
    for name, read in _reading(record_type)[1]:
        if found.get(name) is not None:
            found[name] = read(found[name])
    return record_type(**found)


def from_row(record_type: type[Record], row: Row) -> Any:
    """The record that a row (its columns in order) holds."""
    names, readers = _reading(record_type)
    values = dict(zip(names, row, strict=True))
    for name, read in readers:
        if values[name] is not None:
            values[name] = read(values[name])
    return record_type(**values)


def to_value(record_type: type[Record], column: Column, value: Any) -> Any:
    """One value of a column as a database holds it. Raises BadRecord where the column must not be empty."""
    return _writer_of(record_type)[column.name](value)


def from_value(column: Column, value: Any) -> Any:
    """One value of a column as a record has it."""
    read = _READERS.get(column.kind)
    return value if value is None or read is None else read(value)


def comparable(column: Column, value: Any) -> Any:
    """A value to compare the column with, as a database holds it; None stays None."""
    if value is None:
        return None
    if column.kind == "boolean":
        return float(value)  # the databases that have no booleans hold 0 and 1
    if column.kind == "integer" and isinstance(value, float):
        return value  # between two integers is a place, too
    return value if column.kind in ("json", "list") and isinstance(value, str) else _CONVERSIONS[column.kind](value)


@_once
def defaults_of(record_type: type[Record]) -> Mapping[str, Any]:
    """What stands for an empty value in each column, as a database holds it; required columns are left out."""
    given = {each.name: each.default for each in dataclasses.fields(record_type)}
    return {
        each.name: None if given[each.name] is None else _CONVERSIONS[each.kind](given[each.name])
        for each in columns(record_type)
        if not each.required
    }


def may_be_empty(record_type: type[Record], column: Column) -> bool:
    """Whether NULL is a value of this column."""
    return not column.required and defaults_of(record_type)[column.name] is None


def clean_text(value: Any) -> str:
    """Text that any database takes: NUL and lone surrogates become U+FFFD.

    >>> clean_text("a\\x00b")
    'a\\ufffdb'
    """
    text = value if isinstance(value, str) else str(value)
    return UNSTORABLE.sub(REPLACEMENT, text)


def finite(value: Any) -> float | None:
    """The number, or None for NaN, an infinity or an integer beyond what a float holds."""
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def moment(value: Any) -> float | None:
    """Epoch seconds, or None for what cannot be any: beyond MOMENTS it is milliseconds taken for seconds."""
    number = finite(value)
    return number if number is not None and MOMENTS[0] <= number <= MOMENTS[1] else None


def whole(value: Any) -> int | None:
    """The integer (a fraction is rounded), or None for NaN, an infinity or what does not fit 64 bits."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = round(value)
    number = int(value)
    return number if number in INTEGERS else None


def octets(value: Any) -> bytes:
    """The bytes. Raises TypeError for what is none: of a number Python would make so many zeros."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{type(value).__name__} is not bytes")
    return bytes(value)


def as_json(value: Any) -> str:
    """JSON text in UTF-8 without NaN (null instead); what JSON cannot say is written as text."""
    try:
        return _CLEAN_JSON.sub(REPLACEMENT, _ENCODER.encode(value))
    except ValueError:
        return _CLEAN_JSON.sub(REPLACEMENT, _ENCODER.encode(_without_nan(value)))


# Made once: json.dumps makes one for every call with settings of its own, which takes as long as a small object.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
_CLEAN_JSON = re.compile("(?:\\\\u0000|[\x00\ud800-\udfff])")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _without_nan(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return value


def _object(text: Any) -> Any:
    """A JSON object from stored text; anything else that a stranger wrote there is kept under `value`."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError):
        found = text
    return found if isinstance(found, dict) else {"value": found}


def _texts(text: Any) -> tuple[str, ...]:
    """A list of texts from a stored JSON array; anything else that a stranger wrote there is one entry."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError):
        found = [text]
    return tuple(str(each) for each in found) if isinstance(found, list) else (str(found),)


_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "text": clean_text,
    "integer": whole,
    "real": finite,
    "time": moment,
    "boolean": bool,
    "json": lambda value: as_json(value if isinstance(value, Mapping) else {"value": value}),
    "list": lambda value: as_json([str(each) for each in value]),
    "bytes": octets,
}

_READERS: Mapping[str, Callable[[Any], Any]] = {
    "boolean": bool,
    "json": _object,
    "list": _texts,
    "bytes": lambda value: value if isinstance(value, bytes) else str(value).encode(errors="replace"),
}


@_once
def _writer_of(record_type: type[Record]) -> Mapping[str, Callable[[Any], Any]]:
    return {each.name: _writer(record_type, each) for each in columns(record_type)}


@_once
def _filled(record_type: type[Record]) -> Mapping[str, Any]:
    return {name: value for name, value in defaults_of(record_type).items() if value is not None}


_PLAIN = 10**10  # every number below this is one that a database holds, and every time below it one that calendars have


@_once
def _plain(record_type: type[Record]) -> Mapping[str, type | None]:
    """The type in which values of each column need no conversion, if there is one."""
    kinds: Mapping[str, type] = {"text": str, "integer": int, "real": float, "time": float}
    return {each.name: kinds.get(each.kind) for each in columns(record_type)}


@_once
def _required(record_type: type[Record]) -> frozenset[str]:
    return frozenset(each.name for each in columns(record_type) if each.required)


@_once
def _converting(
    record_type: type[Record],
) -> tuple[Mapping[str, Callable[[Any], Any]], Mapping[str, type | None], dict[str, Any], frozenset[str]]:
    """What `to_values` needs to know of a record, in one look-up."""
    return _writer_of(record_type), _plain(record_type), dict(_filled(record_type)), _required(record_type)


@_once
def _writers(record_type: type[Record]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    return tuple(_writer_of(record_type).items())


def _writer(record_type: type[Record], column: Column) -> Callable[[Any], Any]:
    convert = _CONVERSIONS[column.kind]
    empty = may_be_empty(record_type, column)
    default = defaults_of(record_type).get(column.name)

    def refuse(value: Any, why: str) -> BadRecord:
        return BadRecord(noun=record_type.noun, name=column.name, given=repr(value)[:80], why=why)

    def write(value: Any) -> Any:
        if value is None and empty:
            return None
        try:
            converted = default if value is None else convert(value)
        except (TypeError, ValueError) as error:
            raise refuse(value, f"it must be {column.kind}") from error
        if converted is None and not empty:
            raise refuse(value, "it must not be empty")
        return converted

    return write


@_once
def _reading(record_type: type[Record]) -> tuple[tuple[str, ...], tuple[tuple[str, Callable[[Any], Any]], ...]]:
    """The names of its columns, and how those are read that a record does not hold as a database does: a few of 60."""
    readers = ((each.name, _READERS[each.kind]) for each in columns(record_type) if each.kind in _READERS)
    return tuple(each.name for each in columns(record_type)), tuple(readers)
