"""Every metric of the table as its page lists it: its course over what is usual, who judges it, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tracewatch.access import Caller
from tracewatch.explaining.measures import measure_of
from tracewatch.metrics.base import Metric
from tracewatch.metrics.table import METRIC_OF, METRICS, Judges, judges_of
from tracewatch.records import SEVERITIES, Incident
from tracewatch.stores.base import Filter, Store
from tracewatch.web.charts import Series
from tracewatch.web.views import incidents
from tracewatch.web.views.hours import Hours
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import calls_of, rolled, rows_of
from tracewatch.web.views.series import MINUTES_KEPT_S, POINTS, STEPS_S, Source, drawn, source_of
from tracewatch.web.views.usual import Usual, usual_over

HOUR_S, DAY_S = 3600, 86_400
MOST_PARTS = 8
BY_CHANCE = 0.2  # of the steps: one in twenty lies above what is usual by chance alone, and hours go together
ONE_SCALE = 6.0  # how much higher than the middle one the highest part may be, for the others to be seen beside it
BY = ("operation_type", "model_name", "model_provider", "usage_type", "service_name", "environment")
"""By what a metric may be laid apart (`?by=`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One metric over a period."""

    key: str
    metric: Metric | None
    """Its row in the table; None for what is only kept."""
    judges: Judges | None
    series: Series
    value: float | None
    usual: Usual | None
    outside: float
    """The share of steps that lie outside of what is usual, on the bad side."""
    incident: Incident | None
    """The worst incident of that metric in the period."""

    @property
    def is_odd(self) -> bool:
        """Whether it was outside of what is usual for longer than chance has it, or there is an incident."""
        return self.incident is not None or self.outside >= BY_CHANCE

    @property
    def rank(self) -> tuple[int, float, float]:
        """What belongs to the worst incident first, by money, then what was outside for longest."""
        bad = SEVERITIES.index(self.incident.severity) + 1 if self.incident else 0
        money = (self.incident.cost_effect_usd or 0.0) if self.incident else 0.0
        return -bad, -money, -self.outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One slice of a metric."""

    value: str
    slice: Mapping[str, str]
    series: Series
    calls: int
    outside: float


def watched(
    store: Store, caller: Caller, period: Period, now: float, slice: Mapping[str, str], *, only: str = ""
) -> list[Watched]:
    """The metrics (or `only` one) that rollups hold and the calls of a period have, the most unusual first."""
    names = [name for name in _rolled() if name == (only or name)]
    sources = {name: source for name in names if (source := source_of(name)) is not None}
    needs = tuple(dict.fromkeys(name for each in sources.values() for name in each.needs))
    where, step = [*_where(slice), *calls_of(slice, needs)], step_for(period, now)
    start, end = period.since // step * step, -(-period.until // step) * step
    rows = rows_of(rolled(store, caller, start, end, step_s=step, where=where, measures=needs))
    hours = Hours.read(store, caller, period.since, period.until, now, where=where, measures=needs)
    worst = _worst(incidents.within(store, caller, period.since, period.until))
    found = [
        _watched(name, source, rows, hours, (start, step, int((end - start) // step)), period, now, worst.get(name))
        for name, source in sources.items()
    ]
    return sorted((each for each in found if each is not None), key=lambda each: each.rank)


def parts(
    store: Store, caller: Caller, metric: str, period: Period, now: float, slice: Mapping[str, str], by: str
) -> list[Part]:
    """A metric apart by a column: the parts that were most unusual first, then those of the most calls."""
    source = source_of(metric)
    if source is None:
        return []
    needs = tuple(dict.fromkeys(("calls", *source.needs)))
    where, step = [*_where(slice), *calls_of({by: "", **slice}, source.needs)], step_for(period, now)
    start, end = period.since // step * step, -(-period.until // step) * step
    rows = rows_of(rolled(store, caller, start, end, step_s=step, by=(by,), where=where, measures=needs))
    hours = Hours.read(store, caller, period.since, period.until, now, by=(by,), where=where, measures=needs)
    found = []
    for (value,), those in hours.groups(by).items():
        own = [row for row in rows if row[by] == value]
        if value is None or not own:
            continue
        it = _series(metric, source, own, those, (start, step, int((end - start) // step)), now)
        if any(each is not None for each in it.values):
            calls = sum(row["calls"] for row in own)
            found.append(Part(value=value, slice={by: value}, series=it, calls=calls, outside=outside(it)))
    return sorted(found, key=lambda each: (-each.outside, -each.calls))[:MOST_PARTS]


def scale_of(found: Sequence[Part]) -> float | None:
    """The highest value, where all parts can be seen on one scale; None where each needs its own."""
    highest = []
    for part in found:
        known = [each for each in part.series.values if each is not None]
        highest.append(max((*known, *(pair[1] for pair in part.series.expected if pair)), default=0.0))
    if not highest or max(highest) > ONE_SCALE * median(highest):
        return None
    return max(highest)


def step_for(period: Period, now: float) -> int:
    """The step for a picture of a period."""
    least = 300 if now - period.since <= MINUTES_KEPT_S else HOUR_S
    return next((each for each in STEPS_S if each >= least and period.length_s / each <= POINTS), 7 * DAY_S)


def outside(it: Series) -> float:
    """The share of the steps with calls that lie beyond what is usual, on the bad side."""
    pairs = [(value, pair) for value, pair in zip(it.over, it.expected, strict=False) if value is not None and pair]
    if not pairs:
        return 0.0
    return sum(_is_outside(value, pair, it.worse) for value, pair in pairs) / len(pairs)


def stretches(it: Series) -> list[tuple[float, float]]:
    """Where a series lies beyond what is usual: from and how wide, in per cent of it."""
    found: list[tuple[float, float]] = []
    count = max(len(it.values), 1)
    for place, (value, pair) in enumerate(zip(it.over, it.expected, strict=False)):
        if value is not None and pair and _is_outside(value, pair, it.worse):
            left, width = 100 * place / count, 100 / count
            if found and abs(found[-1][0] + found[-1][1] - left) < 1e-6:
                left, width = found[-1][0], found.pop()[1] + width
            found.append((left, width))
    return found


def elsewhere() -> list[tuple[Metric, Judges]]:
    """The metrics that no rollup holds: judged from the calls, the requests and the conversations themselves."""
    shown = set(_rolled())
    return [(each, judges_of(each)) for each in METRICS if each.key not in shown]


def worse_of(metric: str) -> str:
    """Which way of a metric is bad."""
    row = METRIC_OF.get(metric)
    return "down" if row is not None and row.bad == "down" else "up"


def _rolled() -> list[str]:
    """The names of the metrics that rollups hold, in the order of the table."""
    return [each.key for each in METRICS if source_of(each.key) is not None] + ["call_count"]


def _worst(found: Sequence[Incident]) -> Mapping[str, Incident]:
    worst: dict[str, Incident] = {}
    for each in found:  # the worst come first
        worst.setdefault(each.metric_name, each)
    return worst


def _watched(
    name: str, source: Source, rows: Sequence[Mapping[str, Any]], hours: Hours, steps: tuple[float, int, int],
    period: Period, now: float, incident: Incident | None,
) -> Watched | None:  # fmt: skip
    it = _series(name, source, rows, hours, steps, now)
    during = [source.amount(row) for row in rows]
    above = sum(pair[0] for pair in during)
    below = 1.0 if source.kind == "sum" else sum(pair[1] for pair in during)
    if not any(pair[1] for pair in during) or (not above and not incident and source.kind != "share"):
        return None
    until = min(period.until, now)
    hourly = hours.hourly(source.amount)
    usual = usual_over(hourly, period.since // HOUR_S * HOUR_S, until, kind=source.kind)
    if usual is None and source.kind != "sum":
        usual = _mostly(it)
    row = METRIC_OF.get(name)
    return Watched(
        key=name,
        metric=row,
        judges=judges_of(row) if row else None,
        series=it,
        value=above / below if below else None,
        usual=usual,
        outside=outside(it),
        incident=incident,
    )


def _series(
    name: str, source: Source, rows: Sequence[Mapping[str, Any]], hours: Hours, steps: tuple[float, int, int],
    now: float,
) -> Series:  # fmt: skip
    start, step, count = steps
    unit = None if source.kind == "sum" else measure_of(name).unit
    most = 1.0 if unit in ("share", "score") else float("inf")
    return drawn(
        hours, source.amount, start, step, count, rows, kind=source.kind, label=name, unit=unit,
        is_open=start + step * count > now, most=most, worse=worse_of(name),
    )  # fmt: skip


def _mostly(it: Series) -> Usual | None:
    """What is usual of most of the steps, where it is not known of all; nothing where fewer than half are known."""
    known = [pair for pair in it.expected if pair]
    if len(known) * 2 < len(it.expected):
        return None
    low, high = (sum(pair[side] for pair in known) / len(known) for side in (0, 1))
    return Usual(middle=(low + high) / 2, low=low, high=high)


def _where(slice: Mapping[str, str]) -> list[Filter]:
    return [Filter(name, "=", (value,)) for name, value in slice.items()]


def _is_outside(value: float, pair: tuple[float, float], worse: str) -> bool:
    return value < pair[0] if worse == "down" else value > pair[1]
