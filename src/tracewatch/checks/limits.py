"""What a value says beside the limit that somebody set: a fixed threshold, a budget, or a time without calls. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from tracewatch import words
from tracewatch.alerts.checking import as_duration
from tracewatch.alerts.conditions import Budget, NoData, Slice, Threshold
from tracewatch.checks.base import RULES, Check
from tracewatch.checks.budgets import Burn, Period
from tracewatch.checks.values import Value
from tracewatch.metrics.base import Metric
from tracewatch.records import SEVERITIES
from tracewatch.times import DAY_S

UNITS = {"usd": ("cost_usd", "USD"), "tokens": ("total_tokens", "tokens")}


def of_threshold(
    rule: str, asked: Threshold, metric: Metric, value: Value, slice: Mapping[str, str], since: float
) -> Check:
    """What a value says beside a fixed threshold; `since` is when it was crossed, where it is."""
    seen, calls = value
    limit, up = (asked.above, True) if asked.above is not None else (asked.below or 0.0, False)
    enough = calls >= asked.calls or metric.family == "volume"
    beyond = None if seen is None or not enough else seen > limit if up else seen < limit
    shown, told = (words.amount(each, metric.unit) for each in (seen or 0.0, limit))
    side = "above" if up else "below"
    return Check(
        detector=RULES, rule=rule, metric=metric.key, bad=beyond, observed=seen or 0.0, limit=limit,
        direction="up" if up else "down", severity=asked.severity, kind="level_shift", since=since, slice=slice,
        calls=calls,
        title=f"{metric.label}{whose(slice)}: {shown} over {as_duration(asked.window_s)}, {side} the {told} "
        f"of the rule {rule}.",
        actions=(f"See what it says of the calls: tracewatch traces --since {as_duration(asked.window_s)}",),
    )  # fmt: skip


def of_budget(rule: str, asked: Budget, period: Period, burn: Burn, slice: Mapping[str, str], now: float) -> Check:
    """Where a budget stands: spent, very likely to be, or neither."""
    metric, shown = UNITS["usd" if asked.usd is not None else "tokens"]
    budget = limit_of(asked)
    gone = burn.spent >= budget
    step = SEVERITIES.index(asked.severity) + gone
    total = budget if burn.total is None else burn.total
    return Check(
        detector=RULES, rule=rule, metric=metric, bad=burn.is_bad if gone or burn.total is not None else None,
        observed=total, limit=budget, severity=SEVERITIES[min(step, len(SEVERITIES) - 1)],
        confidence=burn.sure, kind="surge", since=burn.spent_at or now if gone else now, slice=slice,
        title=told(burn, budget, shown, period, asked, whose(slice), now),
        cost_effect_usd=burn.spent - budget if gone and asked.usd is not None else None,
        factors=_factors(burn, shown),
        actions=("See who and what it is spent on, on the cost page or with: tracewatch stats",),
    )  # fmt: skip


def of_silence(rule: str, asked: NoData, last: float, slice: Mapping[str, str], now: float, *, ever: bool) -> Check:
    """How long nothing has come; `last` is the last call, or when the rule was made where there was none `ever`."""
    since = f"since {_moment(last, 'UTC')} UTC" if ever else "since the rule was made"
    return Check(
        detector=RULES, rule=rule, metric="call_count", bad=now - last > asked.for_s, direction="down",
        severity=asked.severity, kind="silence", since=last, slice=slice, limit=1.0, calls=0,
        title=f"No call{whose(slice)} {since}: for longer than the {as_duration(asked.for_s)} of the rule {rule}.",
        actions=("See whether the program runs, and whether what it sends arrives: tracewatch doctor",),
    )  # fmt: skip


def limit_of(asked: Budget) -> float:
    """How much may be spent, in dollars or tokens."""
    return asked.usd if asked.usd is not None else asked.tokens or 0.0


def slice_of(slice: Slice | None, by: str | None, value: str | None) -> dict[str, str]:
    """The calls it is about, by their columns; of several values in one column they stand with commas between."""
    found = {name: ", ".join(str(each or "") for each in values) for name, values in (slice or {}).items()}
    return found | ({by: value} if by and value is not None else {})


def told(burn: Burn, budget: float, unit: str, period: Period, asked: Budget, whose: str, now: float) -> str:
    """Where a budget stands, in one sentence."""
    amount, so_far = words.amount(budget, unit), words.amount(burn.spent, unit)
    at = None if burn.spent_at is None else _when(burn.spent_at, asked)
    if burn.spent >= budget:
        left = lasting(period.until - (now if burn.spent_at is None else burn.spent_at))
        return f"The {amount}{whose} for {period.name} were spent on {at}, {left} before its end: {so_far} so far."
    if at is None:
        return f"The {amount}{whose} for {period.name} last at this pace: {so_far} so far."
    first = at if burn.earliest is None else _when(burn.earliest, asked)
    last = "its end" if burn.latest is None else _when(burn.latest, asked)
    between = "" if first == last == at else f", between {first} and {last}"
    return f"At this pace the {amount}{whose} for {period.name} are spent on {at}{between}: {so_far} so far."


def whose(slice: Mapping[str, str]) -> str:
    """Which calls, behind a noun; nothing of all."""
    return f" of {', '.join(slice.values())}" if slice else ""


def lasting(seconds: float) -> str:
    """A duration as people type it, to two figures.

    >>> lasting(900.0), lasting(7200.0), lasting(200_000.0)
    ('15m', '2h', '2d')
    """
    for name, size in (("d", DAY_S), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{name}"
    return f"{seconds:.0f}s"


def _factors(burn: Burn, unit: str) -> tuple[str, ...]:
    if burn.total is None or burn.low is None or burn.high is None:
        return ()
    return (f"At its end it will be {words.between(burn.low, burn.high, unit)}, in four of five cases.",)


def _when(at: float, asked: Budget) -> str:
    """A day, or of a budget of one day an hour, by the clock of its zone."""
    return _moment(at, asked.zone, hour=asked.per == "day")


def _moment(at: float, zone: str, *, hour: bool = True) -> str:
    local = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone))
    day = f"{local:%b} {local.day}"
    return f"{day} {local:%H:%M}" if hour else day
