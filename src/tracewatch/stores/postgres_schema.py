"""The tables of a PostgreSQL store, read off the records, and the way from an older form of them to this one.

Spans lie in partitions of a day, so that old ones are dropped at once. A unique index of such a table must hold what it
is parted by, so a table of keys beside it holds that each span is there once: docs/decisions/0023-postgresql.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg

from tracewatch.errors import StoreOccupied, StoreTooNew, StoreUnreadable
from tracewatch.records import RECORDS, Column, Record, Span, columns, key_of
from tracewatch.stores.measures import KEYS, MEASURES, Measure
from tracewatch.stores.sqlite_schema import DIRTY, HOURS, INDEXES, META, MINUTES, SLICE_TABLE
from tracewatch.stores.values import defaults_of, may_be_empty
from tracewatch.times import DAY_S

VERSION = 1
SPAN_KEYS = "tracewatch_span_keys"
OTHER_DAYS = f"{Span.table}_other_days"
PARTED = (946_684_800.0, 4_102_444_800.0)  # the years 2000 to 2099 have days of their own, all else lies together

# Advisory locks, by a number that nobody else has: tracewatch in hexadecimal digits, and which of ours.
SCHEMA_LOCK, ROLL_LOCK, WRITE_LOCK = (0x7472_6163_6577_0000 + number for number in range(3))

_TYPES = {
    "text": 'TEXT COLLATE "C"',
    "integer": "BIGINT",
    "real": "DOUBLE PRECISION",
    "time": "DOUBLE PRECISION",
    "boolean": "BOOLEAN",
    "json": "JSON",
    "list": "JSON",
    "bytes": "BYTEA",
}
_WRITTEN = "seq BIGINT NOT NULL DEFAULT nextval('{table}_seq'), written XID8 NOT NULL DEFAULT pg_current_xact_id()"


def prepare(connection: psycopg.Connection[Any], name: str, *, create: bool) -> None:
    """Makes, completes or migrates our tables in one transaction; does not write when nothing is missing.

    Raises StoreTooNew, StoreOccupied (with nothing changed) or StoreUnreadable.
    """
    if version_of(connection) == VERSION and not any(_missing(connection)):
        return
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
        found = version_of(connection)  # another process may have done it meanwhile
        if found is not None and found > VERSION:
            raise StoreTooNew(path=name, found=found, known=VERSION)
        if found is None:
            _claim(connection, name, create=create)
        for statement in list(_missing(connection)):
            connection.execute(statement)
        connection.execute(f"UPDATE {META} SET value = %s WHERE name = 'schema'", (VERSION,))


def version_of(connection: psycopg.Connection[Any]) -> int | None:
    """The schema that is there; None when there is none of ours."""
    if not _is_there(connection, META):
        return None
    row = connection.execute(f"SELECT value FROM {META} WHERE name = 'schema'").fetchone()
    return None if row is None else int(row[0])


def day_of(time_s: float) -> int | None:
    """The day (since 1970) whose partition a time lies in; None where it lies with all the other days."""
    return int(time_s // DAY_S) if PARTED[0] <= time_s < PARTED[1] else None


def partition_name(day: int) -> str:
    """The partition of a day."""
    return f"{Span.table}_{datetime.fromtimestamp(day * DAY_S, UTC):%Y%m%d}"


def partition_sql(day: int) -> str:
    """The statement that makes the partition of a day, if it is not there."""
    begin = int(day * DAY_S)
    return (
        f"CREATE TABLE IF NOT EXISTS {partition_name(day)} PARTITION OF {Span.table} "
        f"FOR VALUES FROM ({begin}) TO ({begin + int(DAY_S)})"
    )


def days_of(connection: psycopg.Connection[Any]) -> frozenset[int]:
    """The days that have a partition."""
    sql = (
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = to_regclass(%s) AND relname <> %s"
    )
    names = (name for (name,) in connection.execute(sql, (Span.table, OTHER_DAYS)))
    return frozenset(_day_named(name) for name in names)


def _day_named(name: str) -> int:
    moment = datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)
    return int(moment.timestamp() // DAY_S)


def _claim(connection: psycopg.Connection[Any], name: str, *, create: bool) -> None:
    """Makes all tables in a database that has none of ours."""
    for record_type in RECORDS:
        if _is_there(connection, record_type.table):
            raise StoreOccupied(path=name, table=record_type.table)
    if not create:
        raise StoreUnreadable(path=name, why="it has no tables of tracewatch; tracewatch import makes them")
    for statement in (*_own_sql(), *_rollup_sql(), *_trigger_sql()):
        connection.execute(statement)


def _own_sql() -> Iterator[str]:
    yield f"CREATE TABLE {META} (name TEXT PRIMARY KEY, value NUMERIC NOT NULL)"
    first = f"('schema', {VERSION}), ('retained', -1e11), ('minutes_from', 0), ('rolled', 0), ('rolled_seq', 0)"
    yield f"INSERT INTO {META} (name, value) VALUES {first}"
    keys = ", ".join(f"{name} {_TYPES['text']}" for name in key_of(Span))
    primary = f"PRIMARY KEY ({', '.join(key_of(Span))})"
    yield f"CREATE TABLE {SPAN_KEYS} ({keys}, start_time DOUBLE PRECISION NOT NULL, {primary})"


def _missing(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Statements for tables, columns and indexes that are declared and not there."""
    sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
    there: dict[str, set[str]] = {}
    for table, name in connection.execute(sql):
        there.setdefault(table, set()).add(name)
    for record_type in RECORDS:
        has = there.get(record_type.table)
        if has is None:
            yield from _table_sql(record_type)
        else:
            wanted = [each for each in columns(record_type) if each.name not in has]
            yield from (_add_sql(record_type.table, _column_sql(record_type, each, added=True)) for each in wanted)
    if Span.table in there:
        yield from (index.sql for index in INDEXES if not _is_there(connection, index.name))
    for table in (HOURS, MINUTES):
        wanted_measures = [each for each in MEASURES if each.name not in there.get(table, {each.name})]
        yield from (_add_sql(table, _measure_sql(each)) for each in wanted_measures)


