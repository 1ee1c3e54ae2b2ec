"""The first of many are found again without looking at all: among those that were first, and those that came since.

Half a million sessions are added up to tell the fifty dearest ones. While their spans stay as they are a session grows
by new spans alone, so who was far behind and has none since is still behind. What is told of each is read every time.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from tracewatch.records import Span
from tracewatch.stores.base import Filter, Group, GroupOrder
from tracewatch.stores.queries import Condition, condition
from tracewatch.stores.sqlite_groups import groups, ranked
from tracewatch.stores.sqlite_hours import rolled
from tracewatch.stores.sqlite_schema import BY_TIME, CLOSED_HOURS, DIRTY, META, SEGMENTS
from tracewatch.times import HOUR_S

KEPT_VALUES = 500  # of a question: ten pages
NEW_SPANS = 5_000  # so many may have come since: they are looked through in some milliseconds
MOST_CANDIDATES = 2_500  # values; each is looked up in each day, at 1 µs
MOST_KNOWN = 32  # questions

Key = tuple[str, GroupOrder, tuple[Filter, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Who came first in a time, as the store was at one moment."""

    since: float
    until: float
    seq: int
    """The last span that was rolled up: those behind it may change without a word."""
    past: int
    values: tuple[str, ...]
    rest: tuple[float, str] | None
    """Every other value came after this one, in order of what it came to and its name; None: there was no other."""


class KnownRankings:
    """The first values of the questions that were asked last. May be used by several threads."""

    def __init__(self) -> None:
        self._known: dict[Key, Ranking] = {}
        self._lock = Lock()

    def groups(
        self, connection: sqlite3.Connection, column: str, where: Sequence[Filter], order: GroupOrder,
        limit: int, skip: int,
    ) -> tuple[Group, ...]:  # fmt: skip
        """What `sqlite_groups.groups` gives."""
        time = _time(where)
        if order == "last" or time is None or _is_changing(connection):
            return groups(connection, column, where, order, limit, skip)
        key = (column, order, tuple(each for each in where if each.name != "start_time"))
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            among = _candidates(connection, column, where, time, known)
            found = None if among is None else groups(connection, column, where, order, limit + skip, 0, among)
            if found is not None and _are_first(found, order, limit + skip, known.rest):
                return found[skip:]
        first = ranked(connection, column, where, order, max(KEPT_VALUES, skip + limit))
        if first is None:
            return groups(connection, column, where, order, limit, skip)
        self._keep(key, _ranking(connection, time, first, max(KEPT_VALUES, skip + limit)))
        page = [value for value, _ in first[skip : skip + limit]]
        return groups(connection, column, where, order, limit, 0, page)

    def _keep(self, key: Key, ranking: Ranking) -> None:
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = ranking
            while len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]


def _time(where: Sequence[Filter]) -> tuple[float, float] | None:
    """From when to when spans are asked for; None where it is asked for in another way."""
    times = [each for each in where if each.name == "start_time"]
    since = [each.values[0] for each in times if each.operator == ">="]
    until = [each.values[0] for each in times if each.operator == "<"]
    if len(times) != 2 or not since or not until or not all(type(each) in (int, float) for each in (*since, *until)):
        return None
    return since[0], until[0]


def _ranking(
    connection: sqlite3.Connection, time: tuple[float, float], first: Sequence[tuple[str, float | None]], most: int
) -> Ranking:
    value, amount = first[-1] if first else ("", None)
    rest = (-math.inf if amount is None else amount, value) if len(first) == most else None
    return Ranking(
        since=time[0], until=time[1], seq=rolled(connection), past=_past(connection),
        values=tuple(value for value, _ in first), rest=rest,
    )  # fmt: skip


def _candidates(
    connection: sqlite3.Connection, column: str, where: Sequence[Filter], time: tuple[float, float], known: Ranking
) -> list[str] | None:
    """Those that may be first now; None where too much has changed."""
    if time[0] < known.since or time[1] < known.until or _past(connection) != known.past:
        return None
    if _last(connection) - known.seq > NEW_SPANS or _are_closed(connection, time, known):
        return None
    met = condition(Span, where)
    new = _values(connection, column, "NOT INDEXED", met.and_(Condition("seq > ?", (known.seq,))))
    # Clocks differ: what is from behind the end of that time may have been there before it ended.
    # Of two lower bounds SQLite takes any, and would walk the whole time.
    others = [each for each in where if each.name != "start_time"]
    later = [Filter("start_time", ">=", (known.until,)), Filter("start_time", "<", (time[1],))]
    ahead = _values(connection, column, f"INDEXED BY {BY_TIME.name}", condition(Span, [*others, *later]))
    among = list(dict.fromkeys((*known.values, *new, *ahead)))
    return among if len(among) <= MOST_CANDIDATES and len(ahead) <= NEW_SPANS else None


def _are_closed(connection: sqlite3.Connection, time: tuple[float, float], known: Ranking) -> bool:
    """Whether spans that were not ranked may lie in segments, where they are not looked for."""
    since = f"SELECT 1 FROM {SEGMENTS} WHERE gone_at IS NULL AND last_seq > ? LIMIT 1"
    if connection.execute(since, (known.seq,)).fetchone() is not None:
        return True
    later = f"SELECT 1 FROM {CLOSED_HOURS} WHERE hour > ? AND hour < ? LIMIT 1"
    return connection.execute(later, (known.until - HOUR_S, time[1])).fetchone() is not None and time[1] > known.until


def _values(connection: sqlite3.Connection, column: str, by: str, met: Condition) -> list[str]:
    sql = f"SELECT {column} FROM {Span.table} {by} WHERE {met.sql} AND {column} IS NOT NULL LIMIT ?"
    return [value for (value,) in connection.execute(sql, (*met.values, NEW_SPANS + 1))]


def _are_first(found: Sequence[Group], order: GroupOrder, count: int, rest: tuple[float, str] | None) -> bool:
    """Whether nobody else can be among them."""
    if rest is None:
        return True
    amount = getattr(found[-1], order) if len(found) == count else None
    return amount is not None and (-amount, found[-1].value) <= (-rest[0], rest[1])


def _is_changing(connection: sqlite3.Connection) -> bool:
    """Whether spans were changed that rollups do not have as they are now: what else was is counted in `past`."""
    return connection.execute(f"SELECT 1 FROM {DIRTY} LIMIT 1").fetchone() is not None


def _past(connection: sqlite3.Connection) -> int:
    found: tuple[Any] | None = connection.execute(f"SELECT value FROM {META} WHERE name = 'past'").fetchone()
    return int(found[0]) if found else 0


def _last(connection: sqlite3.Connection) -> int:
    sql = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?"
    return int(connection.execute(sql, (Span.table,)).fetchone()[0] or 0)
