"""The last whole hour of each operation and model beside what was usual of it, and what all calls came to so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tracewatch.access import Caller
from tracewatch.stores.base import Store
from tracewatch.web.views.hours import COST, ERRORS, LATENCY, Amount, Hours, total
from tracewatch.web.views.rolled import counting_calls, kept, rolled, rows_of, settled
from tracewatch.web.views.usual import Kind, usual_at

HOUR_S, DAY_S = 3600, 86_400
BY = ("operation_type", "model_name")
SUMS = (
    *("calls", "ok_calls", "error_calls", "timeout_calls", "fallback_calls", "unpriced_calls", "cost_usd_sum"),
    *("input_tokens_sum", "output_tokens_sum", "duration_ms_sum", "duration_ms_count"),
)
MOST_PAIRS = 200  # of operation and model, those with the most calls: Prometheus keeps each series for good

Pair = tuple[str | None, str | None]
AnomalyType = Literal["requests", "latency", "errors", "resource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Banded:
    """A metric whose last whole hour is told beside its range; `scale` turns its unit into the one that is told."""

    name: str
    type: AnomalyType
    amount: Amount
    kind: Kind
    scale: float = 1.0


BANDED = (
    Banded(name="calls_per_hour", type="requests", amount=total("calls"), kind="sum"),
    Banded(name="cost_usd_per_hour", type="resource", amount=COST, kind="sum"),
    Banded(name="latency_seconds", type="latency", amount=LATENCY, kind="mean", scale=0.001),
    Banded(name="error_rate", type="errors", amount=ERRORS, kind="share"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """What came in the last whole hour, and the range of nine of ten such hours; None while that is not known."""

    metric: Banded
    pair: Pair
    level: float
    lower: float | None
    upper: float | None


def totals(store: Store, caller: Caller, now: float) -> dict[Pair, dict[str, float]]:
    """What all calls ever came to, by operation and model: numbers that only grow."""
    today = now // DAY_S * DAY_S
    old = settled(store, caller, 0.0, today, now, by=BY, measures=SUMS, step_s=DAY_S)
    new = rolled(store, caller, today, now + DAY_S, by=BY, measures=SUMS)
    found: dict[Pair, dict[str, float]] = {}
    for row in counting_calls([*rows_of(old), *rows_of(new)]):
        sums = found.setdefault((row[BY[0]], row[BY[1]]), dict.fromkeys(SUMS, 0.0))
        for name in SUMS:
            sums[name] += row[name] or 0
    return dict(sorted(found.items(), key=lambda item: -item[1]["calls"])[:MOST_PAIRS])


def bands(store: Store, caller: Caller, now: float) -> tuple[Band, ...]:
    """The bands of the last whole hour; made once for it, and again a minute later for what came late."""
    hour = int(now // HOUR_S * HOUR_S - HOUR_S)
    return kept(store, caller, ("bands", hour), now, lambda: tuple(_bands(store, caller, hour, now)))


def _bands(store: Store, caller: Caller, hour: int, now: float) -> Iterator[Band]:
    read = Hours.read(store, caller, hour, hour + HOUR_S, now, by=BY, measures=SUMS)
    groups = sorted(read.groups(*BY).items(), key=lambda item: -_calls(item[1]))
    for pair, hours in groups[:MOST_PAIRS]:
        for metric in BANDED:
            hourly = hours.hourly(metric.amount)
            above, below = hourly.get(hour, (0.0, 1.0 if metric.kind == "sum" else 0.0))
            if below <= 0:
                continue  # no call of that hour has it
            divisor = 1.0 if metric.kind == "sum" else below
            usual = usual_at(hourly, hour, kind=metric.kind)
            yield Band(
                metric=metric,
                pair=(pair[0], pair[1]),
                level=above / divisor * metric.scale,
                lower=None if usual is None else usual.low * metric.scale,
                upper=None if usual is None else usual.high * metric.scale,
            )


def _calls(hours: Hours) -> Any:
    return sum(row["calls"] or 0 for row in hours.rows)
