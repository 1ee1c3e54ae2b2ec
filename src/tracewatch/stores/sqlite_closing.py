"""Closing spans: those of hours long over go from the table into a segment beside the database, step by step.

What is on the way is seen once at every moment. The hours that are to be closed are noted, and from then on triggers
note each span of them that changes. The spans are copied into a file, which is on the disk, whole, before the database
knows of it, and counts for nothing then. Each further step is one short transaction: the next rows of the file count
from now on, and are deleted from the table; a span that has changed since stays, and its copy never counts.

Whoever is killed leaves a file that nobody knows of, or one of which a part counts. The next one removes the first and
goes on with the second.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tracewatch.errors import StoreUnwritable
from tracewatch.records import SCORE, Span
from tracewatch.stores.columns import from_rows
from tracewatch.stores.segments import (
    INDEX_SUFFIX,
    NAMES,
    PART,
    SCHEMA,
    SEQ,
    SUFFIX,
    SegmentFile,
    SegmentWriter,
    Written,
)
from tracewatch.stores.sqlite_hours import rolled
from tracewatch.stores.sqlite_plans import all_projects
from tracewatch.stores.sqlite_schema import (
    BY_TIME,
    CHANGED,
    CLOSING_CHANGED,
    META,
    NEVER,
    REOPENED,
    SEGMENTS,
    bucket_sql,
)
from tracewatch.stores.sqlite_segments import count_no_more, folder_of, have_moved, note, put_away
from tracewatch.stores.sqlite_writing import SqliteWriter
from tracewatch.times import HOUR_S

MOST_ROWS = 524_288  # of a segment: 80 MB, and 6 MB of index
LEAST_ROWS = 131_072  # fewer stay in the table: 80 MB there, and a file for each day of a small store would be too many
READ_ROWS = 20_000  # copied at a time
STEP_ROWS = 1_000  # that go from the table to the segment in one transaction, in which other writers wait
STAYS_S = 3_600.0  # that a file stays when nothing of it counts any more: longer than anybody reads
WORN = 0.3  # of a segment's rows that count no more: then it is written anew

_COLUMNS = ", ".join((SEQ, *NAMES))
# A score that has not found its span waits in the table, where its span will look for it.
_CLOSABLE = f"seq <= ? AND operation_type IS NOT '{SCORE}'"

Pause = Callable[[int], None]
"""Told between two steps how many spans the last one has closed; leaves a moment to others, or raises Stopped."""


class Stopped(Exception):
    """No further step is wanted. What was begun is gone on with the next time."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The hours that somebody is closing: spans that began before a time, and were written up to a number."""

    until: float
    upto: int
    by: str


