"""Questions to closed spans, those that lie in segments: what a database is asked in SQL is asked of Arrow here.

Every answer is of one list of segments, as it was read in the transaction that reads the spans beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from tracewatch.stores.base import Filter
from tracewatch.stores.columns import conform
from tracewatch.stores.matching import bounds, matching
from tracewatch.stores.segments import NAMES, SEQ, Group, SegmentFile, trace_keys
from tracewatch.times import HOUR_S

PATIENCE = 6  # groups that a page looks through before it asks in which hours there are any

Found = tuple[Any, ...]
"""(time, seq, columns of the span…), as the database gives it."""

Key = tuple[str, str, str]
"""The project, the trace and the span."""

Place = tuple[int, int]
"""The id of a segment, and the row in it."""

_KEY = ("project", "trace_id", "span_id")

Hours = Callable[[], Collection[int] | None]
"""In which hours there are matching spans; None where nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment as it stood at a moment: rows before `begun` are forgotten, those from `shown` on not closed yet."""

    id: int
    file: SegmentFile
    rows: int
    begun: int
    shown: int
    last_seq: int
    groups: tuple[Group, ...]
    reopened: frozenset[int]
    """Rows that are back in the database, or gone."""

    @property
    def spans(self) -> int:
        """How many there are in it."""
        return self.shown - self.begun - len(self.reopened)

    @property
    def since(self) -> float:
        """When the first span began, or earlier."""
        return self.groups[0].since

    @property
    def until(self) -> float:
        """When the last span began, or later."""
        return self.groups[-1].until


@dataclass(frozen=True, slots=True)
class Part:
    """A group of a segment: the number of it, and its first row."""

    segment: Segment
    number: int
    start: int
    group: Group

    @property
    def low(self) -> int:
        """The first row that counts, from `start` on."""
        return max(self.segment.begun - self.start, 0)

    @property
    def high(self) -> int:
        """The one behind the last row that counts."""
        return min(self.segment.shown - self.start, self.group.rows)

    @property
    def reopened(self) -> list[int]:
        """Rows that do not count, from `start` on."""
        if not self.segment.reopened:
            return []
        return [row - self.start for row in self.segment.reopened if self.start <= row < self.start + self.group.rows]


Seen = tuple[float, int, Part, int]
"""(time, seq, group, row) of a span."""


def parts(segments: Iterable[Segment], where: Sequence[Filter] = (), after: int | None = None) -> list[Part]:
    """The groups in which there may be matching spans; with `after`, any with a later number."""
    since, until = bounds(where)
    unpriced = any(each.name == "cost_status" and each.operator == "=" and each.values == (None,) for each in where)
    found = []
    for segment in segments:
        if after is not None and segment.last_seq <= after:
            continue
        start = 0
        for number, group in enumerate(segment.groups):
            part = Part(segment, number, start, group)
            within = group.since <= until and group.until >= since and part.low < part.high
            if within and not (unpriced and group.priced):
                found.append(part)
            start += group.rows
    return found


def read(
    part: Part,
    names: Sequence[str],
    where: Sequence[Filter] = (),
    *,
    after: int | None = None,
    beyond: tuple[float, int] | None = None,
) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """Those columns of the matching spans of a group, and their rows in the file. What is filtered on is read first.

    With `after` only those with a later number, with `beyond` (time, number) only those that come before it.
    """
    asked = {each.name for each in where}
    asked |= {SEQ} if after is not None else set()
    asked |= {"start_time", SEQ} if beyond is not None else set()
    first = part.segment.file.read(part.number, sorted(asked)) if asked else None
    chosen = np.zeros(part.group.rows, bool)
    chosen[part.low : part.high] = True
    chosen[part.reopened] = False
    if first is not None:
        for mask in _masks(first, where, after, beyond):
            chosen &= mask
    rows = np.flatnonzero(chosen)
    rest = [name for name in names if name not in asked]
    table = first.select([name for name in names if name in asked]) if first is not None else None
    if rest and (len(rows) or table is None):
        more = part.segment.file.read(part.number, rest)
        table = more if table is None else _joined(table, more)
    elif rest:
        return pa.table({}), rows
    assert table is not None, "a question names a column, or filters on one"
    table = table if len(rows) == part.group.rows else table.take(rows)
    return table.select(list(names)), rows + part.start


def scan(
    segments: Iterable[Segment], schema: pa.Schema, where: Sequence[Filter] = (), *, after: int | None = None
) -> Iterator[pa.RecordBatch]:
    """The columns of a schema of all matching spans, a batch for each group that has any."""
    names = schema.names or [SEQ]
    for part in parts(segments, where, after):
        table, rows = read(part, names, where, after=after)
        if not len(rows):
            continue
        if not schema.names:
            yield pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
            continue
        yield conform(schema, table.combine_chunks().to_batches()[0])


def count(segments: Iterable[Segment], where: Sequence[Filter] = ()) -> int:
    """How many spans match."""
    if not where:
        return sum(each.spans for each in segments)
    return sum(len(read(part, (), where)[1]) for part in parts(segments, where))


def exists(segments: Iterable[Segment], where: Sequence[Filter] = ()) -> bool:
    """Whether any span matches; the newest are looked at first."""
    if not where:
        return any(each.spans for each in segments)
    ordered = sorted(parts(segments, where), key=lambda part: -part.group.until)
    return any(len(read(part, (), where)[1]) for part in ordered)


def in_order(
    segments: Iterable[Segment],
    where: Sequence[Filter],
    limit: int,
    *,
    newest: bool = True,
    beyond: tuple[float, int] | None = None,
    enough: float | None = None,
    hours: Hours = lambda: None,
) -> list[Seen]:
    """The first `limit` matching spans in order of time and number, from the newest on or from the oldest.

    Spans beyond the time `enough` are of no interest; `hours` is asked when they are not found soon.
    """
    sign = -1 if newest else 1

    def begins(part: Part) -> float:
        return sign * (part.group.until if newest else part.group.since)

    found: list[Seen] = []
    told: Collection[int] | None = None
    for looked, part in enumerate(sorted(parts(segments, where), key=begins)):
        last = found[-1][0] if len(found) == limit else enough
        if last is not None and begins(part) > sign * last:
            break
        if looked == PATIENCE:
            asked = hours()
            told = None if asked is None else frozenset(asked)
        if told is not None and not _within(part.group, told):
            continue
        table, rows = read(part, ("start_time", SEQ), where, beyond=beyond)
        if not len(rows):
            continue
        ends = slice(-limit, None) if newest else slice(limit)
        times, numbers = (table[name].to_numpy()[ends].tolist() for name in ("start_time", SEQ))
        found += [(*each, part, row) for *each, row in zip(times, numbers, rows[ends].tolist(), strict=True)]
        found = sorted(found, key=lambda each: each[:2], reverse=newest)[:limit]
    return found


def of_trace(segments: Iterable[Segment], project: str, trace_id: str) -> list[Found]:
    """All spans of a trace."""
    (key,) = trace_keys([project], [trace_id])
    at = [place for segment in segments for place in _placed(segment, segment.file.rows_of(key))]
    project_at, trace_at = (NAMES.index(name) + 2 for name in ("project", "trace_id"))
    return [row for row in whole(at) if (row[project_at], row[trace_at]) == (project, trace_id)]


def places_of(segments: Sequence[Segment], keys: Iterable[Key]) -> dict[Key, tuple[Part, int]]:
    """Where those spans lie that are in a segment, by their keys."""
    wanted = frozenset(keys)
    numbers = np.unique(np.array(trace_keys(*_first_two(wanted)), np.uint64))
    found: dict[Key, tuple[Part, int]] = {}
    for segment in segments:
        likely = segment.file.some_of(numbers).tolist()
        rows = sorted({row for number in likely for row in segment.file.rows_of(number)})
        for part, some in groupby(_placed(segment, rows), key=lambda place: place[0]):
            at = [row for _, row in some]
            ids = part.segment.file.read(part.number, _KEY)
            taken = ids.take(np.array(at) - part.start)
            for row, *key in zip(at, *(taken[name].to_pylist() for name in _KEY), strict=True):
                project, trace_id, span_id = key
                if (project, trace_id, span_id) in wanted:
                    found[project, trace_id, span_id] = (part, row)
    return found


def traces_in(segments: Iterable[Segment], traces: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the traces, given as (project, trace), that may have spans in a segment."""
    given = list(traces)
    numbers = dict(zip(trace_keys(*_first_two(given)), given, strict=True))
    ordered = np.array(sorted(numbers), np.uint64)
    return {numbers[number] for segment in segments for number in segment.file.some_of(ordered).tolist()}


