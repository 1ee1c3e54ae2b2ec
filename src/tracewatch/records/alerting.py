"""Who is told what: rules, channels, what was put on its way, and what people said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Json, Record, Texts, Time, column
from tracewatch.records.detection import KINDS, SEVERITIES

EVENTS = ("opened", "grown", "reopened", "recovered", "digest", "summary", "test")
DELIVERY_STATES = ("waiting", "sending", "sent", "failed", "dead", "gathered")
VERDICTS = ("useful", "expected", "noise")
LASTING = ("open", "growing")
"""States of an incident in which it may be told of; what looks healed is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule(Record):
    """Which incidents are told to whom, and when: one entry of `alerts.yaml`. What a rule does not name, it lets be."""

    table: ClassVar[str] = "tracewatch_alert_rules"
    noun: ClassVar[str] = "alert rule"
    newest_by: ClassVar[str] = "changed_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    name: str = column("What it is called.", key=True)
    description: str = column("What it is for, in its owner's words.", default="")
    enabled: bool = column("Whether it tells anything.", default=True)
    types: Texts = column("Anomaly types, such as cost or duration; * stands for anything.", default=())
    metrics: Texts = column(
        "Metrics that the incident touches, its symptoms included, such as cost_usd or metadata.*.", default=()
    )
    severity: str = column("How bad it must be at least.", default="low", choices=SEVERITIES)
    slice: Json | None = column(
        "Which calls it must be about: columns with the values that will do, null for all calls of any value.",
        default=None,
    )
    kinds: Texts = column("What sort of movement it must be.", default=(), choices=KINDS)
    states: Texts = column("Where it must stand to be told at first.", default=(), choices=LASTING)
    confidence: float | None = column("How sure it must be at least, 0 to 1.", default=None)
    cost_effect_usd: float | None = column(
        "Money it must have cost beyond the usual so far.", default=None, unit="USD", label="Money at stake"
    )
    sustained_s: float = column("For how long it must have lasted.", default=0.0, unit="s", aliases="for")
    cooldown_s: float = column(
        "How long after telling of one incident the rule waits to tell of the next; what is over by then is not told.",
        default=0.0,
        unit="s",
        aliases="cooldown",
    )
    quiet_hours: Json | None = column(
        "When nothing is told: `from` and `until` (like 22:00), `zone` (like Europe/Berlin), `days` (mon … sun), and "
        "`unless`, the severity from which on it is told all the same. What still lasts is told afterwards.",
        default=None,
    )
    digest_s: float = column(
        "Tells of everything in one message each so long, instead of one by one; 0 is one by one.",
        default=0.0,
        unit="s",
        aliases="digest",
    )
    auto_acknowledge: str | None = column(
        "Up to which severity incidents are acknowledged by themselves, and so not told.",
        default=None,
        choices=SEVERITIES,
    )
    channels: Texts = column("Whom it tells: names of channels, or addresses; all channels when empty.", default=())
    escalate: Texts = column("Whom else it tells when an incident grows in severity.", default=())
    recovery: bool = column("Whether it tells when an incident is over.", default=True)
    labels: Json | None = column("Words of your own that go with each message.", default=None)
    condition: Json | None = column(
        "What makes an incident of its own: a threshold, a budget or no data. The rule then tells of those alone.",
        default=None,
    )
    changed_at: Time = column("When it was made or last changed.", label="Changed")
    changed_by: str = column("Who did that.", default="", label="By")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChannel(Record):
    """A way to people that rules may name."""

    table: ClassVar[str] = "tracewatch_alert_channels"
    noun: ClassVar[str] = "alert channel"
    newest_by: ClassVar[str] = "changed_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    name: str = column("What rules call it.", key=True)
    url: str = column("Its address; secrets in it are better written as ${NAME_OF_AN_ENVIRONMENT_VARIABLE}.")
    enabled: bool = column("Whether anything is sent to it.", default=True)
    changed_at: Time = column("When it was made or last changed.", label="Changed")
    changed_by: str = column("Who did that.", default="", label="By")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery(Record):
    """One message on its way to one channel: written down before it is sent, so that it is told once."""

    table: ClassVar[str] = "tracewatch_deliveries"
    noun: ClassVar[str] = "delivery"
    newest_by: ClassVar[str] = "created_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    key: str = column("Made from the incident, the event and the channel: the same for every attempt.", key=True)
    state: str = column("Where it stands.", default="waiting", choices=DELIVERY_STATES, sliced=True)
    channel: str = column("The channel it goes to; of an address that is not named, with its secrets masked.")
    recipient: str = column(
        "Which of several recipients of the channel it goes to, as a mark that tells them apart; empty where the "
        "channel has one.",
        default="",
    )
    rule: str = column("The rule that wants it told.", sliced=True)
    event: str = column("What it tells.", choices=EVENTS, sliced=True)
    incident_id: str | None = column("The incident it tells of.", default=None, label="Incident", sliced=True)
    episode: str = column("Which time this is that the incident is told of as new.", default="")
    severity: str = column("How bad it was when this was written.", choices=SEVERITIES, sliced=True)
    title: str = column("What it says, in one line.")
    message: Json = column("All it says.")
    created_at: Time = column("When it was decided.", label="Decided")
    due_at: Time = column("When it is to be tried, or tried again.", label="Due")
    attempts: int = column("How often it was tried.", default=0)
    claimed_by: str | None = column("The process that is sending it.", default=None, label="Sent by")
    claimed_until: Time | None = column("Until when that process has it to itself.", default=None)
    sent_at: Time | None = column("When it was taken by the receiver.", default=None, label="Sent")
    answer: str | None = column("What came back the last time it was tried.", default=None)
    token: str = column("What the message's links carry, so that whoever has it may say what it was worth.", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Record):
    """What somebody said of having been told: whether it was worth it. It changes nothing by itself."""

    table: ClassVar[str] = "tracewatch_verdicts"
    noun: ClassVar[str] = "verdict"
    newest_by: ClassVar[str] = "given_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    rule: str = column("The rule that had it told.", key=True)
    incident_id: str = column("The incident that was told of.", label="Incident", key=True)
    verdict: str = column("What it was worth.", choices=VERDICTS, sliced=True)
    given_at: Time = column("When it was said.", label="When")
    given_by: str = column("Who said it; 'link' is whoever had the message.", default="", label="Who")
