"""The conditions of people's rules, as they stand: fixed thresholds, budgets, and streams that have fallen silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from tracewatch import words
from tracewatch.alerts.conditions import Budget, NoData, Slice, Threshold, condition_of
from tracewatch.checks.amounts import ALL, Amounts
from tracewatch.checks.base import RULES, Check
from tracewatch.checks.budgets import HISTORY_S, Burn, Period, burn, period_of
from tracewatch.checks.values import value_by
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import MESSAGES_SOURCE, SEVERITIES, AlertRule, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S

MOST_RULES = 500
UNITS = {"usd": ("cost_usd", "USD"), "tokens": ("total_tokens", "tokens")}


class Conditions:
    """Checks the rules of one project that have a condition of their own."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project
        self._amounts: dict[tuple[str, str], Amounts] = {}

    def checks(self, now: float) -> tuple[Check, ...]:
        """All of them, as they are at that moment (UTC epoch seconds)."""
        return tuple(check for rule in self._rules() for check in self._of(rule, now))

    def _rules(self) -> list[AlertRule]:
        ours = [Filter("project", "=", (self.project,)), Filter("enabled", "=", (True,))]
        found = self.store.page(AlertRule, ours, limit=MOST_RULES).records
        return [each for each in found if isinstance(each, AlertRule) and each.condition]

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
        where = self._where(asked.slice)
        limit, up = (asked.above, True) if asked.above is not None else (asked.below or 0.0, False)
        assert limit is not None, "one of above and below is given"
        for value, (seen, calls) in value_by(self.store, metric, where, asked.by, asked.window_s, now).items():
            slice = _slice(asked.slice, asked.by, value)
            enough = calls >= asked.calls or metric.family == "volume"
            beyond = None if seen is None or not enough else seen > limit if up else seen < limit
            shown = words.amount(seen or 0.0, metric.unit)
            side, told = "above" if up else "below", words.amount(limit, metric.unit)
            yield Check(
                detector=RULES, rule=rule.name, metric=metric.key, bad=beyond, observed=seen or 0.0, limit=limit,
                expected=limit, direction="up" if up else "down", severity=asked.severity, kind="level_shift",
                since=now - asked.window_s, slice=slice, calls=calls,
                title=f"{metric.label}{_of(slice)}: {shown} over {_lasting(asked.window_s)}, {side} the {told} "
                f"of the rule {rule.name}.",
                actions=(f"See what it says of the calls: tracewatch traces --since {_lasting(asked.window_s)}",),
            )  # fmt: skip

    def _budget(self, rule: AlertRule, asked: Budget, now: float) -> Iterator[Check]:
        unit, budget = ("usd", asked.usd) if asked.usd is not None else ("tokens", asked.tokens)
        if not budget:
            return
        period = period_of(asked.per, now, asked.zone)
        amounts = self._hours(rule, asked, unit).hours(min(period.since, now - HISTORY_S), now)
        for value, hours in (amounts or {ALL: {}}).items():
            slice = _slice(asked.slice, asked.by, value if asked.by else None)
            yield _burning(rule, asked, unit, budget, period, burn(hours, budget, asked.per, period, now), slice, now)

    def _hours(self, rule: AlertRule, asked: Budget, unit: str) -> Amounts:
        key = (rule.name, repr(asked))
        if key not in self._amounts:
            for old in [each for each in self._amounts if each[0] == rule.name]:
                del self._amounts[old]
            self._amounts[key] = Amounts(self.store, unit, asked.by, self._where(asked.slice))
        return self._amounts[key]

    def _no_data(self, rule: AlertRule, asked: NoData, now: float) -> Check:
        reach = self.store.extent(Span, [*self._where(asked.slice), Filter("start_time", "<=", (now,))])
        last = reach[1] if reach else rule.changed_at
        slice = _slice(asked.slice, None, None)
        ever = f"since {_moment(last, 'UTC')} UTC" if reach else "since the rule was made"
        return Check(
            detector=RULES, rule=rule.name, metric="call_count", bad=now - last > asked.for_s, direction="down",
            severity=asked.severity, kind="silence", since=last, slice=slice, limit=1.0, expected=1.0, calls=0,
            title=f"No call{_of(slice)} {ever}: for longer than the {_lasting(asked.for_s)} of the rule {rule.name}.",
            actions=("See whether the program runs, and whether what it sends arrives: tracewatch doctor",),
        )  # fmt: skip

    def _where(self, slice: Slice | None) -> list[Filter]:
        where = [Filter("project", "=", (self.project,)), Filter("source", "!=", (MESSAGES_SOURCE,))]
        return where + [Filter(name, "=", tuple(values)) for name, values in (slice or {}).items()]


