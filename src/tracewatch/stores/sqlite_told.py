"""Which part of a question for groups the days of users and sessions answer, and which spans are read beside them."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.records import Span
from tracewatch.stores.base import Filter
from tracewatch.stores.queries import NOTHING, Condition, condition
from tracewatch.stores.sqlite_hours import rolled
from tracewatch.stores.sqlite_plans import all_projects, ends_of
from tracewatch.stores.sqlite_schema import BY_TIME, DIRTY, STALE_DAYS, VALUED, bucket_sql
from tracewatch.stores.sqlite_value_days import valued_from
from tracewatch.times import DAY_S

MOST_DAYS = 400  # days of a question; what lies before them is read from the spans

Beside = tuple[str, Condition]
"""How the table of spans is walked, and which of them are read."""


@dataclass(frozen=True, slots=True)
class Told:
    """Rows of days, and the matching spans that are in none of them. Each span is in exactly one part."""

    met: Condition
    begin: int
    end: int
    beside: tuple[Beside, ...]
    closed: tuple[tuple[Filter, ...], ...]
    """What is asked of closed spans; each matching one meets one of these."""

    @property
    def days(self) -> Condition:
        """The rows of all days."""
        return self.met.and_(Condition("day >= ? AND day < ?", (self.begin, self.end)))

    def days_of(self, values: Sequence[str]) -> Condition:
        """The rows of some values: each day and value is one step down the key, the days between are not walked."""
        each_day = range(self.begin, self.end, DAY_S)
        return self.met.and_(_in("day", each_day), _in("value", values))


def told(connection: sqlite3.Connection, column: str, where: Sequence[Filter]) -> Told | None:
    """What days tell about the values of a column; None where they tell nothing, or an index tells sooner.

    They do so where a question asks for no more than times, projects, sources and the values themselves.
    """
    times = [each for each in where if each.name == "start_time"]
    if column not in VALUED or not all(map(_is_bound, times)) or not all(_is_kept(each, column) for each in where):
        return None
    projects = _projects(connection, where)
    ends = [found for each in projects if (found := ends_of(connection, each))]
    if not ends:
        return None
    newest = max(each[1] for each in ends)
    _, until = _ends(where)
    begin = max(_first_whole(times), valued_from(connection), newest // DAY_S * DAY_S - MOST_DAYS * DAY_S)
    # Where no span begins at the end of the time or later, its last day is a whole one.
    end = (newest + DAY_S if newest < until else until) // DAY_S * DAY_S
    return _parts(connection, column, where, projects, int(begin), int(end)) if begin < end else None


def _parts(
    connection: sqlite3.Connection, column: str, where: Sequence[Filter], projects: Sequence[str], begin: int, end: int
) -> Told:
    met = [_of_days(each, column) for each in where if each.name in ("source", column)]
    named = _in("project", projects)
    days = Condition("name = ?", (column,)).and_(named, *met)
    by_time = f"INDEXED BY {BY_TIME.name}"
    mark = rolled(connection)
    since, until = _ends(where)
    after = math.nextafter(until, math.inf)  # what begins at the end itself may be asked for
    ends = [each for each in ((since, begin), (end, after)) if each[0] < each[1]]
    closed = [(*where, *_filters(*each)) for each in ends]
    beside = [
        *((by_time, named.and_(_between(*each))) for each in ends),
        ("NOT INDEXED", Condition("seq > ?", (mark,)).and_(_between(begin, end))),
    ]
    for project, day in connection.execute(_STALE, (begin, end, begin, end)):
        days = days.and_(Condition("NOT (project = ? AND day = ?)", (project, day)))
        again = Condition("project = ? AND seq <= ?", (project, mark))
        beside.append((by_time, again.and_(_between(day, day + DAY_S))))
        closed.append((*where, Filter("project", "=", (project,)), *_filters(day, day + DAY_S)))
    return Told(days, begin, end, tuple(beside), tuple(closed))


_DIRTY_DAY = bucket_sql("hour", DAY_S)
_STALE = (
    f"SELECT project, day FROM {STALE_DAYS} WHERE day >= ? AND day < ? "
    f"UNION SELECT project, {_DIRTY_DAY} FROM {DIRTY} WHERE hour >= ? AND hour < ?"
)


def _is_bound(time: Filter) -> bool:
    return time.operator not in ("=", "!=") and type(time.values[0]) in (int, float) and math.isfinite(time.values[0])


def _is_kept(each: Filter, column: str) -> bool:
    """Whether days know what a filter asks. They tell an empty source from none no more than it matters to anybody."""
    if each.name == "source":
        return each.operator in ("=", "!=") and all(each.values)
    if each.name == column:
        return each.operator != "="  # an index leads to the spans of one value
    return each.name in ("start_time", "project")


def _of_days(each: Filter, column: str) -> Condition:
    """A filter on spans as one on days, where neither a source nor a value is ever empty."""
    name = "value" if each.name == column else each.name
    values = tuple(str(value) for value in each.values if value is not None)
    if each.operator in ("=", "!="):
        return Condition(f"{name} {'IN' if each.operator == '=' else 'NOT IN'} ({_marks(values)})", values)
    return Condition(f"{name} {each.operator} ?", values[:1]) if values else NOTHING


def _ends(where: Sequence[Filter]) -> tuple[float, float]:
    """Between which times spans are asked for; those at the times themselves may be or not."""
    times = [each for each in where if each.name == "start_time"]
    since = max((each.values[0] for each in times if each.operator[0] == ">"), default=-math.inf)
    until = min((each.values[0] for each in times if each.operator[0] == "<"), default=math.inf)
    return since, until


def _first_whole(times: Sequence[Filter]) -> float:
    """Where the first day begins that lies behind all lower bounds."""
    bounds = [each for each in times if each.operator[0] == ">"]
    days = [-(-each.values[0] // DAY_S) * DAY_S for each in bounds]
    # What begins at a bound itself is left out by `>`.
    late = [
        DAY_S if each.operator == ">" and each.values[0] == day else 0 for each, day in zip(bounds, days, strict=True)
    ]
    return max((day + more for day, more in zip(days, late, strict=True)), default=-math.inf)


def _projects(connection: sqlite3.Connection, where: Sequence[Filter]) -> list[str]:
    """Those that are asked for and have spans: named one by one, they lead straight to their days."""
    met = condition(Span, [each for each in where if each.name == "project"])
    asked = f"WITH named (project) AS (VALUES {', '.join('(?)' for _ in all_projects(connection)) or '(NULL)'})"
    sql = f"{asked} SELECT project FROM named WHERE {met.sql}"
    return [each for (each,) in connection.execute(sql, (*all_projects(connection), *met.values))]


def _between(begin: float, end: float) -> Condition:
    return Condition("start_time >= ? AND start_time < ?", (begin, end))


def _filters(begin: float, end: float) -> tuple[Filter, ...]:
    since, until = Filter("start_time", ">=", (begin,)), Filter("start_time", "<", (end,))
    return (*((since,) if math.isfinite(begin) else ()), *((until,) if math.isfinite(end) else ()))


def _in(name: str, values: Sequence[Any]) -> Condition:
    return Condition(f"{name} IN ({_marks(values)})", tuple(values)) if values else NOTHING


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
