"""How the rules of a project stand: their states, what they told lately, and what people said of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tracewatch.alerts.book import Book, shown_rule
from tracewatch.alerts.deciding import Rules
from tracewatch.alerts.kept import channels_of, rules_of
from tracewatch.alerts.ledger import OPENINGS
from tracewatch.alerts.states import state_of, summary
from tracewatch.alerts.telling import Alerting, ledger_of
from tracewatch.alerts.verdicts import Quality, qualities
from tracewatch.detectors.adaptive.settings import Settings
from tracewatch.records import AlertRule, Delivery, Headway
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S

TOLD_S = 30 * DAY_S
MOST_TOLD = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One rule, and where it stands."""

    rule: AlertRule
    state: str
    audience: tuple[str, ...]
    told: int
    """How many incidents it told of in 30 days, those that came back once more, digests included."""
    quality: Quality

    def as_row(self) -> dict[str, Any]:
        """That for JSON; addresses in the rule are masked."""
        return {
            **shown_rule(self.rule),
            "severity": self.rule.severity,
            "state": self.state,
            "tells": list(self.audience),
            "told_30d": self.told,
            "useful": self.quality.useful,
            "judged": self.quality.judged,
            "precision": self.quality.precision,
            "noisy": self.quality.noisy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """All rules of a project, the default last, and the channels with whether they are on."""

    rules: tuple[Standing, ...]
    channels: tuple[tuple[str, bool], ...]
    undelivered: int
    """Messages that were given up."""

    def sentences(self) -> Iterator[str]:
        """What deserves to be pointed out."""
        if not self.channels:
            yield (
                "There is no channel, so nobody is told of anything. Set TRACEWATCH_ALERT_CHANNELS, or describe one "
                "under channels in alerts.yaml"
            )
        else:
            yield f"Channels: {', '.join(name if on else f'{name} (off)' for name, on in self.channels)}"
        for each in self.rules:
            if each.quality.noisy:
                yield (
                    f"Rule {each.rule.name} is noisy: {each.quality.useful} of {each.quality.judged} messages were "
                    "called useful. Make it narrower (severity, for, slice), or turn it into a digest"
                )
        if self.undelivered:
            given_up = "1 message was" if self.undelivered == 1 else f"{self.undelivered:,} messages were"
            yield f"{given_up} given up. See them with: tracewatch alerts deliveries --state dead"


def standings(store: Store, project: str, addresses: str, now: float) -> Standings:
    """How the rules of a project stand; `addresses` are those of the setting."""
    kept, channels = rules_of(store, project), channels_of(store, project)
    rules, book = Rules.of(kept), Book(channels, addresses, kept)
    seen = Alerting(store, project, addresses).seen(rules, now)
    ledger = ledger_of(store, project, [each.incident.id for each in seen], rules.all, now)
    told, said, learning = _told(store, project, now), qualities(store, project), _learning(store, project)
    everything = [*kept, *([rules.default] if rules.default else [])]
    return Standings(
        rules=tuple(
            Standing(
                rule=rule,
                state=summary(rule, (state_of(rules, rule, each, ledger, now) for each in seen), learning=learning),
                audience=book.audience(rule),
                told=told.get(rule.name, 0),
                quality=said.get(rule.name, Quality()),
            )
            for rule in everything
        ),
        channels=tuple((name, book.is_on(name)) for name in book.names),
        undelivered=store.count(Delivery, [Filter("project", "=", (project,)), Filter("state", "=", ("dead",))]),
    )


def _told(store: Store, project: str, now: float) -> dict[str, int]:
    where = [Filter("project", "=", (project,)), Filter("created_at", ">=", (now - TOLD_S,))]
    told: dict[str, set[tuple[str | None, str]]] = defaultdict(set)
    for each in store.page(Delivery, where, limit=MOST_TOLD).records:
        if isinstance(each, Delivery) and each.event in (*OPENINGS, "digest"):
            told[each.rule].add((each.incident_id, each.episode))
    return {rule: len(some) for rule, some in told.items()}


def _learning(store: Store, project: str) -> bool:
    there = store.get(Headway, {"project": project})
    return isinstance(there, Headway) and there.learned_days <= Settings().warmup_days  # nothing is said before
