"""The calls an explanation looks at: those since the onset, those that tell what is usual, and the hours before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from tracewatch.explaining.measures import Measure, measure_of
from tracewatch.explaining.story import Sliced, Story
from tracewatch.metrics import Rows
from tracewatch.records import MESSAGES_SOURCE, Incident, Span, column_of
from tracewatch.slices import Bools, Coded, Floats
from tracewatch.stores.base import Filter, Store
from tracewatch.stores.columns import arrow_schema
from tracewatch.times import DAY_S, HOUR_S

MOST_SINCE, MOST_USUAL, MOST_LEAD = 8_000, 10_000, 3_000  # rows; 18,000 of 40 columns are read in 0.4 s
PIECES = 40  # of a time too long to be read whole; each costs about 1.5 ms
LEAST_WINDOW_S = 3 * HOUR_S  # what is usual is not learned from less of a day
LEAD_S = 6 * HOUR_S  # a change longer before the onset would have shown before
DAYS_BACK, DAYS_USED = 14, 7
FEWEST_USUAL = 20  # calls of the slice; with fewer, all hours of the days before are taken
UNIQUE = frozenset({"session_id", "conversation_id", "trace_id", "message_id"})
"""Columns whose values do not come back on other days: what is usual is then learned from all calls."""

ATTRIBUTES = (
    *("operation_type", "model_name", "model_provider", "usage_type", "app_version", "user_id", "service_name"),
    *("environment", "rag_retrieval_method", "streaming_enabled", "session_tag", "rag_graph_used"),
)
"""What an excess may be traced to, the best known first."""
OUTCOMES = ("status", "error_category", "error_type", "finish_reason", "retry_reason")
IDENTITY = ("trace_id", "span_id", "parent_span_id", "session_id", "span_name")
NUMBERS = (
    *("start_time", "duration_ms", "ttft_ms", "tokens_per_second", "queue_time_ms", "inference_time_ms"),
    *("network_time_ms", "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    *("cost_usd", "context_tokens", "retrieval_latency_ms", "retry_count", "rag_chunks_used", "rag_relevance_score"),
)
BOOLEANS = frozenset({"streaming_enabled", "rag_graph_used"})

Stretch = tuple[float, float]
"""A time from its beginning up to, not including, its end, in epoch seconds."""


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Calls in one table, and what each of them is to the story; all arrays have one entry a call."""

    story: Story
    measure: Measure
    rows: Rows
    since: Bools
    """Began since the onset."""
    usual: Bools
    """Tells what is usual."""
    inside: Bools
    """Belongs to the story's slice."""
    weights: Floats
    """How many calls of the story's time it stands for."""
    until: float
    windows: tuple[Stretch, ...]
    """Where the usual calls were taken from."""
    share_read: float
    """Of the calls of these times, 0 to 1; below 1 evenly spread pieces of them were read."""
    same_hours: bool
    """Whether the usual calls are of the same hours of the day."""

    @property
    def length_s(self) -> float:
        """How long the story has lasted."""
        return self.until - self.story.since

    @cached_property
    def values(self) -> Floats:
        """The metric of each call, NaN where it is not reported."""
        return self.measure.values(self.rows)

    @cached_property
    def now(self) -> Bools:
        """The calls of the slice since the onset."""
        return self.since & self.inside

    @cached_property
    def then(self) -> Bools:
        """The usual calls of the slice."""
        return self.usual & self.inside

    def numbers(self, name: str) -> Floats:
        """A numeric column, NaN for absent."""
        return self.rows.numbers(name)

    def coded(self, name: str) -> Coded:
        """A column of words (or of yes and no) as numbers and what they stand for."""
        if name not in BOOLEANS:
            return self.rows.codes(name)
        given = self.rows.numbers(name)
        return np.where(np.isnan(given), 2, given == 1).astype(np.int64), [False, True, None]

    def words(self, name: str, which: Bools) -> list[str | None]:
        """A column of words at those calls."""
        return self.rows.texts(name, np.flatnonzero(which))

    def weight(self, which: Bools) -> float:
        """How many calls these stand for."""
        return float(self.weights[which].sum())


