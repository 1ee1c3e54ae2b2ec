"""The hours of two weeks and of the time that is shown: what they came to, and what is usual for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tracewatch.access import Caller
from tracewatch.stores.base import Filter, Store
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import CALLS_ALONE, STEPS_ALONE, of_money, rolled, rows_of, settled
from tracewatch.web.views.usual import DAYS_BACK, Hourly, KnownHours

HOUR_S, DAY_S = 3600, 86_400
MEASURES = (
    *("calls", "error_calls", "timeout_calls", "fallback_calls", "retried_calls", "unpriced_calls"),
    *("cost_usd_sum", "cost_usd_count", "duration_ms_sum", "duration_ms_count", "priced_tokens", "unpriced_tokens"),
)

Amount = Callable[[Mapping[str, Any]], tuple[float, float]]
"""From a row of a rollup to what is added up and what it is divided by."""


def share(*above: str) -> Amount:
    """These counts of all calls."""
    return lambda row: (sum(row[name] or 0 for name in above), row["calls"] or 0)


def mean(name: str) -> Amount:
    """The mean of a column over the calls that have it."""
    return lambda row: (row[f"{name}_sum"] or 0.0, row[f"{name}_count"] or 0)


def total(name: str) -> Amount:
    """A sum, as it is."""
    return lambda row: (row[name] or 0.0, 1.0)


CALLS, COST, LATENCY = total("calls"), total("cost_usd_sum"), mean("duration_ms")
ERRORS, FALLBACKS = share("error_calls", "timeout_calls"), share("fallback_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Rows of a rollup by the hour, over all that `by` tells apart."""

    rows: Sequence[Mapping[str, Any]]
    since: float
    until: float
    made: dict[Amount, KnownHours] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `hourly` gave already."""

    @classmethod
    def read(
        cls, store: Store, caller: Caller, since: float, until: float, now: float, *,
        by: Sequence[str] = (), where: Sequence[Filter] = (), measures: Sequence[str] = MEASURES,
    ) -> Hours:  # fmt: skip
        """The hours of a time and of the two weeks before it; those that are over are not read every time."""
        begin = since // HOUR_S * HOUR_S - DAYS_BACK * DAY_S
        over = min(now // HOUR_S * HOUR_S - HOUR_S, until // HOUR_S * HOUR_S)  # late rows come within the hour
        old = settled(store, caller, begin, over, now, by=by, where=where, measures=measures)
        new = rolled(store, caller, over, until, by=by, where=where, measures=measures) if until > over else None
        return cls(rows=[*rows_of(old), *(rows_of(new) if new is not None else ())], since=since, until=until)

    @classmethod
    def of_calls(cls, store: Store, caller: Caller, since: float, now: float) -> Hours:
        """The number of calls alone."""
        return cls.read(store, caller, since, now, now, measures=("calls",))

    @classmethod
    def counting_calls(cls, store: Store, caller: Caller, since: float, until: float, now: float) -> Hours:
        """The same with calls of a model alone counted and timed; steps around them have rows for their money."""
        calls = cls.read(store, caller, since, until, now, where=(CALLS_ALONE,))
        steps = cls.read(store, caller, since, until, now, where=(STEPS_ALONE,), measures=of_money(MEASURES))
        nothing = dict.fromkeys(MEASURES)
        return replace(calls, rows=[*calls.rows, *({**nothing, **row} for row in steps.rows)])

    def hourly(self, amount: Amount) -> KnownHours:
        """By the hour what an amount came to; an hour without a row counts 0 of what is added up."""
        if amount in self.made:
            return self.made[amount]
        found: dict[int, tuple[float, float]] = {}
        counted = amount in (CALLS, COST)
        for row in self.rows:
            above, below = amount(row)
            before = found.get(row["bucket"], (0.0, 0.0))
            found[row["bucket"]] = (before[0] + above, 1.0 if counted else before[1] + below)
        self.made[amount] = KnownHours(self._filled(found) if counted else found)
        return self.made[amount]

    def calls(self) -> Hourly:
        """Calls by the hour."""
        return self.hourly(CALLS)

    def groups(self, *names: str) -> Mapping[tuple[Any, ...], Hours]:
        """The hours of each value of these columns."""
        parts: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
        for row in self.rows:
            parts[tuple(row[name] for name in names)].append(row)
        return {key: Hours(rows=rows, since=self.since, until=self.until) for key, rows in parts.items()}

    def shown(self) -> list[Mapping[str, Any]]:
        """The rows of the hours that touch the time that is shown."""
        begin = self.since // HOUR_S * HOUR_S
        return [row for row in self.rows if begin <= row["bucket"] < self.until]

    def _filled(self, found: Mapping[int, tuple[float, float]]) -> Hourly:
        """With a zero for each hour between the first call and the end."""
        if not found:
            return found
        first, last = min(found), int(self.until // HOUR_S * HOUR_S)
        return {hour: found.get(hour, (0.0, 1.0)) for hour in range(first, last + 1, HOUR_S)}


def steps(store: Store, caller: Caller, period: Period, measures: Sequence[str] = MEASURES) -> list[Mapping[str, Any]]:
    """The rows of a period, in its own steps."""
    return list(rows_of(rolled(store, caller, period.since, period.until, step_s=period.step_s, measures=measures)))
