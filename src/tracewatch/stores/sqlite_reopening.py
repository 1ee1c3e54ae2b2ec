"""Closed spans that something is written about: they are put back into the table, or what comes again is left out.

A span that changes must be found by the statement that changes it. So whoever writes through a store looks first, in
the same transaction, whether the key is that of a closed span. Recording programs cannot (standard library alone); what
they have written is looked through before it is counted, see `settle_arrivals`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice

import pyarrow as pa

from tracewatch.records import SCORE, Span, key_of
from tracewatch.stores.closed import Key, of_trace, places_of, traces_in
from tracewatch.stores.scores import as_stored, settle
from tracewatch.stores.segments import NAMES
from tracewatch.stores.sqlite_segments import held, keys_of, reopen
from tracewatch.stores.sqlite_writing import Filled
from tracewatch.stores.values import from_row

LOOKED_UP = 2_000  # keys at a time: spans of an import that lie together in time lie together in a segment
_KEY = key_of(Span)


class Reopening:
    """What a store's writer asks about closed spans."""

    def before(self, connection: sqlite3.Connection, rows: Iterable[Filled], *, replaces: bool) -> Iterator[Filled]:
        """The rows that are to be written: closed spans are reopened where they are replaced, and kept otherwise."""
        segments = held(connection)
        if not segments:
            yield from rows
            return
        rest = iter(rows)
        while some := list(islice(rest, LOOKED_UP)):
            keys = keys_of([[each[name] for name in _KEY] for each in some], _KEY)
            places = places_of(segments, keys)
            if replaces:
                reopen(connection, list(places.values()))
                segments = held(connection) if places else segments
                yield from some
            else:
                yield from (row for row, key in zip(some, keys, strict=True) if key not in places)

    def reopen_traces(self, connection: sqlite3.Connection, scores: Iterable[Span]) -> None:
        """Puts back the spans of the traces that scores are about."""
        segments = held(connection)
        if not segments:
            return
        for project, trace_id in sorted(
            traces_in(segments, {(each.project, each.trace_id) for each in map(as_stored, scores)})
        ):
            _reopen_trace(connection, project, trace_id)


def reopen_keys(connection: sqlite3.Connection, keys: Iterable[Key]) -> None:
    """Puts back those of the spans that are closed."""
    segments = held(connection)
    if segments:
        reopen(connection, list(places_of(segments, keys).values()))


def without_closed(connection: sqlite3.Connection, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of a batch of spans that are not there yet as closed ones."""
    segments = held(connection)
    if not segments or not batch.num_rows:
        return batch
    names = [name for name in _KEY if name in batch.schema.names]
    keys = keys_of(list(zip(*(batch[name].to_pylist() for name in names), strict=True)), names)
    closed = places_of(segments, keys)
    return batch.filter(pa.array([key not in closed for key in keys], pa.bool_())) if closed else batch


def settle_arrivals(connection: sqlite3.Connection, after: int, upto: int) -> None:
    """Settles what was written by programs that know nothing of closed spans, between two numbers.

    A span that is there already is not kept a second time; a score about a closed span is put onto it.
    """
    segments = held(connection)
    if not segments:
        return
    sql = f"SELECT project, trace_id, span_id, operation_type FROM {Span.table} WHERE seq > ? AND seq <= ?"
    rows = connection.execute(sql, (after, upto)).fetchall()
    again = places_of(segments, keys_of(rows, _KEY))
    connection.executemany(f"DELETE FROM {Span.table} WHERE project = ? AND trace_id = ? AND span_id = ?", list(again))
    about = {row[:2] for row in rows if row[3] == SCORE and row[:3] not in again}
    for project, trace_id in sorted(traces_in(segments, about)):
        _reopen_trace(connection, project, trace_id)
        settle(connection, _scores_of(connection, project, trace_id))


def _reopen_trace(connection: sqlite3.Connection, project: str, trace_id: str) -> None:
    segments = held(connection)
    keys = keys_of([row[2:] for row in of_trace(segments, project, trace_id)], NAMES)
    reopen(connection, list(places_of(segments, keys).values()))


def _scores_of(connection: sqlite3.Connection, project: str, trace_id: str) -> list[Span]:
    sql = f"SELECT {', '.join(NAMES)} FROM {Span.table} WHERE project = ? AND trace_id = ? AND operation_type = ?"
    return [from_row(Span, row) for row in connection.execute(sql, (project, trace_id, SCORE))]
