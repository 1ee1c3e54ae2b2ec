"""Spans added up by the value of a column, a page of values at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow.compute as pc

from tracewatch.records import Span
from tracewatch.stores import closed
from tracewatch.stores.base import Filter, Group, GroupOrder
from tracewatch.stores.closed import Segment
from tracewatch.stores.columns import arrow_schema
from tracewatch.stores.queries import GROUPED, Condition, condition
from tracewatch.stores.sqlite_plans import choose
from tracewatch.stores.sqlite_schema import INDEXES, VALUE_DAYS
from tracewatch.stores.sqlite_segments import held
from tracewatch.stores.sqlite_told import Told, told
from tracewatch.stores.sqlite_value_days import sums_of_parts
from tracewatch.stores.summing import SUMMED_FROM, added_up

LOOKED_AT = 20_000  # of the newest spans: a page of sessions is found among some hundreds, that of few users may not be
CLOSED_TABLE = "temp.closed_sums"
FEW_SPANS = 5_000  # of a page of values are read one by one, in 20 ms; for more of them days are


def groups(
    connection: sqlite3.Connection, column: str, where: Sequence[Filter], order: GroupOrder, limit: int, skip: int,
    among: Sequence[str] | None = None,
) -> tuple[Group, ...]:  # fmt: skip
    """The groups of a page: which ones they are is found first, and then all that is told of them.

    They are found among some values alone where these are given.
    """
    met = condition(Span, where).and_(Condition(f"{column} IS NOT NULL"))
    days = told(connection, column, where)
    segments = held(connection)
    page = _latest(connection, column, where, met, limit + skip, days, segments) if order == "last" else None
    if among is not None:
        page = list(among)
    elif page is not None:
        page = page[skip : skip + limit]
    elif days is not None:
        closed_sums = _of_closed(connection, column, segments, days.closed)
        page = [value for value, _ in _ranked(connection, column, met, days, closed_sums, order, limit, skip)]
    else:
        closed_sums = _of_closed(connection, column, segments, (where,))
        return _summed(connection, _together(_of_spans(column, "", met), closed_sums), order, limit, skip)
    if not page:
        return ()
    after = 0 if among is None else skip
    # The values alone, not that there is one: SQLite takes either as the way into an index, and the other is all of it.
    some = condition(Span, where).and_(Condition(f"{column} IN ({', '.join('?' * len(page))})", tuple(page)))
    named = Filter(column, "=", tuple(page))
    if days is None or (order == "last" and not segments and _are_few(connection, column, some)):
        closed_sums = _of_closed(connection, column, segments, ((*where, named),))
        source = _together(_of_spans(column, _by(column), some), closed_sums)
        return _summed(connection, source, order, limit, after)
    closed_sums = _of_closed(connection, column, segments, [(*each, named) for each in days.closed])
    return _summed(connection, _of_days(column, days, days.days_of(page), some, closed_sums), order, limit, after)


def ranked(
    connection: sqlite3.Connection, column: str, where: Sequence[Filter], order: GroupOrder, limit: int
) -> list[tuple[str, float | None]] | None:
    """The first values of an order with what each comes to in it; None where days do not tell."""
    days = told(connection, column, where)
    if days is None:
        return None
    met = condition(Span, where).and_(Condition(f"{column} IS NOT NULL"))
    closed_sums = _of_closed(connection, column, held(connection), days.closed)
    return _ranked(connection, column, met, days, closed_sums, order, limit, 0)


def rows_of_days(connection: sqlite3.Connection, column: str, where: Sequence[Filter], most: int) -> int | None:
    """How many rows of days answer `groups`, `most` at the most; None where they do not."""
    days = told(connection, column, where)
    if days is None:
        return None
    some = f"SELECT 1 FROM {VALUE_DAYS} WHERE {days.days.sql} LIMIT ?"
    (found,) = connection.execute(f"SELECT count(*) FROM ({some})", (*days.days.values, most)).fetchone()
    return int(found)


def distinct(connection: sqlite3.Connection, column: str, where: Sequence[Filter]) -> int:
    """How many values of a column of spans there are, by days where they tell."""
    met = condition(Span, where).and_(Condition(f"{column} IS NOT NULL"))
    days = told(connection, column, where)
    segments = held(connection)
    if days is not None:
        closed_sums = _of_closed(connection, column, segments, days.closed)
        source = _of_days(column, days, days.days, met, closed_sums, ())
    else:
        source = Condition(f"SELECT {column} AS value FROM {Span.table} WHERE {met.sql}", met.values)
        if segments:
            _keep_closed(connection, ((each,) for each in _closed_values(column, segments, where)), ("value",))
            source = Condition(f"{source.sql} UNION ALL SELECT value FROM {CLOSED_TABLE}", source.values)
    (found,) = connection.execute(f"SELECT count(DISTINCT value) FROM ({source.sql})", source.values).fetchone()
    return int(found)


def _of_spans(column: str, by: str, met: Condition) -> Condition:
    """A question for the groups of spans."""
    return Condition(f"SELECT {_sums(column)} FROM {Span.table} {by} WHERE {met.sql} GROUP BY {column}", met.values)


def _of_closed(
    connection: sqlite3.Connection, column: str, segments: Sequence[Segment], asked: Sequence[Sequence[Filter]]
) -> str:
    """Where the sums of closed spans lie that meet any of the questions; each meets one at most. Empty: nowhere."""
    if not segments or not asked:
        return ""
    schema = arrow_schema(Span, list(dict.fromkeys((*SUMMED_FROM, column))))
    some = Filter(column, "!=", (None,))
    batches = (batch for where in asked for batch in closed.scan(segments, schema, (*where, some)))
    _keep_closed(connection, added_up(batches, (column,)), tuple(GROUPED))
    return CLOSED_TABLE


def _closed_values(column: str, segments: Sequence[Segment], where: Sequence[Filter]) -> set[Any]:
    schema = arrow_schema(Span, [column])
    some = Filter(column, "!=", (None,))
    return {
        value
        for batch in closed.scan(segments, schema, (*where, some))
        for value in pc.unique(batch[column]).to_pylist()
    }


def _keep_closed(connection: sqlite3.Connection, rows: Iterable[Sequence[Any]], names: Sequence[str]) -> None:
    """Puts rows where a question finds them beside those of the database."""
    connection.execute(f"DROP TABLE IF EXISTS {CLOSED_TABLE}")
    connection.execute(f"CREATE TABLE {CLOSED_TABLE} ({', '.join(names)})")
    connection.executemany(f"INSERT INTO {CLOSED_TABLE} VALUES ({', '.join('?' * len(names))})", rows)


def _together(spans: Condition, closed_sums: str) -> Condition:
    """The groups of spans, those of the table and closed ones."""
    if not closed_sums:
        return spans
    names = tuple(GROUPED)[1:]
    both = f"{spans.sql} UNION ALL SELECT {', '.join(GROUPED)} FROM {closed_sums}"
    return Condition(f"SELECT {', '.join(('value', *sums_of_parts(names)))} FROM ({both}) GROUP BY value", spans.values)


def _of_days(
    column: str,
    days: Told,
    rows: Condition,
    met: Condition,
    closed_sums: str,
    names: Sequence[str] = tuple(GROUPED)[1:],
) -> Condition:
    """A question for some sums of the groups of those rows of days and of the spans beside them."""
    parts = [Condition(f"SELECT {', '.join(('value', *names))} FROM {VALUE_DAYS} WHERE {rows.sql}", rows.values)]
    # With a plus no bound but that of the part itself leads into an index: SQLite takes any one of several.
    within = Condition(met.sql.replace("start_time", "+start_time"), met.values)
    for walk, beside in days.beside:
        cut = within.and_(beside)
        spans = f"SELECT {_sums(column, ('value', *names))} FROM {Span.table} {walk} WHERE {cut.sql} GROUP BY {column}"
        parts.append(Condition(spans, cut.values))
    if closed_sums:
        parts.append(Condition(f"SELECT {', '.join(('value', *names))} FROM {closed_sums}"))
    together = " UNION ALL ".join(each.sql for each in parts)
    return Condition(
        f"SELECT {', '.join(('value', *sums_of_parts(names)))} FROM ({together}) GROUP BY value",
        tuple(value for each in parts for value in each.values),
    )


def _sums(column: str, names: Sequence[str] = tuple(GROUPED)) -> str:
    return ", ".join(f"{GROUPED[each].format(column=column)} AS {each}" for each in names)


def _ranked(
    connection: sqlite3.Connection,
    column: str,
    met: Condition,
    days: Told,
    closed_sums: str,
    order: GroupOrder,
    limit: int,
    skip: int,
) -> list[tuple[str, float | None]]:
    """The values of a page, and what each comes to in its order.

    Sorting two numbers for each takes a third of the time that all of them would.
    """
    source = _of_days(column, days, days.days, met, closed_sums, (order,))
    sql = f"{source.sql} ORDER BY {order} DESC, value LIMIT ? OFFSET ?"
    return connection.execute(sql, (*source.values, limit, skip)).fetchall()


def _summed(
    connection: sqlite3.Connection, source: Condition, order: GroupOrder, limit: int, skip: int
) -> tuple[Group, ...]:
    sql = f"{source.sql} ORDER BY {order} DESC, value LIMIT ? OFFSET ?"
    rows = connection.execute(sql, (*source.values, limit, skip)).fetchall()
    return tuple(Group(**dict(zip(GROUPED, row, strict=True))) for row in rows)


def _latest(
    connection: sqlite3.Connection,
    column: str,
    where: Sequence[Filter],
    met: Condition,
    count: int,
    days: Told | None,
    segments: Sequence[Segment],
) -> list[str] | None:
    """The values whose newest span is newest, `count` of them and those of the same moment as the last one.

    None where no one walk leads to them, closed spans may be among them, or they are not among the newest spans and
    days tell as well.
    """
    lanes = choose(connection, where).lanes
    if len(lanes) != 1:
        return None
    closed_until = max((each.until for each in segments), default=None)
    index, cut = lanes[0]
    both = cut.and_(met)
    sql = f"SELECT {column}, start_time FROM {Span.table} INDEXED BY {index.name} WHERE {both.sql}"
    found: dict[str, float] = {}
    last = 0.0
    for number, (value, at) in enumerate(connection.execute(f"{sql} ORDER BY start_time DESC", both.values)):
        if len(found) >= count and at < last:
            break
        if days and number >= LOOKED_AT:
            return None
        if value not in found:
            found[value] = last = at
    else:
        if segments:
            return None
    if closed_until is not None and last <= closed_until:
        return None
    return sorted(found, key=lambda value: (-found[value], value))


def _are_few(connection: sqlite3.Connection, column: str, met: Condition) -> bool:
    """Whether an index finds the spans of some values, and there are few of them."""
    by = _by(column)
    some = f"SELECT 1 FROM {Span.table} {by} WHERE {met.sql} LIMIT {FEW_SPANS}"
    return bool(by) and connection.execute(f"SELECT count(*) FROM ({some})", met.values).fetchone()[0] < FEW_SPANS


def _by(column: str) -> str:
    """The index that finds the spans of a value, if there is one."""
    index = next((each for each in INDEXES if each.columns[1:2] == (column,)), None)
    return f"INDEXED BY {index.name}" if index and not index.leaves_out else ""
