"""Which index of `llm_traces` answers a question: SQLite has no statistics here, so some rows of each are counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.records import Span, column_of
from tracewatch.stores.base import Filter
from tracewatch.stores.queries import Condition, condition
from tracewatch.stores.sqlite_schema import BY_TIME, INDEXES, NOT_PRICED, Index
from tracewatch.stores.sqlite_segments import closed_ends, closed_projects
from tracewatch.stores.values import comparable

BY_KEY = Index(name=f"{Span.table}_key", columns=("project", "trace_id", "span_id"))
"""Each trace is one lane of it: its spans are put in order of time on reading."""

PROBE_ROWS = 1_000  # counted in about 0.1 ms an index; what has more rows than that is common
LANES = 64  # more (project, value) pairs than this are not walked one by one

Lane = tuple[Index, Condition]
"""A stretch of an index whose entries stand in order of time, and the condition that cuts it out."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How to walk a table: SQL after its name, the rows that are wanted, and how many must be looked at, at most."""

    by: str
    met: Condition
    rows: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Lanes that hold all the rows, and how many rows are in them, as far as they were counted (see PROBE_ROWS)."""

    lanes: tuple[Lane, ...]
    rows: int


def choose(connection: sqlite3.Connection, where: Sequence[Filter]) -> Choice:
    """Stretches of one index that together hold all matching spans, each in order of time: the fewest rows win."""
    projects = _wanted(where, "project") or all_projects(connection)
    if _wanted(where, "trace_id") and (choice := _choice(connection, BY_KEY, projects, where)):
        return choice
    if (begun := _begun(connection, projects, where)) and begun.rows < PROBE_ROWS:
        return begun
    by_time = tuple((BY_TIME, Condition("project = ?", (each,))) for each in projects)
    return _rarest(connection, projects, where) or Choice(by_time, PROBE_ROWS)


def span_walk(connection: sqlite3.Connection, where: Sequence[Filter], after: int | None) -> Walk:
    """The way to all matching spans, in any order; with `after`, to those with a later sequence number."""
    met = condition(Span, where)
    # Each on its own is one step down the table; SQLite would read every row for both in one SELECT.
    ends = f"(SELECT max(seq) FROM {Span.table}) - (SELECT min(seq) FROM {Span.table}) + 1"
    everything = _number(connection, f"SELECT {ends}")
    if after is not None:
        newer = _number(connection, f"SELECT max(seq) - ? FROM {Span.table}", (after,))
        return Walk("NOT INDEXED", met.and_(Condition("seq > ?", (after,))), min(newer, everything))
    if any(each.name == "cost_status" and each.operator == "=" and each.values == (None,) for each in where):
        waiting = f"SELECT count(*) FROM {Span.table} INDEXED BY {NOT_PRICED.name} WHERE {NOT_PRICED.only}"
        return Walk(f"INDEXED BY {NOT_PRICED.name}", met, _number(connection, waiting))
    if _wanted(where, "project") and _wanted(where, "trace_id"):
        return Walk(f"INDEXED BY {Span.table}_key", met, PROBE_ROWS)
    projects = _wanted(where, "project")
    rare = _rarest(connection, projects, where) if projects else None
    if rare and len(rare.lanes) == 1 and rare.rows < PROBE_ROWS:
        index, lane = rare.lanes[0]
        return Walk(f"INDEXED BY {index.name}", lane.and_(met), rare.rows)
    near = _in_time(connection, where) if projects else everything
    # A row by way of an index costs about three times one that is simply next in the table.
    return (
        Walk(f"INDEXED BY {BY_TIME.name}", met, near) if near * 3 < everything else Walk("NOT INDEXED", met, everything)
    )


def _in_time(connection: sqlite3.Connection, where: Sequence[Filter]) -> int:
    """How many spans of these projects lie in this time, counted in the index alone (20 ms for a million)."""
    met = condition(Span, [each for each in where if each.name in BY_TIME.columns])
    return _number(
        connection, f"SELECT count(*) FROM {Span.table} INDEXED BY {BY_TIME.name} WHERE {met.sql}", met.values
    )


def _rarest(connection: sqlite3.Connection, projects: Sequence[str], where: Sequence[Filter]) -> Choice | None:
    choices = [_choice(connection, index, projects, where) for index in INDEXES if index not in (BY_TIME, NOT_PRICED)]
    return min((each for each in choices if each), key=lambda each: each.rows, default=None)


def _number(connection: sqlite3.Connection, sql: str, values: Sequence[Any] = ()) -> int:
    return int(connection.execute(sql, values).fetchone()[0] or 0)


def all_projects(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Every project that has spans, closed ones too, by jumping through the index from one to the next."""
    sql = f"SELECT min(project) FROM {Span.table} INDEXED BY {BY_TIME.name} WHERE project > ?"
    found: list[str] = []
    following = connection.execute(sql, ("",)).fetchone()[0]
    while following is not None:
        found.append(following)
        following = connection.execute(sql, (following,)).fetchone()[0]
    if connection.execute(f"SELECT 1 FROM {Span.table} WHERE project = '' LIMIT 1").fetchone():
        found.append("")
    return tuple(sorted({*found, *closed_projects(connection)}))


