"""Writing records into PostgreSQL: spans by COPY, a partition a day, each key once; other records by their key."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from tracewatch.records import SCORE, Record, Span, columns, key_of
from tracewatch.stores.postgres_connecting import Connection, Connections
from tracewatch.stores.postgres_schema import SCHEMA_LOCK, SPAN_KEYS, WRITE_LOCK, day_of, days_of, partition_sql
from tracewatch.stores.scores import Early, settle
from tracewatch.stores.sqlite_schema import META
from tracewatch.stores.values import Row, from_values, to_row

EARLY_SCORES = 100  # that are tried again with every write; those before stay rows of their own
CHANNEL = "tracewatch_spans"  # listeners are told that spans have come
_ALL_SPAN = tuple(each.name for each in columns(Span))


class PostgresWriter:
    """Writes whole transactions. Several threads, processes and servers may do so at once."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._days: frozenset[int] = frozenset()
        self._early = Early(EARLY_SCORES)
        self._turn = threading.Lock()

    def add(self, records: Iterable[Record]) -> int:
        """Stores those records of one type whose key is not there yet. Returns how many were new."""
        record_type, rows = _rows(records)
        if record_type is None:
            return 0
        if record_type is Span:
            return self.add_spans(_ALL_SPAN, rows)
        return self._insert(record_type, rows, "NOTHING")

    def put(self, records: Iterable[Record]) -> int:
        """Stores records of one type, replacing those with the same key. Returns how many were given."""
        record_type, rows = _rows(records)
        if record_type is None:
            return 0
        if record_type is Span:
            self._put_spans(rows)
            return len(rows)
        return self._insert(record_type, rows, _news(record_type))

    def add_spans(self, names: Sequence[str], rows: Sequence[Row]) -> int:
        """Spans as rows of those columns, of which `start_time` and the key are some."""
        if not rows:
            return 0
        self._make_days(names, rows)
        with self._early.tried(_scores(names, rows)) as waiting, self._writing_spans() as connection:
            new = self._add_spans(connection, names, rows)
            waiting[:] = settle(connection, waiting) if waiting else ()
        return new

    def _put_spans(self, rows: Sequence[Row]) -> None:
        """The last row of each key takes the place of the one that is there."""
        self._make_days(_ALL_SPAN, rows)
        last = {tuple(row[_ALL_SPAN.index(name)] for name in key_of(Span)): row for row in rows}
        with self._early.tried(_scores(_ALL_SPAN, rows)) as waiting, self._writing_spans() as connection:
            remove_spans(connection, sorted(last))
            self._add_spans(connection, _ALL_SPAN, list(last.values()))
            waiting[:] = settle(connection, waiting) if waiting else ()

    @contextmanager
    def _writing_spans(self) -> Iterator[Connection]:
        """A transaction that `settled` waits for."""
        with self._connections.writing() as connection:
            connection.execute(f"SELECT pg_advisory_xact_lock_shared({WRITE_LOCK})")
            yield connection

    def _add_spans(self, connection: Connection, names: Sequence[str], rows: Sequence[Row]) -> int:
        """What has been told to be too old is left out: it may have been counted before it was deleted."""
        row = connection.execute(f"SELECT value::float8 FROM {META} WHERE name = 'retained'").fetchone()
        retained, time = row[0] if row else 0.0, names.index("start_time")
        kept = _taken(connection, names, [each for each in rows if each[time] >= retained])
        if kept:
            sql = f"COPY {Span.table} ({', '.join(names)}) FROM STDIN"
            with connection.raw.cursor() as cursor, cursor.copy(sql) as copy:
                for each in kept:
                    copy.write_row(each)
            connection.execute(f"NOTIFY {CHANNEL}")
        return len(kept)

    def _insert(self, record_type: type[Record], rows: Sequence[Row], on_conflict: str) -> int:
        with self._connections.writing() as connection:
            return insert(connection, record_type, rows, on_conflict)

    def _make_days(self, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Makes the partitions of the days that are still without one."""
        time = names.index("start_time")
        wanted = {day for row in rows if (day := day_of(row[time])) is not None}
        if wanted <= self._days:
            return
        with self._turn, self._connections.writing() as connection:
            connection.execute(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
            self._days = days_of(connection.raw)
            for day in sorted(wanted - self._days):
                connection.execute(partition_sql(day))
        self._days |= wanted

    def forget_days(self) -> None:
        """Days may have gone: they are looked up again."""
        self._days = frozenset()


def settled(connections: Connections) -> int:
    """A transaction before which no other writes spans any more: all of theirs can be seen, or were never kept.

    It waits for those that are writing, and those who want to write wait for it.
    """
    with connections.writing() as connection:
        connection.execute(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
        return connection.number("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")


def insert(connection: Connection, record_type: type[Record], rows: Iterable[Row], on_conflict: str) -> int:
    """Inserts rows of a record that is no span. Returns how many were written."""
    names = [each.name for each in columns(record_type)]
    marks = ", ".join("%s::json" if each.kind in ("json", "list") else "%s" for each in columns(record_type))
    sql = (
        f"INSERT INTO {record_type.table} ({', '.join(names)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(key_of(record_type))}) DO {on_conflict}"
    )
    written = 0
    with connection.raw.cursor() as cursor:
        for row in rows:
            written += cursor.execute(sql, row).rowcount
    return written


def remove_spans(connection: Connection, keys: Sequence[tuple[str, ...]]) -> None:
    """Deletes the spans with these keys, as far as they are there."""
    names = key_of(Span)
    given = ", ".join("?::text[]" for _ in names)
    same = " AND ".join(f"{Span.table}.{name} = gone.{name}" for name in names)
    columns_given = [[each[at] for each in keys] for at in range(len(names))]
    gone = (
        f"DELETE FROM {SPAN_KEYS} USING unnest({given}) AS wanted({', '.join(names)}) "
        f"WHERE {same.replace(Span.table, SPAN_KEYS).replace('gone.', 'wanted.')} RETURNING {SPAN_KEYS}.*"
    )
    connection.execute(
        f"WITH gone AS ({gone}) DELETE FROM {Span.table} USING gone "
        f"WHERE {same} AND {Span.table}.start_time = gone.start_time",
        columns_given,
    )


def _taken(connection: Connection, names: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Those rows whose key is not there yet, the first of each; from now on it is."""
    keys = key_of(Span)
    places = [names.index(name) for name in keys]
    first: dict[tuple[str, ...], Row] = {}
    for row in rows:
        first.setdefault(tuple([row[place] for place in places]), row)
    time = names.index("start_time")
    given = [*zip(*first, strict=True), [row[time] for row in first.values()]] if first else [[]] * (len(keys) + 1)
    # In the order of the keys: two writers of the same spans then wait for one another, and never both.
    sql = (
        f"INSERT INTO {SPAN_KEYS} SELECT * FROM unnest(?::text[], ?::text[], ?::text[], ?::float8[]) "
        f"AS given({', '.join(keys)}, start_time) ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING RETURNING {', '.join(keys)}"
    )
    return [first[key] for key in connection.execute(sql, [list(each) for each in given])]


def _news(record_type: type[Record]) -> str:
    own = [each.name for each in columns(record_type) if not each.key]
    table = record_type.table
    written = f"seq = nextval('{table}_seq'), written = pg_current_xact_id()"
    return "UPDATE SET " + ", ".join((written, *(f"{name} = excluded.{name}" for name in own)))


def _scores(names: Sequence[str], rows: Sequence[Row]) -> list[Span]:
    """The scores among these rows."""
    if "operation_type" not in names:
        return []
    operation = names.index("operation_type")
    scores = (row for row in rows if row[operation] == SCORE)
    given = ({name: value for name, value in zip(names, row, strict=True) if value is not None} for row in scores)
    return [from_values(Span, each) for each in given]


def _rows(records: Iterable[Record]) -> tuple[type[Record] | None, list[Row]]:
    rest: Iterator[Record] = iter(records)
    first = next(rest, None)
    if first is None:
        return None, []
    record_type = type(first)
    rows = []
    for each in chain((first,), rest):
        assert type(each) is record_type, f"records of one type at a time: {record_type.__name__}"
        rows.append(to_row(each))
    return record_type, rows
