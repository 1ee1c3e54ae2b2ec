"""Calls that match filters: a page of them, what all of them come to, and what would match with a filter less."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.access import Caller
from tracewatch.errors import BadFilter
from tracewatch.records import SEVERITIES, Anomaly, Span, column_of
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter, Store, parse_filter
from tracewatch.stores.measures import KEYS
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import CALLS_ALONE, between, counting_calls, rolled, rows_of, settled
from tracewatch.web.views.typical import Typical, of_calls

PAGE = 50
FEW = 20_000  # calls of a time that are counted one by one; of more, only what rollups tell apart is counted
BARS = 48
DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60
MOST_CHOICES = 40
_OPERATORS = re.compile(r"^(!=|>=|<=|>|<|=)?(.*)$", re.DOTALL)
COUNTED = frozenset((*KEYS, "status"))
"""Columns whose values the rollups tell apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A filter as it stands in the address: the name and the value there, and what it asks."""

    name: str
    value: str
    filter: Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What all matching calls come to; None stands for what cannot be told without reading each of them."""

    calls: int | None
    steps: int
    """Steps around them: whole requests, tools, retrievals."""
    cost_usd: float | None
    p95_ms: float | None
    bars: tuple[int, ...]
    """Calls per step of the time; empty where they are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of calls, newest first."""

    spans: tuple[Span, ...]
    next: str | None
    match: Match
    usual: Mapping[tuple[str | None, str | None], Typical]
    severities: Mapping[str, str]
    """The worst finding by trace."""
    without: tuple[tuple[Chip, int], ...]
    """Where nothing matches: how many calls would with one filter less."""


def chips(given: Mapping[str, str]) -> tuple[Chip, ...]:
    """The filters of an address: every column of a span may be one, as in `cost_usd=>0.05`. Raises BadFilter."""
    found = []
    for name, value in given.items():
        if name in column_of(Span) and name not in ("project", "start_time") and value:
            found.append(Chip(name=name, value=value, filter=parse_filter(condition_of(name, value))))
    return tuple(found)


def condition_of(name: str, value: str) -> str:
    """A name and a value of an address as one condition: without an operator before it, the value itself is meant.

    >>> condition_of("cost_usd", ">0.05"), condition_of("status", "error")
    ('cost_usd>0.05', 'status=error')
    """
    operator, rest = _OPERATORS.match(value).groups()  # type: ignore[union-attr]  # it matches any text
    return f"{name}{operator or '='}{rest}"


def typed(text: str) -> tuple[str, str]:
    """A filter as people type it, such as `cost>0.05`: the column and the value. Raises BadFilter."""
    made = parse_filter(text)
    if made.name in ("project", "start_time"):
        raise BadFilter(given=text, why="the project and the time have their own places")
    value = text[re.search(r"[=<>!]", text).start() :].strip()  # type: ignore[union-attr]  # parse_filter found one
    return made.name, value.removeprefix("=").strip()


def calls(
    store: Store, caller: Caller, period: Period, asked: Sequence[Chip], now: float, cursor: str | None = None
) -> Found:
    """The page of calls that meet all filters in a period. Raises BadCursor."""
    where = [*caller.where, *(each.filter for each in asked), *_within(period)]
    page = store.page(Span, where, limit=PAGE, cursor=cursor)
    spans = tuple(each for each in page.records if isinstance(each, Span))
    kinds = {(each.operation_type, each.model_name) for each in spans if each.model_name is not None}
    nothing = not spans and cursor is None
    return Found(
        spans=spans,
        next=page.next,
        match=matching(store, caller, period, asked),
        usual=of_calls(store, caller, sorted(kinds, key=str), period.until, now),
        severities=_severities(store, caller, spans),
        without=_without(store, caller, period, asked) if nothing and asked else (),
    )


