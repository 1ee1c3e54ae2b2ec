"""Rules, channels and messages of a project as pages and API show and change them; no address is shown as it is."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import yaml

from tracewatch import settings as environment
from tracewatch.access import Caller
from tracewatch.alerts import planning
from tracewatch.alerts.book import Book, called, is_a_variable, shown_rule, split
from tracewatch.alerts.checking import is_address, read_rule
from tracewatch.alerts.deciding import Rules
from tracewatch.alerts.history import pasts
from tracewatch.alerts.kept import book_of, channels_of, rules_of
from tracewatch.alerts.wording import sample
from tracewatch.channels import mask, open_channel
from tracewatch.checks.trying import tried
from tracewatch.errors import BadRules, NotFound, RightMissing
from tracewatch.records import AlertChannel, AlertRule, Delivery
from tracewatch.settings import Settings
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S

LONGEST_NAME = 80
VARIABLES = "TRACEWATCH_CHANNEL_"
"""How variables of the server's environment begin that anybody may name who may change channels."""
LONGEST_ADDRESS = 2_000
MOST_CHANNELS = 100
MOST_TOLD = 100  # messages of an incident
PLAN_S = 10.0  # that somebody may wait for conditions to be tried on the past


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A channel as it may be shown."""

    name: str
    address: str
    """With its secrets masked; what a variable of the environment holds is not looked up."""
    enabled: bool
    fixed: bool
    """Whether the setting or a rule gives it, so that it cannot be changed here."""


def whole(caller: Caller) -> Caller:
    """The caller, who sees all of a project: rules and messages are about everybody's calls. Raises RightMissing."""
    if caller.user_id is not None:
        raise RightMissing(right="the alerts of a project, which are about the calls of all its users")
    return caller


def ways(store: Store, project: str, addresses: str) -> tuple[Way, ...]:
    """All channels of a project, those of TRACEWATCH_ALERT_CHANNELS (`addresses`) first."""
    kept = {each.name: each for each in channels_of(store, project)}
    book = book_of(store, project, addresses)
    return tuple(
        Way(
            name=name,
            address=_shown(kept[name].url) if name in kept else name,
            enabled=book.is_on(name),
            fixed=name not in kept,
        )
        for name in book.names
    )


def as_yaml(rule: AlertRule) -> str:
    """A rule as it stands in alerts.yaml."""
    return yaml.safe_dump([shown_rule(rule)], sort_keys=False, allow_unicode=True, width=100)


def rule_named(store: Store, project: str, name: str) -> AlertRule:
    """A rule that is kept. Raises NotFound."""
    found = store.get(AlertRule, {"project": project, "name": name})
    if not isinstance(found, AlertRule):
        hint = "See them with: tracewatch alerts list"
        raise NotFound(what="alert rule", given=name, where=f"project {project}", hint=hint)
    return found


def checked_rule(
    store: Store,
    project: str,
    given: object,
    *,
    settings: Settings,
    who: str,
    now: float,
    was: AlertRule | None = None,
) -> AlertRule:
    """A rule from its written form; masked addresses stand for those of the rule that it replaces. Raises BadRules."""
    known = book_of(store, project, settings.alert_channels).names
    rule, mistakes = read_rule(given, project=project, now=now, who=who, known=known)
    if rule is None:
        raise BadRules(why="; ".join(each.why for each in mistakes))
    before = (*was.channels, *was.escalate) if was else ()
    meant = {called(each): each for each in before if is_address(each)}
    for each in (*rule.channels, *rule.escalate):
        if each not in meant and each not in before:
            _check_variables(each, settings.channel_variables)
    return replace(
        rule,
        channels=tuple(meant.get(each, each) for each in rule.channels),
        escalate=tuple(meant.get(each, each) for each in rule.escalate),
    )


def keep_rule(store: Store, rule: AlertRule, was: AlertRule | None) -> None:
    """Puts a rule in force, in place of the one it was. Raises BadRules where its new name is taken."""
    if was is None or was.name != rule.name:
        taken = store.get(AlertRule, {"project": rule.project, "name": rule.name})
        if taken is not None and was is not None:
            raise BadRules(why=f"there is a rule '{rule.name}' already: choose another name")
    store.put([rule])
    if was is not None and was.name != rule.name:
        remove_rule(store, was)


def remove_rule(store: Store, rule: AlertRule) -> None:
    """Takes a rule away; what it told stays told."""
    store.remove(AlertRule, [Filter("project", "=", (rule.project,)), Filter("name", "=", (rule.name,))])


