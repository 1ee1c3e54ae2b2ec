"""After each pass: how things stand is read, what is to be told is decided, written down and so put on its way."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from tracewatch import dealing
from tracewatch.alerts import lines
from tracewatch.alerts.book import Book
from tracewatch.alerts.deciding import LONGEST_QUIET_S, Rules, acknowledged_by, decide
from tracewatch.alerts.gathering import gathered
from tracewatch.alerts.kept import channels_of, rules_of
from tracewatch.alerts.ledger import OPENINGS, Ledger, Telling
from tracewatch.alerts.matching import Seen
from tracewatch.alerts.wording import MOST_LISTED, digest_of, in_order, message_of
from tracewatch.channels import Message, as_json
from tracewatch.course import CLOSED
from tracewatch.records import AlertRule, Anomaly, Deed, Delivery, Headway, Incident, columns
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S, HOUR_S

FRESH_S = 6 * HOUR_S  # an open incident of calls that were judged longer ago is history, and not told as news
CLOSED_FOR_S = 3 * DAY_S  # for so long it is looked whether an end is to be told: quiet hours may be in between
MOST_DEALT = 200  # incidents that rules acknowledge in one pass, a few milliseconds each
MOST_VALUES = 500  # of one question


@dataclass(slots=True)
class Alerting:
    """Tells of the incidents of one project. What was told is read off the deliveries, so any process may go on."""

    store: Store
    project: str
    addresses: str = ""
    """Those of TRACEWATCH_ALERT_CHANNELS."""
    public_url: str = ""
    _names: dict[str, tuple[int, frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """Of each incident how many findings it had, with their metrics and types."""

    def run(self, now: float) -> tuple[Delivery, ...]:
        """Puts on its way what is new to tell; `now` is the clock. Returns what is written down for the first time."""
        kept, channels = rules_of(self.store, self.project), channels_of(self.store, self.project)
        rules, book = Rules.of(kept), Book(channels, self.addresses, kept)
        if not book.names and not any(each.auto_acknowledge for each in rules.own):
            return ()
        seen = self.seen(rules, now)
        if not seen:
            return ()
        seen = self._acknowledge(rules, seen, now)
        ledger = ledger_of(self.store, self.project, [each.incident.id for each in seen], rules.all, now)
        worst = {(each.incident.id, name): ledger.worst(each.incident.id, name) for each in seen for name in book.names}
        told = decide(rules, book, self._news(seen, now), ledger, now)
        named = {each.name: each for each in rules.all}
        incidents = {each.incident.id: each.incident for each in seen}
        return tuple(self._written(told, named, incidents, worst))

    def _written(
        self,
        told: Sequence[Telling],
        named: Mapping[str, AlertRule],
        incidents: Mapping[str, Incident],
        worst: Mapping[tuple[str, str], str | None],
    ) -> Iterator[Delivery]:
        """Writes down what is told, and says what is sent of it.

        A summary is written in one go with what it stands for, which is not sent itself, and first: whoever is killed
        between tells the rest one by one in the next pass, and nothing twice.
        """
        within: set[str] = set()
        for summary, some in gathered(told, self.project):
            message = self._of_many(summary, named[summary.rule], incidents)
            parts = [self._within(each, incidents[each.incident_id or ""]) for each in some]
            within |= {each.key for each in parts}
            if self.store.add([self._delivery(summary, message), *parts]):
                yield self._delivery(summary, message)
        single = [each for each in told if each.key(self.project) not in within]
        whole = {each.id: each for each in self._whole(each.incident_id for each in single)}
        for each in single:
            rule, token = named[each.rule], secrets.token_urlsafe(16)
            if each.incident_id is None:
                message = self._of_many(each, rule, incidents)
            else:
                it, before = whole.get(each.incident_id), worst.get((each.incident_id, each.channel))
                message = message_of(
                    each, rule, it or incidents[each.incident_id], key=each.key(self.project), token=token,
                    public_url=self.public_url, before=before,
                )  # fmt: skip
            delivery = self._delivery(each, message, token)
            if self.store.add([delivery]):
                yield delivery

    def _of_many(self, telling: Telling, rule: AlertRule, incidents: Mapping[str, Incident]) -> Message:
        """What is told of many incidents at once."""
        some = in_order([incidents[each] for each in telling.about])
        whole = {each.id: each for each in self._whole(each.id for each in some[:MOST_LISTED])}
        return digest_of(
            telling, rule, [whole.get(each.id, each) for each in some],
            project=self.project, key=telling.key(self.project), public_url=self.public_url,
        )  # fmt: skip

    def _whole(self, ids: Iterable[str | None]) -> Iterator[Incident]:
        """Incidents with all that is known of them."""
        some = tuple(dict.fromkeys(each for each in ids if each is not None))
        for at in range(0, len(some), MOST_VALUES):
            where = [Filter("project", "=", (self.project,)), Filter("id", "=", some[at : at + MOST_VALUES])]
            found = self.store.page(Incident, where, limit=MOST_VALUES).records
            yield from (each for each in found if isinstance(each, Incident))

    def seen(self, rules: Rules, now: float) -> list[Seen]:
        """The incidents that last, and those that ended lately, as they stand."""
        theirs = [Filter("project", "=", (self.project,))]
        longest = max((each.digest_s for each in rules.all), default=0.0)
        since = now - max(CLOSED_FOR_S, longest + LONGEST_QUIET_S)
        lasting = [*theirs, Filter("state", "!=", (CLOSED,))]
        over = [*theirs, Filter("state", "=", (CLOSED,)), Filter("updated_at", ">=", (since,))]
        incidents = [each for where in (lasting, over) for each in standing(self.store, where)]
        if any(each.metrics or each.types for each in rules.all):
            self._learn_names(incidents)
        by = self._last_by(incidents) if any(each.auto_acknowledge for each in rules.all) else {}
        return [self._as_seen(each, by.get(each.id)) for each in incidents]

    def _as_seen(self, incident: Incident, by: str | None) -> Seen:
        _, metrics, types = self._names.get(incident.id, (0, frozenset[str](), frozenset[str]()))
        ours = by == dealing.OURS
        return Seen(
            incident=incident,
            metrics=metrics,
            types=types,
            ours=ours and incident.resolution_status == "acknowledged",
            wanted=by is not None and not ours and incident.resolution_status == "pending",
        )

    def _learn_names(self, incidents: Sequence[Incident]) -> None:
        """Looks up what the findings of incidents are about, of those that have more findings than when last asked."""
        wanted = {each.id: each.findings for each in incidents if self._names.get(each.id, (0,))[0] != each.findings}
        if wanted:
            named = names_of(self.store, self.project, wanted)
            self._names |= {id_: (findings, *named[id_]) for id_, findings in wanted.items()}
        there = {each.id for each in incidents}
        self._names = {id_: each for id_, each in self._names.items() if id_ in there}

    def _last_by(self, incidents: Sequence[Incident]) -> dict[str, str]:
        """Who did something last about each incident that lasts; notes do not count."""
        lasting = tuple(each.id for each in incidents if each.state != CLOSED)
        last: dict[str, tuple[float, bool, str]] = {}
        for at in range(0, len(lasting), MOST_VALUES):
            theirs = [Filter("project", "=", (self.project,)), Filter("about", "=", lasting[at : at + MOST_VALUES])]
            for batch in self.store.scan(Deed, ["about", "verb", "done_by", "done_at"], theirs):
                for deed in batch.to_pylist():
                    by = deed["done_by"]
                    done = (deed["done_at"], by != dealing.OURS, by)  # of one moment, what people did comes after
                    if deed["verb"] != "note" and done > last.get(deed["about"], (-inf, False, "")):
                        last[deed["about"]] = done
        return {about: by for about, (_, _, by) in last.items()}

    def _acknowledge(self, rules: Rules, seen: Sequence[Seen], now: float) -> list[Seen]:
        """Acknowledges what rules say, and opens again what has become worse than that; people's own deeds stay.

        Of very many some in each pass: what a rule is to acknowledge is silent before it is.
        """
        out, left = [], MOST_DEALT
        for each in seen:
            it = each.incident
            lasts = it.state != CLOSED and not dealing.is_awake_again(it, now)
            rule = acknowledged_by(rules, each) if lasts else None
            if left <= 0:
                out.append(each)
                continue
            if rule is not None and it.resolution_status == "pending":
                left -= 1
                dealing.deal(self.store, it, "acknowledge", who=dealing.OURS, now=now, text=f"rule {rule.name}")
                each = replace(each, incident=self._again(it), ours=True)
            elif lasts and rule is None and each.ours and it.resolution_status == "acknowledged":
                left -= 1
                dealing.deal(
                    self.store, it, "reopen", who=dealing.OURS, now=now, reason=None, text="it has become worse"
                )
                each = replace(each, incident=self._again(it), ours=False)
            out.append(each)
        return out

    def _again(self, incident: Incident) -> Incident:
        there = self.store.get(Incident, {"project": self.project, "id": incident.id})
        return there if isinstance(there, Incident) else incident

    def _news(self, seen: Sequence[Seen], now: float) -> list[Seen]:
        """What is of now: that the first reading of an old file finds incidents open at its end is none."""
        there = self.store.get(Headway, {"project": self.project})
        judged = there.judged_until if isinstance(there, Headway) else None
        fresh = judged is not None and now - judged <= FRESH_S
        return [
            each for each in seen if fresh or each.incident.state == CLOSED or now - each.incident.updated_at <= FRESH_S
        ]

    def _delivery(self, telling: Telling, message: Message, token: str = "") -> Delivery:
        return Delivery(
            project=self.project, key=telling.key(self.project), channel=telling.channel, rule=telling.rule,
            event=telling.event, incident_id=telling.incident_id, episode=telling.episode, severity=telling.severity,
            title=message.title, message=as_json(message), created_at=telling.at, due_at=telling.at, token=token,
        )  # fmt: skip

    def _within(self, telling: Telling, incident: Incident) -> Delivery:
        """One that a summary stands for: it is remembered, and nothing of it is sent."""
        return Delivery(
            project=self.project, key=telling.key(self.project), state="gathered", channel=telling.channel,
            rule=telling.rule, event=telling.event, incident_id=telling.incident_id, episode=telling.episode,
            severity=telling.severity, title=lines.title(incident, telling.at), message={}, created_at=telling.at,
            due_at=telling.at,
        )  # fmt: skip


HEAVY = frozenset({"causes", "contributing_factors", "recommended_actions", "trace_ids"})
_LIGHT = tuple(each.name for each in columns(Incident) if each.name not in HEAVY)


def standing(store: Store, where: Sequence[Filter]) -> Iterator[Incident]:
    """Incidents as they stand, without what only a message needs: there may be very many."""
    for batch in store.scan(Incident, _LIGHT, where):
        for row in batch.to_pylist():
            row["slice"] = json.loads(row["slice"]) if row["slice"] else None
            yield Incident(**row)


def ledger_of(
    store: Store, project: str, incidents: Iterable[str], rules: Sequence[AlertRule] = (), now: float = inf
) -> Ledger:
    """What was told of some incidents, and, as far back as rules look, what digests were sent and what was new.

    What is said to have been told later than `now` was told by a clock that went wrong.
    """
    theirs, some = Filter("project", "=", (project,)), tuple(incidents)
    told: list[Telling] = []
    if longest := max((each.digest_s for each in rules), default=0.0):
        sent = [Filter("created_at", ">=", (now - 2 * longest - LONGEST_QUIET_S,)), Filter("created_at", "<=", (now,))]
        told += _tellings(store, [theirs, Filter("event", "=", ("digest",)), *sent])
    for at in range(0, len(some), MOST_VALUES):
        told += _tellings(store, [theirs, Filter("incident_id", "=", some[at : at + MOST_VALUES])])
    ledger = Ledger(each for each in told if each.event != "test")
    if cooldown := max((each.cooldown_s for each in rules), default=0.0):
        lately = [Filter("created_at", ">=", (now - cooldown,)), Filter("created_at", "<=", (now,))]
        for batch in store.scan(Delivery, ["rule", "created_at"], [theirs, Filter("event", "=", OPENINGS), *lately]):
            rows = batch.to_pydict()
            for rule, at in zip(rows["rule"], rows["created_at"], strict=True):
                ledger.noted_opening(rule, at)
    return ledger


def _tellings(store: Store, where: Sequence[Filter]) -> Iterator[Telling]:
    """What deliveries tell, without what they say: that is most of them."""
    for batch in store.scan(Delivery, _TOLD, where):
        for row in batch.to_pylist():
            yield Telling(at=row.pop("created_at"), **row)


_TOLD = ("rule", "channel", "event", "severity", "created_at", "incident_id", "episode")


def names_of(store: Store, project: str, incidents: Iterable[str]) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """The metrics and the types of the findings of some incidents."""
    metrics: dict[str, set[str]] = {each: set() for each in incidents}
    types: dict[str, set[str]] = {each: set() for each in metrics}
    some = tuple(metrics)
    for at in range(0, len(some), MOST_VALUES):
        where = [Filter("project", "=", (project,)), Filter("incident_id", "=", some[at : at + MOST_VALUES])]
        for batch in store.scan(Anomaly, ["incident_id", "metric_name", "anomaly_type"], where):
            rows = batch.to_pydict()
            for id_, metric, kind in zip(rows["incident_id"], rows["metric_name"], rows["anomaly_type"], strict=True):
                metrics[id_].add(metric)
                types[id_].add(kind)
    return {each: (frozenset(metrics[each]), frozenset(types[each])) for each in metrics}