def matching(store: Store, caller: Caller, period: Period, asked: Sequence[Chip]) -> Match:
    """What all matching rows come to: by rollups, or by counting where there are few."""
    slices = [each.filter for each in asked if each.name in KEYS]
    status = next((each.filter for each in asked if each.name == "status"), None)
    if all(each.name in COUNTED and each.filter.operator == "=" for each in asked):
        names = ["calls"] if status is None else [f"{value}_calls" for value in status.values if value]
        names = [name for name in names if name in STATUS_CALLS]
        by = ("operation_type",)
        rows = between(store, caller, period.since, period.until, by=by, where=slices, measures=(*names, *_MORE))
        of_calls = counting_calls(rows)
        calls, all_rows = (sum(row[name] or 0 for row in part for name in names) for part in (of_calls, rows))
        merged = sketch.merge(row["duration_ms_sketch"] for row in (of_calls if calls else rows))
        whole = status is None
        return Match(
            calls=int(calls),
            steps=int(all_rows - calls),
            cost_usd=sum(row["cost_usd_sum"] or 0.0 for row in rows) if whole else None,
            p95_ms=sketch.quantile(merged, 0.95) if whole else None,
            bars=_bars(store, caller, period, slices, names),
        )
    rows = between(store, caller, period.since, period.until, where=slices, measures=("calls",))
    most = sum(row["calls"] for row in rows)
    where = [*caller.where, *(each.filter for each in asked), *_within(period)]
    if most > FEW:
        return Match(calls=None, steps=0, cost_usd=None, p95_ms=None, bars=())
    calls = store.count(Span, [*where, CALLS_ALONE])
    return Match(calls=calls, steps=store.count(Span, where) - calls, cost_usd=None, p95_ms=None, bars=())


STATUS_CALLS = frozenset(("calls", "ok_calls", "error_calls", "fallback_calls", "timeout_calls"))
_MORE = ("cost_usd_sum", "duration_ms_sketch")


def choices(store: Store, caller: Caller, period: Period, now: float) -> Mapping[str, tuple[str, ...]]:
    """The values of the columns that filters are most often asked of, those of the most calls first."""
    names = ("operation_type", "model_name", "model_provider", "usage_type")
    begin, end = period.since // DAY_S * DAY_S, -(-period.until // DAY_S) * DAY_S
    rows = rows_of(settled(store, caller, begin, end, now, by=names, step_s=DAY_S))
    found = {}
    for name in names:
        counts: dict[str, int] = {}
        for row in rows:
            if row[name] is not None:
                counts[row[name]] = counts.get(row[name], 0) + row["calls"]
        found[name] = tuple(sorted(counts, key=lambda value: -counts[value]))[:MOST_CHOICES]
    return found


def _within(period: Period) -> list[Filter]:
    return [Filter("start_time", ">=", (period.since,)), Filter("start_time", "<", (period.until,))]


def _bars(
    store: Store, caller: Caller, period: Period, slices: Sequence[Filter], names: Sequence[str]
) -> tuple[int, ...]:
    """Calls per step; steps of an hour or more, but for the last hours."""
    step = MINUTE_S * 5 if period.length_s <= 6 * HOUR_S else HOUR_S
    while period.length_s / step > BARS * 1.5:
        step *= 2
    start = period.since // step * step
    count = max(int(-(-(period.until - start) // step)), 1)
    rows = rows_of(rolled(store, caller, start, period.until, step_s=step, where=slices, measures=names or ("calls",)))
    found = [0] * count
    for row in rows:
        place = int((row["bucket"] - start) // step)
        if 0 <= place < count:
            found[place] += sum(row[name] or 0 for name in names)
    return tuple(found)


def _severities(store: Store, caller: Caller, spans: Sequence[Span]) -> Mapping[str, str]:
    """The worst finding that names each trace."""
    if not spans:
        return {}
    times = [each.start_time for each in spans]
    where = [
        *caller.where,
        Filter("trace_id", "=", tuple({each.trace_id for each in spans})),
        Filter("occurred_at", ">=", (min(times) - DAY_S,)),
        Filter("occurred_at", "<=", (max(times) + HOUR_S,)),
    ]
    found: dict[str, str] = {}
    for each in store.page(Anomaly, where, limit=200).records:
        if isinstance(each, Anomaly) and each.trace_id:
            found[each.trace_id] = max(each.severity, found.get(each.trace_id, "low"), key=SEVERITIES.index)
    return found


def _without(store: Store, caller: Caller, period: Period, asked: Sequence[Chip]) -> tuple[tuple[Chip, int], ...]:
    """How many calls would match with each filter left out; only what is known at once."""
    found: list[tuple[Chip, int]] = []
    for each in asked:
        rest = [other for other in asked if other is not each]
        count = matching(store, caller, period, rest).calls
        if count:
            found.append((each, count))
    return tuple(sorted(found, key=lambda pair: -pair[1]))


def sequence(store: Store, caller: Caller, trace_id: str) -> Sequence[Span]:
    """The calls of a trace in their order."""
    found: list[Any] = [
        each for each in store.trace(caller.project, trace_id) if caller.user_id in (None, each.user_id)
    ]
    return found
