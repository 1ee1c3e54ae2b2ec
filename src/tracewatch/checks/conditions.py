"""The conditions of people's rules, as they stand: fixed thresholds, budgets, and streams that have fallen silent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tracewatch.alerts.conditions import Budget, NoData, Slice, Threshold, condition_of
from tracewatch.checks import limits
from tracewatch.checks.amounts import ALL, Amounts
from tracewatch.checks.base import Check
from tracewatch.checks.budgets import HISTORY_S, burn, period_of
from tracewatch.checks.crossing import crossed_at
from tracewatch.checks.values import value_by
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import MESSAGES_SOURCE, AlertRule, Span
from tracewatch.stores.base import Filter, Store

MOST_RULES = 500
CHEAP_S = 0.1  # of the processor: what takes no more is evaluated each time
SHARE = 0.05  # of the time: what takes long to evaluate is evaluated less often, or detection would wait for it


class Conditions:
    """Checks the rules of one project that have a condition of their own."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project
        self._amounts: dict[tuple[str, str], Amounts] = {}
        self._since: dict[str, dict[str | None, float | None]] = {}
        """By rule and value since when a threshold is crossed, None where it is not; absent what was not seen yet."""
        self._came: dict[str, tuple[AlertRule, tuple[Check, ...], float]] = {}
        """By rule what came of it last, and from when on (of a clock that only goes on) it is evaluated again."""

    def checks(self, now: float) -> tuple[Check, ...]:
        """All of them, as they are at that moment (UTC epoch seconds)."""
        rules = self._rules()
        self._came = {each.name: self._evaluated(each, now) for each in rules}
        return tuple(check for rule in rules for check in self._came[rule.name][1])

    def _rules(self) -> list[AlertRule]:
        ours = [Filter("project", "=", (self.project,)), Filter("enabled", "=", (True,))]
        found = self.store.page(AlertRule, ours, limit=MOST_RULES).records
        return [each for each in found if isinstance(each, AlertRule) and each.condition]

    def _evaluated(self, rule: AlertRule, now: float) -> tuple[AlertRule, tuple[Check, ...], float]:
        known = self._came.get(rule.name)
        if known is not None and known[0] == rule and time.monotonic() < known[2]:
            return known
        if known is None or known[0] != rule:
            self._since.pop(rule.name, None)
        began = time.process_time()
        found = tuple(self._of(rule, now))
        took = time.process_time() - began
        return rule, found, time.monotonic() + (took / SHARE if took > CHEAP_S else 0.0)

    def _of(self, rule: AlertRule, now: float) -> Iterator[Check]:
        match condition_of(rule):
            case Threshold() as asked:
                yield from self._threshold(rule, asked, now)
            case Budget() as asked:
                yield from self._budget(rule, asked, now)
            case NoData() as asked:
                yield self._no_data(rule, asked, now)

    def _threshold(self, rule: AlertRule, asked: Threshold, now: float) -> Iterator[Check]:
        metric = METRIC_OF.get(asked.metric)
        if metric is None:
            return
        where, known = where_of(self.project, asked.slice), self._since.get(rule.name, {})
        since: dict[str | None, float | None] = {}
        for value, found in value_by(self.store, metric, where, asked.by, asked.window_s, now).items():
            slice = limits.slice_of(asked.slice, asked.by, value)
            check = limits.of_threshold(rule.name, asked, metric, found, slice, now)
            if not check.bad:
                since[value] = known.get(value) if check.bad is None else None
            elif value in known:
                since[value] = now if (before := known[value]) is None else min(before, now)
            else:
                since[value] = crossed_at(self.store, metric, asked, where, value, now)
            yield replace(check, since=since[value] or now)
        self._since[rule.name] = since

    def _budget(self, rule: AlertRule, asked: Budget, now: float) -> Iterator[Check]:
        if not limits.limit_of(asked):
            return
        period = period_of(asked.per, now, asked.zone)
        amounts = self._hours(rule, asked).hours(min(period.since, now - HISTORY_S), now)
        for value, hours in (amounts or {ALL: {}}).items():
            slice = limits.slice_of(asked.slice, asked.by, value if asked.by else None)
            stands = burn(hours, limits.limit_of(asked), asked.per, period, now)
            yield limits.of_budget(rule.name, asked, period, stands, slice, now)

    def _hours(self, rule: AlertRule, asked: Budget) -> Amounts:
        key = (rule.name, repr(asked))
        if key not in self._amounts:
            for old in [each for each in self._amounts if each[0] == rule.name]:
                del self._amounts[old]
            unit = "usd" if asked.usd is not None else "tokens"
            self._amounts[key] = Amounts(self.store, unit, asked.by, where_of(self.project, asked.slice))
        return self._amounts[key]

    def _no_data(self, rule: AlertRule, asked: NoData, now: float) -> Check:
        where = where_of(self.project, asked.slice)
        reach = self.store.extent(Span, [*where, Filter("start_time", "<=", (now,))])
        last = reach[1] if reach else rule.changed_at
        slice = limits.slice_of(asked.slice, None, None)
        return limits.of_silence(rule.name, asked, last, slice, now, ever=reach is not None)


def where_of(project: str, slice: Slice | None) -> Sequence[Filter]:
    """The calls that a condition is about."""
    where = [Filter("project", "=", (project,)), Filter("source", "!=", (MESSAGES_SOURCE,))]
    return where + [Filter(name, "=", tuple(values)) for name, values in (slice or {}).items()]
