"""Rows of a followed table into the store, each once, however often they are read and wherever a process is killed."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from datetime import datetime
from math import inf

from tracewatch.errors import BadSetting, FollowingFailed
from tracewatch.following.mapping import Mapped, read_mapping
from tracewatch.following.table import Cursor, Table
from tracewatch.imports.files import priced
from tracewatch.imports.spans import Converter
from tracewatch.own_prices import overrides_of
from tracewatch.pricing import PriceBook
from tracewatch.records import Followed, Span
from tracewatch.settings import Settings
from tracewatch.stores.address import is_database
from tracewatch.stores.base import Store

LOOK_S = 2.0  # so often it is asked for new rows
LOOK_BACK_S = 30.0  # so often for those that appeared behind the cursor, which are read again
GO_S = 2.0  # for so long rows are brought in one go: whoever follows has other things to do as well

_log = logging.getLogger("tracewatch.following")


def follower_of(given: Settings, store: Store) -> Follower | None:
    """The one that the settings ask for, if they do. Raises BadMapping or BadSetting."""
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
        self._store, self._table, self._mapped = store, Table(url, mapped), mapped
        self._converter = Converter("traces", project=mapped.project)
        self._noted = self._known()
        self._looked_back_at = -inf
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
        back = not 0 <= now - self._looked_back_at < LOOK_BACK_S
        try:
            brought, finished = self._bring(self._from(back=back), now)
        except FollowingFailed as error:
            self._say(str(error))
            self._note(now, problem=str(error))
            return 0
        if back and finished:
            self._looked_back_at = now
        if not finished:
            self.due = now
        return brought

    def _from(self, *, back: bool) -> Cursor | None:
        cursor = _cursor(self._noted.cursor)
        return self._table.before(cursor) if back and cursor is not None else cursor

    def _bring(self, cursor: Cursor | None, now: float) -> tuple[int, bool]:
        """Spans first, then the mark: killed in between, the same rows come again and are there already."""
        book = PriceBook(overrides_of(self._store))
        begun, brought = time.monotonic(), 0
        for chunk, reached in self._table.after(cursor):
            spans = self._converter.convert(chunk)
            batch = priced(spans.batch, book)
            new = self._store.add_batch(Span, batch) if batch.num_rows else 0
            brought += new
            for refusal in spans.refused:
                self._say(f"a row of {self._table.name} stays out: {refusal.what}")
            further = max(reached, _cursor(self._noted.cursor) or reached)
            if new or further != _cursor(self._noted.cursor):
                self._note(now, cursor=_written(further), new=new)
            if time.monotonic() - begun > GO_S:
                return brought, False
        if self._noted.problem:
            self._note(now)
        return brought, True

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


def _cursor(text: str) -> Cursor | None:
    kind, _, value = text.partition(" ")
    return _WORDS[kind](value) if kind in _WORDS else None
