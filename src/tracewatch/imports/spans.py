"""Rows of a file -> spans: columns converted at once, rows that cannot be believed refused with the reason."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracewatch.imports.base import Chunk, Kind, Refusal
from tracewatch.imports.completing import began, completed
from tracewatch.imports.extras import Extras
from tracewatch.imports.identity import Identities
from tracewatch.imports.naming import Plan, plan
from tracewatch.imports.times import times
from tracewatch.imports.values import READERS, as_text, statuses
from tracewatch.records import Column, Span, column_of, columns
from tracewatch.times import DAY_S

if TYPE_CHECKING:
    import pyarrow as pa

EARLIEST = 1_420_070_400.0  # 2015-01-01: before it nobody called a language model, so the time was misread
LARGEST = 1e15  # of any unit; sums and squares of such numbers stay finite, and no call cost that or took that long
AT_ONCE = 2  # chunks: a third would wait for the file
LONGEST_NAME = 256  # characters of an id or of what rows are grouped by: longer ones are no names


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows that have one thing wrong: a mask without nulls, what it is, and the values as they stood in the file."""

    rows: pa.Array
    what: str
    values: pa.Array | None


@dataclass(frozen=True, slots=True)
class Spans:
    """What became of a chunk."""

    batch: pa.RecordBatch
    refused: tuple[Refusal, ...]
    naive: int


_Read = tuple[dict[str, "pa.Array"], tuple[Refusal, ...], "pa.Array", int]
"""Columns, refused rows, a mask of the good rows, and how many times name no zone."""


class Converter:
    """Turns the chunks of one file into spans."""

    def __init__(self, kind: Kind, *, project: str | None = None, keep: Sequence[str] = (), now: float | None = None):
        self.kind = kind
        self.extras = Extras(keep)
        self._project = project
        self._latest = (time.time() if now is None else now) + DAY_S
        self._identities = Identities(kind)
        self._plans: dict[tuple[str, ...], Plan] = {}

    def convert(self, chunk: Chunk) -> Spans:
        """The spans of a chunk, complete, and the rows that were refused."""
        return self._complete(chunk, self._understand(chunk))

    def convert_all(self, chunks: Iterable[Chunk]) -> Iterator[Spans]:
        """The same of many chunks, of which some are read at the same time: Arrow does that without Python's lock."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            coming: deque[tuple[Chunk, Future[_Read]]] = deque()
            for chunk in chunks:
                coming.append((chunk, threads.submit(self._understand, chunk)))
                if len(coming) > AT_ONCE:
                    yield self._complete(*_first(coming))
            while coming:
                yield self._complete(*_first(coming))

    def _understand(self, chunk: Chunk) -> _Read:
        """The values of a chunk as they stand in it, and its bad rows; it depends on no other chunk."""
        its_plan = self._plan_of(tuple(chunk.columns))
        read, faults, naive = self._read(its_plan, chunk)
        read |= began(read)
        faults += _doubts(read, its_plan, chunk, self._latest)
        refused, good = _refusals(faults, chunk)
        return read, refused, good, naive

    def _complete(self, chunk: Chunk, understood: _Read) -> Spans:
        import pyarrow as pa
        import pyarrow.compute as pc

        read, refused, good, naive = understood
        rows = len(chunk.numbers)
        its_plan = self._plan_of(tuple(chunk.columns))
        read |= self.extras.metadata(its_plan, chunk.columns, read.get("metadata"))
        if refused:
            read = {name: pc.filter(array, good) for name, array in read.items()}
            rows -= len(refused)
        # The ids come before what is derived, so that a better derivation does not change them.
        read |= self._identities.complete(read, rows) if rows else {}
        read = completed(read, rows, self.kind) if rows else {}
        if self._project is not None and rows:
            read["project"] = pa.repeat(self._project, rows)
        batch = pa.RecordBatch.from_pydict({each.name: read[each.name] for each in columns(Span) if each.name in read})
        return Spans(batch, tuple(sorted((*chunk.refused, *refused), key=lambda each: each.number)), naive)

    def _plan_of(self, names: tuple[str, ...]) -> Plan:
        if names not in self._plans:
            self._plans[names] = plan(names, self.kind)
        return self._plans[names]

    def _read(self, its_plan: Plan, chunk: Chunk) -> tuple[dict[str, pa.Array], list[Fault], int]:
        read: dict[str, pa.Array] = {}
        faults: list[Fault] = []
        naive = 0
        for name, origin in its_plan.origins.items():
            column, raw = column_of(Span)[name], chunk.columns[origin.name]
            if column.content and not self.extras.keeps(origin.name):
                continue
            converted = _reader(column)(raw, origin.scale)
            read[name] = converted.values
            if name == "start_time":
                naive = converted.naive
            label = _label(name, its_plan)
            if converted.bad is not None:
                faults.append(Fault(converted.bad, f"{label} {converted.why}", raw))
            if name == "cost_usd":
                read[name] = _believed(converted.values)
            elif _is_amount(column):
                faults.append(_fault(converted.values, "less", 0, f"{label} is negative", raw))
            if column.kind in ("integer", "real"):
                what = f"{label} is larger than any real one"
                faults += [
                    _fault(read[name], "greater", LARGEST, what, raw),
                    _fault(read[name], "less", -LARGEST, what, raw),
                ]
            elif _is_name(column):
                faults.append(_fault(_length(converted.values), "greater", LONGEST_NAME, _too_long(label), None))
        return read, faults, naive


def _first(coming: deque[tuple[Chunk, Future[_Read]]]) -> tuple[Chunk, _Read]:
    chunk, read = coming.popleft()
    return chunk, read.result()


def _label(name: str, its_plan: Plan) -> str:
    """A column as the user knows it, and as we do where that differs."""
    origin = its_plan.origins.get(name)
    return name if origin is None or origin.name == name else f"{origin.name} ({name})"


def _believed(costs: pa.Array) -> pa.Array:
    """A negative cost is no cost (docs/pricing.md): the call is priced like any other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.fill_null(pc.less(costs, 0), False), pa.scalar(None, pa.float64()), costs)


