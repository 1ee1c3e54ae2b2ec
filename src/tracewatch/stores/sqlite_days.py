"""Days that are over are read once: what rollups came to in each of them is kept in memory, as long as it is so.

A day that lies before the minutes that are kept changes only when late spans come, or spans of it are replaced. Either
is counted in the file (see `sqlite_rollups.change_past`), so that any process that has read the file sees it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

from tracewatch.stores.base import Filter
from tracewatch.stores.measures import Measure
from tracewatch.stores.sqlite_schema import META

DAY_S = 86_400
MOST_ROWS = 100_000  # of all days together; a row takes some 300 bytes

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of rollups, but for the time."""

    step_s: int
    by: tuple[str, ...]
    where: tuple[Filter, ...]
    measures: tuple[Measure, ...]


Read = Callable[[sqlite3.Connection, int, int, Asked], list[Row]]
"""How the rows of a time are read; the bucket is the first value of each, and they are in order of it."""


class KnownDays:
    """The rows of days that are over, those that were asked for last. May be used by several threads."""

    def __init__(self) -> None:
        self._days: dict[tuple[Asked, int], list[Row]] = {}
        self._rows = 0
        self._past = -1
        self._lock = Lock()

    def parts(
        self, connection: sqlite3.Connection, begin: int, end: int, asked: Asked, read: Read
    ) -> Iterator[list[Row]]:
        """The rows of a time in order, of days that are over from memory where they are known."""
        past, over = _past(connection)
        first, last = -(-begin // DAY_S) * DAY_S, min(end, over) // DAY_S * DAY_S
        if DAY_S % asked.step_s or first >= last:
            yield read(connection, begin, end, asked)
            return
        if begin < first:
            yield read(connection, begin, first, asked)
        yield from self._past_days(connection, first, last, asked, past, read)
        if last < end:
            yield read(connection, last, end, asked)

    def _past_days(
        self, connection: sqlite3.Connection, first: int, last: int, asked: Asked, past: int, read: Read
    ) -> Iterator[list[Row]]:
        days = range(first, last, DAY_S)
        known = self._known(asked, days, past)
        lacking = {day: list[Row]() for day in days if day not in known}
        if lacking:
            for row in read(connection, min(lacking), max(lacking) + DAY_S, asked):
                day = row[0] // DAY_S * DAY_S
                if day in lacking:
                    lacking[day].append(row)
            self._keep(asked, lacking, past)
            known |= lacking
        yield from (known[day] for day in days)

    def _known(self, asked: Asked, days: range, past: int) -> dict[int, list[Row]]:
        with self._lock:
            if past != self._past:
                return {}
            found = {day: self._days.pop((asked, day)) for day in days if (asked, day) in self._days}
            self._days |= {(asked, day): rows for day, rows in found.items()}  # to the end: asked for last
            return found

    def _keep(self, asked: Asked, days: dict[int, list[Row]], past: int) -> None:
        with self._lock:
            if past < self._past:
                return  # read from a snapshot that is older than what is known here
            if past > self._past:
                self._days, self._rows, self._past = {}, 0, past
            for day, rows in days.items():
                self._rows += len(rows) + 1 - self._size((asked, day))
                self._days[asked, day] = rows
            while self._rows > MOST_ROWS:
                oldest = next(iter(self._days))
                self._rows -= self._size(oldest)
                del self._days[oldest]

    def _size(self, key: tuple[Asked, int]) -> int:
        return len(self._days[key]) + 1 if key in self._days else 0


def _past(connection: sqlite3.Connection) -> tuple[int, int]:
    """How often the past has changed, and where it ends."""
    found = dict(connection.execute(f"SELECT name, value FROM {META} WHERE name IN ('past', 'minutes_from')"))
    return int(found.get("past", 0)), int(found["minutes_from"])
