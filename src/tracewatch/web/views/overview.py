"""What a person sees first: whether something is wrong, and six numbers with what is usual of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from tracewatch.access import Caller
from tracewatch.explaining.measures import measure_of
from tracewatch.records import SEVERITIES, Incident
from tracewatch.stores import sketch
from tracewatch.stores.base import Store
from tracewatch.web.charts import Series
from tracewatch.web.views import hours, incidents
from tracewatch.web.views.hours import Amount, Hours
from tracewatch.web.views.judged import Judged, course
from tracewatch.web.views.lanes import Lanes, lanes
from tracewatch.web.views.period import Period, ending
from tracewatch.web.views.rolled import (
    CALLS_ALONE,
    between,
    counting_calls,
    kept,
    rolled,
    rows_of,
    settled,
    with_unpriced,
)
from tracewatch.web.views.series import drawn
from tracewatch.web.views.standing import Standing, standing
from tracewatch.web.views.usual import DAYS_BACK, Kind, usual_over

HOUR_S, DAY_S = 3600, 86_400
MOST_OTHERS = 4  # incidents beside the verdict; more are counted
MOST_PARTS = 5  # rows of a breakdown; the rest is one
LEAD_S = 6 * HOUR_S
SUMS = (
    *("calls", "ok_calls", "error_calls", "timeout_calls", "fallback_calls", "cost_usd_sum", "cost_usd_count"),
    *("unpriced_calls", "priced_tokens", "unpriced_tokens", "duration_ms_sum", "duration_ms_count"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One of the numbers: what it is, what is usual of it, and its course."""

    key: str
    value: float | None
    usual: tuple[float, float] | None
    series: Series | None
    worst: Incident | None
    """The incident it belongs to, if one is going on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One value of a column: what it came to, and its usual share."""

    value: str | None
    calls: int
    cost_usd: float
    unpriced_calls: int
    share: float
    usual_share: float | None
    is_rest: bool = False
    is_free: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything on the first screen."""

    standing: Standing
    period: Period
    today: float
    """Since when the numbers count, UTC epoch seconds."""
    verdict: Incident | None
    chart: Series | None
    """The verdict's metric, or the cost of the time that is shown."""
    others: tuple[Incident, ...]
    more: int
    """Open incidents that are not shown."""
    acknowledged: int
    opened: Sequence[Incident]
    over: Incident | None
    numbers: tuple[Number, ...]
    p95_ms: float | None
    priced_share: float | None
    unpriced_calls: int
    calls: int
    cost_usd: float
    shown: tuple[int, float, int]
    """Calls, money and calls of unknown cost of the time that the pictures show."""
    lanes: Lanes
    charts: tuple[Series, Series]
    parts: Mapping[str, tuple[Part, ...]]
    incident_steps: tuple[tuple[float, str], ...]
    """How many incidents were going on in each step, and the worst severity among them."""


def overview(store: Store, caller: Caller, period: Period, now: float, zone: tzinfo, *, by: str = "kind") -> Overview:
    """The first screen of a period. Reads rollups, never calls one by one."""
    stand = standing(store, caller, now)
    if stand.is_old and period.follows and stand.last_call is not None:
        period = ending(period, stand.last_call + 1)
    now = period.until
    going_on = incidents.going_on(store, caller, now)
    opened = [each for each in going_on if incidents.tab_of(each, now) == "open"]
    within = incidents.within(store, caller, period.since, period.until)
    known = Hours.counting_calls(store, caller, period.since, period.until, now)
    today = _today(now, zone) if period.name == "24h" else period.since
    by_both = ("model_provider", "usage_type", "operation_type")
    sums = counting_calls(with_unpriced(between(store, caller, today, now, by=by_both, measures=SUMS)))
    totals = _totals(sums)
    # A picture begins with a whole step; its title counts what every other page counts of that time.
    whole = (
        totals
        if today == period.since
        else _totals(
            counting_calls(with_unpriced(between(store, caller, period.since, now, by=by_both, measures=SUMS)))
        )
    )
    drawn_steps = _steps(store, caller, known, period)
    verdict = opened[0] if opened else None
    tokens = totals["priced_tokens"] + totals["unpriced_tokens"]
    charts = (
        _series(known, drawn_steps, period, hours.COST, "Cost", "sum USD", kind="sum"),
        _series(known, drawn_steps, period, hours.CALLS, "Calls", None, kind="sum"),
    )
    return Overview(
        standing=stand,
        period=period,
        today=today,
        verdict=verdict,
        chart=_chart_of(store, caller, verdict, now) if verdict else None,
        others=tuple(opened[1 : 1 + MOST_OTHERS]),
        more=max(len(opened) - 1 - MOST_OTHERS, 0),
        acknowledged=len(going_on) - len(opened),
        opened=opened,
        over=incidents.last_over(store, caller) if not opened else None,
        numbers=tuple(_numbers(known, drawn_steps, period, today, now, totals, going_on)),
        p95_ms=_p95(store, caller, today, now),
        priced_share=totals["priced_tokens"] / tokens if tokens else None,
        unpriced_calls=int(totals["unpriced_calls"]),
        calls=int(totals["calls"]),
        cost_usd=float(totals["cost_usd_sum"]),
        shown=(int(whole["calls"]), float(whole["cost_usd_sum"]), int(whole["unpriced_calls"])),
        lanes=lanes(store, caller, period, now, within, by=by, learned_days=stand.learned_days),
        charts=charts,
        parts={name: _parts(store, caller, sums, name, period, now) for name in ("model_provider", "usage_type")},
        incident_steps=_incident_steps(within, period, now),
    )


