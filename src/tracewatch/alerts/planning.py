"""What rules would have told over the past: the deciding of every day, with another clock and nothing sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.alerts.book import Book
from tracewatch.alerts.deciding import Rules, decide
from tracewatch.alerts.history import Past
from tracewatch.alerts.ledger import OPENINGS, Ledger, Telling
from tracewatch.alerts.matching import DEFAULT, at_least
from tracewatch.course import CLOSED, RECOVERING
from tracewatch.records import AlertRule, Incident, iso
from tracewatch.times import DAY_S

STEP_S = 300.0  # the engine finds what it finds at the end of five minutes
WEEK_S = 7 * DAY_S
LEAST = "high"
"""How bad an incident is that somebody should be told of."""
NOBODY = "(no channel yet)"


class _Planned:
    """An address book that always has somebody, so that a plan tells something before there is any channel."""

    def __init__(self, book: Book) -> None:
        self.book = book

    def audience(self, rule: AlertRule) -> tuple[str, ...]:
        """Whom a rule tells."""
        return self.book.audience(rule) or (NOBODY,)

    def meant(self, given: Sequence[str]) -> tuple[str, ...]:
        """The names of channels that a rule names."""
        return self.book.meant(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """What a rule would have told."""

    rule: str
    incidents: tuple[str, ...]
    """Which, in the order in which they would have been told first."""
    fired: int
    """How often: an incident that came back counts again, a digest once."""
    messages: int
    """To all channels, growth, ends and digests included."""
    made: tuple[Incident, ...] = ()
    """Incidents that its condition would have made, which are not stored."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of trying the condition of a rule on the past."""

    rule: str
    pasts: tuple[Past, ...]
    """The incidents that it would have made, with their courses."""
    since: float
    """From when on it was tried (UTC epoch seconds)."""
    why: str = ""
    """What could not be tried, and why; empty where all of it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What some rules would have told between two moments."""

    since: float
    until: float
    ruled: Mapping[str, Ruled]
    """By the name of the rule; the default is among them where it is in force."""
    missed: tuple[Incident, ...]
    """Incidents of high and critical severity that nobody would have been told of, the worst first."""
    incidents: int
    """How many there were in all."""
    untried: Mapping[str, str]
    """By rule what of the past its condition was not tried on, and why."""

    @property
    def weeks(self) -> float:
        """How long that is."""
        return max((self.until - self.since) / WEEK_S, 1 / 7)

    def row(self) -> dict[str, Any]:
        """All of it but the times, as JSON has it."""
        return {
            "incidents": self.incidents,
            "rules": [
                {
                    "rule": name,
                    "fired": each.fired,
                    "incidents": list(each.incidents),
                    "messages": each.messages,
                    "messages_per_week": round(self.a_week(name), 2),
                    "made": [_row(it) for it in each.made],
                }
                for name, each in self.ruled.items()
            ],
            "silent": list(self.silent),
            "untried": [{"rule": name, "why": why} for name, why in self.untried.items()],
            "missed": [{"id": each.id, "severity": each.severity, "title": each.title} for each in self.missed],
        }

    def a_week(self, rule: str) -> float:
        """How many messages a week a rule would have sent."""
        ruled = self.ruled.get(rule)
        return ruled.messages / self.weeks if ruled else 0.0

    @property
    def silent(self) -> tuple[str, ...]:
        """Rules that would have told nothing; that the default has nothing left to tell is as it should be."""
        quiet = (name for name, each in self.ruled.items() if not each.messages)
        return tuple(name for name in quiet if name != DEFAULT.name and name not in self.untried)


