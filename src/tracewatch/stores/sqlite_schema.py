"""The tables of a SQLite store, read off the records, and the way from every older form of them to this one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracewatch.errors import StoreOccupied, StoreTooNew, StoreUnreadable
from tracewatch.records import RECORDS, Anomaly, Column, Record, Span, columns, key_of
from tracewatch.stores.measures import KEYS, MEASURES, Measure
from tracewatch.stores.values import defaults_of, may_be_empty
from tracewatch.times import DAY_S, HOUR_S

VERSION = 4
META = "tracewatch_meta"
HOURS = "tracewatch_hours"
MINUTES = "tracewatch_minutes"
SLICE_TABLE = "tracewatch_slices"
DIRTY = "tracewatch_dirty"
VALUE_DAYS = "tracewatch_value_days"
STALE_DAYS = "tracewatch_stale_days"
SEGMENTS = "tracewatch_segments"
CLOSED_HOURS = "tracewatch_closed_hours"
REOPENED = "tracewatch_reopened"
CHANGED = "tracewatch_changed"

VALUED = ("user_id", "session_id", "conversation_id")
"""Columns of many values, by which spans are added up for each day (see `sqlite_value_days`)."""

_TYPES = {
    "text": "TEXT",
    "integer": "INTEGER",
    "real": "REAL",
    "time": "REAL",
    "boolean": "INTEGER",
    "json": "TEXT",
    "list": "TEXT",
    "bytes": "BLOB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index of `llm_traces` or of another table.

    Which condition (if any) a row must meet to be in it, and the values that do not.
    """

    name: str
    columns: tuple[str, ...]
    only: str = ""
    leaves_out: tuple[str | float, ...] = ()
    table: str = Span.table

    @property
    def sql(self) -> str:
        """The statement that makes it, if it is not there."""
        where = f" WHERE {self.only}" if self.only else ""
        return f"CREATE INDEX IF NOT EXISTS {self.name} ON {self.table} ({', '.join(self.columns)}){where}"


BY_TIME = Index(name="llm_traces_by_time", columns=("project", "start_time"))

# Empty but for what a guest has just written: it lets a command ask at once whether anything is to be priced.
NOT_PRICED = Index(name="llm_traces_unpriced", columns=("project", "start_time"), only="cost_status IS NULL")

# Which ones, and what each costs, was measured: see docs/storage.md, "Indexes".
INDEXES = (
    BY_TIME,
    Index(name="llm_traces_by_model", columns=("project", "model_name", "start_time"), only="model_name IS NOT NULL"),
    Index(name="llm_traces_by_usage", columns=("project", "usage_type", "start_time"), only="usage_type IS NOT NULL"),
    Index(name="llm_traces_by_user", columns=("project", "user_id", "start_time"), only="user_id IS NOT NULL"),
    Index(name="llm_traces_by_session", columns=("project", "session_id", "start_time"), only="session_id IS NOT NULL"),
    NOT_PRICED,
    Index(
        name="llm_traces_by_status",
        columns=("project", "status", "start_time"),
        only="status <> 'ok'",
        leaves_out=("ok",),
    ),
    # Of few calls each: who asks for a kind of failure, or for so many tries, is asking for some per cent of them.
    Index(name="llm_traces_by_error", columns=("project", "error_type", "start_time"), only="error_type IS NOT NULL"),
    Index(
        name="llm_traces_by_tries",
        columns=("project", "retry_count", "start_time"),
        only="retry_count <> 0",
        leaves_out=(0,),
    ),
)