def whole(places: Sequence[tuple[Part, int]]) -> list[Found]:
    """All columns of the spans that lie there, in the order of the places."""
    found: dict[Place, Found] = {}
    by_part: dict[tuple[int, int], tuple[Part, list[int]]] = {}
    for part, row in places:
        by_part.setdefault((part.segment.id, part.number), (part, []))[1].append(row)
    for part, rows in by_part.values():
        table = part.segment.file.read(part.number, ("start_time", SEQ, *NAMES[1:]))
        taken = table.take(np.array(rows) - part.start)
        columns = [taken[name].to_pylist() for name in ("start_time", SEQ, *NAMES)]
        for row, values in zip(rows, zip(*columns, strict=True), strict=True):
            found[part.segment.id, row] = values
    return [found[part.segment.id, row] for part, row in places]


def first_row_from(segment: Segment, time_s: float) -> int:
    """The first row that counts of those that began at that moment or later; `rows` where none did."""
    start = 0
    for number, group in enumerate(segment.groups):
        if group.until >= time_s:
            times = segment.file.read(number, ("start_time",))["start_time"].to_numpy()
            first = start + int(np.searchsorted(times, time_s))
            return max(segment.begun, min(first, segment.shown))
        start += group.rows
    return max(segment.begun, segment.shown)


def _first_two(keys: Iterable[tuple[str, ...]]) -> tuple[list[str], list[str]]:
    given = list(keys)
    return [each[0] for each in given], [each[1] for each in given]


def _placed(segment: Segment, rows: Iterable[int]) -> Iterator[tuple[Part, int]]:
    """The rows (in order) that count, each with the group it lies in."""
    start, number = 0, 0
    for row in rows:
        while row >= start + segment.groups[number].rows:
            start += segment.groups[number].rows
            number += 1
        if segment.begun <= row < segment.shown and row not in segment.reopened:
            yield Part(segment, number, start, segment.groups[number]), row


def _masks(
    table: pa.Table, where: Sequence[Filter], after: int | None, beyond: tuple[float, int] | None
) -> Iterator[np.ndarray[Any, Any]]:
    met = matching(table, where)
    if met is not None:
        yield met.to_numpy(zero_copy_only=False)
    if after is not None:
        yield table[SEQ].to_numpy() > after
    if beyond is not None:
        times, numbers = table["start_time"].to_numpy(), table[SEQ].to_numpy()
        yield (times < beyond[0]) | ((times == beyond[0]) & (numbers < beyond[1]))


def _joined(one: pa.Table, other: pa.Table) -> pa.Table:
    for name in other.column_names:
        one = one.append_column(name, other[name])
    return one


def _within(group: Group, hours: Collection[int]) -> bool:
    first, last = (math.floor(each / HOUR_S) for each in (group.since, group.until))
    return any(hour * HOUR_S in hours for hour in range(first, last + 1))