def plan(
    rules: Rules, book: Book, pasts: Sequence[Past], since: float, until: float, tried: Sequence[Tried] = ()
) -> Plan:
    """What rules would have told of incidents of the past (UTC epoch seconds).

    `tried` is what came of their conditions; of one that is not among it, what it has made since it is in force counts.
    """
    trials = {each.rule: each for each in tried}
    asking = [each.name for each in rules.all if each.condition]
    pasts = [each for each in pasts if each.incident.rule is None or _is_kept(each, asking, trials)]
    pasts += [past for each in tried for past in each.pasts]
    told = replay(rules, book, pasts, since, until)
    by_rule: dict[str, list[Telling]] = defaultdict(list)
    for each in told:
        by_rule[each.rule].append(each)
    ruled = {each.name: _ruled(each, by_rule[each.name], trials.get(each.name)) for each in rules.all}
    untried = {name: trials[name].why if name in trials else "it was not tried on the past" for name in asking}
    known = {id_ for each in told for id_ in (*each.about, each.incident_id)}
    there = [each.incident for each in pasts if since <= each.incident.detected_at < until]
    missed = [each for each in there if at_least(each.severity, LEAST) and each.id not in known]
    missed.sort(key=lambda each: (each.severity != "critical", each.detected_at))
    return Plan(
        since=since, until=until, ruled=ruled, missed=tuple(missed), incidents=len(there),
        untried={name: why for name, why in untried.items() if why},
    )  # fmt: skip


def _is_kept(past: Past, asking: Sequence[str], trials: Mapping[str, Tried]) -> bool:
    """Whether an incident that a condition has made stands for it: where it was not tried, and is asked for still."""
    return past.incident.rule in asking and past.incident.rule not in trials


def replay(rules: Rules, book: Book, pasts: Sequence[Past], since: float, until: float) -> list[Telling]:
    """What would have been told, in order. What was open before is taken as told, where a rule is about it."""
    audience, ledger, told = _Planned(book), Ledger(), list[Telling]()
    coming = sorted(pasts, key=lambda each: each.times[0], reverse=True)
    there: list[Past] = []
    longest = max(each.digest_s for each in rules.all) if rules.all else 0.0
    now = since // STEP_S * STEP_S
    openings = _openings(pasts)
    while True:
        while coming and coming[-1].times[0] <= now:
            there.append(coming.pop())
        there = [each for each in there if each.until + longest >= now]
        seen = [found for each in there if (found := each.at(now)) is not None]
        if seen or longest:
            some = decide(rules, audience, seen, ledger, now)
            told += some if now > since else []
        if not longest:  # of what is over only digests tell again, and of so many each step would ask once more
            there = [each for each in there if not _is_told(each, ledger, now)]
        if now >= until:
            return told
        step = (now // STEP_S + 1) * STEP_S
        following = step if there or longest else max(step, _next(coming, now))
        while openings and openings[-1] <= now:
            openings.pop()
        now = min(following, until, *openings[-1:])  # what came since the last step counts too


def _openings(pasts: Sequence[Past]) -> list[float]:
    """When conditions opened incidents, the last first: live these are told at once, and may be over in a step."""
    found: set[float] = set()
    for each in pasts:
        if each.incident.rule is not None:
            lasting = [phase.incident.state not in (CLOSED, RECOVERING) for phase in each.phases]
            began = zip(each.times, lasting, [False, *lasting], strict=False)
            found.update(at for at, lasts, did in began if lasts and not did)
    return sorted(found, reverse=True)


def _is_told(past: Past, ledger: Ledger, now: float) -> bool:
    """Whether an incident is over for good, and nobody waits to hear so."""
    over = past.phases[-1].incident.state == CLOSED and now >= past.times[-1]
    return over and not ledger.waiting(past.incident.id)


def _next(coming: Sequence[Past], now: float) -> float:
    """The step in which the next incident is known; nothing happens before."""
    return -(-coming[-1].times[0] // STEP_S) * STEP_S if coming else float("inf")


def _ruled(rule: AlertRule, told: Sequence[Telling], tried: Tried | None) -> Ruled:
    openings = [each for each in told if each.event in (*OPENINGS, "digest")]
    about = [id_ for each in told for id_ in (each.about or (each.incident_id,)) if id_ is not None]
    return Ruled(
        rule=rule.name,
        incidents=tuple(dict.fromkeys(about)),
        fired=len({(each.incident_id, each.episode) for each in openings})
        + sum(each.event == "digest" for each in told),
        messages=len(told),
        made=tuple(each.incident for each in tried.pasts) if tried else (),
    )


def _row(it: Incident) -> dict[str, Any]:
    return {
        "id": it.id, "severity": it.severity, "title": it.title, "since": iso(it.started_at),
        "until": None if it.closed_at is None else iso(it.closed_at),
    }  # fmt: skip
