"""What the day and the month will have cost, if it goes on as it usually does at these hours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from tracewatch.access import Caller
from tracewatch.stores.base import Store
from tracewatch.web.views.hours import COST, Hours
from tracewatch.web.views.rolled import PRICED, TOLD_APART, between, with_unpriced
from tracewatch.web.views.usual import Hourly, Usual, usual_at

HOUR_S, DAY_S, WEEK_S = 3600, 86_400, 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a day or a month has cost so far, and the range in which it will end. Money is in dollars."""

    so_far: float
    unpriced: int
    """Calls whose cost is not known."""
    low: float | None
    """None while too little is known to tell."""
    high: float | None
    ends: float
    """UTC epoch seconds."""


def forecasts(store: Store, caller: Caller, now: float, zone: tzinfo) -> tuple[Forecast, Forecast]:
    """Of the reader's day and of the reader's month."""
    here = datetime.fromtimestamp(now, zone)
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight.replace(day=1)
    next_first = (first + timedelta(days=32)).replace(day=1)
    # A week more than what is usual is learned from, because hours to come are looked up in the week before.
    hourly = Hours.read(store, caller, now - WEEK_S, now, now, measures=("cost_usd_sum",)).hourly(COST)
    return (
        _forecast(store, caller, hourly, midnight.timestamp(), now, (midnight + timedelta(days=1)).timestamp()),
        _forecast(store, caller, hourly, first.timestamp(), now, next_first.timestamp()),
    )


def _forecast(store: Store, caller: Caller, hourly: Hourly, since: float, now: float, ends: float) -> Forecast:
    rows = with_unpriced(between(store, caller, since, now, by=TOLD_APART, measures=PRICED)) if since < now else []
    so_far = sum(row["cost_usd_sum"] or 0.0 for row in rows)
    rest = ahead(hourly, now, ends)
    return Forecast(
        so_far=so_far,
        unpriced=int(sum(row["unpriced_calls"] for row in rows)),
        low=None if rest is None else so_far + rest.low,
        high=None if rest is None else so_far + rest.high,
        ends=ends,
    )


def ahead(hourly: Hourly, now: float, until: float) -> Usual | None:
    """What is to be expected from now on: of each hour to come what is usual at such an hour of a known week.

    As of hours that are over, the spread lies halfway between that of hours that go together and of independent ones.
    """
    learned: dict[int, Usual | None] = {}
    found = []
    at = now
    while at < until:
        length = min(until, (at // HOUR_S + 1) * HOUR_S) - at
        back = at - math.ceil(max(at - now - DAY_S, 0.0) / WEEK_S) * WEEK_S
        hour = int(back // HOUR_S)
        if hour not in learned:
            learned[hour] = usual_at(hourly, hour * HOUR_S, HOUR_S, kind="sum")
        each = learned[hour]
        if each is None:
            return None
        found.append((each.middle * length / HOUR_S, (each.high - each.middle) * length / HOUR_S))
        at += length
    middle = sum(each for each, _ in found)
    apart = math.sqrt(sum(reach**2 for _, reach in found))
    reach = (apart + sum(each for _, each in found)) / 2
    return Usual(middle=middle, low=max(middle - reach, 0.0), high=middle + reach)
