"""Conditions of rules tried on the past: the incidents that they would have made of the calls that are stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tracewatch.alerts.conditions import Budget, NoData, Threshold, condition_of
from tracewatch.alerts.history import AFTER_S, Past
from tracewatch.alerts.matching import Seen
from tracewatch.alerts.planning import Tried
from tracewatch.checks import limits
from tracewatch.checks.amounts import Amounts
from tracewatch.checks.base import Check
from tracewatch.checks.budgets import HISTORY_S, burn, period_of
from tracewatch.checks.conditions import where_of
from tracewatch.checks.crossing import Floats, Integers, Valued, step_of, valued
from tracewatch.checks.settling import QUIET_S, after, opened
from tracewatch.course import BACK, CLOSED
from tracewatch.metrics.base import Metric
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import AlertRule, Incident, Span, iso
from tracewatch.stores.base import Filter, Progress, Store
from tracewatch.times import DAY_S, HOUR_S

SECONDS = 60.0  # of reading, for all rules together; what that is not enough for is said
MOST_BUDGETS = 50  # values of a column, those that spent the most

Moment = tuple[float, Check]
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class _Trial:
    """One rule, the time that it is tried on, and how long that may take."""

    store: Store
    rule: AlertRule
    since: float
    until: float
    ends: float
    """When reading has to end, by the clock that only goes on."""
    progress: Progress

    @property
    def is_over(self) -> bool:
        """Whether there is no time left."""
        return time.monotonic() >= self.ends

    def read(self, part: Callable[[float, float], Part], longest_s: float) -> tuple[list[Part], float]:
        """What a question says of each day (or of `longest_s`), the newest asked first; and from when on it was."""
        found: list[Part] = []
        edges = _edges(self.since, self.until, longest_s)
        since = self.until
        left = _days(self.since, self.until)
        for begin, end in reversed(list(pairwise(edges))):
            if found and self.is_over:
                break
            found.insert(0, part(begin, end))
            since, done = begin, min(_days(begin, end), left)
            left -= done
            self.progress(done)
        self.progress(left)
        return found, max(since, self.since)


def tried(
    store: Store,
    rules: Sequence[AlertRule],
    since: float,
    until: float,
    *,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> tuple[Tried, ...]:
    """The rules that have a condition, tried on the calls between two moments (UTC epoch seconds).

    `progress` is called with how many more days of a rule are done, of `days_of` in all.
    """
    some = _with_condition(rules)
    ends, out = time.monotonic() + seconds, list[Tried]()
    for place, rule in enumerate(some):
        now = time.monotonic()
        its_end = now + max(ends - now, 0.0) / (len(some) - place)
        out.append(_tried(_Trial(store, rule, since, until, its_end, progress or _unseen)))
    return tuple(out)


def days_of(rules: Sequence[AlertRule], since: float, until: float) -> int:
    """How many days there are to be tried, each rule by itself."""
    return len(_with_condition(rules)) * _days(since, until)


def _with_condition(rules: Sequence[AlertRule]) -> list[AlertRule]:
    return [each for each in rules if each.enabled and each.condition]


def _tried(trial: _Trial) -> Tried:
    match condition_of(trial.rule):
        case Threshold() as asked:
            return _thresholds(trial, asked)
        case Budget() as asked:
            return _budgets(trial, asked)
        case NoData() as asked:
            return _silences(trial, asked)
    raise AssertionError("a rule that is tried has a condition")


def _thresholds(trial: _Trial, asked: Threshold) -> Tried:
    metric = METRIC_OF.get(asked.metric)
    if metric is None:
        return Tried(trial.rule.name, (), trial.until, f"nothing is called '{asked.metric}'")
    where = where_of(trial.rule.project, asked.slice)
    parts, since = trial.read(
        lambda begin, end: valued(trial.store, metric, asked, where, begin, end), max(DAY_S, 2 * asked.window_s)
    )
    pasts: list[Past] = []
    for value in dict.fromkeys(value for part in parts for value in part):
        its = [part[value] for part in parts if value in part]
        pasts += _courses(trial, _of_thresholds(trial, asked, metric, value, its))
    kept = step_of(metric, asked, where) >= HOUR_S
    return Tried(trial.rule.name, tuple(pasts), since, _left_out(trial, since, kept=kept))


def _of_thresholds(
    trial: _Trial, asked: Threshold, metric: Metric, value: str | None, its: Sequence[Valued]
) -> Iterator[Moment]:
    """The moments at which it was beyond the threshold, and those until it is over."""
    times: Floats = np.concatenate([each.times for each in its])
    seen: Floats = np.concatenate([each.seen for each in its])
    calls: Integers = np.concatenate([each.calls for each in its])
    bad: Integers = np.concatenate([each.bad(asked, metric) for each in its])
    slice, since = limits.slice_of(asked.slice, asked.by, value), trial.since
    for place in np.flatnonzero(_telling(times, bad == 1)).tolist():
        at = float(times[place])
        if bad[place] == 1 and (place == 0 or bad[place - 1] != 1):
            since = at
        found = (None if np.isnan(seen[place]) else float(seen[place]), int(calls[place]))
        check = limits.of_threshold(trial.rule.name, asked, metric, found, slice, since)
        yield at, replace(check, bad=None if bad[place] < 0 else bool(bad[place]))


def _telling(times: Floats, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which moments say something: those that are bad, and those after them until what they opened has closed."""
    latest = np.maximum.accumulate(np.where(bad, times, -np.inf))
    following: NDArray[np.bool_] = times - latest <= 2 * (QUIET_S + HOUR_S)
    return following


