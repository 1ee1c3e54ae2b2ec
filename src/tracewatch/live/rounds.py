"""One round over the projects of a store: what came is priced, counted and judged, and how far that is, noted."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf

import pyarrow.compute as pc

from tracewatch import watch
from tracewatch.alerts.telling import Alerting
from tracewatch.checks import RULES, SELF, Conditions, Health, Vitals, settle
from tracewatch.errors import TracewatchError
from tracewatch.following import Follower
from tracewatch.live.passing import Passed, Watcher
from tracewatch.live.retaining import LIMIT_S, RETAIN_S, Limits, keep_within, retain
from tracewatch.metrics.custom import Custom
from tracewatch.records import MESSAGES_SOURCE, Headway, columns
from tracewatch.stores import Store
from tracewatch.stores.base import Progress

SAVE_S = 300.0  # what was learned is kept so often: a crash costs reading the calls of five minutes again
SEEN_S = 8 * 86_400.0  # a project is watched for a week after its last call, as long as its silence is news
MOST_PROJECTS = 200  # of which each takes some MB; those with the most calls are watched
HEALTH_S = 15.0  # so often tracewatch looks after itself, where nothing changes from one second to the next
TELL_S = 5.0  # at the latest so often it is decided who is told: people deal with incidents, and quiet hours end
TOLD_EVERY_S = 2.0  # while history is read, which takes minutes, so often it is written down how much is left

_log = logging.getLogger("tracewatch.live")


class Rounds:
    """The watchers of a store's projects, which go on from round to round."""

    def __init__(
        self,
        store: Store,
        project: str = "default",
        customs: Iterable[Custom] = (),
        *,
        alert_channels: str = "",
        public_url: str = "",
        limits: Limits | None = None,
        follower: Follower | None = None,
    ) -> None:
        """`project` is the one that rows of a usage table in the same file come to; the rest is as in the settings."""
        self.follower = follower
        self.store, self.project, self.customs = store, project, tuple(customs)
        self.alert_channels, self.public_url = alert_channels, public_url
        self.watchers: dict[str, Watcher] = {}
        self._alerting: dict[str, Alerting] = {}
        self._unsaved: set[str] = set()
        self._saved_at: float | None = None
        self._went_at = -inf
        self._limits = limits or Limits()
        self._retained_at = -RETAIN_S
        self._limited_at = -LIMIT_S
        self._headway: dict[str, Headway] = {}
        self._health: dict[str, Health] = {}
        self._conditions: dict[str, Conditions] = {}
        self._checked_at: dict[str, float] = {}
        self._told_at: dict[str, float] = {}
        self._untold: set[str] = set()

    def go(self, now: float) -> Mapping[str, Passed]:
        """One round; `now` is the clock. Returns what came of it, by project."""
        self._went_at = now
        if self.follower is not None:
            self.follower.go(now)
        watch.catch_up(self.store, project=self.project)
        found = projects(self.store, now)
        for name in set(self.watchers) - set(found):
            del self.watchers[name]
            self._alerting.pop(name, None)
        passed = {name: self._pass(name, now) for name in found}
        passed |= {name: self._check(name, each, now, found) for name, each in passed.items()}
        for name, each in passed.items():
            if each.incidents or not 0 <= now - self._told_at.get(name, -TELL_S) < TELL_S:
                self._tell(name, now)
        if self._saved_at is None:
            self._saved_at = now
        if now - self._saved_at >= SAVE_S:
            self.save(now)
        if now - self._retained_at >= RETAIN_S:
            self._retained_at = now
            retain(self.store, now)  # after all that came has been judged
        if now - self._limited_at >= LIMIT_S:
            self._limited_at = now
            keep_within(self.store, self._limits)
        return passed

    def due(self) -> float | None:
        """The next moment, since the last round began, at which there is something to judge; None when that takes rows.

        It may have come during that round.
        """
        known = [each.due for each in self.watchers.values()] + ([self.follower.due] if self.follower else [])
        return min((due for due in known if due is not None and due > self._went_at), default=None)

    def save(self, now: float) -> None:
        """Keeps what has been learned since the last time."""
        for name in sorted(self._unsaved & set(self.watchers)):
            self.watchers[name].save(now)
        self._unsaved.clear()
        self._saved_at = now

    def _pass(self, name: str, now: float) -> Passed:
        watcher = self.watchers.setdefault(name, Watcher(self.store, name, self.customs))
        passed = watcher.run(now, lambda rows: self._counting_down(watcher, now, rows))
        for sentence in passed.sentences:
            _log.warning("project %s: %s", name, sentence)
        if passed.moved:
            self._unsaved.add(name)
        self._note(watcher.headway(now, 0))
        return passed

    def _is_due(self, name: str, now: float) -> bool:
        """Whether it is time to look after ourselves, or the clock has gone back; it then counts as done."""
        if 0 <= now - self._checked_at.get(name, -HEALTH_S) < HEALTH_S:
            return False
        self._checked_at[name] = now
        return True

    def _check(self, name: str, passed: Passed, now: float, found: Sequence[str]) -> Passed:
        """Checks against fixed limits; returns the pass with what came of it."""
        conditions = self._conditions.setdefault(name, Conditions(self.store, name))
        came = [settle(self.store, name, RULES, conditions.checks(now), now)]
        if self._is_due(name, now):
            watcher, health = self.watchers[name], self._health.setdefault(name, Health(self.store, name))
            alone = name == (self.project if self.project in found else found[0])
            vitals = Vitals(headway=watcher.headway(now, 0), rows=watcher.state.reading.rows, alone=alone)
            came.append(settle(self.store, name, SELF, health.checks(vitals, now), now))
        return replace(
            passed,
            new=(*passed.new, *(each for settled in came for each in settled.new)),
            incidents=(*passed.incidents, *(each for settled in came for each in settled.incidents)),
        )

    def _tell(self, name: str, now: float) -> None:
        """Puts alerts on their way. What goes wrong there must not end detection, and is tried again next time."""
        self._told_at[name] = now
        alerting = self._alerting.setdefault(name, Alerting(self.store, name, self.alert_channels, self.public_url))
        try:
            alerting.run(now)
        except TracewatchError:
            raise
        except Exception:  # said once for each project; deciding reads what people wrote
            if name not in self._untold:
                self._untold.add(name)
                _log.exception("project %s: alerts could not be decided on", name)

    def _counting_down(self, watcher: Watcher, now: float, rows: int) -> Progress:
        """Writes down now and then how many of the rows are still to be read."""
        left, told_at = rows, time.monotonic()

        def progress(done: int) -> None:
            nonlocal left, told_at
            left -= done
            if time.monotonic() - told_at >= TOLD_EVERY_S:
                told_at = time.monotonic()
                self._note(watcher.headway(now, max(left, 0)))

        return progress

    def _note(self, headway: Headway) -> None:
        """Writes down how far a project is, where that is news."""
        before = self._headway.get(headway.project)
        if before is not None and replace(headway, updated_at=before.updated_at) == before:
            return
        values = {name: getattr(headway, name) for name in _HEADWAY}
        # In place where it is there: a new row would tell everybody who listens that something has happened.
        if not self.store.annotate(Headway, {"project": headway.project}, values):
            self.store.put([headway])
        self._headway[headway.project] = headway


_HEADWAY = tuple(each.name for each in columns(Headway) if not each.key)


def projects(store: Store, now: float) -> tuple[str, ...]:
    """The projects that had calls lately, those with the most first."""
    table = store.rollup(now - SEEN_S, now + SEEN_S, step_s=86_400, by=("project", "source"), measures=("calls",))
    table = table.filter(pc.not_equal(pc.fill_null(table["source"], ""), MESSAGES_SOURCE))
    counted = table.group_by("project").aggregate([("calls", "sum")]).sort_by([("calls_sum", "descending")])
    return tuple(counted["project"].to_pylist()[:MOST_PROJECTS])
