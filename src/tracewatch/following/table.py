"""Rows of a PostgreSQL table by its cursor: read only, in batches, with what they hold as plain values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any

import psycopg
from psycopg import sql

from tracewatch.errors import FollowingFailed
from tracewatch.following.mapping import Mapped
from tracewatch.imports.base import Chunk
from tracewatch.imports.jsonl import array_of
from tracewatch.stores.postgres_connecting import name_of

FETCH_ROWS = 5_000
CONNECT_S = 10
STATEMENT_S = 60

Cursor = datetime | float | int


class Table:
    """A table of a database, which is asked in transactions that cannot write."""

    def __init__(self, url: str, mapped: Mapped) -> None:
        self.url, self.mapped = url, mapped
        self.name = f"{mapped.table} of {name_of(url)}"

    def after(self, cursor: Cursor | None) -> Iterator[tuple[Chunk, Cursor]]:
        """The rows from that cursor on, itself included, oldest first; with each batch the cursor it reaches to.

        Rows whose cursor is empty are passed over. Raises FollowingFailed.
        """
        with self._asked(self._statement(cursor), () if cursor is None else (cursor,)) as rows:
            names = [each.name for each in rows.description or ()]
            if self.mapped.cursor not in names:
                raise self._failed(f"it has no column {self.mapped.cursor}; its columns are {', '.join(names)}")
            for ours, theirs in self.mapped.columns.items():
                if theirs not in names:
                    raise self._failed(f"it has no column {theirs} for {ours}; its columns are {', '.join(names)}")
            done, place = 0, names.index(self.mapped.cursor)
            while fetched := rows.fetchmany(FETCH_ROWS):
                done += len(fetched)
                yield self._chunk(names, fetched, done), self._reached(fetched[-1][place])

    def before(self, cursor: Cursor) -> Cursor:
        """The cursor as far back as rows may still appear."""
        overlap = self.mapped.overlap
        if isinstance(cursor, datetime):
            return cursor - timedelta(seconds=overlap)
        # A whole number stays one: compared with a real, no index of the column is of use.
        return cursor - ceil(overlap) if isinstance(cursor, int) else cursor - overlap

    def _reached(self, value: Any) -> Cursor:
        if isinstance(value, Decimal):
            return plain(value)  # type: ignore[no-any-return]
        if isinstance(value, (datetime, int, float)):
            return value
        why = f"its column {self.mapped.cursor} holds {type(value).__name__}s, and the cursor is a time or a number"
        raise self._failed(why)

    @property
    def _table(self) -> sql.Composable:
        return sql.Identifier(*self.mapped.table.split("."))

    def _statement(self, cursor: Cursor | None) -> sql.Composed:
        column = sql.Identifier(self.mapped.cursor)
        since = sql.SQL("IS NOT NULL") if cursor is None else sql.SQL(">= %s")
        return sql.SQL("SELECT * FROM {} WHERE {} {} ORDER BY {}").format(self._table, column, since, column)

    @contextmanager
    def _asked(self, statement: sql.Composed, values: Sequence[Any]) -> Iterator[psycopg.Cursor[Any]]:
        try:
            with psycopg.connect(self.url, connect_timeout=CONNECT_S, prepare_threshold=None) as connection:
                connection.read_only = True
                connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'")
                # The name makes the database keep the rows, of which there may be millions.
                with connection.cursor("tracewatch_following") as rows:
                    rows.execute(statement, values)
                    yield rows
        except psycopg.Error as error:
            raise self._failed(_first_line(error)) from error

    def _failed(self, why: str) -> FollowingFailed:
        return FollowingFailed(table=self.name, why=why)

    def _chunk(self, names: Sequence[str], rows: Sequence[Sequence[Any]], done: int) -> Chunk:
        given = dict(zip(names, zip(*rows, strict=True), strict=True))
        ours = {theirs: mine for mine, theirs in self.mapped.columns.items()}
        # What is mapped is meant, whatever else is called so.
        kept = {name: values for name, values in given.items() if name in ours or name not in self.mapped.columns}
        columns = {ours.get(name, name): array_of([plain(each) for each in values]) for name, values in kept.items()}
        return Chunk(columns=columns, numbers=range(done - len(rows) + 1, done + 1), done=done)


def plain(value: Any) -> Any:
    """A value of a database as a file would hold it."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.is_finite() else float(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
