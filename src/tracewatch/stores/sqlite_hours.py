"""In which hours spans of a slice lie, told by the rollups: two values that are common alone may be rare together."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from tracewatch.records import STATUSES, Span
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter
from tracewatch.stores.measures import KEYS, SKETCHED
from tracewatch.stores.queries import Condition, condition
from tracewatch.stores.sqlite_schema import DIRTY, HOURS, META, SLICE_TABLE

NEW_ROWS = 20_000  # so many spans may be newer than the rollups: they are looked through one by one
_TOLD = {*KEYS, "status", "start_time", *SKETCHED}


def told_hours(connection: sqlite3.Connection, where: Sequence[Filter], *, newest: bool) -> Iterator[Condition] | None:
    """Conditions for the hours that hold matching spans, in order of time; None when the rollups cannot tell.

    They tell about spans up to `rolled`, and only when all filters ask for slices, statuses, times, and for numbers
    that are larger than one.
    """
    if not can_tell(where) or not _up_to_date(connection):
        return None
    statuses = [each for each in where if each.name == "status"]
    slices = condition(Span, [each for each in where if each.name in KEYS])
    times = [Condition(f"bucket {each.operator[0]}= ?", _hour(each)) for each in where if each.name == "start_time"]
    met = slices.and_(*times, *(_large_enough(each) for each in where if each.name in SKETCHED))
    number = " + ".join(f"{value}_calls" for value in statuses[0].values) if statuses else "calls"
    order = "DESC" if newest else "ASC"
    sql = (
        f"SELECT bucket FROM {SLICE_TABLE} CROSS JOIN {HOURS} ON slice = id "
        f"WHERE {met.sql} GROUP BY bucket HAVING sum({number}) > 0 ORDER BY bucket {order}"
    )
    rows = connection.execute(sql, met.values).fetchall()
    return (Condition("start_time >= ? AND start_time < ?", (hour, hour + 3600)) for (hour,) in rows)


def rolled(connection: sqlite3.Connection) -> int:
    """The sequence number of the last span that is in the rollups."""
    return int(connection.execute(f"SELECT value FROM {META} WHERE name = 'rolled'").fetchone()[0])


def can_tell(where: Sequence[Filter]) -> bool:
    """Whether the rollups know all that is asked, and it is more than an index knows at once."""
    names = {each.name for each in where}
    statuses = [each for each in where if each.name == "status"]
    known_statuses = all(each.operator == "=" and set(each.values) <= set(STATUSES) for each in statuses)
    simple_times = all(
        each.operator not in ("=", "!=") and None not in each.values for each in where if each.name == "start_time"
    )
    asks_slices = bool(names - {"project", "start_time", "status"})
    numbers = all(_asks_for_more(each) for each in where if each.name in SKETCHED)
    return names <= _TOLD and asks_slices and known_statuses and len(statuses) < 2 and simple_times and numbers


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