# Findings are some per cent of the calls: a page of them, or those of an incident, took 10 ms for each 20 000 that
# there are.
FINDING_INDEXES = (
    Index(name=f"{Anomaly.table}_by_time", columns=("project", Anomaly.newest_by), table=Anomaly.table),
    Index(
        name=f"{Anomaly.table}_by_incident",
        columns=("project", "incident_id"),
        only="incident_id IS NOT NULL",
        table=Anomaly.table,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step from the schema before to `version`, in the order of MIGRATIONS; columns need none (see `missing`)."""

    version: int
    what: str
    statements: tuple[str, ...]


def rollup_sql(table: str) -> str:
    """The statement that makes a table of rollups."""
    lines = ",\n  ".join(_measure_sql(each) for each in MEASURES)
    keys = "slice INTEGER NOT NULL,\n  bucket INTEGER NOT NULL"
    return f"CREATE TABLE {table} (\n  {keys},\n  {lines},\n  PRIMARY KEY (slice, bucket)\n) WITHOUT ROWID"


def _measure_sql(measure: Measure) -> str:
    if measure.kind == "sketch":
        return f"{measure.name} BLOB"
    return f"{measure.name} {_TYPES[measure.kind]} NOT NULL DEFAULT 0"


def bucket_sql(time: str, step_s: int) -> str:
    """The beginning of the step of a time, before 1970 as well: SQLite's division and % round towards zero."""
    second = f"(CAST({time} AS INTEGER) - ({time} < CAST({time} AS INTEGER)))"
    return f"{second} - (({second} % {step_s} + {step_s}) % {step_s})"


_ROLLED = f"""WHERE seq <= (SELECT value FROM {META} WHERE name = 'rolled')
  AND start_time >= (SELECT value FROM {META} WHERE name = 'retained')"""
_MARK_DIRTY = f"""WHEN OLD.seq <= (SELECT value FROM {META} WHERE name = 'rolled')
  AND OLD.start_time >= (SELECT value FROM {META} WHERE name = 'retained')
BEGIN
  INSERT OR IGNORE INTO {DIRTY} (project, hour) VALUES (OLD.project, {bucket_sql("OLD.start_time", HOUR_S)});
END"""

ROLLUPS = (
    f"CREATE TABLE {SLICE_TABLE} (id INTEGER PRIMARY KEY, {', '.join(f'{name} TEXT' for name in KEYS)})",
    f"CREATE INDEX {SLICE_TABLE}_key ON {SLICE_TABLE} ({', '.join(KEYS)})",
    rollup_sql(HOURS),
    rollup_sql(MINUTES),
    f"CREATE TABLE {DIRTY} (project TEXT NOT NULL, hour INTEGER NOT NULL, PRIMARY KEY (project, hour)) WITHOUT ROWID",
    f"CREATE TRIGGER llm_traces_deleted AFTER DELETE ON {Span.table} {_MARK_DIRTY}",
    f"CREATE TRIGGER llm_traces_changed AFTER UPDATE ON {Span.table} {_MARK_DIRTY}",
    f"INSERT INTO {META} (name, value) VALUES ('rolled', 0), ('retained', -1e11), ('minutes_from', 0)",
)

# Made by the first retention only: it costs every insert a look-up. A span that comes again after it was deleted would
# be counted a second time in rollups that outlive the spans.
TOO_OLD = (
    f"""CREATE TRIGGER IF NOT EXISTS llm_traces_too_old BEFORE INSERT ON {Span.table}
WHEN NEW.start_time < (SELECT value FROM {META} WHERE name = 'retained')
BEGIN
  SELECT RAISE(IGNORE);
END""",
)

# Made by the first claim only, for what few spans come to is added without one. A span that changes before it is rolled
# up makes void what was measured of it meanwhile, see `sqlite_claims`.
CLAIM_CHANGED = tuple(
    f"""CREATE TRIGGER IF NOT EXISTS llm_traces_claim_{event.lower()} AFTER {event} ON {Span.table}
WHEN OLD.seq <= (SELECT value FROM {META} WHERE name = 'claimed')
BEGIN
  UPDATE {META} SET value = 0 WHERE name = 'claimed';
END"""
    for event in ("UPDATE", "DELETE")
)

# In order of days, so what is written at one time lies together, and so does what a time is asked for.
BY_VALUE = (
    f"""CREATE TABLE {VALUE_DAYS} (
  project TEXT NOT NULL,
  name TEXT NOT NULL,
  day INTEGER NOT NULL,
  value TEXT NOT NULL,
  source TEXT NOT NULL,
  calls INTEGER NOT NULL,
  cost_usd REAL,
  priced INTEGER NOT NULL,
  unpriced INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  first REAL NOT NULL,
  last REAL NOT NULL,
  PRIMARY KEY (project, name, day, value, source)
) WITHOUT ROWID""",
    f"""CREATE TABLE {STALE_DAYS} (
  project TEXT NOT NULL,
  day INTEGER NOT NULL,
  PRIMARY KEY (project, day)
) WITHOUT ROWID""",
    # Days of spans that are there already are made one by one, the newest first, whenever somebody rolls up.
    f"""INSERT INTO {META} (name, value)
SELECT 'valued_from', coalesce({bucket_sql("max(bucket)", DAY_S)} + {DAY_S}, -1e11) FROM {HOURS}""",
)

FOLDER = ".segments"
"""What the folder of a database's segments is called, behind the name of the database."""

NEVER = -1e300  # before every time that is stored

# Which Parquet files beside the database count, and which of their rows (see `sqlite_segments`). An older tracewatch
# would see half of the spans, and refuses the file by the version of its schema.
CLOSED = (
    f"""CREATE TABLE {SEGMENTS} (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  rows INTEGER NOT NULL,
  begun INTEGER NOT NULL DEFAULT 0,
  shown INTEGER NOT NULL DEFAULT 0,
  reopened INTEGER NOT NULL DEFAULT 0,
  last_seq INTEGER NOT NULL,
  groups TEXT NOT NULL,
  size INTEGER NOT NULL,
  digest TEXT NOT NULL,
  made_at REAL NOT NULL,
  gone_at REAL
)""",
    f"CREATE TABLE {REOPENED} (id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, place INTEGER NOT NULL)",
    f"CREATE INDEX {REOPENED}_by_segment ON {REOPENED} (segment)",
    f"""CREATE TABLE {CLOSED_HOURS} (
  project TEXT NOT NULL,
  hour INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  spans INTEGER NOT NULL,
  PRIMARY KEY (project, hour, segment)
) WITHOUT ROWID""",
    f"CREATE TABLE {CHANGED} (seq INTEGER PRIMARY KEY)",
    f"INSERT INTO {META} (name, value) VALUES ('closing', {NEVER!r}), ('closing_by', ''), ('moved', 0)",
)

# Made when spans are closed for the first time: what changes while its copy is on the way into a segment is noted.
CLOSING_CHANGED = tuple(
    f"""CREATE TRIGGER IF NOT EXISTS llm_traces_closing_{event.lower()} AFTER {event} ON {Span.table}
WHEN OLD.start_time < (SELECT value FROM {META} WHERE name = 'closing')
BEGIN
  INSERT OR IGNORE INTO {CHANGED} (seq) VALUES (OLD.seq);
END"""
    for event in ("UPDATE", "DELETE")
)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(version=2, what="rollups, and what marks them as out of date", statements=ROLLUPS),
    Migration(version=3, what="what users, sessions and conversations came to by day", statements=BY_VALUE),
    Migration(version=4, what="closed spans in files beside the database", statements=CLOSED),
)


def prepare(connection: sqlite3.Connection, path: str, *, create: bool) -> None:
    """Makes, completes or migrates our tables in one transaction; does not write when nothing is missing.

    Raises StoreTooNew, StoreOccupied (with nothing changed) or StoreUnreadable.
    """
    _check_ours(connection, path)
    if version_of(connection) == VERSION and not any(missing(connection)):
        return
    connection.execute("BEGIN IMMEDIATE")  # and look again: another process may have done it meanwhile
    try:
        _prepare(connection, path, create=create)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection) -> int | None:
    """The schema version of the tables in this database; None when none of them is tracewatch's."""
    if META not in tables_of(connection):
        return None
    row = connection.execute(f"SELECT value FROM {META} WHERE name = 'schema'").fetchone()
    return int(row[0]) if row else None


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """Names of all tables in the database."""
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def missing(connection: sqlite3.Connection) -> Iterator[str]:
    """Statements that add the tables and columns which the records declare and the database lacks."""
    for record_type in RECORDS:
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({record_type.table})")}
        if not there:
            yield from table_sql(record_type)
            continue
        for each in columns(record_type):
            if each.name not in there:
                yield f"ALTER TABLE {record_type.table} ADD COLUMN {_column_sql(record_type, each, added=True)}"
    yield from _missing_in_rollups(connection)
    if Anomaly.table in tables_of(connection):  # or else its indexes are made after it
        indexes = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        yield from (each.sql for each in (*INDEXES, *FINDING_INDEXES) if each.name not in indexes)


