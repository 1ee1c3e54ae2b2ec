"""What is told at a moment, and to whom. Pure: no clock, no store; live and a plan ask the same questions here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tracewatch.alerts.ledger import Ledger, Telling
from tracewatch.alerts.matching import DEFAULT, Seen, at_least, matches
from tracewatch.alerts.quiet import is_quiet
from tracewatch.course import CLOSED, RECOVERING
from tracewatch.dealing import is_awake_again, is_snoozed
from tracewatch.records import SEVERITIES, AlertRule, Incident
from tracewatch.times import DAY_S, HOUR_S

MOST_AHEAD_S = HOUR_S  # of what clocks that are only a little wrong may be ahead
LONGEST_QUIET_S = 2 * DAY_S  # beyond a digest's own period it looks back so far: quiet hours may have held it up


class Audience(Protocol):
    """Who may be told: a `Book`, or what stands for one."""

    def audience(self, rule: AlertRule) -> tuple[str, ...]:
        """Whom a rule tells."""
        ...

    def meant(self, given: Sequence[str]) -> tuple[str, ...]:
        """The names of channels that a rule names."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in force: those that are switched on, and the default after them unless one of its name is there."""

    own: tuple[AlertRule, ...]
    default: AlertRule | None

    @classmethod
    def of(cls, rules: Sequence[AlertRule]) -> Rules:
        """Those in force of all a project has, in order of their names."""
        some = sorted((each for each in rules if each.enabled), key=lambda each: each.name)
        named = any(each.name == DEFAULT.name for each in rules)
        return cls(tuple(some), None if named else DEFAULT)

    @property
    def all(self) -> tuple[AlertRule, ...]:
        """All of them, the default last."""
        return self.own if self.default is None else (*self.own, self.default)

    def about(self, seen: Seen) -> tuple[AlertRule, ...]:
        """The rules that are about an incident as it stands; the default only where no other tells of it by itself."""
        some = tuple(each for each in self.own if matches(each, seen))
        by_itself = any(not each.digest_s for each in some)
        if not by_itself and self.default is not None and matches(self.default, seen):
            return (*some, self.default)
        return some


def decide(rules: Rules, book: Audience, seen: Sequence[Seen], ledger: Ledger, now: float) -> list[Telling]:
    """What is told now of incidents as they stand; the ledger knows it from then on. The worst is told first."""
    told: list[Telling] = []
    order = sorted(seen, key=lambda each: (-SEVERITIES.index(each.incident.severity), each.incident.detected_at))
    for each in order:
        for telling in _of_one(rules, book, each, ledger, now):
            ledger.add(telling)
            told.append(telling)
    for rule in rules.all:
        if rule.digest_s:
            told += _digests(rule, book, seen, ledger, now)
    return told


def acknowledged_by(rules: Rules, seen: Seen) -> AlertRule | None:
    """The rule by which an incident is acknowledged by itself, as bad as it is."""
    if seen.wanted or all(each.auto_acknowledge is None for each in rules.own):
        return None
    for rule in rules.about(seen):
        if rule.auto_acknowledge is not None and at_least(rule.auto_acknowledge, seen.incident.severity):
            return rule
    return None


def is_silent(rules: Rules, seen: Seen, now: float) -> bool:
    """Whether nobody wants to hear of an incident that is not over."""
    it = seen.incident
    if acknowledged_by(rules, seen) is not None:
        return True
    if it.resolution_status == "acknowledged":
        return not seen.ours and not is_awake_again(it, now)
    return it.resolution_status != "pending"


def episode_of(incident: Incident, now: float) -> str:
    """Which time this is that an incident is new: it came back, by itself or after people had settled or snoozed it."""
    parts = [str(incident.reopened)]
    if incident.regressed_at is not None:
        parts.append(f"regressed {incident.regressed_at}")
    if is_awake_again(incident, now):
        parts.append(f"awake {incident.snoozed_until or incident.snoozed_beyond}")
    return " ".join(parts)


def _of_one(rules: Rules, book: Audience, seen: Seen, ledger: Ledger, now: float) -> Iterator[Telling]:
    """What is told of one incident."""
    it = seen.incident
    if it.state == CLOSED:
        yield from _recovered(rules, it, ledger, now)
    elif not is_silent(rules, seen, now):
        named = {each.name: each for each in rules.all}
        yield from _grown(named, book, it, ledger, now)
        for rule in rules.about(seen):
            if not rule.digest_s:
                yield from _opened(rule, book, it, ledger, now)


