"""A usage database that becomes a store itself: its table gains the later columns, its rows come over as spans."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tracewatch.errors import StoreUnreadable
from tracewatch.imports.database import names_of, read_only, rows_after
from tracewatch.imports.files import priced
from tracewatch.imports.spans import Converter
from tracewatch.records import Span
from tracewatch.stores.address import parse_address
from tracewatch.stores.base import Store
from tracewatch.stores.sqlite_schema import META
from tracewatch.stores.sqlite_writing import open_connection, told

if TYPE_CHECKING:
    from tracewatch.pricing import PriceBook

TABLE = "llm_usage"

# What every version of the app writes; another table that happens to have the name is left alone.
FIRST_COLUMNS = ("timestamp", "provider", "model", "usage_type")

# What the app's later versions write. Whole numbers stay whole in an INTEGER column, and others stay what they are.
LATER_COLUMNS = {
    "trace_id": "TEXT",
    "latency_ms": "INTEGER",
    "status": "TEXT DEFAULT 'ok'",
    "error_message": "TEXT",
}
BROUGHT = "llm_usage_brought"
"""The entry of our meta table that holds the rowid up to which rows have come over."""


@dataclass(slots=True, kw_only=True)
class Upgrade:
    """What was done: columns added to `llm_usage`, rows that came over, and those that could not, by reason."""

    columns_added: tuple[str, ...] = ()
    rows_brought: int = 0
    refused: dict[str, int] = field(default_factory=dict)


def upgrade(store: Store, *, project: str | None = None, book: PriceBook | None = None) -> Upgrade:
    """Completes the store file's own `llm_usage` table and brings over the rows written since the last call.

    Does nothing, quickly, when there is no such table. Each step is one transaction and may be repeated, so it can be
    killed anywhere and run beside the app that writes the table; no row of that table is changed. With a `book`
    the rows are priced first. Raises StoreBusy, StoreUnreadable or ImportRefused.
    """
    path = parse_address(store.url).path
    with closing(open_connection(path, create=False)) as connection, told(path, StoreUnreadable):
        there = names_of(connection, TABLE)
        if not set(FIRST_COLUMNS) <= set(there):
            return Upgrade()
        done = Upgrade(columns_added=_complete(connection, there))
        _bring(connection, store, Converter("usage-db", project=project), book, done)
        return done


def has_usage(path: str | Path) -> bool:
    """Whether that file is SQLite and has the table of a usage database. Must not be a file this process has open."""
    try:
        with closing(read_only(Path(path))) as connection:
            return set(FIRST_COLUMNS) <= set(names_of(connection, TABLE))
    except sqlite3.DatabaseError:
        return False


def _complete(connection: sqlite3.Connection, there: tuple[str, ...]) -> tuple[str, ...]:
    """Adds the columns that are missing, all or none."""
    if set(LATER_COLUMNS) <= set(there):
        return ()
    connection.execute("BEGIN IMMEDIATE")  # and look again: the app may be adding them itself
    try:
        missing = tuple(name for name in LATER_COLUMNS if name not in names_of(connection, TABLE))
        for name in missing:
            connection.execute(f"ALTER TABLE {TABLE} ADD COLUMN {name} {LATER_COLUMNS[name]}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return missing


def _bring(
    connection: sqlite3.Connection, store: Store, converter: Converter, book: PriceBook | None, done: Upgrade
) -> None:
    """Spans first, then the mark: killed in between, the same rows come again and are already there."""
    after = _brought(connection)
    while chunk := rows_after(connection, TABLE, after):
        spans = converter.convert(chunk)
        done.rows_brought += store.add_batch(Span, priced(spans.batch, book)) if spans.batch.num_rows else 0
        for refusal in spans.refused:
            done.refused[refusal.what] = done.refused.get(refusal.what, 0) + 1
        after = chunk.numbers[-1]
        connection.execute(f"INSERT OR REPLACE INTO {META} (name, value) VALUES (?, ?)", (BROUGHT, after))


def _brought(connection: sqlite3.Connection) -> int | None:
    """The rowid up to which rows have come over; None when none have, or when the table was begun anew since."""
    row = connection.execute(f"SELECT value FROM {META} WHERE name = ?", (BROUGHT,)).fetchone()
    newest = connection.execute(f"SELECT max(rowid) FROM {TABLE}").fetchone()[0]
    return row[0] if row and newest is not None and row[0] <= newest else None