class Closer:
    """Closes spans of one database. There is one at a time: see `Store.fence` for how to make sure of it."""

    def __init__(self, writer: SqliteWriter, clock: Callable[[], float], pause: Pause) -> None:
        self._writer, self._clock, self._pause = writer, clock, pause
        self._folder = folder_of(writer.path)

    def tidy(self) -> None:
        """Goes on with what was broken off, and removes files that count for nothing."""
        mine = secrets.token_hex(8)
        with self._writer.transaction() as connection:
            _set(connection, "closing_by", mine)
        for id_, name in self._unfinished():
            self._move(id_, name, mine)
        self._remove_files(mine)
        with self._writer.transaction() as connection:
            _check(connection, mine)
            _end(connection)

    def close_next(self, before: float, *, least: int = LEAST_ROWS) -> int:
        """Closes the next spans that began before a whole hour, if there are so many. Returns how many."""
        hour = before // HOUR_S * HOUR_S
        with self._writer.transaction() as connection:
            closing = _begin(connection, hour, least)
        if closing is None:
            return 0
        written = self._copy(closing)
        with self._writer.transaction() as connection:
            _check(connection, closing.by)
            id_ = note(connection, written, self._clock()) if written else None
        done = self._move(id_, written.name, closing.by) if id_ is not None and written else 0
        with self._writer.transaction() as connection:
            _check(connection, closing.by)
            _end(connection)
        return done

    def renew_next(self) -> int:
        """Writes one segment anew of whose rows many count no more. Returns how many it had."""
        sql = (
            f"SELECT id, name, rows, begun, reopened, groups FROM {SEGMENTS} "
            f"WHERE gone_at IS NULL AND shown = rows AND reopened > {WORN} * (rows - begun) LIMIT 1"
        )
        found = self._writer.connection.execute(sql).fetchone()
        if found is None:
            return 0
        id_, name, rows, begun, reopened, groups = found
        mine = secrets.token_hex(8)
        with self._writer.transaction() as connection:
            _set(connection, "closing_by", mine)
        kept = np.ones(rows, bool)
        kept[:begun] = False
        kept[self._reopened(id_, reopened)] = False
        written = self._rewrite(name, kept, len(json.loads(groups))) if kept.any() else None
        with self._writer.transaction() as connection:
            _check(connection, mine)
            _end(connection)
            sql = f"SELECT begun FROM {SEGMENTS} WHERE id = ? AND gone_at IS NULL"
            if connection.execute(sql, (id_,)).fetchone() != (begun,):
                return 0  # retention has been here meanwhile
            if written:
                place = np.cumsum(kept) - 1
                since = self._reopened(id_, -1)[reopened:]
                new = note(connection, written, self._clock(), shown=written.rows)
                count_no_more(connection, [(new, int(place[row])) for row in since])
            put_away(connection, id_, self._clock())
        return int(rows)

    def _unfinished(self) -> list[tuple[int, str]]:
        sql = f"SELECT id, name FROM {SEGMENTS} WHERE gone_at IS NULL AND shown < rows"
        return self._writer.connection.execute(sql).fetchall()

    def _copy(self, closing: Closing) -> Written | None:
        """Writes the spans into a file; None where all of them have gone meanwhile."""
        with self._written() as segment:
            for spans in _spans_of(self._writer.path, closing, self._writer.connection):
                segment.add(spans)
                self._pause(0)
            return segment.finish() if segment.rows else None

    def _rewrite(self, name: str, kept: np.ndarray[Any, Any], groups: int) -> Written:
        """Writes the rows of a file that are kept into another one."""
        import pyarrow.parquet as pq

        with self._written() as segment, pq.ParquetFile(self._folder / f"{name}{SUFFIX}") as file:
            start = 0
            for number in range(groups):
                table = file.read_row_group(number)
                rows = np.flatnonzero(kept[start : start + table.num_rows])
                start += table.num_rows
                if len(rows):
                    segment.add(table.take(rows))
            return segment.finish()

    @contextmanager
    def _written(self) -> Iterator[SegmentWriter]:
        """A new segment, of which nothing is left when it cannot be finished."""
        try:
            segment = SegmentWriter(self._folder)
            try:
                yield segment
            except BaseException:
                segment.abandon()
                raise
        except (OSError, pa.ArrowException) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise StoreUnwritable(path=str(self._folder), why=why) from error

    def _move(self, id_: int, name: str, by: str) -> int:
        """Has the rows of a file count that do not yet, and deletes them from the table. Returns how many."""
        done = 0
        numbers = SegmentFile(str(self._folder), name).numbers()
        while True:
            with self._writer.transaction() as connection:
                _check(connection, by)
                moved = _move_some(connection, id_, numbers)
            if moved is None:
                return done
            done += moved
            self._pause(moved)

    def _reopened(self, id_: int, most: int) -> list[int]:
        sql = f"SELECT place FROM {REOPENED} WHERE segment = ? ORDER BY id LIMIT ?"
        return [place for (place,) in self._writer.connection.execute(sql, (id_, most))]

    def _remove_files(self, by: str) -> None:
        """Files whose segment was put away a while ago, and those that no transaction has ever told of.

        Only what lies there before the names are read: whoever begins to close meanwhile writes later ones, and whoever
        had begun before cannot tell of its file any more.
        """
        if not self._folder.is_dir():
            return
        listed = list(self._folder.iterdir())
        now = self._clock()
        with self._writer.transaction() as connection:
            _check(connection, by)
            sql = f"SELECT id FROM {SEGMENTS} WHERE gone_at IS NOT NULL AND abs(? - gone_at) > {STAYS_S}"
            for (id_,) in connection.execute(sql, (now,)).fetchall():
                connection.execute(f"DELETE FROM {REOPENED} WHERE segment = ?", (id_,))
                connection.execute(f"DELETE FROM {SEGMENTS} WHERE id = ?", (id_,))
            known = {name for (name,) in connection.execute(f"SELECT name FROM {SEGMENTS}")}
        for path in listed:
            name = path.name.removesuffix(SUFFIX).removesuffix(INDEX_SUFFIX)
            ours = path.name.endswith((SUFFIX, INDEX_SUFFIX)) or PART in path.name
            if ours and name not in known:
                path.unlink(missing_ok=True)


def _begin(connection: sqlite3.Connection, hour: float, least: int) -> Closing | None:
    """Notes what is to be closed; None where there are too few spans."""
    until = _until(connection, hour, least)
    if until is None:
        return None
    for sql in CLOSING_CHANGED:
        connection.execute(sql)
    made = Closing(until, rolled(connection), secrets.token_hex(8))
    connection.execute(f"DELETE FROM {CHANGED}")
    _set(connection, "closing", made.until)
    _set(connection, "closing_by", made.by)
    return made