def _missing_in_rollups(connection: sqlite3.Connection) -> Iterator[str]:
    """Statements that add measures and slices which Span has gained, and have all hours made again with them."""
    measures = {each.name: _measure_sql(each) for each in MEASURES}
    wanted = {HOURS: measures, MINUTES: measures, SLICE_TABLE: {name: f"{name} TEXT" for name in KEYS}}
    added = []
    for table, columns_sql in wanted.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if there:  # or else the migration is still to come
            added += [f"ALTER TABLE {table} ADD COLUMN {sql}" for name, sql in columns_sql.items() if name not in there]
    yield from added
    if added:
        hours = f"SELECT DISTINCT project, {bucket_sql('start_time', HOUR_S)} FROM {Span.table} {_ROLLED}"
        yield f"INSERT OR IGNORE INTO {DIRTY} {hours}"
        if CLOSED_HOURS in tables_of(connection):
            yield f"INSERT OR IGNORE INTO {DIRTY} SELECT DISTINCT project, hour FROM {CLOSED_HOURS}"


def table_sql(record_type: type[Record]) -> Sequence[str]:
    """Statements that make a record's table: a sequence, the columns in their order, and the key."""
    lines = ",\n  ".join(_column_sql(record_type, each) for each in columns(record_type))
    table = record_type.table
    return (
        # AUTOINCREMENT: a number once used is never given out again, so a reader's cursor cannot miss a row.
        f"CREATE TABLE {table} (\n  seq INTEGER PRIMARY KEY AUTOINCREMENT,\n  {lines}\n)",
        f"CREATE UNIQUE INDEX {table}_key ON {table} ({', '.join(key_of(record_type))})",
    )


