"""The past, replayed: a file or a store as columns in order of time, fed to a detector as they would have arrived."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracewatch.detectors import adaptive
from tracewatch.detectors.adaptive.errands import Second
from tracewatch.detectors.adaptive.names import Words
from tracewatch.detectors.hourly import TEXTS, Hourly
from tracewatch.detectors.nearest import ALARM, Nearest, decades
from tracewatch.errors import ImportRefused
from tracewatch.findings import Scope
from tracewatch.holding import Held
from tracewatch.imports import Kind, Source
from tracewatch.imports.base import Chunk
from tracewatch.imports.naming import normalised, plan
from tracewatch.imports.spans import Converter
from tracewatch.imports.times import times
from tracewatch.imports.values import reals
from tracewatch.incidents import Change
from tracewatch.judge import NEEDS, TICK_S, WARMUP_DAYS, Columns, Judge, chosen, coded, columns_of
from tracewatch.metrics import TYPES
from tracewatch.metrics import columns_of as columns_of_types
from tracewatch.metrics.custom import Custom
from tracewatch.records import Lesson, Span
from tracewatch.stores.base import Filter, Progress, Store
from tracewatch.times import HOUR_S

BATCH_ROWS = 50_000  # at most: 100 MB while they are judged
BATCH_S = 86_400  # rows go in by the day: by the hour the same alerts took 2.5 times as long
LATEST = 4_102_444_800.0  # 2100: a workload may be dated ahead, but a later time was misread
SCORED_ROWS = 4096  # between two signs of progress: a tenth of a second
VALUE = "value"


class Alert(Protocol):
    """What a detector says, as far as it is the same for all. Times are UTC epoch seconds."""

    @property
    def detected_at(self) -> float:
        """When it could have been known: no row that began later was used."""

    @property
    def metric(self) -> str:
        """Which number or rate is abnormal."""

    @property
    def direction(self) -> str:
        """`up` or `down`."""

    @property
    def slice(self) -> Mapping[str, object]:
        """The calls it is about, by their columns; all calls when empty."""

    @property
    def observed(self) -> float:
        """What came, in the metric's unit."""

    @property
    def expected(self) -> float:
        """What was to be expected."""

    @property
    def n(self) -> int:
        """How many calls are behind it."""


class Detector(Protocol):
    """Takes calls as they come and says what is abnormal."""

    def feed(self, columns: dict[str, Any], /) -> None:
        """Takes some calls: equally long columns, numbers as float64 with NaN for absent, texts as objects or Words."""

    def advance(self, now: float, /) -> Sequence[Alert]:
        """What can be known at that moment and could not before, in order."""


class Grouped:
    """What watches live, its incidents noted as they change."""

    def __init__(
        self, project: str = "default", customs: Sequence[Custom] = (), lessons: Sequence[Lesson] = ()
    ) -> None:
        self._judge, self._lessons = Judge(project, customs), tuple(lessons)
        self.changes: list[Change] = []
        self.notes: list[adaptive.Alert] = []
        self.known: list[adaptive.Alert] = []
        """What people had said is noise or expected."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return self._judge.needs

    def share_with(self, second: Second | None) -> None:
        """Has a second process do a share of the work: it takes less time and says the same, or raises SecondEnded."""
        if second is not None:
            self._judge.share_with(second)

    def feed(self, columns: Columns, /) -> None:
        """Takes some calls."""
        self._judge.feed(columns)

    def foresee(self, columns: Columns, now: float) -> None:
        """Has a second process look ahead at the calls of the next step, which is over at that moment."""
        self._judge.foresee(columns, now)

    def advance(self, now: float, /) -> Sequence[adaptive.Alert]:
        """What can be known at that moment; what that changes is added to `changes`, what is no alarm to `notes`."""
        judgement = self._judge.judge(now, self._lessons)
        self.changes += judgement.changes
        self.notes += judgement.notes
        self.known += [alert for alert, _ in judgement.known]
        return judgement.alerts


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A detector to choose."""

    make: Callable[[], Detector]
    """A new one, which knows nothing yet."""
    needs: tuple[str, ...]
    """The columns it reads."""
    step_s: int
    """How often it speaks: its alerts come at multiples of it."""
    learns_s: float
    """For how long it only learns."""
    coded: bool = False
    """Whether it takes words by their places in a list, as `History.coded` gives them."""
    groups: bool = False
    """Whether its alerts come in incidents: then `Grouped` makes them."""


