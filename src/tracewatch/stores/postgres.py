"""The PostgreSQL store: one database that several servers write and read, with spans in partitions of a day."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tracewatch.records import Lease, Record, Span, columns
from tracewatch.stores import postgres_rollups
from tracewatch.stores.base import Filter, Group, GroupOrder, Page, Progress, SpanKey, Store, checked_column
from tracewatch.stores.columns import arrow_schema, from_rows, row_slices, stored_batch
from tracewatch.stores.measures import chosen_measures
from tracewatch.stores.postgres_connecting import Connection, Connections
from tracewatch.stores.postgres_queries import condition, decode_token, encode_token
from tracewatch.stores.postgres_schema import SPAN_KEYS, VERSION, prepare
from tracewatch.stores.postgres_writing import PostgresWriter, insert, settled
from tracewatch.stores.queries import (
    EVERYTHING,
    GROUPED,
    Condition,
    changes,
    decode_cursor,
    encode_cursor,
    groups_sql,
    of_key,
)
from tracewatch.stores.values import from_row, to_row, to_values
from tracewatch.times import HOUR_S

FETCH_ROWS = 8_192
BATCH_ROWS = 20_000  # rows of one transaction: Python's objects for them are some 40 MB


class PostgresStore(Store):
    """Records in a PostgreSQL database. May be used by several threads, processes and servers."""

    def __init__(self, url: str, *, create: bool = False, clock: Callable[[], float] = time.time) -> None:
        """Connects, and makes or migrates our tables there. Raises the Store… errors."""
        self.url = url
        self._clock = clock
        self._connections = Connections(url)
        try:
            with self._connections.writing() as connection:
                prepare(connection.raw, self._connections.name, create=create)
        except BaseException:
            self._connections.close()
            raise
        self._writer = PostgresWriter(self._connections)

    def put(self, records: Iterable[Record]) -> int:
        return self._writer.put(records)

    def add(self, records: Iterable[Record]) -> int:
        return self._writer.add(records)

    def add_rows(self, record_type: type[Record], rows: Sequence[Mapping[str, Any]]) -> int:
        return self.add_values(record_type, [to_values(record_type, each) for each in rows])

    def add_values(self, record_type: type[Record], rows: Sequence[Mapping[str, Any]]) -> int:
        if record_type is not Span:
            return super().add_values(record_type, rows)
        if not rows:
            return 0
        there = set().union(*rows)
        names = [each.name for each in columns(Span) if each.name in there]
        return self._writer.add_spans(names, [tuple(map(each.get, names)) for each in rows])

    def add_batch(self, record_type: type[Record], batch: pa.RecordBatch) -> int:
        rows = stored_batch(record_type, batch)
        if record_type is not Span:
            values = [
                dict(zip(rows.schema.names, each, strict=True))
                for part in row_slices(rows, BATCH_ROWS)
                for each in part
            ]
            return super().add_values(record_type, values)
        return sum(self._writer.add_spans(rows.schema.names, list(part)) for part in row_slices(rows, BATCH_ROWS))

    def get(self, record_type: type[Record], key: Mapping[str, Any]) -> Record | None:
        met = of_key(record_type, key)
        if record_type is Span:
            met = _of_span_key(met)
        with self._connections.reading() as connection:
            sql = f"SELECT {_names(record_type)} FROM {record_type.table} WHERE {met.sql}"
            row = connection.execute(sql, met.values).fetchone()
        return None if row is None else from_row(record_type, row)

    def annotate(self, record_type: type[Record], key: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
        return self.annotate_all(record_type, [(key, values)]) == 1

    def annotate_all(
        self, record_type: type[Record], changed: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> int:
        with self._connections.writing() as connection:
            return sum(_annotate(connection, record_type, key, values) for key, values in changed)

    def swap(
        self, record_type: type[Record], where: Sequence[Filter], records: Iterable[Record], *, expected: int
    ) -> bool:
        assert record_type is not Span, "spans go by retain(), which keeps their rollups"
        met = condition(record_type, where)
        rows = map(to_row, records)
        with self._connections.writing() as connection:
            # Two who swap take turns, and the second one sees what the first has done.
            connection.execute(f"LOCK TABLE {record_type.table} IN SHARE ROW EXCLUSIVE MODE")
            table = f"{record_type.table} WHERE {met.sql}"
            if connection.number(f"SELECT count(*) FROM {table}", met.values) != expected:
                return False
            connection.execute(f"DELETE FROM {table}", met.values)
            insert(connection, record_type, rows, "NOTHING")
            return True

    def fence(self, lease: Lease | None) -> None:
        self._connections.lease = lease

    def stamp(self) -> object:
        with self._connections.reading() as connection:
            return connection.number("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")

    def page(
        self, record_type: type[Record], where: Sequence[Filter] = (), *, limit: int = 50, cursor: str | None = None
    ) -> Page:
        assert limit > 0, "a page has at least one record"
        newest = record_type.newest_by
        beyond = EVERYTHING
        if cursor is not None:
            last_time, last_seq = decode_cursor(record_type, cursor)
            # The first half says nothing more, but partitions of later days are then not looked into.
            beyond = Condition(f"{newest} <= ? AND ({newest}, seq) < (?, ?)", (last_time, last_time, last_seq))
        met = condition(record_type, where).and_(beyond)
        sql = (
            f"SELECT {newest}, seq, {_names(record_type)} FROM {record_type.table} WHERE {met.sql} "
            f"ORDER BY {newest} DESC, seq DESC LIMIT {limit + 1}"
        )
        with self._connections.reading() as connection:
            rows = connection.execute(sql, met.values).fetchall()
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return Page(
            tuple(from_row(record_type, row[2:]) for row in rows[:limit]),
            encode_cursor(record_type, last[0], last[1]) if last else None,
        )

    def trace(self, project: str, trace_id: str) -> tuple[Span, ...]:
        met = _of_span_key(Condition("project = ? AND trace_id = ?", (project, trace_id)))
        sql = f"SELECT {_names(Span)} FROM {Span.table} WHERE {met.sql} ORDER BY start_time, seq"
        with self._connections.reading() as connection:
            return tuple(from_row(Span, row) for row in connection.execute(sql, met.values))

    def scan(
        self,
        record_type: type[Record],
        names: Sequence[str],
        where: Sequence[Filter] = (),
        *,
        after: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        schema = arrow_schema(record_type, names)
        met = condition(record_type, where)  # says what is wrong with a filter before the first batch is asked for
        if after is not None:
            met = met.and_(Condition("written >= ?::text::xid8", (str(decode_token(after)),)))
        return self._scan(record_type, schema, met)

    def tip(self) -> str:
        return encode_token(settled(self._connections))

    def extent(self, record_type: type[Record], where: Sequence[Filter] = ()) -> tuple[float, float] | None:
        met, newest = condition(record_type, where), record_type.newest_by
        sql = f"SELECT {newest} FROM {record_type.table} WHERE {met.sql} ORDER BY {newest}"
        with self._connections.reading() as connection:
            oldest = connection.execute(f"{sql} LIMIT 1", met.values).fetchone()
            latest = connection.execute(f"{sql} DESC LIMIT 1", met.values).fetchone()
        return (oldest[0], latest[0]) if oldest and latest else None

    def count(self, record_type: type[Record], where: Sequence[Filter] = ()) -> int:
        return self._number(record_type, where, "count(*)")

    def distinct(self, record_type: type[Record], name: str, where: Sequence[Filter] = ()) -> int:
        return self._number(record_type, where, f"count(DISTINCT {checked_column(record_type, name).name})")

    def exists(self, record_type: type[Record], where: Sequence[Filter] = ()) -> bool:
        met = condition(record_type, where)
        sql = f"SELECT EXISTS (SELECT 1 FROM {record_type.table} WHERE {met.sql})"
        with self._connections.reading() as connection:
            return bool(connection.number(sql, met.values))

    def groups(
        self, name: str, where: Sequence[Filter] = (), *, order: GroupOrder = "cost_usd", limit: int = 50, skip: int = 0
    ) -> tuple[Group, ...]:
        met = condition(Span, where)
        sql = groups_sql(checked_column(Span, name).name, met, order)
        with self._connections.reading() as connection:
            rows = connection.execute(sql, (*met.values, limit, skip)).fetchall()
        return tuple(Group(**dict(zip(GROUPED, row, strict=True))) for row in rows)

    def remove(self, record_type: type[Record], where: Sequence[Filter]) -> int:
        assert record_type is not Span, "spans go by retain(), which keeps their rollups"
        met = condition(record_type, where)
        with self._connections.writing() as connection:
            return connection.execute(f"DELETE FROM {record_type.table} WHERE {met.sql}", met.values).rowcount

    def pending(self) -> int:
        with self._connections.reading() as connection:
            return postgres_rollups.pending(connection)

    def roll_up(self, progress: Progress | None = None) -> int:
        done = 0
        while (redone := self._rolling(postgres_rollups.redo_next)) is not None:
            done += redone
            _tell(progress, redone)
        before, now = settled(self._connections), self._clock()
        while new := self._rolling(lambda connection: postgres_rollups.roll_next(connection, before, now)):
            done += new
            _tell(progress, new)
        return done

    def rollup(
        self,
        since: float,
        until: float,
        *,
        step_s: int = 3600,
        by: Sequence[str] = (),
        where: Sequence[Filter] = (),
        measures: Sequence[str] | None = None,
    ) -> pa.Table:
        chosen = chosen_measures(measures)
        with self._connections.reading() as connection:
            return postgres_rollups.read(connection, since, until, step_s=step_s, by=by, where=where, measures=chosen)

    def retain(self, before: float, spare: Sequence[SpanKey] = ()) -> int:
        self.roll_up()
        hour = before // HOUR_S * HOUR_S
        gone = self._rolling(lambda connection: postgres_rollups.delete_spans_before(connection, hour, spare))
        self._writer.forget_days()
        return int(gone)

    def retained(self) -> float | None:
        with self._connections.reading() as connection:
            return postgres_rollups.retained(connection)

    def keep_hours(self, hours: pa.Table, since: float, until: float) -> None:
        self._rolling(lambda connection: postgres_rollups.keep_hours(connection, hours, since, until))

    def describe(self) -> Mapping[str, str]:
        with self._connections.reading() as connection:
            version = connection.execute("SHOW server_version").fetchone()
            size = connection.number("SELECT pg_database_size(current_database())")
        return {
            "PostgreSQL": str(version[0]) if version else "",
            "at": self._connections.name,
            "schema": str(VERSION),
            "size": f"{size / 1e6:,.1f} MB",
        }

    def verify(self) -> str | None:
        spans = f"SELECT count(*) FROM {Span.table}"
        with self._connections.reading() as connection:
            rows, keys = connection.number(spans), connection.number(f"SELECT count(*) FROM {SPAN_KEYS}")
        return None if rows == keys else f"{self._connections.name} holds {rows:,} spans and the keys of {keys:,}"

    def close(self) -> None:
        self._connections.close()

    def _number(self, record_type: type[Record], where: Sequence[Filter], number: str) -> int:
        met = condition(record_type, where)
        with self._connections.reading() as connection:
            return connection.number(f"SELECT {number} FROM {record_type.table} WHERE {met.sql}", met.values)

    def _rolling(self, step: Callable[[Connection], Any]) -> Any:
        with self._connections.writing() as connection:
            return step(connection)

    def _scan(self, record_type: type[Record], schema: pa.Schema, met: Condition) -> Iterator[pa.RecordBatch]:
        sql = f"SELECT {', '.join(schema.names) or 'NULL'} FROM {record_type.table} WHERE {met.sql}".replace("?", "%s")
        with self._connections.reading() as connection, connection.raw.cursor("scan", binary=True) as cursor:
            cursor.execute(sql, met.values)
            while rows := cursor.fetchmany(FETCH_ROWS):
                yield from_rows(schema, rows)


def _names(record_type: type[Record]) -> str:
    return ", ".join(each.name for each in columns(record_type))


def _of_span_key(met: Condition) -> Condition:
    """The spans with those keys, by the times at which they began: so only the partitions of their days are read."""
    times = f"SELECT start_time FROM {SPAN_KEYS} WHERE {met.sql}"
    return Condition(f"start_time = ANY(ARRAY({times})) AND {met.sql}", (*met.values, *met.values))


def _annotate(
    connection: Connection, record_type: type[Record], key: Mapping[str, Any], values: Mapping[str, Any]
) -> int:
    to, met = changes(record_type, values), of_key(record_type, key)
    if record_type is Span:
        met = _of_span_key(met)
    sql = f"UPDATE {record_type.table} SET {to.sql} WHERE {met.sql}"
    return connection.execute(sql, (*to.values, *met.values)).rowcount


def _tell(progress: Progress | None, rows: int) -> None:
    if progress is not None:
        progress(rows)
