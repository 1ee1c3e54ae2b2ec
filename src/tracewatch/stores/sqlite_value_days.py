"""Spans added up by day and by the user, the session and the conversation they belong to.

Columns with so many values are no slices of rollups. What is kept here is exactly what spans of the rollups come to,
for each day from `valued_from` on but those that are stale: whatever marks an hour to be made again marks its day.
See docs/decisions/0025-days-of-users-and-sessions.md.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from tracewatch.records import Span
from tracewatch.stores import closed, summing
from tracewatch.stores.base import Filter
from tracewatch.stores.columns import arrow_schema
from tracewatch.stores.queries import GROUPED, SUMMED, Condition
from tracewatch.stores.sqlite_hours import rolled
from tracewatch.stores.sqlite_plans import all_projects, ends_of
from tracewatch.stores.sqlite_schema import BY_TIME, META, STALE_DAYS, VALUE_DAYS, VALUED, bucket_sql
from tracewatch.stores.sqlite_segments import held
from tracewatch.stores.summing import SUMMED_FROM
from tracewatch.times import DAY_S, HOUR_S

DAYS_KEPT = 90
SETTLES_S = 6 * HOUR_S  # scores come late: a day is made again once they have, not after each of them

EVER = -1e12  # before every time that is stored

Summed = list[tuple[Any, ...]]
"""Rows of VALUE_DAYS."""

_KEYS = ("name", "project", "source", "day", "value")
_NAMES = tuple(alias for alias in GROUPED if alias != "value")
_READ = (
    "operation_type", "model_provider", "status", "cost_usd", "cost_status", "input_tokens", "output_tokens",
    "start_time", *VALUED,
)  # fmt: skip


def add_values(connection: sqlite3.Connection, upto: int) -> None:
    """Adds the spans behind those that are rolled up, up to that sequence number."""
    some = Condition("seq > ? AND seq <= ?", (rolled(connection), upto))
    _add(connection, "NOT INDEXED", some, valued_from(connection))


def sum_values(connection: sqlite3.Connection, after: int, upto: int) -> Summed:
    """What the spans behind one sequence number, up to another, come to: for `put_values`, which is quick."""
    some = Condition("seq > ? AND seq <= ?", (after, upto))
    return connection.execute(_sums_sql("NOT INDEXED", some), (*some.values, EVER)).fetchall()


def put_values(connection: sqlite3.Connection, summed: Summed) -> None:
    """Adds what spans were summed up to, as far as their days are kept."""
    first, day = valued_from(connection), _KEYS.index("day")
    _put(connection, [row for row in summed if row[day] >= first])


def valued_from(connection: sqlite3.Connection) -> float:
    """The first day that is kept, if it is not stale."""
    return float(connection.execute(f"SELECT value FROM {META} WHERE name = 'valued_from'").fetchone()[0])


def mark_stale(connection: sqlite3.Connection, project: str, hour: int) -> None:
    """Notes that spans of that hour are not what they were."""
    day = hour // DAY_S * DAY_S
    if day >= valued_from(connection):
        connection.execute(f"INSERT OR IGNORE INTO {STALE_DAYS} (project, day) VALUES (?, ?)", (project, day))


def remake_next(connection: sqlite3.Connection, now: float) -> bool:
    """Makes one stale day that is over again from its spans. Returns whether there was one."""
    over = f"SELECT project, day FROM {STALE_DAYS} WHERE day <= ? LIMIT 1"
    found = connection.execute(over, (now - DAY_S - SETTLES_S,)).fetchone()
    if found is None:
        return False
    _make(connection, *found)
    connection.execute(f"DELETE FROM {STALE_DAYS} WHERE project = ? AND day = ?", found)
    return True


def recover_values(connection: sqlite3.Connection, now: float) -> None:
    """Makes one more day of those that are to be kept, or forgets those that have become too old."""
    wanted = _wanted_from(connection, now)
    first = valued_from(connection)
    if wanted is None or first - DAY_S < wanted <= first:
        return
    if first < wanted:
        forget_values(connection, wanted)
        return
    for project in all_projects(connection):
        _make(connection, project, int(first) - DAY_S)
    _set_from(connection, first - DAY_S)


def lacks_values(connection: sqlite3.Connection, now: float) -> bool:
    """Whether `recover_values` or `remake_next` would do anything."""
    wanted, first = _wanted_from(connection, now), valued_from(connection)
    stale = f"SELECT 1 FROM {STALE_DAYS} WHERE day <= ? LIMIT 1"
    late = connection.execute(stale, (now - DAY_S - SETTLES_S,)).fetchone()
    return late is not None or (wanted is not None and (wanted <= first - DAY_S or first < wanted))


def forget_values(connection: sqlite3.Connection, before: float) -> None:
    """Keeps nothing of days that begin before that moment, from now on."""
    day = -(-before // DAY_S) * DAY_S
    if day <= valued_from(connection):
        return
    connection.execute(f"DELETE FROM {STALE_DAYS} WHERE day < ?", (day,))
    for project in (each for (each,) in connection.execute(f"SELECT DISTINCT project FROM {VALUE_DAYS}").fetchall()):
        for name in VALUED:
            old = f"DELETE FROM {VALUE_DAYS} WHERE project = ? AND name = ? AND day < ?"
            connection.execute(old, (project, name, day))
    _set_from(connection, day)


def _set_from(connection: sqlite3.Connection, day: float) -> None:
    connection.execute(f"UPDATE {META} SET value = ? WHERE name = 'valued_from'", (day,))


def _wanted_from(connection: sqlite3.Connection, now: float) -> float | None:
    """The first day to be kept: of the last ones that there are spans of, no further back than DAYS_KEPT."""
    ends = [found for each in all_projects(connection) if (found := ends_of(connection, each))]
    if not ends:
        return None
    first, last = min(each[0] for each in ends), min(now, max(each[1] for each in ends))
    (retained,) = connection.execute(f"SELECT value FROM {META} WHERE name = 'retained'").fetchone()
    kept = last // DAY_S * DAY_S - DAYS_KEPT * DAY_S
    forgotten = -(-retained // DAY_S) * DAY_S
    begun = first // DAY_S * DAY_S
    # A store that keeps less than it may has nothing to forget, and nothing to make.
    return float(max(kept, forgotten, min(begun, valued_from(connection))))


def _put(connection: sqlite3.Connection, summed: Summed) -> None:
    marks = ", ".join("?" * len(_KEYS + _NAMES))
    connection.executemany(_merge_sql(f"VALUES ({marks})"), summed)


def _make(connection: sqlite3.Connection, project: str, day: int) -> None:
    for name in VALUED:
        old = f"DELETE FROM {VALUE_DAYS} WHERE project = ? AND name = ? AND day = ?"
        connection.execute(old, (project, name, day))
    here = Condition(
        "project = ? AND start_time >= ? AND start_time < ? AND seq <= ?",
        (project, day, day + DAY_S, rolled(connection)),
    )
    _add(connection, f"INDEXED BY {BY_TIME.name}", here, day)
    _put(connection, _closed_sums(connection, project, day))


def _closed_sums(connection: sqlite3.Connection, project: str, day: int) -> Summed:
    """What the closed spans of a day come to."""
    segments = held(connection)
    where = (
        Filter("project", "=", (project,)),
        Filter("start_time", ">=", (day,)),
        Filter("start_time", "<", (day + DAY_S,)),
    )
    summed: Summed = []
    for name in VALUED if segments else ():
        schema = arrow_schema(Span, [*SUMMED_FROM, "source", name])
        found = closed.scan(segments, schema, (*where, Filter(name, "!=", (None,))))
        sums = summing.added_up(found, ("source", name))
        summed += [(name, project, source or "", day, value, *rest) for source, value, *rest in sums]
    return summed


def _add(connection: sqlite3.Connection, by: str, met: Condition, first: float) -> None:
    connection.execute(_merge_sql(f"{_sums_sql(by, met)} WHERE TRUE"), (*met.values, first))


def _sums_sql(by: str, met: Condition) -> str:
    """The question for rows of VALUE_DAYS; its last value is the first day that is wanted."""
    day = bucket_sql("start_time", DAY_S)
    read = (
        f"SELECT project, coalesce(source, '') AS source, {day} AS day, {', '.join(_READ)} FROM {Span.table} {by} "
        f"WHERE {met.sql} AND start_time >= ? AND coalesce({', '.join(VALUED)}) IS NOT NULL"
    )
    return f"WITH some AS MATERIALIZED ({read}) SELECT * FROM ({' UNION ALL '.join(_summed(name) for name in VALUED)})"


def _merge_sql(rows: str) -> str:
    news = ", ".join(f"{name} = {_merged(name)}" for name in _NAMES)
    return (
        f"INSERT INTO {VALUE_DAYS} ({', '.join((*_KEYS, *_NAMES))}) {rows} "
        f"ON CONFLICT (project, name, day, value, source) DO UPDATE SET {news}"
    )


def _summed(name: str) -> str:
    sums = ", ".join(GROUPED[each] for each in _NAMES)
    return (
        f"SELECT '{name}', project, source, day, {name}, {sums} FROM some WHERE {name} IS NOT NULL "
        f"GROUP BY project, day, {name}, source"
    )


def _merged(name: str) -> str:
    new = f"excluded.{name}"
    if SUMMED[name] != "sum":
        return f"{SUMMED[name]}({name}, {new})"
    return f"CASE WHEN {new} IS NULL THEN {name} ELSE coalesce({name}, 0) + {new} END"


def sums_of_parts(names: Sequence[str]) -> list[str]:
    """SQL that adds up rows of days, or of groups: those fields of Group."""
    return [f"{SUMMED[name]}({name}) AS {name}" for name in names]
