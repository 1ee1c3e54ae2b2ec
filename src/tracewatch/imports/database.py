"""Tables of a SQLite file: the usage database of an app, or another store of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tracewatch.errors import ImportRefused
from tracewatch.imports.base import CHUNK_ROWS, Chunk, Kind, Source
from tracewatch.imports.jsonl import array_of
from tracewatch.imports.naming import has_time, plan
from tracewatch.records import Span
from tracewatch.stores.sqlite_schema import SEGMENTS

MAGIC = b"SQLite format 3\0"

# Which table is which kind of export, in the order in which they are looked for.
TABLES: dict[str, Kind] = {"llm_usage": "usage-db", "llm_traces": "traces", "messages": "messages"}

# The number a store of ours gives to each row as it comes in: it means nothing in another one.
OWN_SEQUENCE = "seq"

_COMPACTED = (
    "some of its spans lie in segments beside it. Write all of them to a file with: tracewatch export calls.parquet, "
    "and import that"
)
BUSY_S = 30.0  # as long as an app's longest write is likely to hold its lock


class Database(Source):
    """One table of a SQLite file, read only."""

    format = "sqlite"
    place = "row_number"
    unit = "rows"

    def __init__(self, path: Path, kind: Kind | None, table: str | None = None) -> None:
        self.path = path
        try:
            with closing(read_only(path)) as connection:
                self.table = _table(connection, path, kind) if table is None else _named(connection, path, table)
                if self.table == Span.table and _is_compacted(connection):
                    raise ImportRefused(path=path, why=_COMPACTED)
                self.total = connection.execute(f"SELECT count(*) FROM {_quoted(self.table)}").fetchone()[0]
                self.names = names_of(connection, self.table)
        except sqlite3.Error as error:
            raise ImportRefused(path=path, why=f"the SQLite file cannot be read ({error})") from error

    def chunks(self) -> Iterator[Chunk]:
        """Values as SQLite holds them, in the order in which they were written."""
        assert self.table is not None, "a database without a table is refused when it is opened"
        after, done = None, 0
        try:
            with closing(read_only(self.path)) as connection:
                while chunk := rows_after(connection, self.table, after, done):
                    after = chunk.numbers[-1]
                    done = chunk.done
                    yield chunk
        except sqlite3.Error as error:
            raise ImportRefused(path=self.path, why=f"the SQLite file broke off after row {done} ({error})") from error


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def names_of(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """The names of a table's columns; none when there is no such table."""
    return tuple(row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)))


def rows_after(connection: sqlite3.Connection, table: str, after: int | None, done: int = 0) -> Chunk | None:
    """The rows written next after that rowid, numbered by rowid; None when there are none.

    Each call is a short read of its own, so that the app which owns the file is never kept from writing.
    """
    where = "" if after is None else "WHERE rowid > ?"
    query = f"SELECT rowid, * FROM {_quoted(table)} {where} ORDER BY rowid LIMIT {CHUNK_ROWS}"
    cursor = connection.execute(query, () if after is None else (after,))
    names = [each[0] for each in cursor.description][1:]
    rows = cursor.fetchall()
    if not rows:
        return None
    numbers, *values = zip(*rows, strict=True)
    columns = {name: array_of(list(each)) for name, each in zip(names, values, strict=True)}
    if table == Span.table:
        columns.pop(OWN_SEQUENCE, None)
    return Chunk(columns=columns, numbers=numbers, done=done + len(rows))


def _is_compacted(connection: sqlite3.Connection) -> bool:
    """Whether spans of a store of ours lie in segments beside it, where this reader does not look."""
    if not names_of(connection, SEGMENTS):
        return False
    return connection.execute(f"SELECT 1 FROM {SEGMENTS} WHERE gone_at IS NULL LIMIT 1").fetchone() is not None


def _table(connection: sqlite3.Connection, path: Path, kind: Kind | None) -> str:
    """The table of a name we know, or the only one that has the columns of calls. Raises ImportRefused."""
    wanted = [table for table, its_kind in TABLES.items() if kind in (None, its_kind)]
    known = next((table for table in wanted if names_of(connection, table)), None)
    if known:
        return known
    there = _tables(connection)
    alike = [each for each in there if _has_calls(names_of(connection, each))]
    if len(alike) == 1:
        return alike[0]
    why = f"this SQLite file has none of the tables {', '.join(wanted)}"
    if alike:
        why += f", and {len(alike)} others have the columns of calls: {', '.join(alike)}. Name one with --table"
    elif there:
        why += f", and no other with the columns of calls. It has {', '.join(there)}: name one with --table"
    raise ImportRefused(path=path, why=why)


def _named(connection: sqlite3.Connection, path: Path, table: str) -> str:
    """The table of that name. Raises ImportRefused."""
    if names_of(connection, table):
        return table
    there = _tables(connection)
    raise ImportRefused(path=path, why=f"it has no table {table}; its tables are {', '.join(there) or 'none'}")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """The tables of a file, without those of SQLite itself."""
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    return [row[0] for row in connection.execute(sql)]


def _has_calls(names: tuple[str, ...]) -> bool:
    """Whether these are the columns of calls: when each began, and its model or its tokens."""
    its_plan = plan(names, "traces")
    return has_time(its_plan) and not {"model_name", "input_tokens", "total_tokens"}.isdisjoint(its_plan.origins)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
