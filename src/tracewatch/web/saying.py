"""A rule in one sentence: whom it tells of what, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracewatch import formats
from tracewatch.alerts.checking import as_duration
from tracewatch.alerts.conditions import Budget, NoData, Threshold, condition_of
from tracewatch.explaining.measures import measure_of
from tracewatch.explaining.saying import noun
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import AlertRule

MOST_NAMED = 3


def rule_in_words(rule: AlertRule, audience: Sequence[str]) -> str:
    """The sentence.

    >>> rule_in_words(AlertRule(name="costs", metrics=("cost_usd",), severity="high", sustained_s=600.0,
    ...                         changed_at=0.0), ["ops"])
    'Tells ops of incidents of high severity or worse that touch cost_usd, once they have lasted 10m.'
    """
    condition = condition_of(rule)
    about = _condition(condition) if condition else f"of {_incidents(rule)}"
    parts = [f"Tells {_listed(audience) or 'nobody'} {about}", *_manner(rule)]
    return f"{', '.join(each for each in parts if each)}."


def _incidents(rule: AlertRule) -> str:
    worse = "" if rule.severity == "critical" else " or worse"
    severity = "every severity" if rule.severity == "low" else f"{rule.severity} severity{worse}"
    touched = [*rule.metrics, *rule.types]
    clauses = [
        f"that touch {_listed(touched, 'or')}" if touched else "",
        f"in {_slice(rule.slice)}" if rule.slice else "",
        f"of kind {_listed(rule.kinds, 'or')}" if rule.kinds else "",
        f"with a confidence of at least {rule.confidence:g}" if rule.confidence is not None else "",
        f"that cost {formats.money(rule.cost_effect_usd)} or more" if rule.cost_effect_usd is not None else "",
    ]
    return " ".join(each for each in (f"incidents of {severity}", *clauses) if each)


def _condition(condition: Threshold | Budget | NoData) -> str:
    where = f" in {_slice(condition.slice)}" if condition.slice else ""
    match condition:
        case Threshold():
            above = condition.above is not None
            limit = formats.amount(condition.above if above else condition.below, measure_of(condition.metric).unit)
            limit = limit.replace(formats.THIN, " ")
            side = "above" if above else "below"
            window = as_duration(condition.window_s)
            known = METRIC_OF.get(condition.metric)
            name = known.label if known else condition.metric
            return f"when '{name}' is {side} {limit} over {window}{where}{_each(condition.by)}"
        case Budget():
            usd = condition.usd is not None
            amount = formats.money(condition.usd) if usd else f"{formats.count(round(condition.tokens or 0))} tokens"
            amount = amount.replace(formats.THIN, " ")
            verb = "is spent" if usd else "are used"
            return f"when more than {amount} {verb} in a {condition.per}, or will be{where}{_each(condition.by)}"
        case NoData():
            return f"when no call comes for {as_duration(condition.for_s)}{where}"


def _each(by: str | None) -> str:
    return f", each {noun(by)} by itself" if by else ""


def _manner(rule: AlertRule) -> Iterator[str]:
    """When, and how often."""
    if rule.sustained_s:
        yield f"once they have lasted {as_duration(rule.sustained_s)}"
    if rule.digest_s:
        yield f"in one message each {as_duration(rule.digest_s)}"
    if rule.cooldown_s:
        yield f"one in {as_duration(rule.cooldown_s)} at most"
    if rule.quiet_hours:
        hours: Mapping[str, Any] = rule.quiet_hours
        unless = f" unless {hours['unless']} or worse" if hours.get("unless") else ""
        yield f"not from {hours.get('from')} to {hours.get('until')} {hours.get('zone', 'UTC')}{unless}"
    if rule.auto_acknowledge:
        yield f"up to {rule.auto_acknowledge} they are acknowledged by themselves"
    if not rule.recovery:
        yield "and not when they are over"


def _slice(slice: Mapping[str, Any]) -> str:
    return " and ".join(
        f"{noun(name)} {_listed(['any' if each is None else str(each) for each in values], 'or')}"
        for name, values in slice.items()
    )


def _listed(names: Sequence[str], word: str = "and") -> str:
    return formats.listed(names, word, most=MOST_NAMED)
