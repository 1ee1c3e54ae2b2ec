"""Filters over Arrow columns: the same rows that `queries.condition` has a database find."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.records import Column, Span
from tracewatch.stores.base import Filter, checked_column
from tracewatch.stores.values import INTEGERS, comparable

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    ">=": pc.greater_equal,
    "<=": pc.less_equal,
    ">": pc.greater,
    "<": pc.less,
}


def matching(spans: pa.Table, where: Sequence[Filter]) -> pa.Array | None:
    """For each span whether it meets all filters; None where there are none. The columns they name must be there."""
    met = None
    for each in where:
        one = _meets(checked_column(Span, each.name), each, spans[each.name])
        met = one if met is None else pc.and_(met, one)
    return met


def bounds(where: Sequence[Filter]) -> tuple[float, float]:
    """Between which times, both included, spans that meet the filters began."""
    since, until = -math.inf, math.inf
    for each in where:
        if each.name != "start_time" or each.operator == "!=":
            continue
        times = [comparable(checked_column(Span, each.name), value) for value in each.values]
        if not times or None in times:
            continue
        if each.operator in ("=", ">", ">="):
            since = max(since, min(times))
        if each.operator in ("=", "<", "<="):
            until = min(until, max(times))
    return since, until


def _meets(column: Column, given: Filter, array: pa.ChunkedArray) -> pa.Array:
    array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if not pa.types.is_dictionary(array.type):
        return pc.fill_null(_meets_plain(column, given, array), False)
    # Of each text that occurs once, and of none at all.
    some = pc.fill_null(_meets_plain(column, given, array.dictionary), False)
    none = pc.fill_null(_meets_plain(column, given, pa.nulls(1, array.dictionary.type)), False)[0]
    return pc.fill_null(some.take(array.indices), none)


def _meets_plain(column: Column, given: Filter, array: pa.Array) -> pa.Array:
    if column.kind == "list" and given.operator in ("=", "!="):
        return _contains(given, array)
    values = [comparable(column, each) for each in given.values]
    present = [each for each in values if each is not None]
    if given.operator in ("=", "!="):
        found = pc.or_kleene(_any_of(present, array), _is_empty(array)) if None in values else _any_of(present, array)
        return pc.invert(found) if given.operator == "!=" else found
    if not present:
        return _none(array)  # nothing is more or less than empty
    return _compared(given.operator, present[0], array)


def _any_of(values: Sequence[Any], array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int64())
    if pa.types.is_integer(array.type):
        values = [int(each) for each in values if math.isfinite(each) and each == int(each) and int(each) in INTEGERS]
    if not values:
        return _none(array)
    if pa.types.is_floating(array.type):
        values = [float(each) for each in values]
    return pc.is_in(array, value_set=pa.array(values, array.type))  # false, and not empty, for what is empty


def _compared(operator: str, value: Any, array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int64())
    if pa.types.is_integer(array.type):
        # Between whole numbers, exactly: as doubles, those beyond 2 ** 53 would be rounded.
        if math.isfinite(value):
            value = math.floor(value) if operator in (">", "<=") else math.ceil(value)
        if value not in INTEGERS:
            return pc.and_(pc.is_valid(array), (value > 0) == (operator[0] == "<"))
    return _COMPARE[operator](array, pa.scalar(value, array.type))


def _contains(given: Filter, array: pa.Array) -> pa.Array:
    """A list is asked for what it contains; empty asks for a list that is not there or has no entry."""
    texts = {str(each) for each in given.values if each is not None}
    empty_too = None in given.values
    known: dict[str | None, bool] = {}

    def holds(text: str | None) -> bool:
        if text not in known:
            known[text] = (empty_too and text in (None, "[]")) or not texts.isdisjoint(_entries(text))
        return known[text]

    found = pa.array([holds(each) for each in array.to_pylist()], pa.bool_())
    return pc.invert(found) if given.operator == "!=" else found


def _entries(text: str | None) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    entries = found.values() if isinstance(found, dict) else found if isinstance(found, list) else [found]
    return [each for each in entries if isinstance(each, str)]


def _is_empty(array: pa.Array) -> pa.Array:
    return pc.is_null(array)


def _none(array: pa.Array) -> pa.Array:
    return pa.repeat(False, len(array))