DETECTORS: Mapping[str, Member] = {
    "adaptive": Member(
        make=Grouped,
        needs=NEEDS,
        step_s=TICK_S,
        learns_s=WARMUP_DAYS * 86_400,
        coded=True,
        groups=True,
    ),
    "spec": Member(
        make=lambda: Hourly(TYPES),
        needs=("start_time", *TEXTS, *columns_of_types(TYPES)),
        step_s=HOUR_S,
        learns_s=0,
    ),
}
"""The detectors by name, the default first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Calls in order of their start, and what was left out in reading them."""

    calls: Held
    refused: Mapping[str, int] = field(default_factory=dict)
    """Rows that could not be believed, by reason."""
    naive_times: int = 0
    """Times without a zone, taken as UTC."""

    def __len__(self) -> int:
        return len(self.calls)

    @property
    def times(self) -> NDArray[np.float64]:
        """The start of each call."""
        return self.calls.times

    def columns(self, rows: slice) -> dict[str, NDArray[Any]]:
        """Some of the calls: numbers as float64, texts as objects."""
        return columns_of(self.calls.rows(rows))

    def coded(self, rows: slice) -> dict[str, NDArray[Any] | Words]:
        """The same, but what is told apart by few words as these words and their places."""
        return coded(self.calls.rows(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series without drivers, row by row in the order of the file, as texts and as numbers."""

    stamps: tuple[str | None, ...]
    texts: tuple[str | None, ...]
    times: NDArray[np.float64]
    """NaN where the time could not be read."""
    values: NDArray[np.float64]
    """NaN where there is no number."""
    lost: int
    """Rows that could not even be split into columns."""

    def __len__(self) -> int:
        return len(self.stamps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """A value of a driverless series that is newer than noise makes it. Times are UTC epoch seconds."""

    detected_at: float
    metric: str = VALUE
    direction: str
    slice: Mapping[str, object] = field(default_factory=dict)
    trace_ids: tuple[str, ...] = ()
    severity: float
    """Decades of surprise."""
    kind: str = "point"
    since: float
    observed: float
    expected: float
    """What is usual at this half hour of the week."""
    n: int = 1
    score: float


def is_series(source: Source) -> bool:
    """Whether a file is one series of `timestamp,value`, and no calls."""
    its_plan = plan(source.names, "traces")
    return set(its_plan.origins) == {"start_time"} and VALUE in map(normalised, its_plan.unknown)


def read_file(source: Source, kind: Kind, needs: Sequence[str], progress: Progress) -> History:
    """The calls of a file that was recognised, as the file says they were: nothing is priced. Raises ImportRefused."""
    converter = Converter(kind, now=LATEST)
    refused: Counter[str] = Counter()
    naive = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal naive
        for spans in converter.convert_all(_chunks(source, progress)):
            refused.update(each.what for each in spans.refused)
            naive += spans.naive
            if spans.batch.num_rows:
                yield chosen(spans.batch, needs)

    return History(calls=Held(batches(), needs), refused=refused, naive_times=naive)


def read_store(store: Store, project: str, since: float, until: float, needs: Sequence[str]) -> History:
    """The calls of a project that began in `since` <= start < `until`."""
    scope = Scope(project=project, source="traces", since=since, until=until, now=until)
    where = [*scope.rows(), Filter("start_time", ">=", (since,)), Filter("start_time", "<", (until,))]
    names = list(dict.fromkeys(needs))
    return History(calls=Held((chosen(batch, names) for batch in store.scan(Span, names, where)), names))


def read_series(source: Source, progress: Progress) -> Series:
    """The rows of a file that `is_series`. Raises ImportRefused."""
    stamp = plan(source.names, "traces").origins["start_time"].name
    value = next(name for name in source.names if normalised(name) == VALUE)
    pairs: list[tuple[pa.Array, pa.Array]] = []
    lost = 0
    for chunk in _chunks(source, progress):
        # Of JSON lines a whole chunk may lack a column.
        absent = pa.nulls(len(chunk.numbers))
        pairs.append((chunk.columns.get(stamp, absent), chunk.columns.get(value, absent)))
        lost += len(chunk.refused)
    moments = _joined([_numbers(times(stamps).values) for stamps, _ in pairs])
    return Series(
        stamps=tuple(text for stamps, _ in pairs for text in _texts(stamps)),
        texts=tuple(text for _, values in pairs for text in _texts(values)),
        times=np.where(np.abs(moments) < LATEST, moments, np.nan),
        values=_joined([_numbers(reals(values).values) for _, values in pairs]),
        lost=lost,
    )


def replay(history: History, member: Member, progress: Progress) -> Iterator[Alert]:
    """What a new detector says of these calls, in the order in which it could have been known."""
    if not len(history):
        return
    moments = history.times
    detector = member.make()
    batches = [*_batches(moments)]
    columns = history.coded if member.coded else history.columns
    coming: dict[str, Any] = columns(batches[0])
    for rows, following in zip_longest(batches, batches[1:]):
        now = _known_until(moments, rows.stop, member.step_s)
        detector.feed(coming)
        if following is not None:
            coming = columns(following)
            if isinstance(detector, Grouped) and moments[rows.stop - 1] < now:  # none is left for the next step
                detector.foresee(coming, _known_until(moments, following.stop, member.step_s))
        yield from detector.advance(now)
        progress(rows.stop - rows.start)


def score_series(series: Series, progress: Progress) -> tuple[NDArray[np.float64], list[Surprise]]:
    """The score of each row, 0 where time or value is missing, and the rows that score an alarm in order of time."""
    scored = np.zeros(len(series))
    surprises: list[Surprise] = []
    nearest = Nearest()
    readable = np.flatnonzero(np.isfinite(series.times) & np.isfinite(series.values))
    order = readable[np.argsort(series.times[readable], kind="stable")]
    for begin in range(0, len(order), SCORED_ROWS):
        rows = order[begin : begin + SCORED_ROWS]
        for row, time_s, value in zip(
            rows.tolist(), series.times[rows].tolist(), series.values[rows].tolist(), strict=True
        ):
            score = nearest.score(time_s, value)
            if score:
                scored[row] = score
            if score >= ALARM:
                surprises.append(_surprise(time_s, value, nearest.expected, score))
        progress(len(rows))
    return scored, surprises


def _chunks(source: Source, progress: Progress) -> Iterator[Chunk]:
    """The rows of a file as they stand in it, with progress in its own unit. Raises ImportRefused."""
    done = 0
    try:
        for chunk in source.chunks():
            yield chunk
            progress(chunk.done - done)
            done = chunk.done
    except OSError as error:
        raise ImportRefused(path=source.path, why=f"reading it failed ({error.strerror})") from error


def _surprise(time_s: float, value: float, expected: float, score: float) -> Surprise:
    return Surprise(
        detected_at=time_s,
        direction="up" if value > expected else "down",
        severity=decades(score),
        since=time_s,
        observed=value,
        expected=expected,
        score=score,
    )


def _batches(moments: NDArray[np.float64]) -> Iterator[slice]:
    """Runs of rows that began on the same day (UTC), of busy days in several pieces."""
    edges = np.flatnonzero(np.diff(moments // BATCH_S)) + 1
    bounds = sorted({0, *edges.tolist(), *range(0, len(moments), BATCH_ROWS), len(moments)})
    return (slice(begin, end) for begin, end in pairwise(bounds))


def _known_until(moments: NDArray[np.float64], stop: int, step_s: int) -> float:
    """Up to when everything has been fed, once so many rows have."""
    last = float(moments[stop - 1])
    if stop == len(moments):
        # No further than the step that the last call is in: that nothing follows is no silence.
        return (math.floor(last / step_s) + 1) * step_s
    midnight = (math.floor(last / BATCH_S) + 1) * BATCH_S
    return last if moments[stop] < midnight else midnight


def _texts(array: pa.Array) -> list[str | None]:
    return [None if value is None else str(value) for value in array.to_pylist()]


def _numbers(array: pa.Array) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
    return numbers


def _joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.zeros(0)
