"""One pass over a project, again and again: new rows are judged, what follows from them is put back, all is remembered.

Live this runs every few seconds, `tracewatch detect` runs it once, and the first time it replays history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from tracewatch.judge import TICK_S, WARMUP_DAYS, Judge
from tracewatch.live import baselines
from tracewatch.live.arrivals import LATE_S, SKEW_S, arrivals, waiting
from tracewatch.live.baselines import Restored
from tracewatch.live.keeping import Keeper, close_forgotten
from tracewatch.live.lateness import GRACE_S as GRACE_S
from tracewatch.live.lateness import Lateness
from tracewatch.live.state import State
from tracewatch.metrics.custom import Custom
from tracewatch.records import Anomaly, Headway, Incident, Lesson
from tracewatch.stores.base import Progress, Store
from tracewatch.teaching import lessons_of

FRESH_S = 3600.0  # a row that came so soon after its start was sent as it happened
SILENT_S = 7 * 86_400.0  # for so long the clock goes on without rows; the engine itself forgets after a month
SAVE_EVERY_S = 3600.0  # 5 MB an hour; a crash costs reading the rows of an hour again
SAVE_EVERY_ROWS = 100_000  # four seconds of replaying


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What one pass did."""

    rows: int
    """Calls that were judged, or wait for the end of their five minutes."""
    late: int
    """Calls that came too late to count."""
    ahead: bool
    """Whether there are calls that began in the future."""
    judged: float | None
    """The moment up to which calls have been judged (UTC epoch seconds)."""
    learned_days: int
    """Days learned from, of the WARMUP_DAYS that it takes before anything is said."""
    moved: bool = False
    """Whether there is anything to be kept that was not known before."""
    new: tuple[Anomaly, ...] = ()
    """Findings that were saved for the first time."""
    incidents: tuple[Incident, ...] = ()
    """Those that opened or changed."""
    sentences: tuple[str, ...] = ()
    """What else people should know."""

    @property
    def learning(self) -> bool:
        """Whether nothing is said yet."""
        return self.learned_days <= WARMUP_DAYS


@dataclass(slots=True)
class _News:
    """What a pass has to tell, as it comes up."""

    rows: int = 0
    new: dict[str, Anomaly] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)


