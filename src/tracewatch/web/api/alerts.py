"""Alerts: rules, channels, what was sent, what it was worth, and what rules would have told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from tracewatch.alerts import outbox
from tracewatch.alerts.book import shown_rule
from tracewatch.alerts.kept import rules_of
from tracewatch.alerts.standing import Standing, standings
from tracewatch.alerts.verdicts import judge
from tracewatch.errors import DeliveryFailed, DeliveryRefused
from tracewatch.records import DELIVERY_STATES, VERDICTS, AlertRule, Delivery, Verdict, as_dict, iso
from tracewatch.stores.base import Filter
from tracewatch.times import parse_time
from tracewatch.web import alerting
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import USUAL, Limit
from tracewatch.web.forms import name_of
from tracewatch.web.gate import Admin, Reader, Writer
from tracewatch.web.serving import Server

router = APIRouter(prefix="/api/v1/alerts", tags=["alerts"], responses=shapes.REFUSALS)

INSIDE = frozenset({"message", "token", "claimed_by", "claimed_until"})
"""What is between the server and the receiver: the links of a message are for those who get it."""
DELIVERY, VERDICT = shapes.shape(Delivery, INSIDE), shapes.shape(Verdict)
MOST_RULES = 100
_WEB = r"^https?://[a-z]+(\.[a-z]+)*(/[A-Za-z0-9_-]*)*$"
UNSENT: shapes.Answers = {
    424: {"model": shapes.Refusal, "description": "The channel did not take it; the sentence says why."}
}


class Rule(BaseModel):
    """A rule in force, and where it stands."""

    name: str
    rule: dict[str, Any] = Field(description="As it stands in alerts.yaml; addresses are masked.")
    state: str = Field(
        description="ok, learning, pending, firing, acknowledged, snoozed, recovered, no_data or paused."
    )
    tells: list[str] = Field(description="The channels it tells.")
    told_30d: int = Field(description="How many incidents it told of in 30 days.")
    useful: int = Field(description="How many of them people called useful.")
    judged: int = Field(description="Of how many people said what they were worth.")
    precision: float | None = Field(description="Useful of judged; null before anybody has judged.")
    noisy: bool = Field(description="Whether it should be made narrower.")


class Channel(BaseModel):
    """A way to people."""

    name: str
    address: str = Field(description="Its address, with everything secret in it masked.")
    enabled: bool
    fixed: bool = Field(description="Whether TRACEWATCH_ALERT_CHANNELS or a rule gives it: it is changed there.")


class WantedChannel(BaseModel):
    """The channel that is to be kept."""

    url: str = Field(
        min_length=1,
        max_length=alerting.LONGEST_ADDRESS,
        description="Its address, such as https://hooks.example.com/in or ${TRACEWATCH_CHANNEL_OPS}, a variable.",
        json_schema_extra={"anyOf": [{"pattern": _WEB}, {"pattern": r"^\S+$"}]},
    )
    enabled: bool = True


class Asked(BaseModel):
    """What is to be gone through."""

    since: str = Field(default="30d", max_length=40, description="From when on: 7d, 30d, 2026-03-02 …")
    rules: list[dict[str, Any]] | None = Field(
        default=None, max_length=MOST_RULES, description="Rules as in alerts.yaml; those in force, if not given."
    )


class Planned(BaseModel):
    """What rules would have told."""

    since: str
    until: str
    incidents: int = Field(description="How many there were.")
    rules: list[dict[str, Any]] = Field(
        description="By rule: fired, messages, messages_per_week, incidents, and made: those that its condition would "
        "have made, which are not stored."
    )
    silent: list[str] = Field(description="Rules that would have told nothing.")
    untried: list[dict[str, Any]] = Field(
        description="Rules whose condition could not be tried on all of that time: rule, why."
    )
    missed: list[dict[str, Any]] = Field(description="High and critical incidents that nobody would have been told of.")


class Tried(BaseModel):
    """The channel that is to be tried."""

    channel: str = Field(min_length=1, max_length=alerting.LONGEST_ADDRESS, description="Its name.")


class Taken(BaseModel):
    """That a channel took a message."""

    taken: bool


class Said(BaseModel):
    """What a message was worth."""

    key: str = Field(min_length=1, max_length=200, description="The key of the delivery.")
    verdict: Literal[VERDICTS]  # type: ignore[valid-type]


class Removed(BaseModel):
    """How many were removed."""

    removed: int


@router.get("/rules", response_model=list[Rule])
def list_rules(server: Server, caller: Reader) -> Response:
    """The rules in force, the default last, with where they stand and what people said of what they told."""
    project = alerting.whole(caller).project
    found = standings(server.store, project, server.settings.alert_channels, server.clock())
    return shapes.told([_rule(each) for each in found.rules])


@router.put("/rules/{name}", response_model=Rule)
def put_rule(server: Server, caller: Admin, name: str, wanted: dict[str, Any]) -> Response:
    """Makes a rule, or changes the one of that name; the body is written as in alerts.yaml."""
    project, now = alerting.whole(caller).project, server.clock()
    found = server.store.get(AlertRule, {"project": project, "name": name})
    was = found if isinstance(found, AlertRule) else None
    rule = alerting.checked_rule(
        server.store, project, {**wanted, "name": name},
        settings=server.settings, who=name_of(server.store, caller), now=now, was=was,
    )  # fmt: skip
    alerting.keep_rule(server.store, rule, was)
    after = standings(server.store, project, server.settings.alert_channels, now)
    return shapes.told(_rule(next(each for each in after.rules if each.rule.name == rule.name)))


@router.delete("/rules/{name}", response_model=Removed, responses=shapes.MISSING)
def delete_rule(server: Server, caller: Admin, name: str) -> Response:
    """Takes a rule away; what it told stays told."""
    alerting.remove_rule(server.store, alerting.rule_named(server.store, alerting.whole(caller).project, name))
    return shapes.told({"removed": 1})


@router.get("/channels", response_model=list[Channel])
def list_channels(server: Server, caller: Reader) -> Response:
    """The channels of the project, those of the setting first."""
    found = alerting.ways(server.store, alerting.whole(caller).project, server.settings.alert_channels)
    return shapes.told([_channel(each) for each in found])


@router.put("/channels/{name}", response_model=Channel)
def put_channel(server: Server, caller: Admin, name: str, wanted: WantedChannel) -> Response:
    """Keeps a channel under a name; one of that name is replaced."""
    project = alerting.whole(caller).project
    kept = alerting.keep_channel(
        server.store, project, name, wanted.url,
        given=server.settings, enabled=wanted.enabled, who=name_of(server.store, caller), now=server.clock(),
    )  # fmt: skip
    found = alerting.ways(server.store, project, server.settings.alert_channels)
    return shapes.told(_channel(next(each for each in found if each.name == kept.name)))


@router.delete("/channels/{name}", response_model=Removed, responses=shapes.MISSING)
def delete_channel(server: Server, caller: Admin, name: str) -> Response:
    """Takes a channel away that no rule names."""
    project = alerting.whole(caller).project
    alerting.remove_channel(server.store, alerting.channel_named(server.store, project, name))
    return shapes.told({"removed": 1})


@router.post("/test", response_model=Taken, responses={**shapes.MISSING, **UNSENT})
def test_channel(server: Server, caller: Admin, wanted: Tried) -> Response:
    """Sends a sample to a channel, and says whether it was taken."""
    project = alerting.whole(caller).project
    try:
        alerting.try_channel(server.store, project, wanted.channel, given=server.settings, now=server.clock())
    except (DeliveryFailed, DeliveryRefused) as error:
        return shapes.told({"error": str(error)}, 424)
    return shapes.told({"taken": True})


@router.get("/deliveries", response_model=list[DELIVERY])  # type: ignore[valid-type]
def list_deliveries(
    server: Server,
    caller: Reader,
    state: Annotated[
        list[Literal[DELIVERY_STATES]] | None,  # type: ignore[valid-type]
        Query(description="Only those that stand so."),
    ] = None,
    limit: Limit = USUAL,
) -> Response:
    """What was put on its way, the newest first: to whom, how often it was tried, what came back."""
    found = outbox.deliveries_of(server.store, alerting.whole(caller).project, tuple(state or ()), limit)
    return shapes.told(shapes.plain(found, INSIDE))


@router.post("/deliveries/{key}/resend", response_model=DELIVERY, responses=shapes.MISSING)
def resend(server: Server, caller: Admin, key: str) -> Response:
    """Has a message that did not arrive tried anew."""
    again = outbox.resend(server.store, alerting.whole(caller).project, key, server.clock())
    return shapes.told(shapes.plain([again], INSIDE)[0])


@router.post("/plan", response_model=Planned)
def plan(server: Server, caller: Reader, wanted: Asked) -> Response:
    """What rules would have told of the incidents that are stored; nothing is sent."""
    project, now = alerting.whole(caller).project, server.clock()
    addresses, since = server.settings.alert_channels, parse_time(wanted.since, now)
    rules = rules_of(server.store, project)
    if wanted.rules is not None:
        rules = tuple(
            alerting.checked_rule(server.store, project, each, settings=server.settings, who="", now=now)
            for each in wanted.rules
        )
    found = alerting.planned(server.store, project, rules, addresses=addresses, since=since, now=now)
    return shapes.told({"since": iso(found.since), "until": iso(found.until), **found.row()})


@router.get("/verdicts", response_model=list[VERDICT])  # type: ignore[valid-type]
def list_verdicts(server: Server, caller: Reader, limit: Limit = USUAL) -> Response:
    """What people said of having been told, the newest first."""
    where = [Filter("project", "=", (alerting.whole(caller).project,))]
    return shapes.told(shapes.plain(server.store.page(Verdict, where, limit=limit).records))


@router.post("/verdicts", response_model=VERDICT, status_code=201, responses=shapes.MISSING)
def say_verdict(server: Server, caller: Writer, said: Said) -> Response:
    """Says what a message was worth, in place of what was said of that incident before."""
    project = alerting.whole(caller).project
    who = name_of(server.store, caller)
    return shapes.told(as_dict(judge(server.store, project, said.key, said.verdict, who=who, now=server.clock())), 201)


def _rule(each: Standing) -> dict[str, Any]:
    quality = each.quality
    return {
        "name": each.rule.name,
        "rule": shown_rule(each.rule),
        "state": each.state,
        "tells": list(each.audience),
        "told_30d": each.told,
        "useful": quality.useful,
        "judged": quality.judged,
        "precision": quality.precision,
        "noisy": quality.noisy,
    }


def _channel(each: alerting.Way) -> dict[str, Any]:
    return {"name": each.name, "address": each.address, "enabled": each.enabled, "fixed": each.fixed}
