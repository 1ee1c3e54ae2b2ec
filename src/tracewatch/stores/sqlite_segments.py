"""Which segments there are beside a database, told by tables in it: so files and rows are seen as of one moment.

A span is closed when it lies in a row that counts of a file that counts, and then no row of `llm_traces` has its key.
What changes again is reopened: it goes back into the table, and its row in the file counts no more.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from functools import lru_cache
from pathlib import Path
from typing import Any

from tracewatch.records import Span
from tracewatch.stores.closed import Key, Part, Segment, whole
from tracewatch.stores.segments import NAMES, Group, SegmentFile, Written
from tracewatch.stores.sqlite_schema import CLOSED_HOURS, FOLDER, META, REOPENED, SEGMENTS
from tracewatch.stores.values import defaults_of
from tracewatch.times import HOUR_S

_PROJECT: str = defaults_of(Span)["project"]

# Every segment of which anything counts. What a child process is asked for beside the rows, in the same transaction.
HELD_SQL = (
    f"SELECT id, name, rows, begun, shown, reopened, last_seq, groups FROM {SEGMENTS} "
    "WHERE gone_at IS NULL AND shown > begun"
)


def folder_of(path: str) -> Path:
    """Where the segments of a database lie."""
    return Path(f"{path}{FOLDER}")


def held(connection: sqlite3.Connection) -> tuple[Segment, ...]:
    """The segments as they stand in this transaction; none, quickly, where nothing was ever closed."""
    return segments_of(connection, connection.execute(HELD_SQL).fetchall())


def segments_of(connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> tuple[Segment, ...]:
    """The segments that such rows tell of; they may have been read in an earlier transaction."""
    if not rows:
        return ()
    folder = str(folder_of(connection.execute("PRAGMA database_list").fetchone()[2]))
    return tuple(
        Segment(
            id=id_,
            file=SegmentFile(folder, name),
            rows=count,
            begun=begun,
            shown=shown,
            last_seq=last_seq,
            groups=_groups(groups),
            reopened=_reopened(connection, id_, reopened, begun) if reopened else frozenset(),
        )
        for id_, name, count, begun, shown, reopened, last_seq, groups in rows
    )


def any_held(connection: sqlite3.Connection) -> bool:
    """Whether anything was ever closed."""
    return connection.execute(f"SELECT 1 FROM {SEGMENTS} WHERE gone_at IS NULL LIMIT 1").fetchone() is not None


def totals(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """How many segments there are, the spans that are closed in them, and their bytes."""
    sql = f"SELECT count(*), sum(shown - begun), sum(size) FROM {SEGMENTS} WHERE gone_at IS NULL"
    files, rows, size = connection.execute(sql).fetchone()
    away = f"SELECT count(*) FROM {SEGMENTS} AS it JOIN {REOPENED} ON segment = it.id AND place >= begun"
    (reopened,) = connection.execute(f"{away} WHERE gone_at IS NULL").fetchone()
    return files, (rows or 0) - reopened, size or 0


def broken(connection: sqlite3.Connection) -> str | None:
    """What is wrong with a segment, in one sentence; None when all are sound. Reads all of them."""
    folder = folder_of(connection.execute("PRAGMA database_list").fetchone()[2])
    for name, digest in connection.execute(f"SELECT name, digest FROM {SEGMENTS} WHERE gone_at IS NULL"):
        why = SegmentFile(str(folder), name).broken(digest)
        if why:
            return f"the segment {name} in {folder} is damaged: {why}"
    return None


def closed_projects(connection: sqlite3.Connection) -> list[str]:
    """Projects of closed spans, by jumping through the hours from one to the next."""
    sql = f"SELECT min(project) FROM {CLOSED_HOURS} WHERE project > ?"
    found: list[str] = []
    empty_name = connection.execute(f"SELECT 1 FROM {CLOSED_HOURS} WHERE project = '' LIMIT 1").fetchone()
    following = "" if empty_name else connection.execute(sql, ("",)).fetchone()[0]
    while following is not None:
        found.append(following)
        following = connection.execute(sql, (following,)).fetchone()[0]
    return found


def closed_ends(connection: sqlite3.Connection, project: str) -> tuple[float, float] | None:
    """Between which whole hours the closed spans of a project lie; None where there are none."""
    sql = f"SELECT min(hour), max(hour) + {HOUR_S} FROM {CLOSED_HOURS} WHERE project = ?"
    first, last = connection.execute(sql, (project,)).fetchone()
    return None if first is None else (first, last)


def note(connection: sqlite3.Connection, written: Written, now: float, *, shown: int = 0) -> int:
    """Has a file count, up to a row. Returns the id of the segment."""
    groups = json.dumps([astuple(each) for each in written.groups], separators=(",", ":"))
    made = connection.execute(
        f"INSERT INTO {SEGMENTS} (name, rows, shown, last_seq, groups, size, digest, made_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (written.name, written.rows, shown, written.last_seq, groups, written.size, written.digest, now),
    )
    assert made.lastrowid is not None
    hours = [(project, hour, made.lastrowid, spans) for (project, hour), spans in written.hours.items()]
    connection.executemany(f"INSERT INTO {CLOSED_HOURS} VALUES (?, ?, ?, ?)", hours)
    have_moved(connection)
    return made.lastrowid


def put_away(connection: sqlite3.Connection, id_: int, now: float) -> None:
    """A segment counts no more. Its file stays for a while: somebody may be reading it."""
    connection.execute(f"UPDATE {SEGMENTS} SET gone_at = ? WHERE id = ?", (now, id_))
    connection.execute(f"DELETE FROM {CLOSED_HOURS} WHERE segment = ?", (id_,))
    have_moved(connection)


def reopen(connection: sqlite3.Connection, places: Sequence[tuple[Part, int]]) -> None:
    """Puts closed spans back into the table under the numbers they had, where they count as before."""
    if not places:
        return
    names = ", ".join(("seq", *NAMES))
    marks = ", ".join("?" * (len(NAMES) + 1))
    rows = [row[1:] for row in whole(places)]
    # What a recording program has written a second time meanwhile goes: the first stays.
    connection.executemany(f"INSERT OR REPLACE INTO {Span.table} ({names}) VALUES ({marks})", rows)
    count_no_more(connection, [(part.segment.id, row) for part, row in places])


def count_no_more(connection: sqlite3.Connection, places: Iterable[tuple[int, int]]) -> None:
    """Rows of files, each with the id of its segment, are closed spans no more."""
    for id_, place in places:
        connection.execute(f"INSERT INTO {REOPENED} (segment, place) VALUES (?, ?)", (id_, place))
        connection.execute(f"UPDATE {SEGMENTS} SET reopened = reopened + 1 WHERE id = ?", (id_,))
    have_moved(connection)


def have_moved(connection: sqlite3.Connection) -> None:
    """Counts that spans have gone from the table into segments, or back."""
    connection.execute(f"UPDATE {META} SET value = value + 1 WHERE name = 'moved'")


def moved(connection: sqlite3.Connection) -> int:
    """How often spans have gone from the table into segments, or back."""
    return int(connection.execute(f"SELECT value FROM {META} WHERE name = 'moved'").fetchone()[0])


def keys_of(rows: Iterable[Sequence[Any]], names: Sequence[str]) -> list[Key]:
    """The keys of rows with those columns; a project that is not among them is the default one."""
    trace_at, span_at = names.index("trace_id"), names.index("span_id")
    if "project" not in names:
        return [(_PROJECT, row[trace_at], row[span_at]) for row in rows]
    project_at = names.index("project")
    return [(row[project_at], row[trace_at], row[span_at]) for row in rows]


@lru_cache(1024)
def _groups(text: str) -> tuple[Group, ...]:
    return tuple(Group(*each) for each in json.loads(text))


def _reopened(connection: sqlite3.Connection, id_: int, count: int, begun: int) -> frozenset[int]:
    """The first rows that were reopened, as many as there were then, of those that are not forgotten."""
    sql = f"SELECT place FROM {REOPENED} WHERE segment = ? ORDER BY id LIMIT ?"
    return frozenset(place for (place,) in connection.execute(sql, (id_, count)) if place >= begun)