def _budgets(trial: _Trial, asked: Budget) -> Tried:
    """From the hours, as they end; those of the first period and of four weeks before are read as well."""
    unit, limit = "usd" if asked.usd is not None else "tokens", limits.limit_of(asked)
    first = min(period_of(asked.per, trial.since, asked.zone).since, trial.since - HISTORY_S)
    amounts = Amounts(trial.store, unit, asked.by, where_of(trial.rule.project, asked.slice))
    found = amounts.hours(first, trial.until)
    ends = np.arange(trial.since // HOUR_S + 1, trial.until // HOUR_S + 1) * HOUR_S
    moments = [*ends.tolist(), trial.until]
    pasts, some = list[Past](), list(found)[:MOST_BUDGETS]
    for place, value in enumerate(some):
        if place and trial.is_over:
            some = some[:place]
            break
        slice = limits.slice_of(asked.slice, asked.by, value if asked.by else None)
        pasts += _courses(trial, _of_budget(trial.rule.name, asked, limit, found[value], slice, moments))
    trial.progress(_days(trial.since, trial.until))
    left = len(found) - len(some)
    why = f"{left:,} values of {asked.by}, those that spent the least, were not tried" if left else ""
    return Tried(trial.rule.name, tuple(pasts), trial.since, why)


def _of_budget(
    rule: str,
    asked: Budget,
    limit: float,
    hours: Mapping[float, float],
    slice: Mapping[str, str],
    moments: Iterable[float],
) -> Iterator[Moment]:
    for at in moments:
        period = period_of(asked.per, at, asked.zone)
        known = {hour: amount for hour, amount in hours.items() if hour < at}
        yield at, limits.of_budget(rule, asked, period, burn(known, limit, asked.per, period, at), slice, at)


def _silences(trial: _Trial, asked: NoData) -> Tried:
    where = where_of(trial.rule.project, asked.slice)
    parts, since = trial.read(lambda begin, end: _seconds(trial.store, where, begin, end), DAY_S)
    reach = trial.store.extent(Span, [*where, Filter("start_time", "<", (since,))])
    came = np.concatenate(parts) if parts else np.empty(0)
    ever = reach is not None or len(came) > 0  # before the first call of all nothing had fallen silent
    calls = came if reach is None and ever else np.concatenate([[reach[1] if reach else since], came])
    lasted = np.diff(np.append(calls, trial.until))
    gaps = np.flatnonzero(lasted > asked.for_s)
    ends = np.append(calls, np.inf)[gaps + 1]
    moments = np.concatenate([calls[gaps] + asked.for_s + 1.0, ends, ends + QUIET_S, ends + 2 * QUIET_S])
    moments = np.unique(moments[(moments >= since) & (moments <= trial.until)])
    slice = limits.slice_of(asked.slice, None, None)

    def found() -> Iterator[Moment]:
        for at, place in zip(moments.tolist(), np.searchsorted(calls, moments, "right") - 1, strict=True):
            known = ever or place > 0
            yield at, limits.of_silence(trial.rule.name, asked, float(calls[place]), slice, at, ever=known)

    return Tried(trial.rule.name, tuple(_courses(trial, found())), since, _left_out(trial, since, kept=False))


def _seconds(store: Store, where: Sequence[Filter], since: float, until: float) -> Floats:
    """The seconds in which any call began, in order."""
    within = [*where, Filter("start_time", ">=", (since,)), Filter("start_time", "<", (until,))]
    parts = [np.unique(np.floor(batch["start_time"].to_numpy())) for batch in store.scan(Span, ["start_time"], within)]
    found: Floats = np.unique(np.concatenate(parts)) if parts else np.empty(0)
    return found


def _courses(trial: _Trial, moments: Iterable[Moment]) -> Iterator[Past]:
    """The incidents that checks of one thing would have made, by the words of every day."""
    incident: Incident | None = None
    phases: list[tuple[float, Incident]] = []
    for at, check in moments:
        if incident is None or (incident.state == CLOSED and at - (incident.closed_at or at) > BACK):
            if check.bad:
                if phases:
                    yield _past(phases)
                incident = opened(trial.rule.project, check, at)[0]
                phases = [(at, incident)]
        elif check.bad is not None and (changed := after(incident, check, at)) is not incident:
            incident = changed
            phases.append((at, changed))
    if phases:
        yield _past(phases)


def _past(phases: Sequence[tuple[float, Incident]]) -> Past:
    last_at, last = phases[-1]
    return Past(
        last,
        tuple(at for at, _ in phases),
        tuple(Seen(incident=each) for _, each in phases),
        last_at + AFTER_S if last.state == CLOSED else float("inf"),
    )


def _left_out(trial: _Trial, since: float, *, kept: bool) -> str:
    """What was not tried: for want of time, or because older calls are gone of which their hours alone are `kept`."""
    if since > trial.since + HOUR_S:
        return f"only the time since {iso(since)[:16]} was tried: to read more takes too long. Give a shorter time"
    reach = trial.store.extent(Span, where_of(trial.rule.project, None))
    oldest = reach[0] if reach else trial.until
    if kept or oldest <= trial.since + DAY_S:
        return ""
    theirs: Any = [Filter("project", "=", (trial.rule.project,))]
    rolled = trial.store.rollup(trial.since, oldest - HOUR_S, step_s=DAY_S, where=theirs, measures=("calls",))
    gone = rolled.num_rows and min(rolled["bucket"].to_pylist()) < oldest // DAY_S * DAY_S
    return f"calls before {iso(oldest)[:16]} are not stored any more" if gone else ""


def _edges(since: float, until: float, longest_s: float) -> list[float]:
    """Where parts of a time begin and end, on whole hours but for the last."""
    size = -(-longest_s // HOUR_S) * HOUR_S
    begins = np.arange(since // HOUR_S * HOUR_S, until, size).tolist()
    return [*begins, until]


def _days(since: float, until: float) -> int:
    return max(int(-(-(until - since) // DAY_S)), 1)


def _unseen(_: int) -> None:
    """The progress of what nobody waits for."""