def _until(connection: sqlite3.Connection, hour: float, least: int) -> float | None:
    """The end of the last whole hour that goes into the next segment."""
    counted: dict[int, int] = {}
    each_hour = (
        f"SELECT {bucket_sql('start_time', HOUR_S)}, count(*) FROM {Span.table} INDEXED BY {BY_TIME.name} "
        "WHERE project = ? AND start_time >= ? AND start_time < ? GROUP BY 1"
    )
    # What retention has spared stays in the table: it could not be put back there once it is closed.
    since = _retained(connection)
    for project in all_projects(connection):
        for begin, spans in connection.execute(each_hour, (project, since, hour)):
            counted[begin] = counted.get(begin, 0) + spans
    if sum(counted.values()) < max(least, 1):
        return None
    rows, until = 0, None
    for begin in sorted(counted):
        if until is not None and rows + counted[begin] > MOST_ROWS:
            break
        rows += counted[begin]
        until = float(begin + HOUR_S)
    return until


def _retained(connection: sqlite3.Connection) -> float:
    return float(connection.execute(f"SELECT value FROM {META} WHERE name = 'retained'").fetchone()[0])


def _check(connection: sqlite3.Connection, by: str) -> None:
    """Raises StoreUnwritable when somebody else closes spans of this database by now."""
    held = connection.execute(f"SELECT value FROM {META} WHERE name = 'closing_by'").fetchone()
    if held != (by,):
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        raise StoreUnwritable(path=path, why="another process is closing its spans")


def _end(connection: sqlite3.Connection) -> None:
    """Nothing is being closed any more."""
    _set(connection, "closing", NEVER)
    _set(connection, "closing_by", "")
    connection.execute(f"DELETE FROM {CHANGED}")


def _spans_of(path: str, closing: Closing, connection: sqlite3.Connection) -> Iterator[pa.Table]:
    """The spans that are to be closed, in order of time, some at a time. What changes meanwhile is noted anyway."""
    projects = all_projects(connection)
    since = _retained(connection)
    while since < closing.until:
        until = min(closing.until, _next_end(connection, projects, float(since), closing.until))
        rows: list[tuple[Any, ...]] = []
        for project in projects:
            sql = (
                f"SELECT {_COLUMNS} FROM {Span.table} INDEXED BY {BY_TIME.name} "
                f"WHERE project = ? AND start_time >= ? AND start_time < ? AND {_CLOSABLE}"
            )
            rows += connection.execute(sql, (project, since, until, closing.upto)).fetchall()
        if rows:
            yield pa.Table.from_batches([from_rows(SCHEMA, rows)]).sort_by(
                [("start_time", "ascending"), (SEQ, "ascending")]
            )
        since = until


def _next_end(connection: sqlite3.Connection, projects: Sequence[str], since: float, until: float) -> float:
    """A time before which about READ_ROWS spans began."""
    each = max(READ_ROWS // max(len(projects), 1), 200)
    sql = (
        f"SELECT start_time FROM {Span.table} INDEXED BY {BY_TIME.name} "
        f"WHERE project = ? AND start_time >= ? AND start_time < ? ORDER BY start_time LIMIT 1 OFFSET {each}"
    )
    found = [connection.execute(sql, (project, since, until)).fetchone() for project in projects]
    ends = [end for (end,) in filter(None, found) if end > since]
    return min(ends, default=until)


def _move_some(connection: sqlite3.Connection, id_: int, numbers: np.ndarray[Any, Any]) -> int | None:
    """One step. Returns how many spans were closed by it; None when there was none left."""
    (shown,) = connection.execute(f"SELECT shown FROM {SEGMENTS} WHERE id = ?", (id_,)).fetchone()
    some = numbers[shown : shown + STEP_ROWS].tolist()
    if not some:
        return None
    listed = f"SELECT value FROM json_each('{json.dumps(some)}')"
    there = {seq for (seq,) in connection.execute(f"SELECT seq FROM {Span.table} WHERE seq IN ({listed})")}
    there -= {seq for (seq,) in connection.execute(f"SELECT seq FROM {CHANGED} WHERE seq IN ({listed})")}
    with _unnoticed(connection):
        sql = f"DELETE FROM {Span.table} WHERE seq IN (SELECT value FROM json_each(?))"
        connection.execute(sql, (json.dumps(sorted(there)),))
    connection.execute(f"UPDATE {SEGMENTS} SET shown = shown + ? WHERE id = ?", (len(some), id_))
    count_no_more(connection, [(id_, shown + at) for at, seq in enumerate(some) if seq not in there])
    have_moved(connection)
    return len(there)


@contextmanager
def _unnoticed(connection: sqlite3.Connection) -> Iterator[None]:
    """Within, no trigger takes a span that leaves the table for one that is gone: it counts as it did."""
    sql = f"SELECT name, value FROM {META} WHERE name IN ('rolled', 'claimed', 'closing')"
    held = connection.execute(sql).fetchall()
    for name, _ in held:
        _set(connection, name, NEVER)
    yield
    for name, value in held:
        _set(connection, name, value)


def _set(connection: sqlite3.Connection, name: str, value: float | str) -> None:
    connection.execute(f"UPDATE {META} SET value = ? WHERE name = ?", (value, name))
