"""What follows from a judgement is put into the store: findings once, incidents as they stand.

What people did to them is theirs: only our own columns are ever written again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from tracewatch import dealing, watch
from tracewatch.detectors.adaptive import Alert, Ending, Return
from tracewatch.explaining import explain
from tracewatch.explaining.story import story_of, with_why
from tracewatch.incidents import Change
from tracewatch.judge import Judgement, is_note
from tracewatch.kinship import began
from tracewatch.lessons import as_known
from tracewatch.live.baselines import DETECTOR
from tracewatch.live.state import State, Told
from tracewatch.live.telling import anomaly_of, incident_of, note_of
from tracewatch.records import Anomaly, Incident, columns, key_of
from tracewatch.stores.base import Filter, Store

# What an explanation depends on: more calls, another root, the end. The rest is the passing of time.
TELLING = frozenset(("opened", "reopened", "symptom", "wider", "worse", "closed", "accepted"))
EXPLAINED_S = 7 * 86_400.0  # older ones are explained when somebody asks: a replay of months would take as many minutes
MOST_EXPLAINED = 50  # of one pass, the newest; each takes up to a second
FORGET_S = 2 * 86_400.0  # a movement that is back after more than a day is another one
# What working on odd values raises. Errors of the store and of the machine are none of it: they stop the pass.
ODD = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, pa.ArrowException)
MOST_TOLD = 10_000  # findings that may still end; the engine holds a few hundred at most

RETURNED = frozenset(("reopened", "back"))  # what a settled incident comes back by
_PEOPLES = frozenset(("resolution_status", "acknowledged", "snoozed_until", "snoozed_beyond", "regressed_at"))
_EXPLAINED = frozenset(
    ("calls", "cost_effect_usd", "time_effect_s", "causes", "contributing_factors", "recommended_actions")
) | {"trace_ids"}


@dataclass(slots=True)
class _Pending:
    """An incident that changed since the last time it was put back."""

    change: Change
    telling: bool
    back: float | None = None
    """When it was last back."""
    worse: float | None = None
    """When it last got worse."""

    def after(self, before: _Pending | None) -> _Pending:
        """With what is known of an earlier change."""
        if before is None:
            return self
        back = before.back if self.back is None else self.back
        worse = before.worse if self.worse is None else self.worse
        return _Pending(self.change, self.telling or before.telling, back, worse)


class Keeper:
    """Takes judgements, and puts back what follows from them when asked to."""

    def __init__(self, store: Store, project: str, state: State) -> None:
        self.store, self.project, self.state = store, project, state
        self.new: dict[str, Anomaly] = {}
        """Findings that were saved for the first time."""
        self.incidents: dict[str, Incident] = {}
        """Incidents that changed, as they stand."""
        self.unexplained: dict[str, str] = {}
        """What went wrong in explaining an incident, by its id; these are kept without causes."""
        self._findings: dict[str, Anomaly] = {}
        self._ends: dict[str, float | None] = {}
        self._changes: dict[str, _Pending] = {}

    def take(self, judgement: Judgement) -> None:
        """Notes what is to be put back."""
        for change in judgement.changes:
            # A movement that is back by itself is known; one that is told once more passed what was taught.
            back, worse = (
                change.what in RETURNED,
                change.what == "worse" or (change.what == "reopened" and change.joined),
            )
            pending = _Pending(
                change, change.what in TELLING, change.at if back else None, change.at if worse else None
            )
            self._changes[change.id] = pending.after(self._changes.get(change.id))
            for alert in change.joined:
                self._find(alert, anomaly_of(self.project, alert, change.id, judgement.known_days[alert.story]))
        for note in judgement.notes:
            self._find(note, note_of(self.project, note, judgement.known_days[note.story]))
        for alert, lesson in judgement.known:
            found = note_of if is_note(alert) else _without_incident
            self._find(alert, as_known(found(self.project, alert, judgement.known_days[alert.story]), lesson))
        for news in judgement.news:
            self._note_end(news)

    def keep(self) -> None:
        """Puts everything back that was taken since the last time."""
        found = [
            replace(each, ended_at=self._ends.pop(each.id)) if each.id in self._ends else each
            for each in self._findings.values()
        ]
        _, new = watch.keep(self.store, found)
        self.new.update((each.id, each) for each in new)
        self._write_ends()
        self._write_incidents()
        self._findings, self._ends, self._changes = {}, {}, {}
        self._forget()

    def _find(self, alert: Alert, found: Anomaly) -> None:
        self._findings[found.id] = found
        self.state.told[alert.story] = Told(id=found.id, since=began(alert))

    def _note_end(self, news: Ending | Return) -> None:
        told = self.state.told.get(news.story)
        if told is None:
            return
        told.ended = news.at if isinstance(news, Ending) else None
        self._ends[told.id] = told.ended

    def _forget(self) -> None:
        """Findings that cannot end, or be back, any more."""
        told, oldest = self.state.told, self.state.reading.judged - FORGET_S
        for story in [story for story, each in told.items() if each.ended is not None and each.ended < oldest]:
            del told[story]
        for story in list(told)[: max(len(told) - MOST_TOLD, 0)]:
            del told[story]

    def _write_ends(self) -> None:
        changes = [(self._key(id_), {"ended_at": at}) for id_, at in self._ends.items()]
        if changes:
            self.store.annotate_all(Anomaly, changes)

    def _write_incidents(self) -> None:
        explained = self._to_explain()
        for id_, pending in self._changes.items():
            incident = incident_of(self.project, pending.change)
            if id_ in explained:
                incident = self._explained(incident, pending.change)
                self._tell_root(incident)
            self._write(incident, pending, everything=id_ in explained)
            self.incidents[id_] = incident

    def _write(self, incident: Incident, pending: _Pending, *, everything: bool) -> None:
        """Adds an incident, or changes what is ours of the one that is there, which may open it again."""
        if self.store.add([incident]):
            return
        there = self.store.get(Incident, self._key(incident.id))
        if isinstance(there, Incident) and there.updated_at > incident.updated_at and not self.state.anew:
            return  # another process that watches as well is ahead
        kept = _PEOPLES | frozenset(key_of(Incident)) | (frozenset() if everything else _EXPLAINED)
        values = {each.name: getattr(incident, each.name) for each in columns(Incident) if each.name not in kept}
        self.store.annotate(Incident, self._key(incident.id), values)
        if not isinstance(there, Incident):
            return
        if not dealing.come_back(self.store, there, incident, back=pending.back, worse=pending.worse):
            self._dismiss_too(there)

    def _dismiss_too(self, there: Incident) -> None:
        """What is new about an incident that was dismissed is dismissed with it."""
        new = [each.id for each in self._findings.values() if each.incident_id == there.id and each.id in self.new]
        if there.resolution_status == "dismissed" and new:
            dismissed = {"resolution_status": "dismissed", "acknowledged": True}
            self.store.annotate_all(Anomaly, ((self._key(id_), dismissed) for id_ in new))

    def _tell_root(self, incident: Incident) -> None:
        """What explains the incident stands at the finding in front of it, too."""
        values: dict[str, Any] = {
            "contributing_factors": incident.contributing_factors,
            "recommended_actions": incident.recommended_actions,
        }
        if incident.trace_ids:
            values |= {"trace_id": incident.trace_ids[0], "trace_ids": incident.trace_ids}
        self.store.annotate(Anomaly, self._key(incident.root_id), values)

    def _to_explain(self) -> set[str]:
        """The incidents of which there is something new to explain."""
        recent = [
            (each.change.at, id_)
            for id_, each in self._changes.items()
            if each.telling
            and (each.change.at >= self.state.reading.judged - EXPLAINED_S or each.change.state != "closed")
        ]
        return {id_ for _, id_ in sorted(recent, reverse=True)[:MOST_EXPLAINED]}

    def _explained(self, incident: Incident, change: Change) -> Incident:
        """The incident with why it came, what it cost and what to do; as it is where that cannot be told."""
        others = tuple((each.metric, each.slice) for each in change.members if each.story != change.root.story)
        story = replace(story_of(incident), members=others)
        try:
            why = explain(self.store, self.project, story, self.state.reading.judged)
        except ODD as error:
            self.unexplained[incident.id] = f"{type(error).__name__}: {error}"
            return incident
        return with_why(incident, why)

    def _key(self, id_: str) -> dict[str, Any]:
        return {"project": self.project, "id": id_}


def _without_incident(project: str, alert: Alert, known_days: int) -> Anomaly:
    return anomaly_of(project, alert, None, known_days)


def close_forgotten(store: Store, project: str, state: State) -> None:
    """Closes incidents that an earlier form of the engine opened, and that are not there when history is judged again.

    Nothing else would ever close them.
    """
    judged, going_on = state.reading.judged, state.judge.going_on
    where = [
        Filter("project", "=", (project,)),
        Filter("detector", "=", (DETECTOR,)),
        Filter("state", "!=", ("closed",)),
    ]
    found = [each for each in store.page(Incident, where, limit=MOST_TOLD).records if isinstance(each, Incident)]
    over = {"state": "closed", "closed_at": judged, "updated_at": judged}
    keys = [{"project": project, "id": each.id} for each in found if each.detected_at <= judged]
    forgotten = [(key, over) for key in keys if key["id"] not in going_on]
    if forgotten:
        store.annotate_all(Incident, forgotten)
