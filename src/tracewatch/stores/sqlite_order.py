"""Records in order of time, a few at a time: the rows of pages, and the ends of what a store holds."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from tracewatch.records import Record, Span, columns
from tracewatch.stores import closed
from tracewatch.stores.base import Filter
from tracewatch.stores.closed import Seen
from tracewatch.stores.queries import EVERYTHING, Condition, condition
from tracewatch.stores.sqlite_hours import can_tell, closed_hours, rolled, told_hours
from tracewatch.stores.sqlite_plans import PROBE_ROWS, Lane, choose
from tracewatch.stores.sqlite_segments import held
from tracewatch.times import HOUR_S

PATIENCE_STEPS = 60_000  # of SQLite's machine: some 5 000 rows looked at, in 5 to 10 ms

Found = tuple[Any, ...]
"""(time, seq, columns of the record…)"""


def in_order(
    connection: sqlite3.Connection,
    record_type: type[Record],
    where: Sequence[Filter],
    limit: int,
    *,
    beyond: tuple[float, int] | None = None,
    newest: bool = True,
) -> list[Found]:
    """The first `limit` rows that match and come before a time and number, closed spans among them."""
    met = condition(record_type, where)
    if beyond is not None:
        met = met.and_(Condition(f"({record_type.newest_by}, seq) < (?, ?)", beyond))
    if record_type is not Span:
        way = ((None, EVERYTHING),)
        return list(islice(_merged(connection, record_type, way, met, limit, newest=newest), limit))
    found = list(islice(_of_table(connection, where, met, limit, newest=newest), limit))
    seen = _closed(connection, where, limit, found, beyond, newest=newest)
    closed_ones = closed.whole([(part, row) for _, _, part, row in seen])
    return list(islice(heapq.merge(found, closed_ones, key=_place, reverse=newest), limit))


def end(
    connection: sqlite3.Connection, record_type: type[Record], where: Sequence[Filter], *, newest: bool
) -> float | None:
    """The time of the newest, or the oldest, of the matching rows."""
    met = condition(record_type, where)
    if record_type is not Span:
        found = list(_merged(connection, record_type, ((None, EVERYTHING),), met, 1, newest=newest))
        return found[0][0] if found else None
    found = list(islice(_of_table(connection, where, met, 1, newest=newest), 1))
    times = [row[0] for row in (*found, *_closed(connection, where, 1, found, None, newest=newest))]
    return (max if newest else min)(times, default=None)


def _closed(
    connection: sqlite3.Connection,
    where: Sequence[Filter],
    limit: int,
    found: Sequence[Found],
    beyond: tuple[float, int] | None,
    *,
    newest: bool,
) -> list[Seen]:
    """The first closed spans, as far as they may stand before the last of those that were found."""
    return closed.in_order(
        held(connection),
        where,
        limit,
        newest=newest,
        beyond=beyond,
        enough=found[-1][0] if len(found) == limit else None,
        hours=lambda: closed_hours(connection, where),
    )


def _of_table(
    connection: sqlite3.Connection, where: Sequence[Filter], met: Condition, limit: int, *, newest: bool
) -> Iterator[Found]:
    """Spans of the table in order; only the first `limit` of them are sure to be all there are."""
    choice = choose(connection, where)
    ways = choice.lanes
    if choice.rows < PROBE_ROWS or not can_tell(where):
        return _merged(connection, Span, ways, met, limit, newest=newest)
    try:
        with _patience(connection):
            return _merged(connection, Span, ways, met, limit, newest=newest)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    hours = told_hours(connection, where, newest=newest)
    if hours is None:
        return _merged(connection, Span, ways, met, limit, newest=newest)
    mark = rolled(connection)
    new = _walk(connection, Span, (None, Condition("seq > ?", (mark,))), met, limit, newest=newest)
    # With a plus the hour alone bounds the walk: SQLite takes any one of several bounds, and would walk the whole time.
    old = Condition(met.sql.replace("start_time", "+start_time"), met.values).and_(Condition("seq <= ?", (mark,)))
    each_hour = (Condition("start_time >= ? AND start_time < ?", (hour, hour + HOUR_S)) for hour in hours)
    by_hour = (_merged(connection, Span, ways, old.and_(hour), limit, newest=newest) for hour in each_hour)
    told = (row for rows in by_hour for row in rows)
    return heapq.merge(new, told, key=_place, reverse=newest)


@contextmanager
def _patience(connection: sqlite3.Connection) -> Iterator[None]:
    """Interrupts a walk that does not find its rows soon."""
    connection.set_progress_handler(lambda: 1, PATIENCE_STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def _merged(
    connection: sqlite3.Connection,
    record_type: type[Record],
    ways: Sequence[tuple[Any, Condition]],
    met: Condition,
    limit: int,
    *,
    newest: bool,
) -> Iterator[Found]:
    found = [_walk(connection, record_type, way, met, limit, newest=newest) for way in ways]
    return heapq.merge(*found, key=_place, reverse=newest)


def _walk(
    connection: sqlite3.Connection,
    record_type: type[Record],
    way: Lane | tuple[None, Condition],
    met: Condition,
    limit: int,
    *,
    newest: bool,
) -> list[Found]:
    index, lane = way
    # Of spans it is said which way to go; of other records SQLite finds the index itself, and they are fewer.
    by = f"INDEXED BY {index.name}" if index else "NOT INDEXED" if record_type is Span else ""
    cut = lane.and_(met)
    time, order = record_type.newest_by, "DESC" if newest else "ASC"
    names = ", ".join(each.name for each in columns(record_type))
    sql = (
        f"SELECT {time}, seq, {names} FROM {record_type.table} {by} WHERE {cut.sql} "
        f"ORDER BY {time} {order}, seq {order} LIMIT {limit}"
    )
    return connection.execute(sql, cut.values).fetchall()


def _place(row: Found) -> Found:
    return row[:2]
