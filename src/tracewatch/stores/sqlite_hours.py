"""In which hours spans of a slice lie, told by the rollups: two values that are common alone may be rare together."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from typing import Any

from tracewatch.records import STATUSES, Span
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter
from tracewatch.stores.measures import KEYS, SKETCHED
from tracewatch.stores.queries import Condition, condition
from tracewatch.stores.sqlite_schema import (
    CLOSED_HOURS,
    DIRTY,
    HOURS,
    META,
    SLICE_TABLE,
    STALE_DAYS,
    VALUE_DAYS,
    VALUED,
)
from tracewatch.times import DAY_S

NEW_ROWS = 20_000  # so many spans may be newer than the rollups: they are looked through one by one


def told_hours(connection: sqlite3.Connection, where: Sequence[Filter], *, newest: bool) -> list[int] | None:
    """The hours outside of which no span matches, in order of time; None when the rollups cannot tell.

    They tell about spans up to `rolled`, by what they know: slices, statuses, times, and numbers that are to be larger
    than one. What else is asked for only makes the matching spans of these hours fewer.
    """
    known = _known(where)
    if not can_tell(where) or not _up_to_date(connection):
        return None
    statuses = [each for each in known if each.name == "status"]
    slices = condition(Span, [each for each in known if each.name in KEYS])
    times = [Condition(f"bucket {each.operator[0]}= ?", _hour(each)) for each in known if each.name == "start_time"]
    met = slices.and_(*times, *(_large_enough(each) for each in known if each.name in SKETCHED))
    number = " + ".join(f"{value}_calls" for value in statuses[0].values) if statuses else "calls"
    order = "DESC" if newest else "ASC"
    sql = (
        f"SELECT bucket FROM {SLICE_TABLE} CROSS JOIN {HOURS} ON slice = id "
        f"WHERE {met.sql} GROUP BY bucket HAVING sum({number}) > 0 ORDER BY bucket {order}"
    )
    return [hour for (hour,) in connection.execute(sql, met.values)]


def closed_hours(connection: sqlite3.Connection, where: Sequence[Filter]) -> set[int]:
    """Hours outside of which no closed span matches, as far as projects, rollups, users and sessions tell."""
    met = condition(Span, [each for each in where if each.name == "project"])
    sql = f"SELECT DISTINCT hour FROM {CLOSED_HOURS} WHERE {met.sql}"
    hours = {hour for (hour,) in connection.execute(sql, met.values)}
    if can_tell(where) and (told := told_hours(connection, where, newest=True)) is not None:
        hours &= set(told)
    for each in where:
        if met.values and each.name in VALUED and each.operator == "=" and None not in each.values:
            hours = _hours_of_values(connection, hours, met, each)
    return hours


def _hours_of_values(connection: sqlite3.Connection, hours: set[int], projects: Condition, asked: Filter) -> set[int]:
    """Those of the hours that lie in a day with one of the values, or in one of which that is not known."""
    (first,) = connection.execute(f"SELECT value FROM {META} WHERE name = 'valued_from'").fetchone()
    days = {hour // DAY_S * DAY_S for hour in hours}
    unknown = {day for day in days if day < first}
    unknown |= {day for (day,) in connection.execute(f"SELECT day FROM {STALE_DAYS}")}
    unknown |= {hour // DAY_S * DAY_S for (hour,) in connection.execute(f"SELECT hour FROM {DIRTY}")}
    marks = ", ".join("?" * len(asked.values))
    sql = (
        f"SELECT DISTINCT day FROM {VALUE_DAYS} WHERE {projects.sql} AND name = ? "
        f"AND day IN (SELECT value FROM json_each(?)) AND value IN ({marks})"
    )
    values = (*projects.values, asked.name, json.dumps(sorted(days - unknown)), *map(str, asked.values))
    found = {day for (day,) in connection.execute(sql, values)} | unknown
    return {hour for hour in hours if hour // DAY_S * DAY_S in found}


def rolled(connection: sqlite3.Connection) -> int:
    """The sequence number of the last span that is in the rollups."""
    return int(connection.execute(f"SELECT value FROM {META} WHERE name = 'rolled'").fetchone()[0])


def can_tell(where: Sequence[Filter]) -> bool:
    """Whether the rollups know something that is asked, and it is more than an index knows at once."""
    return bool({each.name for each in _known(where)} - {"project", "start_time", "status"})


def _known(where: Sequence[Filter]) -> list[Filter]:
    """Those of the filters that rollups can answer; of several for a status only the first."""
    statuses = [each for each in where if each.name == "status"]
    return [
        each for each in where
        if each.name in KEYS
        or (each.name == "start_time" and each.operator not in ("=", "!=") and None not in each.values)
        or (each.name == "status" and each is statuses[0] and each.operator == "=" and {*each.values} <= {*STATUSES})
        or (each.name in SKETCHED and _asks_for_more(each))
    ]  # fmt: skip


def _asks_for_more(each: Filter) -> bool:
    """Whether only spans whose number is more than nothing can match: hours without one hold none."""
    if not all(type(value) in (int, float) and math.isfinite(value) for value in each.values):
        return False
    return (each.operator == ">" and each.values[0] >= 0) or (each.operator == ">=" and each.values[0] > 0)


def _large_enough(each: Filter) -> Condition:
    """Rows of hours whose largest number may match; one bucket less, as logarithms are rounded."""
    return Condition(f"sketch_largest({each.name}_sketch) >= ?", (sketch.code(each.values[0]) - 1,))


def _up_to_date(connection: sqlite3.Connection) -> bool:
    newer = f"SELECT count(*) FROM (SELECT 1 FROM {Span.table} WHERE seq > ? LIMIT {NEW_ROWS + 1})"
    few: bool = connection.execute(newer, (rolled(connection),)).fetchone()[0] <= NEW_ROWS
    return few and connection.execute(f"SELECT 1 FROM {DIRTY} LIMIT 1").fetchone() is None


def _hour(given: Filter) -> tuple[Any]:
    return (float(given.values[0]) // 3600 * 3600,)
