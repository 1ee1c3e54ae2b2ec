"""Where every metric stands over a period of a store, and whether there is enough of it to be judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Literal

import numpy as np
import pyarrow as pa

from tracewatch.detectors.adaptive import Settings as EngineSettings
from tracewatch.detectors.gaps import LEARNING
from tracewatch.detectors.spec import MIN_HISTORY_DAYS, Floats
from tracewatch.metrics.base import Metric, summary
from tracewatch.metrics.custom import Custom, Offer, metric_of, offers
from tracewatch.metrics.hourly import LEAST_VALUES
from tracewatch.metrics.rows import Rows, table_of
from tracewatch.metrics.table import METRICS, Judges, judges_of
from tracewatch.records import MESSAGES_SOURCE, Baseline, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.stores.measures import ROLLED
from tracewatch.times import DAY_S, HOUR_S

MOST_ROWS = 10_000  # of a period, the newest: a quarter of a second
STOP_ROWS = 5 * MOST_ROWS  # read at most, should a single hour have so many
HISTORY_S = 30 * DAY_S  # looked at for how long a metric is known
OFFERED = ("metadata", "response_quality_breakdown")

State = Literal["absent", "learning", "judged", "shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one metric stands."""

    metric: Metric
    part: str
    """The value of the metric's `by` column that it is of; empty: of all."""
    typical: float | None
    """Over the period: the median, or the mean of shares."""
    latest: float | None
    """The same over the newest hour with calls; of hours and days the newest whole one."""
    values: int
    """How many values there are in the period."""
    days: int
    """On how many of the last 30 days there were any, as far as the hourly figures tell."""
    hours: int
    """In how many hours of these days there were enough calls for a mean."""
    judges: Judges
    state: State
    learned: bool = True
    """Whether detection has run; before that, nothing is learned however much there is."""

    @property
    def name(self) -> str:
        """The metric's key; of a part the name its alerts have, or else the key with the part in brackets."""
        if self.part and self.judges.engine.endswith("…"):
            return self.judges.engine.removesuffix("…") + self.part
        return f"{self.metric.key}[{self.part}]" if self.part else self.metric.key

    @property
    def learning(self) -> str:
        """How far learning is, in words.

        `learning 3/7 days`, `learned`, `enough to learn` (detection has not run), `not judged` (shown only) or `not
        recorded`.
        """
        match self.state:
            case "absent":
                return "not recorded"
            case "shown":
                return "not judged"
            case "judged":
                return "learned" if self.learned else "enough to learn"
        have, need, unit = _history(self.judges, self.days, self.hours)
        return f"learning {min(have, need)}/{need} {unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """Every metric over a period."""

    since: float
    """Where the rows that were read begin: later than asked for when there were too many."""
    until: float
    rows: int
    calls: int
    """Of the period that was asked for, widened to whole hours."""
    cut: bool
    """Whether there were more than could be read at once."""
    metrics: tuple[Standing, ...]
    offers: tuple[Offer, ...]
    """What could be watched besides."""


def standings(store: Store, project: str, since: float, until: float, customs: Sequence[Custom] = ()) -> Standings:
    """Every metric of the table and of the user's own over `since` <= start < `until`.

    Rollups must be up to date. The newest MOST_ROWS calls of the period are read, to a whole hour; 0.4 s.
    """
    ours = _rows_of(store, project)
    begin, calls = _bounded(store, ours, since, until)
    declared = {each.name: metric_of(each) for each in customs}
    metrics = tuple(({each.key: each for each in METRICS} | declared).values())
    names = list(dict.fromkeys(("start_time", *(n for each in metrics for n in each.needs), *OFFERED)))
    where = [*ours, Filter("start_time", ">=", (begin,)), Filter("start_time", "<", (until,))]
    table = table_of(_first(store.scan(Span, names, where)), names)
    rows = Rows(table)
    known = _known(store, ours, until)
    own = frozenset(declared)
    hour = Rows(rows.since(float(rows.numbers("start_time").max()) - HOUR_S)) if len(rows) else rows
    found = tuple(
        one
        for each in metrics
        for one in _standings(each, judges_of(each, declared), rows, hour, known)
        if not (one.part and one.name in own)
    )
    offered = offers({name: table[name] for name in OFFERED}, customs)
    return Standings(
        since=begin,
        until=until,
        rows=len(rows),
        calls=calls,
        cut=begin > since,
        metrics=found,
        offers=tuple(each for each in offered if each.name not in {standing.name for standing in found}),
    )


def _rows_of(store: Store, project: str) -> list[Filter]:
    """The project's traces; the rows of a messages table where there are no others."""
    of_project = Filter("project", "=", (project,))
    traces = [of_project, Filter("source", "!=", (MESSAGES_SOURCE,))]
    return traces if store.extent(Span, traces) else [of_project]


