"""Whether a rule is about an incident. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tracewatch.records import SEVERITIES, AlertRule, Incident

DEFAULT = AlertRule(
    name="default",
    description="Incidents of high and critical severity that no rule of your own tells of one by one.",
    severity="high",
    changed_at=0.0,
    changed_by="tracewatch",
)
"""In force unless a rule of that name replaces it; it alone is asked after all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An incident as it stands at a moment, with what its findings add."""

    incident: Incident
    metrics: frozenset[str] = frozenset()
    """Those of all its findings; that of the incident always counts."""
    types: frozenset[str] = frozenset()
    ours: bool = False
    """Whether it was a rule that acknowledged it, and nobody else."""
    wanted: bool = False
    """Whether somebody opened it again: then no rule acknowledges it."""


def matches(rule: AlertRule, seen: Seen) -> bool:
    """Whether a rule is about an incident as it stands."""
    it = seen.incident
    if rule.condition or (it.rule and rule.name != DEFAULT.name):
        return it.rule == rule.name and at_least(it.severity, rule.severity)
    return (
        at_least(it.severity, rule.severity)
        and (not rule.kinds or it.kind in rule.kinds)
        and (not rule.states or it.state in rule.states)
        and (rule.confidence is None or it.confidence_score >= rule.confidence)
        and (rule.cost_effect_usd is None or (it.cost_effect_usd or 0.0) >= rule.cost_effect_usd)
        and _any(rule.metrics, {it.metric_name, *seen.metrics})
        and _any(rule.types, {it.metric_name, *seen.types})
        and _is_about(rule.slice, it.slice or {})
    )


def at_least(severity: str, least: str) -> bool:
    """Whether something is at least that bad.

    >>> at_least("high", "medium")
    True
    """
    return SEVERITIES.index(severity) >= SEVERITIES.index(least)


def _any(patterns: Collection[str], names: Collection[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _is_about(wanted: Mapping[str, Collection[str | None]] | None, its: Mapping[str, object]) -> bool:
    """Whether the calls of an incident are those a rule is about. One about all calls has no value in a column."""
    for name, values in (wanted or {}).items():
        given = its.get(name)
        if given is None:
            if None not in values:
                return False
        elif not any(fnmatchcase(str(given), each) for each in values if each is not None):
            return False
    return True