def _totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: sum(row[name] or 0 for row in rows) for name in SUMS}


def _numbers(
    known: Hours, rows: Sequence[Mapping[str, Any]], period: Period, today: float, now: float,
    totals: Mapping[str, float], going_on: Sequence[Incident],
) -> list[Number]:  # fmt: skip
    """Cost, calls, latency, errors and fallbacks; one that was never reported is left out."""
    wanted: tuple[tuple[str, Amount, Kind, str | None], ...] = (
        ("cost", hours.COST, "sum", "sum USD"),
        ("calls", hours.CALLS, "sum", None),
        ("latency", hours.LATENCY, "mean", "ms"),
        ("errors", hours.ERRORS, "share", "share"),
        ("fallbacks", hours.FALLBACKS, "share", "share"),
    )
    found = []
    for key, amount, kind, unit in wanted:
        above, below = amount(totals)
        if kind == "mean" and not below and key == "latency":
            continue
        usual = usual_over(known.hourly(amount), today, now, kind=kind)
        found.append(
            Number(
                key=key,
                value=above if kind == "sum" else above / below if below else None,
                usual=usual.range if usual else None,
                series=_series(known, rows, period, amount, key, unit, kind=kind),
                worst=next((each for each in going_on if _family(each) == key), None),
            )
        )
    return found


def _family(incident: Incident) -> str:
    """Which of the numbers an incident shows in."""
    if incident.metric_name == "fallback_rate":
        return "fallbacks"
    family = measure_of(incident.metric_name).family
    return {"money": "cost", "tokens": "cost", "cache": "cost", "time": "latency", "failures": "errors"}.get(
        family, "calls" if family == "volume" else ""
    )


def _steps(store: Store, caller: Caller, known: Hours, period: Period) -> list[Mapping[str, Any]]:
    """The rows of the time that is shown, in its own steps."""
    if period.step_s == HOUR_S:
        return known.shown()
    step, by = period.step_s, ("operation_type",)
    table = rolled(store, caller, period.since, period.until, step_s=step, by=by, measures=hours.MEASURES)
    return list(counting_calls(rows_of(table)))