class Watcher:
    """Watches one project of a store. Several may do so at once: they find the same, and one's state is kept.

    A tick is judged when the calls that began in it have had time to end and to send their rows. One that comes later
    counts for the tick that is judged next.
    """

    def __init__(self, store: Store, project: str, customs: Sequence[Custom] = ()) -> None:
        self.store, self.project, self.customs = store, project, tuple(customs)
        self.state = self._nothing()
        self.restored = Restored(state=None, revision=-1, parts=0)
        self.lessons: tuple[Lesson, ...] = ()
        self.saved_rows, self.saved_at = 0, -inf
        self.lateness = Lateness()
        self.going_on = False

    @property
    def due(self) -> float | None:
        """When there will be something to judge (UTC epoch seconds); None when that takes rows first."""
        reading = self.state.reading
        return reading.judged + TICK_S + self.lateness.grace_s if reading.fresh and reading.judged > -inf else None

    def headway(self, now: float, waiting: int) -> Headway:
        """How far it has come; `waiting` is how many rows are still to be read."""
        reading = self.state.reading
        could = self._horizon(now) // TICK_S * TICK_S
        return Headway(
            project=self.project,
            updated_at=now,
            judged_until=reading.judged if reading.judged > -inf else None,
            newest_call=reading.newest if reading.newest > -inf else None,
            waiting_rows=waiting,
            behind_s=max(could - reading.judged, 0.0) if reading.judged > -inf else 0.0,
            grace_s=self.lateness.grace_s,
            learned_days=self.state.judge.learned_days,
            late_rows=reading.late,
        )

    def run(self, now: float, total: Callable[[int], Progress] | None = None) -> Passed:
        """Judges what has come since the last pass; `now` is the clock. Rows must be priced (`watch.catch_up`).

        `total` is called with how many rows there are to be read, and gives what is told of how many are done.
        """
        told = _News()
        self.lessons = lessons_of(self.store, self.project)
        self._restore(told)
        self._check_clock(told, now)
        if self.saved_at == -inf:
            self.saved_at = now
        late, before = self.state.reading.late, self.state.reading.judged
        self._read(told, now, total)
        if self.state.reading.late > max(self.state.reading.rows, late):
            self._start_anew(told, "More calls came that are older than what was learned from than there were before.")
            self._read(told, now, total)
        if self.state.reading.judged == before:  # what the last step left to be done comes when nothing waits for it
            self.state.judge.prepare()
        self.going_on = True
        return self._passed(told, late, before)

    def save(self, now: float) -> bool:
        """Keeps what has been learned. Returns False when another process was quicker: its state stays."""
        saved = baselines.save(self.store, self.project, self.state, self.restored, now)
        if saved is None:
            self.restored = Restored(state=None, revision=-1, parts=0)
            return False
        self.restored = saved
        self.saved_rows, self.saved_at = self.state.reading.rows, now
        return True

    def _restore(self, told: _News) -> None:
        """Takes the state from the store, unless it is the one at hand."""
        if self.restored.revision == baselines.revision_of(self.store, self.project):
            return
        self.restored = baselines.restore(self.store, self.project)
        if self.restored.unusable:
            told.sentences.append(
                f"What was learned cannot be used ({self.restored.unusable}): learning again from history."
            )
        self.state = self.restored.state or self._nothing()
        self.saved_rows = self.state.reading.rows
        if self.state.judge.customs != self.customs:
            self._start_anew(told, "The metrics that are declared (TRACEWATCH_METRICS) have changed.")

    def _nothing(self) -> State:
        """What is known before anything was learned."""
        return State(judge=Judge(self.project, self.customs))

    def _start_anew(self, told: _News, why: str) -> None:
        told.sentences.append(f"{why} Learning again from history.")
        self.state = self._nothing()
        self.saved_rows = 0

    def _check_clock(self, told: _News, now: float) -> None:
        """After the clock was far ahead once, what has been judged since then was judged too early."""
        reading = self.state.reading
        if now < reading.judged - LATE_S and reading.newest <= now + SKEW_S:
            self._start_anew(told, "The clock has gone back.")

    def _read(self, told: _News, now: float, total: Callable[[int], Progress] | None) -> None:
        if self.state.reading.target is not None:  # a pass was broken off; what came since is a round of its own
            self._read_round(told, now, total)
        self._read_round(told, now, total)
        if self.state.anew:
            close_forgotten(self.store, self.project, self.state)
            self.state.anew = False

    def _read_round(self, told: _News, now: float, total: Callable[[int], Progress] | None) -> None:
        state = self.state
        began = waiting(self.store, self.project, state.reading, now)
        progress = total(began.total()) if total else None
        keeper = Keeper(self.store, self.project, state)
        for chunk in arrivals(self.store, self.project, state.reading, began, now, state.judge.needs):
            state.judge.feed(chunk.columns)
            told.rows += len(chunk.times)
            if self.going_on:  # the first pass reads what may have waited for days
                self.lateness.see(chunk.times, now)
            self._judge(keeper, min(chunk.until, self._horizon(now)))
            if progress:
                progress(chunk.rows)
            if self._due(now):
                keeper.keep()
                self.save(now)
        self._judge(keeper, self._horizon(now))
        keeper.keep()
        told.new.update(keeper.new)
        told.incidents.update(keeper.incidents)
        told.unexplained.update(keeper.unexplained)

    def _judge(self, keeper: Keeper, until: float) -> None:
        """What can be known at that moment."""
        reading = self.state.reading
        if until > reading.judged and until // TICK_S * TICK_S > reading.judged:
            keeper.take(self.state.judge.judge(until, self.lessons))
            reading.judged = until // TICK_S * TICK_S
            reading.keys.forget(reading.judged - LATE_S)

    def _horizon(self, now: float) -> float:
        """Up to which moment calls may be judged.

        Silence is news only where rows come as they happen. That nothing follows the last row of an export is no
        silence: there it ends with the step which that row is in.
        """
        reading = self.state.reading
        if not reading.rows:
            return -inf
        reading.fresh = reading.fresh or now - reading.newest <= FRESH_S
        if reading.fresh and now - reading.newest <= SILENT_S:
            return now - self.lateness.grace_s
        return min((reading.newest // TICK_S + 1) * TICK_S, now - self.lateness.grace_s)

    def _due(self, now: float) -> bool:
        rows = self.state.reading.rows - self.saved_rows
        return rows >= SAVE_EVERY_ROWS or (rows > 0 and now - self.saved_at >= SAVE_EVERY_S)

    def _passed(self, told: _News, late: int, before: float) -> Passed:
        reading = self.state.reading
        return Passed(
            rows=told.rows,
            late=max(reading.late - late, 0),
            ahead=reading.ahead_until > reading.ahead_from,
            judged=reading.judged if reading.judged > -inf else None,
            learned_days=self.state.judge.learned_days,
            moved=told.rows > 0 or reading.late != late or reading.judged != before,
            new=tuple(told.new.values()),
            incidents=tuple(told.incidents.values()),
            sentences=(*told.sentences, *_unexplained(told.unexplained)),
        )


def _unexplained(errors: Mapping[str, str]) -> Iterator[str]:
    """One sentence for all incidents that could not be explained."""
    if errors:
        id_, error = next(iter(errors.items()))
        others = f" and {len(errors) - 1:,} more" if len(errors) > 1 else ""
        yield f"Incident {id_}{others} could not be explained ({error}) and is kept without causes."