def _bounded(store: Store, ours: Sequence[Filter], since: float, until: float) -> tuple[float, int]:
    """Where the newest MOST_ROWS calls begin, to a whole hour, and how many calls the period has."""
    rolled = store.rollup(since, until, step_s=HOUR_S, where=ours, measures=["calls"]).sort_by("bucket")
    hours, calls = rolled["bucket"].to_pylist()[::-1], rolled["calls"].to_pylist()[::-1]
    for hour, so_far in zip(hours, accumulate(calls), strict=True):
        if so_far >= MOST_ROWS:
            return max(float(hour), since), sum(calls)
    return since, sum(calls)


def _first(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches until STOP_ROWS have come."""
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        if rows >= STOP_ROWS:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """For how long calls are known, from the hourly figures of the last 30 days."""

    days: Mapping[str, int]
    """On how many days calls had each rolled column; under "" had any calls."""
    hours: int
    learned: bool
    """Whether there is anything that detection has learned."""


def _known(store: Store, ours: Sequence[Filter], until: float) -> Known:
    counts = {"": "calls", **{name: f"{name}_count" for name in ROLLED}}
    rolled = store.rollup(until - HISTORY_S, until, step_s=HOUR_S, where=ours, measures=list(counts.values()))
    day = rolled["bucket"].to_numpy() // DAY_S
    days = {name: len(np.unique(day[rolled[count].to_numpy() > 0])) for name, count in counts.items()}
    return Known(
        days=days,
        hours=int(np.count_nonzero(rolled["calls"].to_numpy() >= LEAST_VALUES)),
        learned=bool(store.page(Baseline, ours[:1], limit=1).records),
    )


def _standings(metric: Metric, judges: Judges, rows: Rows, hour: Rows, known: Known) -> Iterator[Standing]:
    """The metric's, and those of its parts."""
    values = _measured(metric, rows)
    if metric.grain in ("hour", "day"):
        values = values[1:-1] if len(values) > 2 else values  # the first and the last one are not whole
    of_hour = values[-1:] if metric.grain in ("hour", "day") else _measured(metric, hour)
    yield _standing(metric, "", values, of_hour, judges, known)
    if metric.parts is not None and len(rows):
        lately = dict(metric.parts(hour))
        for part, found in metric.parts(rows):
            yield _standing(metric, part, found, lately.get(part, np.zeros(0)), judges, known)


def _standing(metric: Metric, part: str, values: Floats, of_hour: Floats, judges: Judges, known: Known) -> Standing:
    there = int(np.isfinite(values).sum())
    days = min((known.days[name] for name in metric.needs if name in known.days), default=known.days[""])
    return Standing(
        metric=metric,
        part=part,
        typical=summary(metric, values),
        latest=summary(metric, of_hour),
        values=there,
        days=days,
        hours=known.hours,
        judges=judges,
        state=_state(metric, judges, there, days, known.hours),
        learned=known.learned,
    )


def _measured(metric: Metric, rows: Rows) -> Floats:
    if metric.measured is None or not len(rows):
        return np.zeros(0)
    return metric.measured(rows)


def _state(metric: Metric, judges: Judges, values: int, days: int, hours: int) -> State:
    if metric.measured is not None and not values:
        return "absent"
    if not judges:
        return "shown"
    if judges.itself:
        return "judged"
    have, need, _ = _history(judges, days, hours)
    return "judged" if have >= need else "learning"


def _history(judges: Judges, days: int, hours: int) -> tuple[int, int, str]:
    """How much its first judge has seen, how much he needs, and of what."""
    if judges.series:
        return hours, LEARNING, "hours"
    if judges.engine:
        return max(days - 1, 0), _warmup_days(), "days"  # a day counts when it is over, as everywhere else
    return days, MIN_HISTORY_DAYS, "days"


def _warmup_days() -> int:
    return ceil(EngineSettings().warmup_days)