def keep_channel(
    store: Store, project: str, name: str, url: str, *, given: Settings, enabled: bool = True, who: str, now: float
) -> AlertChannel:
    """Keeps a channel under a name; one of that name is replaced. Raises BadRules, UnknownChannel or UnsetVariable."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or is_address(name):
        raise BadRules(why=f"a channel has a name of at most {LONGEST_NAME} letters, such as ops")
    if len(url) > LONGEST_ADDRESS:
        raise BadRules(why=f"the address of a channel has at most {LONGEST_ADDRESS:,} characters")
    there = channels_of(store, project)
    if len(there) >= MOST_CHANNELS and name not in {each.name for each in there}:
        raise BadRules(why=f"a project has at most {MOST_CHANNELS} channels")
    _check_variables(url, given.channel_variables)
    open_channel(environment.filled(url))
    channel = AlertChannel(project=project, name=name, url=url, enabled=enabled, changed_at=now, changed_by=who)
    store.put([channel])
    return channel


def _check_variables(address: str, named: str) -> None:
    """Keeps the server's environment in the house: what is no address of a channel is not to be asked for here.

    Within another's address a variable would be sent to that other. Whoever runs the server may write any in
    alerts.yaml. `named` are those of the setting. Raises BadRules.
    """
    if "${" not in address:
        return
    if not is_a_variable(address):
        raise BadRules(
            why="an address given here is a variable of the server's environment as a whole, such as "
            f"${{{VARIABLES}OPS}}, or has none in it: apply an alerts.yaml on the server for others"
        )
    name = address[2:-1]
    if not name.startswith(VARIABLES) and name not in re.split(r"[\s,]+", named):
        raise BadRules(
            why=f"an address given here names a variable that begins with {VARIABLES}, or one of "
            f"TRACEWATCH_CHANNEL_VARIABLES, and {name} is neither"
        )


def channel_named(store: Store, project: str, name: str) -> AlertChannel:
    """A channel that is kept. Raises NotFound."""
    found = store.get(AlertChannel, {"project": project, "name": name})
    if not isinstance(found, AlertChannel):
        hint = "Those of TRACEWATCH_ALERT_CHANNELS and of rules are changed there"
        raise NotFound(what="alert channel", given=name, where=f"project {project}", hint=hint)
    return found


def remove_channel(store: Store, channel: AlertChannel) -> None:
    """Takes a channel away. Raises BadRules while a rule names it."""
    naming = [
        each.name for each in rules_of(store, channel.project) if channel.name in (*each.channels, *each.escalate)
    ]
    if naming:
        raise BadRules(why=f"the channel '{channel.name}' is named by {', '.join(naming)}: change that first")
    store.remove(AlertChannel, [Filter("project", "=", (channel.project,)), Filter("name", "=", (channel.name,))])


def try_channel(store: Store, project: str, name: str, *, given: Settings, now: float) -> None:
    """Sends a sample. Raises DeliveryFailed, DeliveryRefused, or what opening the channel raises."""
    book = book_of(store, project, given.alert_channels, private=given.private_channels)
    if name not in book.names:
        raise NotFound(what="alert channel", given=name, where=f"project {project}", hint="Describe it first")
    book.open(name).send(sample(project, secrets.token_hex(12), now, given.public_url))


def planned(
    store: Store, project: str, rules: Sequence[AlertRule], *, addresses: str, since: float, now: float
) -> planning.Plan:
    """What rules would have told from a moment on until now."""
    book = Book(channels_of(store, project), addresses, rules)
    found = tried(store, rules, since, now, seconds=PLAN_S)
    return planning.plan(Rules.of(rules), book, pasts(store, project, since, now), since, now, found)


def with_rule(store: Store, project: str, rule: AlertRule, was: AlertRule | None) -> list[AlertRule]:
    """The rules of a project as they would be with one more, or another in place of one."""
    gone = {rule.name, was.name if was else rule.name}
    return [*(each for each in rules_of(store, project) if each.name not in gone), rule]


def told_of(store: Store, caller: Caller, incident_id: str) -> tuple[Delivery, ...]:
    """What was told of an incident, the oldest first; nothing to whoever sees the rows of one user alone."""
    if caller.user_id is not None:
        return ()
    where = [Filter("project", "=", (caller.project,)), Filter("incident_id", "=", (incident_id,))]
    found = store.page(Delivery, where, limit=MOST_TOLD).records
    return tuple(each for each in reversed(found) if isinstance(each, Delivery))


def undelivered(store: Store, caller: Caller, now: float) -> Delivery | None:
    """The newest message of the last day that was given up, where nothing has arrived in that channel since."""
    if caller.user_id is not None:
        return None
    theirs = [Filter("project", "=", (caller.project,)), Filter("created_at", ">=", (now - DAY_S,))]
    for each in store.page(Delivery, [*theirs, Filter("state", "=", ("dead",))], limit=1).records:
        if isinstance(each, Delivery):
            since = [Filter("channel", "=", (each.channel,)), Filter("sent_at", ">=", (each.created_at,))]
            return None if store.exists(Delivery, [*theirs, *since]) else each
    return None


def masked_addresses(addresses: str) -> str:
    """The setting TRACEWATCH_ALERT_CHANNELS as it may be shown."""
    return " ".join(called(each) for each in split(addresses))


def _shown(url: str) -> str:
    """An address, of which variables are named and not looked up.

    >>> _shown("${SLACK_WEBHOOK_URL}")
    '${SLACK_WEBHOOK_URL}'
    """
    return called(url) if "${" in url else mask(url)