def ends_of(connection: sqlite3.Connection, project: str) -> tuple[float, float] | None:
    """Between which times the spans of a project began, or a little more where they are closed; None without any."""
    # Each end on its own is one step down the index; SQLite would walk all of it for both in one SELECT.
    of_table = f"FROM {Span.table} INDEXED BY {BY_TIME.name} WHERE project = ?"
    (first,), (last,) = (
        connection.execute(f"SELECT {end}(start_time) {of_table}", (project,)).fetchone() for end in ("min", "max")
    )
    ends = [] if first is None else [(first, last)]
    if closed := closed_ends(connection, project):
        ends.append(closed)
    return (min(each[0] for each in ends), max(each[1] for each in ends)) if ends else None


def _choice(
    connection: sqlite3.Connection, index: Index, projects: Sequence[str], where: Sequence[Filter]
) -> Choice | None:
    """What walking this index would mean; None when it does not hold all the rows that are asked for."""
    name = index.columns[1]
    values = _wanted(where, name)
    if not values or any(each in index.leaves_out for each in values) or len(projects) * len(values) > LANES:
        return None
    chosen = tuple(
        (index, Condition(f"project = ? AND {name} = ?{_only(index)}", (project, value)))
        for project in projects
        for value in values
    )
    return Choice(chosen, sum(_probe(connection, lane) for lane in chosen))


def _begun(connection: sqlite3.Connection, projects: Sequence[str], where: Sequence[Filter]) -> Choice | None:
    """What walking the traces would mean whose ids lie between two texts: those that begin with some letters."""
    ends = [each for each in where if each.name == "trace_id" and each.operator[0] in "<>"]
    if {each.operator[0] for each in ends} != {"<", ">"} or len(projects) > LANES:
        return None
    chosen = tuple((BY_KEY, Condition("project = ?", (each,)).and_(condition(Span, ends))) for each in projects)
    return Choice(chosen, sum(_probe(connection, lane) for lane in chosen))


def _wanted(where: Sequence[Filter], name: str) -> tuple[Any, ...]:
    """The values of the first filter that asks this column for given ones; nothing when there is none."""
    for each in where:
        if each.name == name and each.operator == "=" and None not in each.values:
            return tuple(dict.fromkeys(comparable(column_of(Span)[name], value) for value in each.values))
    return ()


def _only(index: Index) -> str:
    return f" AND {index.only}" if index.only else ""


def _probe(connection: sqlite3.Connection, lane: Lane) -> int:
    index, cut = lane
    some = f"SELECT 1 FROM {Span.table} INDEXED BY {index.name} WHERE {cut.sql} LIMIT {PROBE_ROWS}"
    return _number(connection, f"SELECT count(*) FROM ({some})", cut.values)
