"""Rollups of databases that have no function which adds sketches: merged here, on reading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from tracewatch.stores import sketch
from tracewatch.stores.measures import Measure
from tracewatch.stores.rollups import measure_schema, roll


class Merged:
    """Sums and sketches by bucket and slice, to which one part after the other is added."""

    def __init__(self, by: Sequence[str], measures: Sequence[Measure]) -> None:
        self._by, self._measures = tuple(by), measures
        self._found: dict[tuple[Any, ...], list[Any]] = {}

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Rows of a bucket, the `by` columns and the measures, of which a sketch is a list of sketches."""
        width = len(self._by) + 1
        for row in rows:
            self._join(tuple(row[:width]), row[width:])

    def add_spans(self, spans: pa.RecordBatch, step_s: int) -> None:
        """What those spans come to."""
        for row in roll(spans, step_s).to_pylist():
            values = [[row[each.name]] if each.kind == "sketch" else row[each.name] for each in self._measures]
            self._join((row["bucket"], *(row[name] for name in self._by)), values)

    def table(self) -> pa.Table:
        """All of it: `bucket`, the `by` columns and the measures, in this order."""
        names = [pa.field(name, pa.string()) for name in self._by]
        fields = [pa.field("bucket", pa.int64()), *names, *measure_schema(self._measures)]
        rows = [(*place, *values) for place, values in sorted(self._found.items(), key=lambda each: _order(each[0]))]
        width = len(fields)
        columns = zip(*(row[:width] for row in rows), strict=True) if rows else ((),) * width
        arrays = [pa.array(values, field.type) for field, values in zip(fields, columns, strict=True)]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _join(self, place: tuple[Any, ...], values: Sequence[Any]) -> None:
        """Adds a group's sums and sketches to what there is of it already."""
        read = [
            sketch.merge(value or ()) if measure.kind == "sketch" else _number(measure, value)
            for measure, value in zip(self._measures, values, strict=False)
        ]
        there = self._found.get(place)
        self._found[place] = read if there is None else self._sum(there, read)

    def _sum(self, one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
        return [
            sketch.merge((a, b)) if measure.kind == "sketch" else a + b
            for measure, a, b in zip(self._measures, one, other, strict=True)
        ]


def _order(place: Sequence[Any]) -> tuple[Any, ...]:
    """As databases sort: what is empty comes first."""
    return tuple((each is not None, each) for each in place)


def _number(measure: Measure, value: Any) -> Any:
    return int(value) if measure.kind == "integer" else float(value)