def gather(store: Store, project: str, story: Story, now: float) -> Calls:
    """The calls since the onset and of a fair time before it, in bounded number.

    What is usual: the same hours of up to seven earlier days of the same kind (working day or weekend), without days
    that another incident of the store touched; where these have too few calls of the slice, all hours of two weeks.
    """
    measure = measure_of(story.metric)
    source = _Source(store=store, project=project, names=_names(measure, story.slice), slice=_known(story.slice))
    first, last = source.extent()
    until = _until(story, measure, now if last is None else last + 1, now)
    lasting = until - story.since
    windows = _windows(story.since, until, first, source.disturbed(story, now))
    parts = [source.read([(story.since, until)], MOST_SINCE), source.read(windows, MOST_USUAL)]
    same_hours = True
    few = _inside(parts[1][0], source.comparable()).sum() < FEWEST_USUAL
    if few and first is not None and first < story.since:
        windows, same_hours = [(max(first, story.since - DAYS_BACK * DAY_S), story.since)], False
        parts[1] = source.read(windows, MOST_USUAL)
    lead = source.read_slice((story.since - LEAD_S, story.since), MOST_LEAD)
    tables = [parts[0][0], parts[1][0], lead]
    counts = [table.num_rows for table in tables]
    period = np.repeat([0, 1, 2], counts)
    rows = Rows(pa.concat_tables(tables).combine_chunks())
    usual_s = sum(end - begin for begin, end in windows)
    weights = np.concatenate(
        [
            _weights(parts[0], 1.0),
            _weights(parts[1], lasting / usual_s if usual_s else 0.0),
            np.zeros(counts[2]),
        ]
    )
    inside = _inside(rows, source.slice)
    if story.kind == "point" and story.trace_ids:
        inside &= (period != 0) | _of_traces(rows, story.trace_ids)
    usual = period == 1
    if source.slice.keys() & UNIQUE:
        alike, weights = _like_session(rows, inside & (period == 0), usual, weights, story)
    else:
        alike = _inside(rows, source.slice)
    return Calls(
        story=story,
        measure=measure,
        rows=rows,
        since=period == 0,
        usual=usual,
        inside=np.where(usual, alike, inside),
        weights=weights,
        until=until,
        windows=tuple(windows),
        share_read=min(part[1] for part in parts),
        same_hours=same_hours,
    )


def _until(story: Story, measure: Measure, last: float, now: float) -> float:
    """Up to when the story is told: of one that lasts to now, or in old data to the last call there is."""
    if story.kind == "point":
        return story.since + 1
    missing = measure.family == "volume" and story.direction == "down"
    end = min(story.until if story.until is not None else now, now)
    return max(end if missing else min(end, last), story.since + 1)


Part = tuple[pa.Table, float, Floats]
"""Rows, the share of all calls that they are, and how many calls each stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A project's calls, with the columns that are wanted."""

    store: Store
    project: str
    names: tuple[str, ...]
    slice: Sliced

    def where(self) -> list[Filter]:
        """Its own calls, without the old view of them."""
        return [Filter("project", "=", (self.project,)), Filter("source", "!=", (MESSAGES_SOURCE,))]

    def comparable(self) -> Sliced:
        """What of the slice there were calls of on other days too."""
        return {name: value for name, value in self.slice.items() if name not in UNIQUE}

    def extent(self) -> tuple[float | None, float | None]:
        """When its first and its last call began."""
        return self.store.extent(Span, [Filter("project", "=", (self.project,))]) or (None, None)

    def disturbed(self, story: Story, now: float) -> list[Stretch]:
        """Times of other incidents of these weeks."""
        back = story.since - (DAYS_BACK + 3) * DAY_S
        mine = [Filter("project", "=", (self.project,)), Filter("started_at", ">=", (back,))]
        page = self.store.page(Incident, [*mine, Filter("started_at", "<", (story.since,))], limit=200)
        others = [each for each in page.records if isinstance(each, Incident) and each.id != story.incident_id]
        return [(each.started_at, each.closed_at if each.closed_at is not None else now) for each in others]

    def read(self, stretches: Sequence[Stretch], most: int) -> Part:
        """Calls of every slice in those times: all of them, or evenly spread pieces; few of the slice are all read."""
        total = sum(self._count(each) for each in stretches)
        share = min(1.0, most / total) if total else 1.0
        table = self._scan(stretches if share == 1 else list(thinned(stretches, share)), [])
        share = min(1.0, table.num_rows / total) if total else 1.0
        weights = np.full(table.num_rows, 1 / share if share else 0.0)
        if share == 1 or not self.slice:
            return table, share, weights
        mine = _inside(table, self.slice)
        if mine.sum() / share > most / 2:
            return table, share, weights
        whole = self._scan(stretches, [Filter(name, "=", (value,)) for name, value in self.slice.items()])
        table = pa.concat_tables([whole, table.filter(pa.array(~mine))])
        return table, share, np.concatenate([np.ones(whole.num_rows), weights[~mine]])

    def read_slice(self, stretch: Stretch, most: int) -> pa.Table:
        """Calls of the slice alone, in bounded number."""
        total = self._count(stretch)
        stretches = [stretch] if total <= 10 * most else list(thinned([stretch], 10 * most / total))
        table = self._scan(stretches, [Filter(name, "=", (value,)) for name, value in self.slice.items()])
        return table.take(pa.array(np.arange(0, table.num_rows, math.ceil(max(table.num_rows, 1) / most))))

    def _count(self, stretch: Stretch) -> int:
        return self.store.count(Span, [Filter("project", "=", (self.project,)), *between(*stretch)])

    def _scan(self, stretches: Sequence[Stretch], where: Sequence[Filter]) -> pa.Table:
        found = [
            batch
            for each in stretches
            for batch in self.store.scan(Span, self.names, [*self.where(), *between(*each), *where])
        ]
        # In one order whatever store they come from: sums, and which of two equal examples is shown, depend on it.
        order = [(name, "ascending") for name in _ORDER if name in self.names]
        table = pa.Table.from_batches(found, arrow_schema(Span, self.names))
        return table.sort_by(order) if order else table


