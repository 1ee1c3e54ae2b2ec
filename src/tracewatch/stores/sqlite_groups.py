"""Spans added up by the value of a column, a page of values at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from tracewatch.records import Span
from tracewatch.stores.base import Filter, Group, GroupOrder
from tracewatch.stores.queries import GROUPED, Condition, condition
from tracewatch.stores.sqlite_plans import Lane, choose
from tracewatch.stores.sqlite_schema import INDEXES


def groups(
    connection: sqlite3.Connection, column: str, where: Sequence[Filter], order: GroupOrder, limit: int, skip: int
) -> tuple[Group, ...]:
    """The groups of a page. For the latest ones only the spans of the page, and those after it, are looked at."""
    met = condition(Span, where).and_(Condition(f"{column} IS NOT NULL"))
    lanes = choose(connection, where).lanes if order == "last" else ()
    if len(lanes) != 1:
        return _summed(connection, column, "", met, order, limit, skip)
    latest = _latest(connection, column, lanes[0], met, limit + skip)[skip : skip + limit]
    some = Condition(f"{column} IN ({', '.join('?' * len(latest))})", tuple(latest))
    return _summed(connection, column, _by(column), met.and_(some), order, limit, 0) if latest else ()


def _summed(
    connection: sqlite3.Connection, column: str, by: str, met: Condition, order: GroupOrder, limit: int, skip: int
) -> tuple[Group, ...]:
    sql = (
        f"SELECT {', '.join(f'{sums.format(column=column)} AS {alias}' for alias, sums in GROUPED.items())} "
        f"FROM {Span.table} {by} WHERE {met.sql} GROUP BY {column} ORDER BY {order} DESC, {column} LIMIT ? OFFSET ?"
    )
    rows = connection.execute(sql, (*met.values, limit, skip)).fetchall()
    return tuple(Group(**dict(zip(GROUPED, row, strict=True))) for row in rows)


def _latest(connection: sqlite3.Connection, column: str, lane: Lane, met: Condition, count: int) -> list[str]:
    """The values whose newest span is newest, `count` of them and those of the same moment as the last one."""
    index, cut = lane
    both = cut.and_(met)
    sql = f"SELECT {column}, start_time FROM {Span.table} INDEXED BY {index.name} WHERE {both.sql}"
    found: dict[str, float] = {}
    last = 0.0
    for value, at in connection.execute(f"{sql} ORDER BY start_time DESC", both.values):
        if len(found) >= count and at < last:
            break
        if value not in found:
            found[value] = last = at
    return sorted(found, key=lambda value: (-found[value], value))


def _by(column: str) -> str:
    """The index that finds the spans of a value, if there is one."""
    index = next((each for each in INDEXES if each.columns[1:2] == (column,)), None)
    return f"INDEXED BY {index.name}" if index and not index.leaves_out else ""
