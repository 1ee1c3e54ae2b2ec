"""Records as Arrow columns: their schema, rows into batches, and any batch into the values of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.errors import BadRecord
from tracewatch.records import Column, Record, columns
from tracewatch.stores.base import checked_column
from tracewatch.stores.values import MOMENTS, REPLACEMENT, Row, defaults_of, may_be_empty, to_value

_TYPES = {
    "text": pa.string(),
    "integer": pa.int64(),
    "real": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.float64(),
    "json": pa.string(),
    "list": pa.string(),
    "bytes": pa.binary(),
}
_IN_TABLES = {**_TYPES, "boolean": pa.int64()}
_PYTHON: dict[pa.DataType, tuple[type, ...]] = {
    pa.int64(): (int,),
    pa.float64(): (int, float),
    pa.string(): (str,),
    pa.binary(): (bytes,),
}

Table = tuple[tuple[str, ...], list[list[Any]]]
"""Names of columns and, for each, the values of all rows."""


def arrow_schema(record_type: type[Record], names: Sequence[str] | None = None) -> pa.Schema:
    """Arrow types of those columns (all of them by default), in the order given. Raises UnknownColumn.

    Times are float64 epoch seconds, lists and JSON are string, booleans bool, bytes binary.
    """
    chosen = columns(record_type) if names is None else [checked_column(record_type, name) for name in names]
    return pa.schema([pa.field(each.name, _TYPES[each.kind]) for each in chosen])


def from_rows(schema: pa.Schema, rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows of a database as one batch of that schema; a value of another type than declared becomes null."""
    arrays = [_array(field.type, values) for field, values in zip(schema, zip(*rows, strict=True), strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def conform(schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the types of that schema (a database has no booleans, say)."""
    return pa.RecordBatch.from_arrays(
        [array.cast(field.type) for field, array in zip(schema, batch.columns, strict=True)],
        schema=schema,
    )


def stored_batch(record_type: type[Record], batch: pa.RecordBatch) -> pa.RecordBatch:
    """The record's columns of this batch as a table holds them: typed, clean, defaults filled in.

    Columns without any value are left out where NULL is their default. Raises UnknownColumn or BadRecord.
    """
    given = {name: batch.column(index) for index, name in enumerate(batch.schema.names)}
    for name in given:
        checked_column(record_type, name)
    kept: dict[str, pa.Array] = {}
    for each in columns(record_type):
        array = _stored(record_type, each, given.get(each.name), batch.num_rows)
        if array is not None:
            kept[each.name] = array
    return pa.RecordBatch.from_pydict(kept)


def row_slices(batch: pa.RecordBatch, size: int) -> Iterator[Iterator[Row]]:
    """Rows of the batch as tuples, `size` at a time: Python's objects take many times the memory of Arrow's."""
    for start in range(0, batch.num_rows, size):
        part = batch.slice(start, size)
        yield zip(*(column.to_pylist() for column in part.columns), strict=True)


def _array(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    if kind == pa.bool_():
        whole = [int(each) if isinstance(each, bool) else each for each in values]  # some databases have no booleans
        return pc.not_equal(_array(pa.int64(), whole), 0)
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        wanted = _PYTHON[kind]
        return pa.array([each if isinstance(each, wanted) else None for each in values], type=kind)


def _stored(record_type: type[Record], column: Column, array: pa.Array | None, length: int) -> pa.Array | None:
    empty = may_be_empty(record_type, column)
    if array is None or array.null_count == length:
        if empty:
            return None
        array = pa.nulls(length)
    typed = _cast(record_type, column, array)
    if empty or not typed.null_count:
        return typed
    default = defaults_of(record_type).get(column.name)
    if default is None:
        raise BadRecord(noun=record_type.noun, name=column.name, given="empty", why="it must not be")
    return pc.fill_null(typed, pa.scalar(default, typed.type))


def _cast(record_type: type[Record], column: Column, array: pa.Array) -> pa.Array:
    """The array as the table holds it; what Arrow cannot convert at once is converted value by value."""
    kind = _IN_TABLES[column.kind]
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        if pa.types.is_timestamp(array.type) and column.kind == "time":
            micros = array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
            return _moments(pc.divide(micros.cast(pa.float64()), 1e6))
        if pa.types.is_floating(array.type) and kind != pa.string():
            array = pc.if_else(pc.is_finite(array), array, None)
            array = pc.round(array) if column.kind == "integer" else array
        if _is_text(array.type) and kind == pa.string():
            return _clean(array.cast(kind))
        if pa.types.is_nested(array.type) or _is_text(array.type) != (kind == pa.string()):
            raise pa.ArrowInvalid("value by value")
        typed = array.cast(kind)
        return _moments(typed) if column.kind == "time" else typed
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values = [None if each is None else to_value(record_type, column, each) for each in array.to_pylist()]
        return pa.array(values, type=_TYPES[column.kind]).cast(kind)


def _moments(times: pa.Array) -> pa.Array:
    within = pc.and_(pc.greater_equal(times, MOMENTS[0]), pc.less_equal(times, MOMENTS[1]))
    return pc.if_else(within, times, None)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _clean(texts: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring(texts, "\x00")).as_py():
        return pc.replace_substring(texts, "\x00", REPLACEMENT)
    return texts
