"""Rows of a followed table into the store, each once, however often they are read and wherever a process is killed."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING

from tracewatch.errors import BadSetting, FollowingFailed, MissingExtra
from tracewatch.following.mapping import Mapped, read_mapping
from tracewatch.imports.files import priced
from tracewatch.imports.spans import Converter
from tracewatch.own_prices import overrides_of
from tracewatch.pricing import PriceBook
from tracewatch.records import Followed, Span
from tracewatch.settings import Settings
from tracewatch.stores.address import is_database
from tracewatch.stores.base import Store

if TYPE_CHECKING:
    from tracewatch.following.table import Cursor, Table

LOOK_S = 2.0  # so often it is asked for new rows
LOOK_BACK_S = 30.0  # so often for those that appeared behind the cursor, which are read again
GO_S = 2.0  # for so long rows are brought in one go: whoever follows has other things to do as well

_log = logging.getLogger("tracewatch.following")


def follower_of(given: Settings, store: Store) -> Follower | None:
    """The one that the settings ask for, if they do. Raises BadMapping, BadSetting or MissingExtra."""
    if not given.follow:
        return None
    url = given.follow_db or given.db
    if not is_database(url):
        why = "it must be the address of a PostgreSQL database, such as postgresql://reader@db.example.com/app"
        raise BadSetting(name="TRACEWATCH_FOLLOW_DB", given=url, why=why)
    return Follower(store, url, read_mapping(given.follow))


class Follower:
    """Brings what comes to a table, a little at a time."""

    def __init__(self, store: Store, url: str, mapped: Mapped) -> None:
        self._store, self._table, self._mapped = store, _table(url, mapped), mapped
        self._converter = Converter("traces", project=mapped.project)
        self._noted = self._known()
        self._looked_back_at = -inf
        self._broke_off_at: Cursor | None = None
        self.due = -inf
        """When it is to be looked again, by the clock."""
        self._tells: set[str] = set()

    def go(self, now: float) -> int:
        """Brings the rows that have come, as many as two seconds allow, when it is time to look. Returns how many.

        What goes wrong with their database is noted and logged once: it may be back the next time.
        """
        if now < self.due <= now + LOOK_S:  # later than that it is only where the clock has gone back
            return 0
        self.due = now + LOOK_S
        try:
            brought, self._broke_off_at = self._bring(self._from(now), now)
        except FollowingFailed as error:
            self._say(str(error))
            self._note(now, problem=str(error))
            return 0
        if self._broke_off_at is not None:
            self.due = now
        return brought

    def _from(self, now: float) -> Cursor | None:
        """Where reading goes on: where it broke off, behind the last row, or as far back as rows may still appear."""
        cursor = self._cursor()
        if self._broke_off_at is not None:
            return self._broke_off_at
        if cursor is not None and 0 <= now - self._looked_back_at < LOOK_BACK_S:
            return cursor
        self._looked_back_at = now
        return None if cursor is None else self._table.before(cursor)

    def _bring(self, cursor: Cursor | None, now: float) -> tuple[int, Cursor | None]:
        """Spans first, then the mark: killed in between, the same rows come again and are there already.

        Returns how many came, and where it broke off because it took long; None when it reached the end.
        """
        book = PriceBook(overrides_of(self._store))
        begun, brought = time.monotonic(), 0
        for chunk, reached in self._table.after(cursor):
            spans = self._converter.convert(chunk)
            batch = priced(spans.batch, book)
            new = self._store.add_batch(Span, batch) if batch.num_rows else 0
            brought += new
            for refusal in spans.refused:
                self._say(f"a row of {self._table.name} stays out: {refusal.what}")
            before = self._cursor()
            further = reached if before is None else max(reached, before)
            if new or further != before:
                self._note(now, cursor=f"{_written(further)} {self._mapped.cursor}", new=new)
            # Rows of one moment are read to their end, or reading would begin with the same ones each time.
            if time.monotonic() - begun > GO_S and reached != cursor:
                return brought, reached
        if self._noted.problem:
            self._note(now)
        return brought, None

    def _cursor(self) -> Cursor | None:
        """That of the last row which was read; None where another column was the cursor then."""
        kind, _, rest = self._noted.cursor.partition(" ")
        value, _, column = rest.partition(" ")
        return _WORDS[kind](value) if column == self._mapped.cursor else None

    def _known(self) -> Followed:
        found = self._store.get(Followed, {"name": self._table.name})
        return found if isinstance(found, Followed) else Followed(name=self._table.name, updated_at=0.0)

    def _note(self, now: float, *, cursor: str | None = None, new: int = 0, problem: str = "") -> None:
        if problem and problem == self._noted.problem:
            return
        self._noted = dataclasses.replace(
            self._noted,
            updated_at=now,
            cursor=cursor or self._noted.cursor,
            rows=self._noted.rows + new,
            problem=problem,
        )
        self._store.put([self._noted])

    def _say(self, text: str) -> None:
        if text not in self._tells:
            self._tells.add(text)
            _log.warning("%s", text)


_WORDS: dict[str, Callable[[str], Cursor]] = {"time": datetime.fromisoformat, "whole": int, "real": float}


def _written(cursor: Cursor) -> str:
    """A cursor as text that says what it is."""
    if isinstance(cursor, datetime):
        return f"time {cursor.isoformat()}"
    return f"whole {cursor}" if isinstance(cursor, int) else f"real {float(cursor)!r}"


def _table(url: str, mapped: Mapped) -> Table:
    """The table where it is. PostgreSQL's library is an extra, so nobody else needs it. Raises MissingExtra."""
    try:
        from tracewatch.following.table import Table
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise MissingExtra(what="Following a table", package="psycopg", extra="postgres") from error
    return Table(url, mapped)