_ORDER = ("start_time", "trace_id", "span_id")


def between(since: float, until: float) -> list[Filter]:
    """Spans that began in `since` <= start < `until`."""
    return [Filter("start_time", ">=", (since,)), Filter("start_time", "<", (until,))]


def thinned(stretches: Sequence[Stretch], share: float) -> Iterator[Stretch]:
    """Pieces evenly spread over those times that make up this share of them.

    >>> [(round(begin), round(end)) for begin, end in thinned([(0.0, 4000.0)], 0.1)][:2]
    [(0, 10), (156, 166)]
    """
    whole = sum(end - begin for begin, end in stretches)
    for begin, end in stretches:
        pieces = max(1, round(PIECES * (end - begin) / whole))
        step = (end - begin) / pieces
        for place in range(pieces):
            # The golden ratio keeps the pieces out of step with anything that comes every few minutes.
            start = begin + place * step + (place * 0.618 % 1) * step * (1 - share)
            yield start, start + step * share


def _windows(since: float, until: float, first: float | None, disturbed: Sequence[Stretch]) -> list[Stretch]:
    """The same hours of earlier days, the nearest first."""
    if first is None or first >= since:
        return []
    pad = max(0.0, (LEAST_WINDOW_S - (until - since)) / 2)
    step = max(1, math.ceil((until - since) / DAY_S))
    found = []
    for day in range(step, DAYS_BACK + 1, step):
        begin, end = since - day * DAY_S - pad, min(until - day * DAY_S + pad, since)
        if begin >= first - pad:
            found.append((begin, end))
    calm = [each for each in found if not any(begin < each[1] and end > each[0] for begin, end in disturbed)]
    found = calm if len(calm) >= 2 else found
    alike = [each for each in found if _weekend(each[0] + pad) == _weekend(since)]
    return (alike if len(alike) >= 2 else found)[:DAYS_USED] or [(max(first, since - DAY_S), since)]


def _weekend(time_s: float) -> bool:
    """Whether the day (UTC) is a Saturday or a Sunday."""
    return int(time_s // DAY_S + 3) % 7 >= 5  # 1 January 1970 was a Thursday


def _names(measure: Measure, slice: Sliced) -> tuple[str, ...]:
    """The columns that are read, each once."""
    every = (*NUMBERS, *measure.needs, *_known(slice), *ATTRIBUTES, *OUTCOMES, *IDENTITY)
    return tuple(dict.fromkeys(every))


def _known(slice: Sliced) -> dict[str, object]:
    """What of a slice can be asked of calls."""
    return {name: value for name, value in slice.items() if name in column_of(Span) and value is not None}


def _of_traces(rows: Rows, trace_ids: Sequence[str]) -> Bools:
    """Which rows belong to these traces."""
    codes, words = rows.codes("trace_id")
    found: Bools = np.array([word in trace_ids for word in words], dtype=np.bool_)[codes]
    return found


def _like_session(rows: Rows, now: Bools, usual: Bools, weights: Floats, story: Story) -> tuple[Bools, Floats]:
    """The usual calls a session is like, by its operations, weighted so that they stand for one usual session."""
    operations, _ = rows.codes("operation_type")
    sessions, words = rows.codes("session_id")
    alike = usual & np.isin(operations, operations[now]) & (sessions < len(words) - 1)
    count = int(alike.sum())
    each = story.expected or count / max(len(np.unique(sessions[alike])), 1)
    return alike, np.where(alike, each / max(count, 1), weights)


def _inside(rows: Rows | pa.Table, slice: Sliced) -> Bools:
    """Which rows belong to a slice."""
    rows = rows if isinstance(rows, Rows) else Rows(rows)
    found = np.ones(len(rows), dtype=np.bool_)
    for name, value in slice.items():
        if column_of(Span)[name].kind == "text":
            codes, words = rows.codes(name)
            found &= np.array([word == value for word in words], dtype=np.bool_)[codes]
        else:
            found &= rows.numbers(name) == value
    return found


def _weights(part: Part, each: float) -> Floats:
    return part[2] * each
