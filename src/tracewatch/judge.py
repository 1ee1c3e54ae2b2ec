"""The adaptive engine and the grouping of what it says: calls in, incidents out, the same for every clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracewatch.crowded import MOST, Crowds
from tracewatch.detectors.adaptive import Alert, Ending, Engine, Return, Settings
from tracewatch.detectors.adaptive.beside import EXTRAS
from tracewatch.detectors.adaptive.errands import Second
from tracewatch.detectors.adaptive.extras import Extras
from tracewatch.detectors.adaptive.intake import NUMBERS, STANDS_FOR, TICK, WATCHED, WORDS
from tracewatch.detectors.adaptive.names import Words, joined, words_of
from tracewatch.detectors.adaptive.runs import Run
from tracewatch.incidents import Change, Grouping
from tracewatch.lessons import Sieve
from tracewatch.metrics.custom import TABLE, Custom, columns_of_floats, needed
from tracewatch.metrics.declared import Declared
from tracewatch.metrics.observing import NEEDS as OBSERVED
from tracewatch.metrics.observing import Observing
from tracewatch.metrics.parcels import Parcel, parcel
from tracewatch.metrics.rows import is_text
from tracewatch.records import Lesson
from tracewatch.times import DAY_S

NEEDS = tuple(
    dict.fromkeys(("start_time", "trace_id", "span_id", "parent_span_id", *WORDS, *NUMBERS, *WATCHED, *OBSERVED))
)
"""The columns of a call that are judged, and those that order calls of the same moment."""
TICK_S = TICK
"""Calls are judged in steps of so many seconds."""
REMEMBERED_DAYS = Settings().remember_days
KNOWN_DAYS = 7  # after which a kind of call has been seen on every day of the week
WARMUP_DAYS = Settings().warmup_days
"""For how long nothing is said, because nothing is known yet."""

Columns = Mapping[str, NDArray[Any] | Words]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What could be known at a moment and could not before, in order."""

    alerts: Sequence[Alert]
    notes: Sequence[Alert]
    """What is worth knowing and nobody's alarm: no incident comes of it."""
    news: Sequence[Ending | Return]
    """What became of earlier alerts."""
    changes: Sequence[Change]
    """What became of incidents."""
    known: Sequence[tuple[Alert, Lesson]]
    """What people had said is noise or expected, with the lesson that says so: no incident comes of it."""
    known_days: Mapping[int, int]
    """On how many days the calls of each alert and note had been learned from, KNOWN_DAYS at most, by its story."""


