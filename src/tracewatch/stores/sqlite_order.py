"""Records in order of time, a few at a time: the rows of pages, and the ends of what a store holds."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracewatch.records import Record, Span, columns
from tracewatch.stores.base import Filter
from tracewatch.stores.queries import EVERYTHING, Condition, condition
from tracewatch.stores.sqlite_hours import can_tell, rolled, told_hours
from tracewatch.stores.sqlite_plans import PROBE_ROWS, Lane, choose

PATIENCE_STEPS = 60_000  # of SQLite's machine: some 5 000 rows looked at, in 5 to 10 ms

Found = tuple[Any, ...]
"""(time, seq, columns of the record…)"""


def in_order(
    connection: sqlite3.Connection,
    record_type: type[Record],
    where: Sequence[Filter],
    beyond: Condition,
    limit: int,
    *,
    newest: bool = True,
) -> Iterator[Found]:
    """Rows that match and lie beyond a cursor; only the first `limit` of them are sure to be all there are."""
    met = condition(record_type, where).and_(beyond)
    if record_type is not Span:
        return _merged(connection, record_type, ((None, EVERYTHING),), met, limit, newest=newest)
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
    by_hour = (_merged(connection, Span, ways, old.and_(hour), limit, newest=newest) for hour in hours)
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
