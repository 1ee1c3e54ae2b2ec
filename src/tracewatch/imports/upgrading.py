"""A usage database that becomes a store itself: its table gains the later columns, its rows come over as spans."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracewatch.errors import StoreBusy, StoreUnreadable, StoreUnwritable
from tracewatch.imports.base import Imported
from tracewatch.imports.database import Database, names_of, read_only, rows_after
from tracewatch.imports.files import DEFAULT_PROJECT, count, count_unpriced, priced, stopped
from tracewatch.imports.rejects import Rejects
from tracewatch.imports.spans import Converter
from tracewatch.records import Span
from tracewatch.stores.address import file_of
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
PROJECT = "llm_usage_project"
"""The one that holds the project they came to; NULL when the rows themselves say it."""
STAYED_BEHIND = "llm_usage_refused"
"""The one that holds how many rows could not come over, by reason, as JSON."""


@dataclass(slots=True, kw_only=True)
class Upgrade(Imported):
    """What was done: what came of the rows written since the last call, and which columns `llm_usage` has gained."""

    columns_added: tuple[str, ...] = ()
    stayed_behind: dict[str, int] = field(default_factory=dict)
    """Rows of all calls so far that could not come over, by reason."""

    @property
    def rows_brought(self) -> int:
        """How many rows came over."""
        return self.stored


def upgrade(
    store: Store, *, project: str | None = None, book: PriceBook | None = None, rejects: str | Path | None = None
) -> Upgrade:
    """Completes the store file's own `llm_usage` table and brings over the rows written since the last call.

    Does nothing, quickly, when there is no such table. Each step is one transaction and may be repeated, so it can be
    killed anywhere and run beside the app that writes the table; no row of that table is changed. The first call
    settles the `project`, later ones keep to it. With a `book` the rows are priced first. All rows that stayed
    behind so far are written to `rejects`. Raises StoreBusy, StoreUnreadable, ImportRefused or ImportStopped.
    """
    path = file_of(store.url)
    done = Upgrade(path=path or store.url, kind="usage-db", format="sqlite")
    if path is None:
        return done
    with closing(open_connection(path, create=False)) as connection, told(path, StoreUnreadable):
        there = names_of(connection, TABLE)
        if not set(FIRST_COLUMNS) <= set(there):
            return done
        done.columns_added = _complete(connection, there)
        chosen = _settled(connection, project)
        done.projects[chosen or DEFAULT_PROJECT] = 0
        converter = Converter("usage-db", project=chosen)
        try:
            _bring(connection, store, converter, book, done)
        except (StoreBusy, StoreUnwritable) as error:
            raise stopped(done, error) from error
        if rejects is not None and done.stayed_behind:
            _write_down(connection, Converter("usage-db"), Path(rejects), done)
        return done


def usage_project(store: Store) -> str | None:
    """The project that rows of the file's own `llm_usage` come to; None when that is not settled yet."""
    path = file_of(store.url)
    if path is None:
        return None
    with closing(open_connection(path, create=False)) as connection, told(path, StoreUnreadable):
        row = _meta(connection, PROJECT)
        return None if row is None else row[0] or DEFAULT_PROJECT


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


def _settled(connection: sqlite3.Connection, project: str | None) -> str | None:
    """The project of the first call, which this one may be."""
    row = _meta(connection, PROJECT)
    if row is None:
        connection.execute(f"INSERT OR IGNORE INTO {META} (name, value) VALUES (?, ?)", (PROJECT, project))
        row = _meta(connection, PROJECT)
    assert row is not None, "somebody has written it by now"
    return None if row[0] is None else str(row[0])


def _bring(
    connection: sqlite3.Connection, store: Store, converter: Converter, book: PriceBook | None, done: Upgrade
) -> None:
    """Spans first, then the mark: killed in between, the same rows come again and are already there."""
    after, done.stayed_behind = _brought(connection)
    while chunk := rows_after(connection, TABLE, after):
        spans = converter.convert(chunk)
        batch = priced(spans.batch, book)
        count(done, spans, store.add_batch(Span, batch) if batch.num_rows else 0)
        count_unpriced(done, batch)
        for refusal in spans.refused:
            done.stayed_behind[refusal.what] = done.stayed_behind.get(refusal.what, 0) + 1
        after = chunk.numbers[-1]
        marks = ((BROUGHT, after), (STAYED_BEHIND, json.dumps(done.stayed_behind)))
        # One statement, and so both or neither.
        connection.execute(f"INSERT OR REPLACE INTO {META} (name, value) VALUES (?, ?), (?, ?)", [*marks[0], *marks[1]])


def _write_down(connection: sqlite3.Connection, converter: Converter, path: Path, done: Upgrade) -> None:
    """The rows that stayed behind, those of earlier calls as well: they are still in their table."""
    upto, _ = _brought(connection)
    after = None
    with Rejects(path) as refused:
        while (chunk := rows_after(connection, TABLE, after)) and (upto is None or chunk.numbers[0] <= upto):
            refused.add(done.path, Database.place, converter.convert(chunk).refused)
            after = chunk.numbers[-1]
    done.rejects = str(refused.path) if refused.path else None


def _brought(connection: sqlite3.Connection) -> tuple[int | None, dict[str, int]]:
    """The rowid up to which rows have come over, and how many of them could not.

    None and nothing when none have, or when the table was begun anew since.
    """
    brought, behind = _meta(connection, BROUGHT), _meta(connection, STAYED_BEHIND)
    newest = connection.execute(f"SELECT max(rowid) FROM {TABLE}").fetchone()[0]
    if brought is None or newest is None or brought[0] > newest:
        return None, {}
    return brought[0], json.loads(behind[0]) if behind else {}


def _meta(connection: sqlite3.Connection, name: str) -> tuple[Any] | None:
    found: tuple[Any] | None = connection.execute(f"SELECT value FROM {META} WHERE name = ?", (name,)).fetchone()
    return found
