"""The SQLite store: one file in WAL mode that several processes write while others read."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from tracewatch.errors import StoreBusy, StoreUnreadable, StoreUnwritable
from tracewatch.records import RECORDS, Lease, Record, Span, columns
from tracewatch.stores import closed, sqlite_claims, sqlite_groups, sqlite_rollups, sqlite_value_days
from tracewatch.stores.address import Durability
from tracewatch.stores.base import Filter, Group, GroupOrder, Hurry, Page, Progress, SpanKey, Store, checked_column
from tracewatch.stores.columns import arrow_schema, from_rows, row_slices, stored_batch
from tracewatch.stores.measures import chosen_measures
from tracewatch.stores.queries import (
    changes,
    condition,
    decode_cursor,
    decode_token,
    encode_cursor,
    encode_token,
    of_key,
)
from tracewatch.stores.sqlite_closing import LEAST_ROWS, Closer, Stopped
from tracewatch.stores.sqlite_days import KnownDays
from tracewatch.stores.sqlite_hours import rolled
from tracewatch.stores.sqlite_load import Loaded, Loader
from tracewatch.stores.sqlite_order import end, in_order
from tracewatch.stores.sqlite_plans import span_walk
from tracewatch.stores.sqlite_rankings import KnownRankings
from tracewatch.stores.sqlite_reopening import Reopening, reopen_keys, without_closed
from tracewatch.stores.sqlite_schema import VERSION, tables_of
from tracewatch.stores.sqlite_segments import HELD_SQL, any_held, broken, held, moved, segments_of, totals
from tracewatch.stores.sqlite_stream import stream
from tracewatch.stores.sqlite_writing import BULK, SqliteWriter, add_sql, open_connection, put_sql, told
from tracewatch.stores.values import from_row, to_row
from tracewatch.times import HOUR_S

INSERT_ROWS = 2_000  # Python objects of 2 000 rows are some 4 MB; larger slices gained nothing (measured)
FETCH_ROWS = 8_192
LOOKED_UP = 2_000  # records that are changed at a time
SMALL_ROWS = 100_000  # up to here sqlite3 (5 µs a row) is done before a child process has started and answered
TURN_S = 0.1  # the longest that SQLite waits before it looks again whether a lock is free
READER_CACHE_KIB = 16_384  # the upper pages of all indexes of a million rows


class SqliteStore(Store):
    """Records in a SQLite file. May be used by several threads; each question is answered from one snapshot."""

    def __init__(
        self,
        path: str,
        *,
        create: bool = False,
        durability: Durability = "normal",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens the file, and makes or migrates our tables in it. Raises the Store… errors."""
        self.path = path
        self.url = path
        self._clock = clock
        self._durability = durability
        self._writer = SqliteWriter(path, create=create, durability=durability, room=BULK)
        self._writer.closed = Reopening()
        sqlite_rollups.teach(self._writer.connection)
        self._version = self._others()
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._days = KnownDays()
        self._rankings = KnownRankings()
        self._hurry: Hurry | None = None

    def put(self, records: Iterable[Record]) -> int:
        return self._writer.put(records)

    def add(self, records: Iterable[Record]) -> int:
        return self._writer.add(records)

    def add_rows(self, record_type: type[Record], rows: Sequence[Mapping[str, Any]]) -> int:
        return self._writer.add_rows(record_type, rows)

    def add_values(self, record_type: type[Record], rows: Sequence[Mapping[str, Any]]) -> int:
        return self._writer.add_values(record_type, rows)

    def add_batch(self, record_type: type[Record], batch: pa.RecordBatch) -> int:
        rows = stored_batch(record_type, batch)
        sql = add_sql(record_type, tuple(rows.schema.names))
        with self._writer.transaction() as connection:
            rows = without_closed(connection, rows) if record_type is Span else rows
            before = _last_seq(connection)
            added = sum(connection.executemany(sql, part).rowcount for part in row_slices(rows, INSERT_ROWS))
            if record_type is Span and added == rows.num_rows and rolled(connection) == before:
                # Nothing else is waiting to be rolled up: do it here, without reading the rows back.
                sqlite_rollups.add_rolled(connection, rows, _last_seq(connection), self._clock())
            return added

    def load(self, record_type: type[Record], batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
        rest = iter(batches)
        for batch in islice(rest, 1):  # one batch is stored before a child has started
            yield self.add_batch(record_type, batch)
        second = next(rest, None)
        if second is not None:
            yield from self._load(record_type, chain((second,), rest))

    def get(self, record_type: type[Record], key: Mapping[str, Any]) -> Record | None:
        met = of_key(record_type, key)
        sql = f"SELECT {_names(record_type)} FROM {record_type.table} WHERE {met.sql}"
        with self._reading() as connection, _snapshot(connection):
            row = connection.execute(sql, met.values).fetchone()
            if row is None and record_type is Span and (segments := held(connection)):
                places = closed.places_of(segments, [met.values])
                row = next((each[2:] for each in closed.whole(list(places.values()))), None)
        return None if row is None else from_row(record_type, row)

    def annotate(self, record_type: type[Record], key: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
        return self.annotate_all(record_type, [(key, values)]) == 1

    def annotate_all(
        self, record_type: type[Record], changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> int:
        done, rest = 0, iter(changes)
        with self._writer.transaction() as connection:
            while some := list(islice(rest, LOOKED_UP)):
                if record_type is Span and any_held(connection):
                    reopen_keys(connection, [of_key(Span, key).values for key, _ in some])
                done += sum(_annotate(connection, record_type, key, values) for key, values in some)
        return done

    def swap(
        self, record_type: type[Record], where: Sequence[Filter], records: Iterable[Record], *, expected: int
    ) -> bool:
        assert record_type is not Span, "spans go by retain(), which keeps their rollups"
        met = condition(record_type, where)
        with self._writer.transaction() as connection:
            table = f"{record_type.table} WHERE {met.sql}"
            if _number(connection, f"SELECT count(*) FROM {table}", met.values) != expected:
                return False
            connection.execute(f"DELETE FROM {table}", met.values)
            connection.executemany(put_sql(record_type, _all(record_type)), map(to_row, records))
            return True

    def fence(self, lease: Lease | None) -> None:
        self._writer.lease = lease

    def hurry(self, run: Hurry) -> None:
        self._hurry = run

    def stamp(self) -> object:
        return self._others()

    def page(
        self, record_type: type[Record], where: Sequence[Filter] = (), *, limit: int = 50, cursor: str | None = None
    ) -> Page:
        assert limit > 0, "a page has at least one record"
        beyond = None
        if cursor is not None:
            beyond = decode_cursor(record_type, cursor)
            where = (*where, Filter(record_type.newest_by, "<=", beyond[:1]))
        with self._reading() as connection, _snapshot(connection):
            rows = in_order(connection, record_type, where, limit + 1, beyond=beyond)
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return Page(
            tuple(from_row(record_type, row[2:]) for row in rows[:limit]),
            encode_cursor(record_type, last[0], last[1]) if last else None,
        )

    def trace(self, project: str, trace_id: str) -> tuple[Span, ...]:
        # Left to itself SQLite would walk all spans in order of time, to save itself the sorting of a few.
        of_trace = f"FROM {Span.table} INDEXED BY {Span.table}_key WHERE project = ? AND trace_id = ?"
        sql = f"SELECT start_time, seq, {_names(Span)} {of_trace}"
        with self._reading() as connection, _snapshot(connection):
            rows = connection.execute(sql, (project, trace_id)).fetchall()
            if segments := held(connection):
                rows = _once(rows, closed.of_trace(segments, project, trace_id))
        return tuple(from_row(Span, row[2:]) for row in sorted(rows, key=lambda row: row[:2]))

    def scan(
        self,
        record_type: type[Record],
        names: Sequence[str],
        where: Sequence[Filter] = (),
        *,
        after: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        schema = arrow_schema(record_type, names)
        condition(record_type, where)  # says what is wrong with a filter before the first batch is asked for
        return self._scan(record_type, schema, where, None if after is None else decode_token(record_type, after))

    def tip(self) -> str:
        with self._reading() as connection:
            return encode_token(dict(connection.execute("SELECT name, seq FROM sqlite_sequence")))

    def extent(self, record_type: type[Record], where: Sequence[Filter] = ()) -> tuple[float, float] | None:
        with self._reading() as connection, _snapshot(connection):
            oldest = end(connection, record_type, where, newest=False)
            newest = end(connection, record_type, where, newest=True)
        return None if oldest is None or newest is None else (oldest, newest)

    def count(self, record_type: type[Record], where: Sequence[Filter] = ()) -> int:
        met = condition(record_type, where)
        with self._reading() as connection, _snapshot(connection):
            found = _number(connection, f"SELECT count(*) FROM {record_type.table} WHERE {met.sql}", met.values)
            return found + (closed.count(held(connection), where) if record_type is Span else 0)

    def distinct(self, record_type: type[Record], name: str, where: Sequence[Filter] = ()) -> int:
        met = condition(record_type, where)
        sql = (
            f"SELECT count(DISTINCT {checked_column(record_type, name).name}) FROM {record_type.table} WHERE {met.sql}"
        )
        with self._reading() as connection, _snapshot(connection):
            if record_type is Span:
                return sqlite_groups.distinct(connection, name, where)
            return _number(connection, sql, met.values)

    def exists(self, record_type: type[Record], where: Sequence[Filter] = ()) -> bool:
        met = condition(record_type, where)
        sql = f"SELECT EXISTS (SELECT 1 FROM {record_type.table} WHERE {met.sql})"
        with self._reading() as connection, _snapshot(connection):
            found = bool(_number(connection, sql, met.values))
            return found or (record_type is Span and closed.exists(held(connection), where))

    def groups(
        self, name: str, where: Sequence[Filter] = (), *, order: GroupOrder = "cost_usd", limit: int = 50, skip: int = 0
    ) -> tuple[Group, ...]:
        with self._reading() as connection, _snapshot(connection):
            return self._rankings.groups(connection, checked_column(Span, name).name, where, order, limit, skip)

    def days_of(self, name: str, where: Sequence[Filter], most: int) -> int | None:
        with self._reading() as connection, _snapshot(connection):
            return sqlite_groups.rows_of_days(connection, checked_column(Span, name).name, where, most)

    def remove(self, record_type: type[Record], where: Sequence[Filter]) -> int:
        assert record_type is not Span, "spans go by retain(), which keeps their rollups"
        met = condition(record_type, where)
        with self._writer.transaction() as connection:
            return connection.execute(f"DELETE FROM {record_type.table} WHERE {met.sql}", met.values).rowcount

    def pending(self) -> int:
        with self._reading() as connection, _snapshot(connection):
            return sqlite_rollups.pending(connection)

    def roll_up(self, progress: Progress | None = None) -> int:
        done = 0
        while (redone := self._rolling(lambda connection: sqlite_rollups.redo_next(connection))) is not None:
            done += redone
            _tell(progress, redone)
            self._let_others_write()
        while (new := self._roll_claimed() or self._roll_locked()) is not None:
            done += new
            _tell(progress, new)
        while self._lacks_minutes():
            self._rolling(sqlite_rollups.recover_minutes)
            self._let_others_write()
        self._keep_values()
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
        with self._reading() as connection, _snapshot(connection):
            return sqlite_rollups.read(
                connection, since, until, step_s=step_s, by=by, where=where, measures=chosen, days=self._days
            )

    def retain(self, before: float, spare: Sequence[SpanKey] = ()) -> int:
        self.roll_up()
        hour = before // HOUR_S * HOUR_S
        for begin in range(0, len(spare), LOOKED_UP):
            with self._writer.transaction() as connection:
                reopen_keys(connection, spare[begin : begin + LOOKED_UP])
            self._let_others_write()
        with self._writer.transaction() as connection:
            sqlite_rollups.spare(connection, spare)
            sqlite_rollups.forget_spans_before(connection, hour)
            gone = sqlite_rollups.forget_closed_before(connection, hour, self._clock())
        while some := self._rolling(lambda connection: sqlite_rollups.delete_spans_before(connection, hour)):
            gone += some
        self._writer.give_back(self._let_others_write)
        return gone

    def retained(self) -> float | None:
        with self._reading() as connection:
            return sqlite_rollups.retained(connection)

    def keep_hours(self, hours: pa.Table, since: float, until: float) -> None:
        self._rolling(lambda connection: sqlite_rollups.keep_hours(connection, hours, since, until))

    def compact(
        self,
        before: float,
        *,
        least: int | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        done = 0

        def pause(closed_by_a_step: int) -> None:
            nonlocal done
            done += closed_by_a_step
            _tell(progress, closed_by_a_step)
            if stop():
                raise Stopped
            self._let_others_write()

        closer = Closer(self._writer, self._clock, pause)
        with suppress(Stopped):
            closer.tidy()
            self.roll_up()  # what is closed is counted
            while closer.close_next(before, least=LEAST_ROWS if least is None else least):
                self._writer.give_back(self._let_others_write)
            while closer.renew_next():
                pause(0)
        return done

    def size(self) -> int:
        files = (self.path, f"{self.path}-wal")
        with self._reading() as connection:
            in_segments = totals(connection)[2]
        return in_segments + sum(os.path.getsize(each) for each in files if os.path.exists(each))

    def is_shared(self) -> bool:
        with self._reading() as connection:
            ours = {each.table for each in RECORDS}
            return any(
                name not in ours and not name.startswith(("tracewatch_", "sqlite_")) for name in tables_of(connection)
            )

    def describe(self) -> Mapping[str, str]:
        files = (self.path, f"{self.path}-wal")
        size = sum(os.path.getsize(each) for each in files if os.path.exists(each))
        about = {
            "SQLite": sqlite3.sqlite_version,
            "at": self.path,
            "schema": str(VERSION),
            "size": f"{size / 1e6:,.1f} MB",
        }
        with self._reading() as connection, _snapshot(connection):
            files_of_segments, spans, octets = totals(connection)
        if files_of_segments:
            about["segments"] = f"{files_of_segments:,} with {spans:,} spans, {octets / 1e6:,.1f} MB"
        return about

    def verify(self) -> str | None:
        with self._reading() as connection:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check(3)")]
            if found == ["ok"]:
                return broken(connection)
        return f"{self.path} is damaged: {'; '.join(found)}"

    def close(self) -> None:
        self._writer.close()
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for one question, so that it sees the newest rows and no one else's snapshot."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._open_reader()
        try:
            with told(self.path, StoreUnreadable):
                yield connection
        finally:
            with self._lock:
                self._idle.append(connection)

    def _open_reader(self) -> sqlite3.Connection:
        connection = open_connection(self.path, create=False)
        with told(self.path, StoreUnreadable):
            connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
            sqlite_rollups.teach(connection)
        return connection

    def _let_others_write(self) -> None:
        """Leaves a moment between two of many transactions, where somebody else has written since the last time.

        SQLite keeps no queue: who waits for the lock looks every 100 ms whether it is free, and finds it so only by
        chance when it is taken again at once.
        """
        version = self._others()
        if version != self._version:
            self._version = version
            time.sleep(TURN_S)

    def _others(self) -> int:
        """A number that is another one when somebody else has written."""
        (version,) = self._writer.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _lacks_minutes(self) -> bool:
        with self._reading() as connection, _snapshot(connection):
            return sqlite_rollups.lacks_minutes(connection)

    def _keep_values(self) -> None:
        """Makes days again that are stale, and one that is lacking: those of a large file take their time."""
        now = self._clock()
        with self._reading() as connection, _snapshot(connection):
            lacks = sqlite_value_days.lacks_values(connection, now)
        if lacks:
            while self._rolling(lambda connection: sqlite_value_days.remake_next(connection, now)):
                self._let_others_write()
            self._rolling(lambda connection: sqlite_value_days.recover_values(connection, now))

    def _rolling(self, step: Callable[[sqlite3.Connection], Any]) -> Any:
        def locked() -> Any:
            with self._writer.transaction() as connection:
                return step(connection)

        return locked() if self._hurry is None else self._hurry(locked)

    def _roll_claimed(self) -> int:
        """Rolls up the next spans while others go on writing. Returns how many; 0 when they are few or have changed."""
        claimed = self._rolling(lambda connection: sqlite_claims.claim(connection, self._clock()))
        if claimed is None:
            return 0
        with self._reading() as connection:
            measured = sqlite_claims.measure(connection, claimed)
        new = int(self._rolling(lambda connection: sqlite_claims.add(connection, claimed, measured)))
        self._let_others_write()
        return new

    def _roll_locked(self) -> int | None:
        """Rolls up the next spans in one transaction. Returns how many; None when none is left."""
        new: int | None = self._rolling(lambda connection: sqlite_rollups.roll_next(connection, self._clock()))
        if new is not None:
            self._let_others_write()
        return new

    def _load(self, record_type: type[Record], batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
        (busy_ms,) = self._writer.connection.execute("PRAGMA busy_timeout").fetchone()
        loader = Loader(self.path, table=record_type.table, durability=self._durability, busy_ms=busy_ms)
        under_way: list[pa.RecordBatch] = []  # one at most
        try:
            for batch in batches:
                rows = stored_batch(record_type, batch)
                yield from self._loaded(record_type, under_way, loader)
                if record_type is Span:
                    with self._reading() as connection, _snapshot(connection):
                        loader.moved, rows = moved(connection), without_closed(connection, rows)
                loader.send(add_sql(record_type, tuple(rows.schema.names)), rows)
                under_way.append(rows)
            yield from self._loaded(record_type, under_way, loader)
        except Exception:  # of whoever makes the batches: those before are stored and counted, as by add_batch
            yield from self._loaded(record_type, under_way, loader)
            raise
        finally:
            loader.close()

    def _loaded(self, record_type: type[Record], under_way: list[pa.RecordBatch], loader: Loader) -> Iterator[int]:
        """Waits for the batch under way. Rolls it up from memory when nothing else is waiting before it."""
        if not under_way:
            return
        rows = under_way.pop()  # first of all: what fails from here on is not waited for again
        done = loader.result()
        if record_type is Span and done.added == rows.num_rows == done.after - done.before:
            with suppress(StoreBusy, StoreUnwritable):  # the rows are kept; they are rolled up with whatever comes next
                self._roll_loaded(rows, done, loader)
        yield done.added

    def _roll_loaded(self, rows: pa.RecordBatch, done: Loaded, loader: Loader) -> None:
        with self._writer.transaction() as connection:
            # Between the commit and this transaction others may have written. They may have changed these very rows,
            # which nothing marks as long as they are not rolled up; then the rollups are made from what is stored.
            unmoved = moved(connection) == loader.moved
            if unmoved and rolled(connection) == done.before and loader.version() == done.version:
                sqlite_rollups.add_rolled(connection, rows, done.after, self._clock())

    def _scan(
        self, record_type: type[Record], schema: pa.Schema, where: Sequence[Filter], after: int | None
    ) -> Iterator[pa.RecordBatch]:
        if record_type is not Span:
            met = condition(record_type, where)
            sql = f"SELECT {', '.join(schema.names) or 'NULL'} FROM {record_type.table} WHERE {met.sql}"
            with self._reading() as connection:
                yield from _fetch(connection, schema, sql, met.values)
            return
        with self._reading() as connection:
            connection.execute("BEGIN")
            try:
                walk = span_walk(connection, where, after)
                names = ", ".join(schema.names) or "NULL"
                sql = f"SELECT {names} FROM {Span.table} {walk.by} WHERE {walk.met.sql}"
                if walk.rows <= SMALL_ROWS:
                    segments = held(connection)
                    yield from _fetch(connection, schema, sql, walk.met.values)
            finally:
                connection.execute("ROLLBACK")
        if walk.rows > SMALL_ROWS:
            told: list[list[Any]] = []
            yield from stream(self.path, schema, sql, walk.met.values, HELD_SQL, told.extend)
            with self._reading() as connection:
                segments = segments_of(connection, told)
        yield from closed.scan(segments, schema, where, after=after)


def _all(record_type: type[Record]) -> tuple[str, ...]:
    return tuple(each.name for each in columns(record_type))


def _names(record_type: type[Record]) -> str:
    return ", ".join(_all(record_type))


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """All questions within see the same rows."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _once(rows: Sequence[tuple[Any, ...]], others: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Closed spans, and those beside them that are not there already: a recording program cannot know."""
    span_at = 2 + _all(Span).index("span_id")
    there = {row[span_at] for row in others}
    return [*others, *(row for row in rows if row[span_at] not in there)]


def _tell(progress: Progress | None, rows: int) -> None:
    if progress is not None:
        progress(rows)


def _last_seq(connection: sqlite3.Connection) -> int:
    return _number(connection, "SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (Span.table,))


def _number(connection: sqlite3.Connection, sql: str, values: Sequence[Any] = ()) -> int:
    found = connection.execute(sql, values).fetchone()
    return int(found[0] or 0) if found else 0


def _annotate(
    connection: sqlite3.Connection, record_type: type[Record], key: Mapping[str, Any], values: Mapping[str, Any]
) -> int:
    to, met = changes(record_type, values), of_key(record_type, key)
    sql = f"UPDATE {record_type.table} SET {to.sql} WHERE {met.sql}"
    return connection.execute(sql, (*to.values, *met.values)).rowcount


def _fetch(
    connection: sqlite3.Connection, schema: pa.Schema, sql: str, values: Sequence[Any]
) -> Iterator[pa.RecordBatch]:
    cursor = connection.execute(sql, values)
    try:
        while rows := cursor.fetchmany(FETCH_ROWS):
            yield from_rows(schema, rows)
    finally:
        cursor.close()