def _reader(column: Column) -> Any:
    if column.kind == "time":
        return times
    if column.name == "status":
        return lambda raw, _: statuses(raw)
    return READERS[column.kind]


def _is_amount(column: Column) -> bool:
    """Counts, times and money are never negative; scores may be."""
    return column.kind == "integer" or (column.kind == "real" and column.unit is not None)


def _is_name(column: Column) -> bool:
    return (
        column.kind == "text" and column.name != "status" and (column.key or column.sliced or column.name[-2:] == "id")
    )


def _too_long(label: str) -> str:
    return f"{label} is longer than {LONGEST_NAME} characters"


def _length(texts: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.utf8_length(texts)


def _fault(values: pa.Array, comparison: str, limit: float, what: str, raw: pa.Array | None) -> Fault:
    import pyarrow.compute as pc

    return Fault(pc.fill_null(pc.call_function(comparison, [values, limit]), False), what, raw)


def _doubts(read: Mapping[str, pa.Array], its_plan: Plan, chunk: Chunk, latest: float) -> list[Fault]:
    """What is wrong with a row as a whole."""
    import pyarrow as pa
    import pyarrow.compute as pc

    start = read.get("start_time", pa.nulls(len(chunk.numbers), pa.float64()))
    label, origin = _label("start_time", its_plan), its_plan.origins.get("start_time")
    written = chunk.columns[origin.name] if origin else None
    doubts = [
        Fault(pc.is_null(start), f"{label} is missing", None),
        _fault(start, "less", EARLIEST, f"{label} is before 2015", written),
        _fault(start, "greater", latest, f"{label} is more than a day in the future", written),
    ]
    if "end_time" in read:
        what = f"{_label('end_time', its_plan)} is before {label}"
        doubts.append(_fault(pc.subtract(read["end_time"], start), "less", 0, what, None))
    return doubts


def _refusals(faults: Sequence[Fault], chunk: Chunk) -> tuple[tuple[Refusal, ...], pa.Array]:
    """One refusal for each bad row, with the first of its faults; and a mask of the good rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first: dict[int, Fault] = {}
    for fault in faults:
        if pc.any(fault.rows).as_py():
            for index in pc.indices_nonzero(fault.rows).to_pylist():
                first.setdefault(index, fault)
    bad = sorted(first)
    given = {name: _written(array.take(pa.array(bad, pa.int64()))) for name, array in chunk.columns.items()}
    rows = [
        Refusal(
            number=int(chunk.numbers[index]),
            what=first[index].what,
            value=_shown(first[index].values, index),
            row={name: values[place] for name, values in given.items() if values[place] is not None},
        )
        for place, index in enumerate(bad)
    ]
    good = [True] * len(chunk.numbers)
    for index in first:
        good[index] = False
    return tuple(rows), pa.array(good, pa.bool_())


def _shown(values: pa.Array | None, index: int) -> str | None:
    return None if values is None else str(_written(values.slice(index, 1))[0])[:LONGEST_NAME]


def _written(values: pa.Array) -> list[Any]:
    """Values for people: moments as text, as Python's own do not hold nanoseconds."""
    import pyarrow as pa

    return list((as_text(values) if pa.types.is_timestamp(values.type) else values).to_pylist())
