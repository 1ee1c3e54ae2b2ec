"""After each pass: how things stand is read, what is to be told is decided, written down and so put on its way."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tracewatch import dealing
from tracewatch.alerts.book import Book
from tracewatch.alerts.deciding import LONGEST_QUIET_S, Rules, acknowledged_by, decide
from tracewatch.alerts.gathering import gathered
from tracewatch.alerts.kept import channels_of, rules_of
from tracewatch.alerts.ledger import OPENINGS, Ledger, Telling
from tracewatch.alerts.matching import Seen
from tracewatch.alerts.wording import digest_of, message_of
from tracewatch.channels import as_json
from tracewatch.course import CLOSED
from tracewatch.records import AlertRule, Anomaly, Deed, Delivery, Headway, Incident
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S, HOUR_S

FRESH_S = 6 * HOUR_S  # an open incident of calls that were judged longer ago is history, and not told as news
CLOSED_FOR_S = 3 * DAY_S  # for so long it is looked whether an end is to be told: quiet hours may be in between
MOST_INCIDENTS = 1_000
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
        ledger = ledger_of(self.store, self.project, [each.incident.id for each in seen])
        worst = {(each.incident.id, name): ledger.worst(each.incident.id, name) for each in seen for name in book.names}
        told = decide(rules, book, self._news(seen, now), ledger, now)
        named = {each.name: each for each in rules.all}
        incidents = {each.incident.id: each.incident for each in seen}
        new = [self._delivery(each, named[each.rule], incidents, worst) for each in told]
        return tuple(self._written(new, list(self._summaries(told, new, named, incidents))))

    def _summaries(
        self,
        told: Sequence[Telling],
        new: Sequence[Delivery],
        named: Mapping[str, AlertRule],
        incidents: dict[str, Incident],
    ) -> Iterator[tuple[Delivery, ...]]:
        """What each channel hears in one message in place of many, and those many, which are not sent themselves."""
        by_key = {each.key: each for each in new}
        for summary, some in gathered(told, self.project):
            parts = [replace(by_key[each.key(self.project)], state="gathered") for each in some]
            yield self._delivery(summary, named[summary.rule], incidents, {}), *parts

    def _written(self, new: Sequence[Delivery], summaries: Sequence[tuple[Delivery, ...]]) -> Iterator[Delivery]:
        """Writes down what is told, and says what is sent of it.

        A summary is written in one go with what it stands for, and first: whoever is killed between tells the rest
        one by one in the next pass, and nothing twice.
        """
        for summary, *parts in summaries:
            if self.store.add([summary, *parts]):
                yield summary
        single = {each.key for each in new} - {each.key for some in summaries for each in some}
        yield from (each for each in new if each.key in single and self.store.add([each]))

    def seen(self, rules: Rules, now: float) -> list[Seen]:
        """The incidents that last, and those that ended lately, as they stand."""
        theirs = [Filter("project", "=", (self.project,))]
        longest = max((each.digest_s for each in rules.all), default=0.0)
        since = now - max(CLOSED_FOR_S, longest + LONGEST_QUIET_S)
        lasting = [*theirs, Filter("state", "!=", (CLOSED,))]
        over = [*theirs, Filter("state", "=", (CLOSED,)), Filter("updated_at", ">=", (since,))]
        pages = [self.store.page(Incident, where, limit=MOST_INCIDENTS) for where in (lasting, over)]
        incidents = [each for page in pages for each in page.records if isinstance(each, Incident)]
        if any(each.metrics or each.types for each in rules.all):
            self._learn_names(incidents)
        deeds = self._last_deeds(incidents) if any(each.auto_acknowledge for each in rules.all) else {}
        return [self._as_seen(each, deeds.get(each.id)) for each in incidents]

    def _as_seen(self, incident: Incident, deed: Deed | None) -> Seen:
        _, metrics, types = self._names.get(incident.id, (0, frozenset[str](), frozenset[str]()))
        ours = deed is not None and deed.done_by == dealing.OURS
        return Seen(
            incident=incident,
            metrics=metrics,
            types=types,
            ours=ours and incident.resolution_status == "acknowledged",
            wanted=deed is not None and not ours and incident.resolution_status == "pending",
        )

    def _learn_names(self, incidents: Sequence[Incident]) -> None:
        """Looks up what the findings of incidents are about, of those that have more findings than when last asked."""
        wanted = {each.id: each.findings for each in incidents if self._names.get(each.id, (0,))[0] != each.findings}
        if wanted:
            named = names_of(self.store, self.project, wanted)
            self._names |= {id_: (findings, *named[id_]) for id_, findings in wanted.items()}
        there = {each.id for each in incidents}
        self._names = {id_: each for id_, each in self._names.items() if id_ in there}

    def _last_deeds(self, incidents: Sequence[Incident]) -> dict[str, Deed]:
        """What was done last about each incident that lasts."""
        lasting = [each.id for each in incidents if each.state != CLOSED]
        last: dict[str, Deed] = {}
        for deed in dealing.deeds_about(self.store, self.project, lasting):  # the newest first
            if deed.verb != "note":
                last.setdefault(deed.about, deed)
        return last

    def _acknowledge(self, rules: Rules, seen: Sequence[Seen], now: float) -> list[Seen]:
        """Acknowledges what rules say, and opens again what has become worse than that; people's own deeds stay."""
        out = []
        for each in seen:
            it = each.incident
            lasts = it.state != CLOSED and not dealing.is_awake_again(it, now)
            rule = acknowledged_by(rules, each) if lasts else None
            if rule is not None and it.resolution_status == "pending":
                dealing.deal(self.store, it, "acknowledge", who=dealing.OURS, now=now, text=f"rule {rule.name}")
                each = replace(each, incident=self._again(it), ours=True)
            elif lasts and rule is None and each.ours and it.resolution_status == "acknowledged":
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

    def _delivery(
        self,
        telling: Telling,
        rule: AlertRule,
        incidents: dict[str, Incident],
        worst: dict[tuple[str, str], str | None],
    ) -> Delivery:
        key, token = telling.key(self.project), secrets.token_urlsafe(16)
        if telling.incident_id is None:
            some = [incidents[each] for each in telling.about]
            message = digest_of(telling, rule, some, project=self.project, key=key, public_url=self.public_url)
        else:
            before = worst.get((telling.incident_id, telling.channel))
            message = message_of(
                telling, rule, incidents[telling.incident_id], key=key, token=token, public_url=self.public_url,
                before=before,
            )  # fmt: skip
        return Delivery(
            project=self.project, key=key, channel=telling.channel, rule=rule.name, event=telling.event,
            incident_id=telling.incident_id, episode=telling.episode, severity=telling.severity, title=message.title,
            message=as_json(message), created_at=telling.at, due_at=telling.at, token=token,
        )  # fmt: skip


def ledger_of(store: Store, project: str, incidents: Iterable[str]) -> Ledger:
    """What was told of some incidents, what digests were sent, and when each rule last told of something new."""
    theirs, some = Filter("project", "=", (project,)), tuple(incidents)
    told = list(_tellings(store, [theirs, Filter("event", "=", ("digest",))]))
    for at in range(0, len(some), MOST_VALUES):
        told += _tellings(store, [theirs, Filter("incident_id", "=", some[at : at + MOST_VALUES])])
    ledger = Ledger(each for each in told if each.event != "test")
    for batch in store.scan(Delivery, ["rule", "created_at"], [theirs, Filter("event", "=", OPENINGS)]):
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