def _add_sql(table: str, column: str) -> str:
    return f"ALTER TABLE {table} ADD COLUMN {column}"


def _table_sql(record_type: type[Record]) -> Iterator[str]:
    table, key = record_type.table, ", ".join(key_of(record_type))
    lines = ",\n  ".join(
        (_WRITTEN.format(table=table), *(_column_sql(record_type, each) for each in columns(record_type)))
    )
    yield f"CREATE SEQUENCE {table}_seq"
    if record_type is not Span:
        yield f"CREATE TABLE {table} (\n  {lines},\n  PRIMARY KEY ({key})\n)"
        return
    yield f"CREATE TABLE {table} (\n  {lines}\n) PARTITION BY RANGE (start_time)"
    yield f"CREATE TABLE {OTHER_DAYS} PARTITION OF {table} DEFAULT"
    yield f"CREATE INDEX {table}_as_written ON {table} (written, seq)"
    for index in INDEXES:
        yield index.sql


def _rollup_sql() -> Iterator[str]:
    names = ", ".join(f"{name} {_TYPES['text']}" for name in KEYS)
    # Its place is all its values as JSON: one of them may be empty, and what is empty is equal to nothing.
    yield f"CREATE TABLE {SLICE_TABLE} (id BIGSERIAL PRIMARY KEY, place {_TYPES['text']} NOT NULL UNIQUE, {names})"
    measures = ",\n  ".join(_measure_sql(each) for each in MEASURES)
    for table in (HOURS, MINUTES):
        keys = "slice BIGINT NOT NULL,\n  bucket BIGINT NOT NULL"
        yield f"CREATE TABLE {table} (\n  {keys},\n  {measures},\n  PRIMARY KEY (slice, bucket)\n)"
        yield f"CREATE INDEX {table}_by_time ON {table} (bucket)"
    yield f"CREATE TABLE {DIRTY} (project TEXT NOT NULL, hour BIGINT NOT NULL, PRIMARY KEY (project, hour))"


def _trigger_sql() -> Iterator[str]:
    """What marks an hour whose spans were changed or deleted after they had been rolled up.

    It waits for a roll-up that is under way, and a roll-up waits for it: neither sees half of what the other does.
    """
    yield f"""CREATE FUNCTION tracewatch_mark() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE rolled NUMERIC; rolled_seq NUMERIC; retained NUMERIC;
BEGIN
  PERFORM pg_advisory_xact_lock_shared({ROLL_LOCK});
  SELECT value INTO rolled FROM {META} WHERE name = 'rolled';
  SELECT value INTO rolled_seq FROM {META} WHERE name = 'rolled_seq';
  SELECT value INTO retained FROM {META} WHERE name = 'retained';
  IF (OLD.written, OLD.seq) <= (rolled::text::xid8, rolled_seq::bigint) AND OLD.start_time >= retained THEN
    INSERT INTO {DIRTY} (project, hour) VALUES (OLD.project, floor(OLD.start_time / 3600)::bigint * 3600)
    ON CONFLICT DO NOTHING;
  END IF;
  RETURN NULL;
END $$"""
    # The spans' own table is made after this, with all other records.
    yield from _table_sql(Span)
    yield (
        f"CREATE TRIGGER {Span.table}_changed AFTER UPDATE OR DELETE ON {Span.table} "
        "FOR EACH ROW EXECUTE FUNCTION tracewatch_mark()"
    )


def _measure_sql(measure: Measure) -> str:
    if measure.kind == "sketch":
        return f"{measure.name} BYTEA"
    return f"{measure.name} {_TYPES[measure.kind]} NOT NULL DEFAULT 0"


def _column_sql(record_type: type[Record], column: Column, *, added: bool = False) -> str:
    default = defaults_of(record_type).get(column.name)
    words = [column.name, _TYPES[column.kind]]
    if not may_be_empty(record_type, column) and not (added and default is None):
        words.append("NOT NULL")  # a required column that comes later cannot be: rows are already there
    if default is not None:
        words.append(f"DEFAULT {_literal(default)}")
    return " ".join(words)


def _literal(value: str | float) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _is_there(connection: psycopg.Connection[Any], table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return bool(row and row[0])