def _opened(rule: AlertRule, book: Audience, it: Incident, ledger: Ledger, now: float) -> Iterator[Telling]:
    """That it is new, or is so again; of one that looks healed it is waited what becomes of it."""
    if it.state == RECOVERING or _waits(rule, it, now) or is_quiet(rule.quiet_hours, now, it.severity):
        return
    episode = episode_of(it, now)
    new = [each for each in book.audience(rule) if not ledger.knows(it.id, each, episode)]
    before = ledger.opened_at(rule.name)
    cooling = before is not None and 0 <= now - before < rule.cooldown_s
    if not new or (cooling and not _told_now(rule, it, ledger, now)):
        return
    for channel in new:
        event = "reopened" if ledger.opened(it.id, channel) else "opened"
        yield _telling(rule, channel, event, it, episode, now)


def _waits(rule: AlertRule, it: Incident, now: float) -> bool:
    """Whether it has not lasted long enough. What began well after now was stamped by a clock that went wrong."""
    return now - it.started_at < rule.sustained_s and it.started_at - now < MOST_AHEAD_S


def _told_now(rule: AlertRule, it: Incident, ledger: Ledger, now: float) -> bool:
    """Whether the rule tells of this very incident at this moment: to its other channels it is told at once, too."""
    last = (ledger.last(it.id, each) for each in ledger.channels(it.id))
    return any(each is not None and each.rule == rule.name and each.at == now for each in last)


def _grown(named: dict[str, AlertRule], book: Audience, it: Incident, ledger: Ledger, now: float) -> Iterator[Telling]:
    """That it is worse than was told: to those who know of it, and to those who are told only then."""
    worse: dict[str, AlertRule] = {}
    for channel in ledger.channels(it.id):
        last, worst = ledger.last(it.id, channel), ledger.worst(it.id, channel)
        rule = named.get(last.rule) if last else None
        if rule is None or last is None or last.event == "recovered" or worst is None:
            continue
        if SEVERITIES.index(it.severity) > SEVERITIES.index(worst) and not is_quiet(rule.quiet_hours, now, it.severity):
            worse[channel] = rule
    for rule in {each.name: each for each in worse.values()}.values():
        worse |= {each: rule for each in book.meant(rule.escalate) if ledger.last(it.id, each) is None}
    for channel, rule in worse.items():
        yield _telling(rule, channel, "grown", it, episode_of(it, now), now)


def _recovered(rules: Rules, it: Incident, ledger: Ledger, now: float) -> Iterator[Telling]:
    """That it is over, to everybody who was told of it, once; people who settled it know that."""
    if it.resolution_status in ("resolved", "dismissed") or is_snoozed(it, now):
        return
    waiting = ledger.waiting(it.id)
    named = {each.name: each for each in rules.all} if waiting else {}
    for channel, last in waiting:
        rule = named.get(last.rule)
        if rule is None:
            continue
        if rule.recovery and not is_quiet(rule.quiet_hours, now, it.severity):
            yield _telling(rule, channel, "recovered", it, last.episode, now)


def _telling(rule: AlertRule, channel: str, event: str, it: Incident, episode: str, now: float) -> Telling:
    return Telling(
        rule=rule.name, channel=channel, event=event, severity=it.severity, at=now, incident_id=it.id, episode=episode
    )


def _digests(rule: AlertRule, book: Audience, seen: Sequence[Seen], ledger: Ledger, now: float) -> Iterator[Telling]:
    """What opened or ended since the last digest, in one message; periods are counted in UTC."""
    until = now // rule.digest_s * rule.digest_s
    for channel in book.audience(rule):
        before = ledger.digested_until(rule.name, channel)
        if before is not None and before >= until:
            continue
        # Without an earlier one it goes back to when the rule was made: quiet hours may have held up the first.
        begun = min(rule.changed_at, until - rule.digest_s) if before is None else before
        since = max(begun, until - rule.digest_s - LONGEST_QUIET_S)
        some = [each.incident for each in seen if _in_digest(rule, each, since, until)]
        worst = max((each.severity for each in some), key=SEVERITIES.index, default=SEVERITIES[0])
        if is_quiet(rule.quiet_hours, now, worst):
            continue
        ledger.digested(rule.name, channel, until)
        if some:
            yield Telling(
                rule=rule.name, channel=channel, event="digest", severity=worst, at=now, episode=f"{until:.0f}",
                about=tuple(each.id for each in some),
            )  # fmt: skip


def _in_digest(rule: AlertRule, seen: Seen, since: float, until: float) -> bool:
    it = seen.incident
    if it.resolution_status == "dismissed" or not matches(rule, seen):
        return False
    ended = it.state == CLOSED and since <= it.updated_at < until
    return since <= it.detected_at < until or ended
