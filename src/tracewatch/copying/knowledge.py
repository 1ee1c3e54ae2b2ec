"""What detection has learned, handed over so that it goes on in the other store where it stood in this one.

The state says which rows have been read by a token of its store, which means nothing in another. So the latest rows
are copied last, and a token is taken before them: detection reads those again, and knows by their keys which it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import inf, isfinite

from tracewatch.live.baselines import Restored, restore, save
from tracewatch.live.state import Reading
from tracewatch.records import Baseline, Span, key_of
from tracewatch.stores.base import Filter, Store
from tracewatch.times import HOUR_S

RECENT_S = 2 * HOUR_S  # before the newest call that was read; keys are remembered for the hour in which a call ended
MOST_UNREAD = 10_000  # rows that are looked up one by one


@dataclass(slots=True, kw_only=True)
class Knowledge:
    """The states of all projects of a store, on their way to another one."""

    states: Mapping[str, Restored]
    projects: tuple[str, ...]
    """Those that have a state, usable or not."""
    tip: str | None = field(default=None)

    @classmethod
    def of(cls, source: Store, target: Store) -> Knowledge:
        """What can be handed over: not of a project whose unread rows the target has already, as an earlier copy left
        them there, among rows that will not be read.
        """
        names = {name for batch in source.scan(Baseline, ["project"]) for name in batch["project"].to_pylist()}
        found = {name: restore(source, name) for name in sorted(names)}
        usable = {
            name: each
            for name, each in found.items()
            if each.state is not None and not _unread_are_there(source, target, name, each.state.reading)
        }
        return cls(states=usable, projects=tuple(found))

    @property
    def recent_from(self) -> Mapping[str, float]:
        """When the recent spans of each project begin."""
        newest = {name: each.state.reading.newest for name, each in self.states.items() if each.state is not None}
        return {name: moment - RECENT_S for name, moment in newest.items() if isfinite(moment)}

    def mark(self, target: Store) -> None:
        """Notes where the recent spans begin in the target; to be called before they are copied."""
        self.tip = target.tip()

    def hand_over(self, target: Store, now: float) -> tuple[str, ...]:
        """Keeps the states in the target, where it has none that is as far. Returns the projects that have one now."""
        return tuple(name for name, each in self.states.items() if self._handed_over(target, name, each, now))

    def _handed_over(self, target: Store, project: str, given: Restored, now: float) -> bool:
        there = restore(target, project)
        assert given.state is not None, "only usable states are held"
        if there.state is not None and there.state.reading.judged >= given.state.reading.judged:
            return True
        reading = given.state.reading
        reading.cursor, reading.target, reading.through = self.tip, None, -inf
        return save(target, project, given.state, there, now) is not None


def _unread_are_there(source: Store, target: Store, project: str, reading: Reading) -> bool:
    """Whether the target has spans that detection has not read in the source."""
    whose = [Filter("project", "=", (project,))]
    if not target.exists(Span, whose):
        return False
    unread = (
        row for batch in source.scan(Span, list(key_of(Span)), whose, after=reading.cursor) for row in batch.to_pylist()
    )
    looked_up = list(islice(unread, MOST_UNREAD + 1))
    return len(looked_up) > MOST_UNREAD or any(target.get(Span, key) is not None for key in looked_up)