def _burning(
    rule: AlertRule, asked: Budget, unit: str, budget: float, period: Period, burn: Burn, slice: Mapping[str, str],
    now: float,
) -> Check:  # fmt: skip
    metric, shown = UNITS[unit]
    gone = burn.spent >= budget
    step = SEVERITIES.index(asked.severity) + gone
    total = budget if burn.total is None else burn.total
    return Check(
        detector=RULES, rule=rule.name, metric=metric, bad=burn.is_bad if gone or burn.total is not None else None,
        observed=total, limit=budget, expected=budget, severity=SEVERITIES[min(step, len(SEVERITIES) - 1)],
        confidence=burn.sure, kind="surge", since=burn.spent_at or now if gone else now, slice=slice,
        title=told(burn, budget, shown, period, asked, _of(slice), now), cost_effect_usd=
        max(total - budget, 0.0) if unit == "usd" else None,
        factors=_factors(burn, shown),
        actions=("See who and what it is spent on, on the cost page or with: tracewatch stats",),
    )  # fmt: skip


def told(burn: Burn, budget: float, unit: str, period: Period, asked: Budget, whose: str, now: float) -> str:
    """Where a budget stands, in one sentence."""
    amount, so_far = words.amount(budget, unit), words.amount(burn.spent, unit)
    at = None if burn.spent_at is None else _when(burn.spent_at, asked)
    if burn.spent >= budget:
        left = _lasting(period.until - (now if burn.spent_at is None else burn.spent_at))
        return f"The {amount}{whose} for {period.name} were spent on {at}, {left} before its end: {so_far} so far."
    if at is None:
        return f"The {amount}{whose} for {period.name} last at this pace: {so_far} so far."
    first = at if burn.earliest is None else _when(burn.earliest, asked)
    last = "its end" if burn.latest is None else _when(burn.latest, asked)
    between = "" if first == last == at else f", between {first} and {last}"
    return f"At this pace the {amount}{whose} for {period.name} are spent on {at}{between}: {so_far} so far."


def _factors(burn: Burn, unit: str) -> tuple[str, ...]:
    if burn.total is None or burn.low is None or burn.high is None:
        return ()
    return (f"At its end it will be {words.between(burn.low, burn.high, unit)}, in four of five cases.",)


def _slice(slice: Slice | None, by: str | None, value: str | None) -> dict[str, str]:
    """The calls it is about, by their columns; of several values in one column they stand with commas between."""
    found = {name: ", ".join(str(each or "") for each in values) for name, values in (slice or {}).items()}
    return found | ({by: value} if by and value is not None else {})


def _of(slice: Mapping[str, str]) -> str:
    return f" of {', '.join(slice.values())}" if slice else ""


def _lasting(seconds: float) -> str:
    """A duration as people type it, to two figures.

    >>> _lasting(900.0), _lasting(7200.0), _lasting(200_000.0)
    ('15m', '2h', '2d')
    """
    for name, size in (("d", DAY_S), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{name}"
    return f"{seconds:.0f}s"


def _when(at: float, asked: Budget) -> str:
    """A day, or of a budget of one day an hour, by the clock of its zone."""
    return _moment(at, asked.zone, hour=asked.per == "day")


def _moment(at: float, zone: str, *, hour: bool = True) -> str:
    local = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone))
    day = f"{local:%b} {local.day}"
    return f"{day} {local:%H:%M}" if hour else day
