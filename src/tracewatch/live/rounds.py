"""Watching goes on by itself: every few seconds what came is priced, counted and judged, project by project.

A server does this in a process of its own, because judging holds Python's lock for tenths of a second, in which nobody
would be answered. Several may do it on one store: they find the same, and each finding is kept once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

import pyarrow.compute as pc

from tracewatch import settings, watch
from tracewatch.errors import StoreBusy, StoreUnreadable, StoreUnwritable
from tracewatch.live.passing import Watcher
from tracewatch.metrics.custom import Custom, parse
from tracewatch.records import MESSAGES_SOURCE
from tracewatch.stores import Store, open_store

EVERY_S = 5.0
SAVE_S = 300.0  # what was learned is kept so often: a crash costs reading the calls of five minutes again
SEEN_S = 8 * 86_400.0  # a project is watched for a week after its last call, as long as its silence is news
MOST_PROJECTS = 200  # of which each takes some MB; those with the most calls are watched

_log = logging.getLogger("tracewatch.live")


class Rounds:
    """The watchers of a store's projects, which go on from round to round."""

    def __init__(self, store: Store, project: str = "default", customs: Iterable[Custom] = ()) -> None:
        """`project` is the one that rows of a usage table in the same file come to."""
        self.store, self.project, self.customs = store, project, tuple(customs)
        self.watchers: dict[str, Watcher] = {}
        self._unsaved: set[str] = set()
        self._saved_at: float | None = None

    def go(self, now: float) -> None:
        """One round; `now` is the clock."""
        watch.catch_up(self.store, project=self.project)
        found = projects(self.store, now)
        for name in set(self.watchers) - set(found):
            del self.watchers[name]
        for name in found:
            watcher = self.watchers.setdefault(name, Watcher(self.store, name, self.customs))
            passed = watcher.run(now)
            for sentence in passed.sentences:
                _log.warning("project %s: %s", name, sentence)
            if passed.moved:
                self._unsaved.add(name)
        if self._saved_at is None:
            self._saved_at = now
        if now - self._saved_at >= SAVE_S:
            self.save(now)

    def save(self, now: float) -> None:
        """Keeps what has been learned since the last time."""
        for name in sorted(self._unsaved & set(self.watchers)):
            self.watchers[name].save(now)
        self._unsaved.clear()
        self._saved_at = now


def projects(store: Store, now: float) -> tuple[str, ...]:
    """The projects that had calls lately, those with the most first."""
    table = store.rollup(now - SEEN_S, now + SEEN_S, step_s=86_400, by=("project", "source"), measures=("calls",))
    table = table.filter(pc.not_equal(pc.fill_null(table["source"], ""), MESSAGES_SOURCE))
    counted = table.group_by("project").aggregate([("calls", "sum")]).sort_by([("calls_sum", "descending")])
    return tuple(counted["project"].to_pylist()[:MOST_PROJECTS])


def keep_going(
    db: str, project: str, stop: threading.Event, every_s: float = EVERY_S, clock: Callable[[], float] = time.time
) -> None:
    """Watches a store until told to stop. Trouble with the file is logged and passes; anything else is raised."""
    given = settings.load()
    with open_store(db, create=True, durability=given.durability) as store:
        rounds = Rounds(store, project, parse(given.metrics))
        while True:
            try:
                rounds.go(clock())
            except (StoreBusy, StoreUnreadable, StoreUnwritable) as error:
                _log.warning("%s", error)
            if stop.wait(every_s):
                break
        rounds.save(clock())