class Judge:
    """Takes calls in any batches, and says at any moments what is abnormal: the batches change nothing about it.

    Calls of the same moment are put in order by their keys, so that it does not matter which came first either.
    """

    def __init__(self, project: str = "default", customs: Sequence[Custom] = ()) -> None:
        """Knows nothing yet; the project is part of the ids of incidents, the customs are judged beside the engine."""
        self.customs = tuple(customs)
        by_hour = [each for each in customs if each.root == TABLE]
        self.extra = tuple(each for each in customs if each.root != TABLE)
        self.engine = Engine(Settings(extra=tuple(each.name for each in self.extra)))
        self.observing = Observing(frozenset(each.name for each in self.extra))
        self.declared = Declared(by_hour) if by_hour else None
        self.grouping = Grouping(project)
        self.sieve = Sieve()
        self.waiting: list[dict[str, Any]] = []
        self.crowds = Crowds()
        self.unseen = 0  # calls that have come since it was last looked whether too many wait
        self.second: Second | None = None
        self.foreseen: dict[float, Callable[[], list[Run]]] = {}

    def share_with(self, second: Second) -> None:
        """Has a second process do a share of the work, and all that is watched beside calls' own measures. Only for a
        judge that will not be kept: when the process ends, judging raises SecondEnded.
        """
        self.engine.share_with(second)
        self.engine.live_with(second)
        second.settle(observing=self.observing)
        self.second = second

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of a call that it takes."""
        return tuple(dict.fromkeys((*NEEDS, *needed(self.extra), *(self.declared.needs if self.declared else ()))))

    def feed(self, columns: Columns, /) -> None:
        """Takes some calls: equally long columns, numbers as float64 with NaN for absent, texts as objects or Words."""
        if len(columns.get("start_time", ())):
            self.waiting.append(dict(columns))
            self.unseen += len(columns["start_time"])
            if self.unseen > MOST:
                self._thin()

    def foresee(self, columns: Columns, now: float) -> None:
        """Lets the second process, if there is one, look ahead at calls: those that will be fed next, and with nothing
        else be judged at that moment.
        """
        now, times = now // TICK_S * TICK_S, cast("Any", columns["start_time"])
        if self.second is None or not 0 < len(times) <= MOST or times[-1] >= now:
            return
        self.second.ask_now()  # what is to be judged before
        order = ordered(columns)
        calls = columns if order is None else {name: columns[name][order] for name in OBSERVED}
        self.foreseen[now] = self.second.ask_later(observed, PLACES, parcel(calls, OBSERVED), now)

    def judge(self, now: float, lessons: Sequence[Lesson] = ()) -> Judgement:
        """Everything about calls that began before the last full step at that moment (UTC epoch seconds).

        What lessons know is set apart; what the engine learns does not depend on them.
        """
        now = now // TICK_S * TICK_S
        self._hand_over(now)
        told: list[Alert] = []
        known_days: dict[int, int] = {}
        for stop in self._days(now):
            today = self.engine.advance(stop)
            known_days |= {each.story: self._known_days(each) for each in today}
            told += filter(self._matters, today)
        news: list[Ending | Return] = [*self.engine.endings()]
        if self.declared:
            own, ended = self.declared.advance(now)
            known_days |= {each.story: self._known_days(each) for each in own}
            told = sorted((*told, *own), key=attrgetter("detected_at"))
            news = sorted((*news, *ended), key=attrgetter("at"))
        heard, known = self.sieve.sift(told, news, lessons, now)
        known_days |= {each.story: self._known_days(each) for each in heard if each.story not in known_days}
        alerts = [each for each in heard if not is_note(each)]
        return Judgement(
            alerts=alerts,
            notes=[each for each in heard if is_note(each)],
            known=known,
            news=news,
            changes=self.grouping.take(alerts, news, now),
            known_days=known_days,
        )

    def prepare(self) -> bool:
        """Does a part of what the next step needs, if there is any left: between two steps there is time for it."""
        return self.engine.prepare()

    @property
    def learned_days(self) -> int:
        """How many days have been learned from, of WARMUP_DAYS that it takes."""
        if self.engine.now is None:
            return 0
        day_ticks = 86_400 // TICK_S
        return self.engine.now // day_ticks - self.engine.known.first // day_ticks

    @property
    def going_on(self) -> set[str]:
        """Ids of the incidents that are not closed."""
        return {id_ for id_, each in self.grouping.incidents.items() if each.state != "closed"}

    def _days(self, now: float) -> Iterator[float]:
        """The ends of the days that the engine has not finished, and that moment."""
        if self.engine.now is not None:
            stop = (self.engine.now * TICK_S // DAY_S + 1) * DAY_S
            # The engine skips a month of silence by itself; to stop at each of its days would take as many steps.
            while stop < now <= stop + REMEMBERED_DAYS * DAY_S:
                yield stop
                stop += DAY_S
        yield now

    def _known_days(self, alert: Alert) -> int:
        """On how many days before it calls of an alert's slice were learned from; of a person's, any calls.

        The engine names a day by the midnight that ends it.
        """
        known, today = self.engine.known, (alert.detected_at - 1) // DAY_S
        place = known.slices.index.get(tuple(alert.slice.items()))
        segments = range(len(known.intake.segments)) if place is None else np.flatnonzero(known.slices.members[place])
        days = (sum(day <= today for day, _ in known.memory.days.get(int(g), ())) for g in segments)
        return min(max(days, default=0), KNOWN_DAYS)

    def _hand_over(self, before: float) -> None:
        """Gives the engine the calls that began before that moment, all that wait in one order."""
        calls = self._waited(before)
        self._observe(_NO_CALLS if calls is None else calls, before)
        if calls is None:
            return
        if self.declared:
            self.declared.feed({k: v.objects() if isinstance(v, Words) else v for k, v in calls.items()})
        self.engine.feed(calls | self._own(calls))

    def _observe(self, calls: Columns, before: float) -> None:
        """Has everything that is watched beside calls' own measures taken from them, here or elsewhere."""
        if self.second is None:
            self.engine.observe(list(self.observing.take(calls, before)), self.observing.ended_runs())
            return
        runs = self.foreseen.pop(before, None)
        if runs is None:
            runs = self.second.ask(observed, PLACES, parcel(calls, OBSERVED), before)
        elif not self.foreseen:
            self.second.ask_now()
        self.engine.observe((), _when_asked(runs))

    def _waited(self, before: float) -> dict[str, Any] | None:
        """The calls that wait and began before that moment, in their order; None when there are none."""
        if not self.waiting:
            return None
        self._thin()
        calls = self.waiting[0]
        order = ordered(calls)
        if order is not None:
            calls = {name: values[order] for name, values in calls.items()}
        cut = int(np.searchsorted(calls["start_time"], before))
        self.waiting = (
            [{name: values[cut:] for name, values in calls.items()}] if cut < len(calls["start_time"]) else []
        )
        if not cut:
            return None
        calls = {name: values[:cut] for name, values in calls.items()}
        return calls | {STANDS_FOR: self.crowds.stands_for(self._steps(calls))} if self.crowds.left_out else calls

    def _thin(self) -> None:
        """Makes one table of what waits; of steps with very many calls some are left out."""
        calls = {name: joined([each[name] for each in self.waiting]) for name in self.waiting[0]}
        kept = self.crowds.thin(calls, self._steps(calls))
        if kept is not None:
            calls = {name: values[kept] for name, values in calls.items()}
            calls = {name: v.needed() if isinstance(v, Words) else v for name, v in calls.items()}
        self.waiting, self.unseen = [calls], 0

    def _steps(self, calls: Columns) -> NDArray[np.int64]:
        """The step that each call counts for: of one that comes late the first that was not judged."""
        steps: NDArray[np.int64] = (cast("Any", calls["start_time"]) // TICK_S).astype(np.int64)
        return np.maximum(steps, self.engine.now or 0)

    def _own(self, calls: Columns) -> dict[str, NDArray[Any]]:
        """The numbers in JSON columns that the user declared."""
        texts = {name: pa.array(calls[name], pa.string()) for name in needed(self.extra)}
        return {**columns_of_floats(self.extra, texts)}

    def _matters(self, alert: Alert) -> bool:
        """Whether it is bad news, as far as the user said which is."""
        return next((each.bad in ("either", alert.direction) for each in self.extra if each.name == alert.metric), True)


PLACES = ("observing", EXTRAS)
"""What lives with a second process and takes calls."""
_NO_CALLS = {name: np.zeros(0, object if is_text(name) else float) for name in OBSERVED}


def observed(observing: Observing, extras: Extras, calls: Parcel, before: float) -> list[Run]:
    """What is watched beside calls' own measures, taken from them; returns the runs of jobs."""
    extras.feed(list(observing.take(calls.calls(), before)))
    return observing.ended_runs()


def _when_asked(runs: Callable[[], list[Run]]) -> Iterator[Run]:
    yield from runs()


def is_note(alert: Alert) -> bool:
    """Whether an alert is no alarm: a new kind of error is worth knowing, and its rate is judged by itself."""
    return alert.metric == "first_seen_error_type"


def ordered(calls: Mapping[str, Any]) -> NDArray[np.int64] | None:
    """Places of the calls in order of start; those of the same moment in order of trace and span; None: as they are."""
    times = calls["start_time"]
    if (np.diff(times) > 0).all():
        return None
    order = np.argsort(times, kind="stable")
    alike = np.diff(times[order]) == 0
    if not alike.any():
        return order
    bounds = np.flatnonzero(np.concatenate([[True], ~alike, [True]]))
    several = np.flatnonzero(np.diff(bounds) > 1)
    traces, spans = calls["trace_id"], calls["span_id"]
    for begin, end in zip(bounds[several].tolist(), bounds[several + 1].tolist(), strict=True):
        order[begin:end] = sorted(order[begin:end].tolist(), key=lambda row: (str(traces[row]), str(spans[row])))
    return order


def chosen(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Those columns, numbers and truth as float64; a column that is missing is all null."""
    return pa.RecordBatch.from_pydict({name: _column(batch, name) for name in names})


def columns_of(calls: pa.Table) -> dict[str, NDArray[Any]]:
    """Calls as the engine takes them."""
    return {name: calls[name].to_numpy() for name in calls.column_names}


def coded(calls: pa.Table) -> dict[str, NDArray[Any] | Words]:
    """The same, but what is told apart by few words as these words and their places."""
    return {name: _coded(calls[name]) if name in WORDS else calls[name].to_numpy() for name in calls.column_names}


def _coded(column: pa.ChunkedArray) -> Words:
    if column.null_count == len(column):
        return Words(np.full(len(column), -1), [])
    if not pa.types.is_string(column.type):
        return words_of(column.to_numpy(), len(column))
    encoded = column.combine_chunks().dictionary_encode()
    return Words(encoded.indices.fill_null(-1).to_numpy(), encoded.dictionary.to_pylist())


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    kind = pa.string() if is_text(name) else pa.float64()
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    return batch.column(name).cast(kind, safe=False)