def _series(
    known: Hours, rows: Sequence[Mapping[str, Any]], period: Period, amount: Amount, label: str, unit: str | None, *,
    kind: Kind,
) -> Series:  # fmt: skip
    step = period.step_s
    start = period.since // step * step
    count = max(int(-(-(period.until - start) // step)), 1)
    most = 1.0 if unit == "share" else float("inf")
    return drawn(
        known, amount, start, step, count, rows,
        kind=kind, label=label, unit=unit, is_open=start + count * step > period.until, most=most,
    )  # fmt: skip


def _chart_of(store: Store, caller: Caller, incident: Incident, now: float) -> Series | None:
    """The metric of the verdict, from some hours before its onset until now."""
    lasted = now - incident.started_at
    since = incident.started_at - max(LEAD_S, min(lasted, 2 * DAY_S))
    return course(store, caller, Judged.of_incident(incident), since, now, now)


def _p95(store: Store, caller: Caller, since: float, until: float) -> float | None:
    """Of the hours that are over the sketch of a minute ago, and the minutes at both ends as they are."""
    first, last = -(-since // HOUR_S) * HOUR_S, (until // HOUR_S - 1) * HOUR_S
    if first >= last:
        return sketch.quantile(_sketch(store, caller, since, until), 0.95)
    over = kept(store, caller, ("p95", first, last), until, lambda: _sketch(store, caller, first, last))
    ends = (_sketch(store, caller, since, first), _sketch(store, caller, last, until))
    return sketch.quantile(sketch.merge((*ends, over)), 0.95)


def _sketch(store: Store, caller: Caller, since: float, until: float) -> bytes | None:
    """The durations of the calls of that time."""
    rows = between(store, caller, since, until, where=(CALLS_ALONE,), measures=("duration_ms_sketch",))
    return sketch.merge(row["duration_ms_sketch"] for row in rows)


def _parts(
    store: Store, caller: Caller, sums: Sequence[Mapping[str, Any]], name: str, period: Period, now: float
) -> tuple[Part, ...]:
    """What each value of a column came to, those of the most money first, and the rest in one."""
    mine = _by(sums, name)
    begin = period.until // DAY_S * DAY_S - DAYS_BACK * DAY_S
    before = rows_of(
        settled(store, caller, begin, period.until // DAY_S * DAY_S, now, by=(name, "operation_type"), step_s=DAY_S,
                measures=("calls", "cost_usd_sum"))
    )  # fmt: skip
    usual = _by(counting_calls(before), name)
    whole, whole_calls = (
        sum(each["cost_usd_sum"] for each in mine.values()),
        sum(each["calls"] for each in mine.values()),
    )
    past, past_calls = (
        sum(each["cost_usd_sum"] for each in usual.values()),
        sum(each["calls"] for each in usual.values()),
    )

    def share(part: Mapping[str, float], cost: float, calls: float) -> float:
        return part.get("cost_usd_sum", 0.0) / cost if cost else part.get("calls", 0.0) / calls if calls else 0.0

    if set(mine) <= {None}:
        return ()
    ordered = sorted(mine, key=lambda value: (-mine[value]["cost_usd_sum"], -mine[value]["calls"]))
    shown, rest = ordered[:MOST_PARTS], ordered[MOST_PARTS:]
    found = [
        Part(
            value=value,
            calls=int(mine[value]["calls"]),
            cost_usd=mine[value]["cost_usd_sum"],
            unpriced_calls=int(mine[value].get("unpriced_calls", 0)),
            share=share(mine[value], whole, whole_calls),
            usual_share=share(usual.get(value, {}), past, past_calls) if past_calls else None,
            is_free=mine[value]["cost_usd_sum"] == 0 and mine[value].get("cost_usd_count", 0) > 0,
        )
        for value in shown
    ]
    if rest:
        cost, calls = sum(mine[each]["cost_usd_sum"] for each in rest), sum(mine[each]["calls"] for each in rest)
        found.append(
            Part(
                value=f"{len(rest)} others", calls=int(calls), cost_usd=cost, unpriced_calls=0,
                share=cost / whole if whole else 0.0, usual_share=None, is_rest=True,
            )
        )  # fmt: skip
    return tuple(found)


def _by(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str | None, dict[str, float]]:
    found: dict[str | None, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        for measure in ("calls", "cost_usd_sum", "cost_usd_count", "unpriced_calls"):
            if measure in row:
                found[row[name]][measure] += row[measure] or 0
    return {value: each for value, each in found.items() if each["calls"] or each["cost_usd_sum"]}


def _today(now: float, zone: tzinfo) -> float:
    """Midnight of the reader's day."""
    there = datetime.fromtimestamp(now, zone)
    return there.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _incident_steps(found: Sequence[Incident], period: Period, now: float) -> tuple[tuple[float, str], ...]:
    """For each of 48 steps how many incidents were going on, from 0 to 1, and the worst of them."""
    steps, length = 48, period.length_s / 48
    counts: list[list[str]] = [[] for _ in range(steps)]
    for each in found:
        end = each.closed_at if each.closed_at is not None else now
        first = max(int((each.started_at - period.since) // length), 0)
        last = min(int((end - period.since) // length), steps - 1)
        for place in range(first, last + 1):
            counts[place].append(each.severity)
    most = max((len(each) for each in counts), default=0) or 1
    return tuple((len(each) / most, max(each, key=SEVERITIES.index) if each else "") for each in counts)