def _prepare(connection: sqlite3.Connection, path: str, *, create: bool) -> None:
    found = version_of(connection)
    if found is None:
        _claim(connection, path, create=create)
    elif found > VERSION:
        raise StoreTooNew(path=path, found=found, known=VERSION)
    _check_ours(connection, path)
    for statement in list(missing(connection)):
        connection.execute(statement)
    for migration in MIGRATIONS:
        if migration.version > (found or 1):
            for statement in migration.statements:
                connection.execute(statement)
    for index in (*INDEXES, *FINDING_INDEXES):
        _make_index(connection, index)
    connection.execute(f"INSERT OR REPLACE INTO {META} (name, value) VALUES ('schema', ?)", (VERSION,))


def _make_index(connection: sqlite3.Connection, index: Index) -> None:
    """Makes an index, anew if it is there with other rows in it: one with more rows answers as well, but costs more."""
    made = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index.name,)).fetchone()
    if made and made[0] != index.sql.replace("IF NOT EXISTS ", ""):
        connection.execute(f"DROP INDEX {index.name}")
    connection.execute(index.sql)


def _check_ours(connection: sqlite3.Connection, path: str) -> None:
    """Raises StoreOccupied when a table named like a record's is not ours: then nothing may be added to it.

    A database of ours from before a record was declared may have been given such a table by somebody else. We know ours
    by the index that each was made with.
    """
    if version_of(connection) is None:
        return  # `_claim` looks at all of them
    # SQLite asks neither for capitals nor, when columns are listed, whether it is a table or a view.
    named = "SELECT lower(name), lower(tbl_name) FROM sqlite_master WHERE type IN ({})"
    there = {row[0] for row in connection.execute(named.format("'table', 'view'"))}
    indexed = set(connection.execute(named.format("'index'")))
    for record_type in RECORDS:
        table = record_type.table
        if table in there and (f"{table}_key", table) not in indexed:
            raise StoreOccupied(path=path, table=table)


def _claim(connection: sqlite3.Connection, path: str, *, create: bool) -> None:
    """Puts our mark into a database that is not ours yet."""
    there = tables_of(connection)
    for record_type in RECORDS:
        if record_type.table in there:
            raise StoreOccupied(path=path, table=record_type.table)
    if META in there or not create:
        raise StoreUnreadable(path=path, why="it has no tables of tracewatch; tracewatch import makes them")
    connection.execute(f"CREATE TABLE {META} (name TEXT PRIMARY KEY, value) WITHOUT ROWID")


def _column_sql(record_type: type[Record], column: Column, *, added: bool = False) -> str:
    default = defaults_of(record_type).get(column.name)
    words = [column.name, _TYPES[column.kind]]
    if not may_be_empty(record_type, column) and not (added and default is None):
        words.append("NOT NULL")  # a required column that comes later cannot be: rows are already there
    if default is not None:
        words.append(f"DEFAULT {_literal(default)}")
    return " ".join(words)


def _literal(value: str | float) -> str:
    if isinstance(value, bool):  # which SQLite has not
        value = int(value)
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
