"""Where a rule stands with an incident, in a word. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Iterable

from tracewatch.alerts.deciding import Rules, acknowledged_by, episode_of, is_silent
from tracewatch.alerts.ledger import Ledger
from tracewatch.alerts.matching import Seen
from tracewatch.course import CLOSED
from tracewatch.dealing import is_snoozed
from tracewatch.records import AlertRule

STATES = {
    "ok": "Nothing that the rule is about lasts.",
    "learning": "The project's calls are still being learned from; nothing is found yet.",
    "pending": "An incident lasts that will be told when it has lasted long enough, or quiet hours are over.",
    "firing": "An incident lasts that was told.",
    "acknowledged": "Somebody, or the rule by itself, has taken note; it is silent.",
    "snoozed": "Somebody wants to hear of it later; it is silent until then.",
    "recovered": "The incident is over, and that was told.",
    "no_data": "Calls that should come do not, and that was told.",
    "paused": "The rule is switched off.",
}
"""Every state, and what it means."""
WORST = ("no_data", "firing", "pending", "snoozed", "acknowledged", "recovered", "ok")
"""Which state a rule has that is about several incidents: the first of these that one of them has."""


def state_of(rules: Rules, rule: AlertRule, seen: Seen, ledger: Ledger, now: float) -> str:
    """Where a rule stands with an incident."""
    it = seen.incident
    last = [each for channel in ledger.channels(it.id) if (each := ledger.last(it.id, channel)) is not None]
    ours = [each for each in last if each.rule == rule.name]
    if it.state == CLOSED:
        return "recovered" if ours else "ok"
    if not ours and all(each.name != rule.name for each in rules.about(seen)):
        return "ok"
    if is_snoozed(it, now):
        return "snoozed"
    if it.resolution_status in ("resolved", "dismissed"):
        return "ok"
    if is_silent(rules, seen, now) or acknowledged_by(rules, seen) is not None:
        return "acknowledged"
    told = any(each.episode == episode_of(it, now) and each.event != "recovered" for each in ours)
    if not told:
        return "pending"
    return "no_data" if it.kind == "silence" else "firing"


def summary(rule: AlertRule, states: Iterable[str], *, learning: bool) -> str:
    """The state of a rule over all its incidents."""
    if not rule.enabled:
        return "paused"
    there = set(states)
    worst = next((each for each in WORST if each in there), "ok")
    return "learning" if learning and worst == "ok" else worst
