"""How incidents stood at any moment of the past, as far as what is kept of them tells.

Their openings, growth and ends come from their findings, what people did about them from the deeds. Money is taken to
have been lost in even steps. That an incident came back is known where a finding joined it after it must have closed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tracewatch.alerts.matching import Seen
from tracewatch.alerts.telling import MOST_VALUES, standing
from tracewatch.course import CLOSED, OPEN, QUIET, RECOVERING, SETTLED
from tracewatch.dealing import OURS, OUTCOMES
from tracewatch.records import SEVERITIES, Anomaly, Deed, Incident
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S

AFTER_S = 2 * DAY_S  # for so long after it ended it is still looked whether that is told

_UNTOUCHED: Mapping[str, Any] = {
    "resolution_status": "pending", "acknowledged": False, "snoozed_until": None, "snoozed_beyond": None,
    "regressed_at": None,
}  # fmt: skip
_NEW: Mapping[str, Any] = {"state": OPEN, "closed_at": None, "recovering_at": None, "reopened": 0}

Event = tuple[float, dict[str, Any]]
"""When something changed, and which columns of the incident it changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What of a finding the course of its incident is made of."""

    severity: str
    metric_name: str
    anomaly_type: str
    detected_at: float
    ended_at: float | None


Findings = Sequence[Finding | Anomaly]
_OF_FINDINGS = tuple(each.name for each in fields(Finding))
_OF_DEEDS = ("id", "about", "verb", "done_at", "done_by", "reason", "until")


@dataclass(frozen=True, slots=True)
class Past:
    """One incident with its course."""

    incident: Incident
    times: tuple[float, ...]
    """When something changed, the opening first."""
    phases: tuple[Seen, ...]
    """How it stood from each of these moments on."""
    until: float
    """From when on nothing about it can be told any more."""

    def at(self, now: float) -> Seen | None:
        """How it stood; None before it was known."""
        place = bisect_right(self.times, now)
        if not place:
            return None
        seen = self.phases[place - 1]
        cost = seen.incident.cost_effect_usd
        if cost is None or seen.incident.state == CLOSED:
            return seen
        end = self.incident.closed_at or self.incident.updated_at
        lasted = max(end - self.incident.started_at, 1.0)
        part = min(max((now - self.incident.started_at) / lasted, 0.0), 1.0)
        return replace(seen, incident=replace(seen.incident, cost_effect_usd=cost * part))


def pasts(store: Store, project: str, since: float, until: float) -> list[Past]:
    """The incidents that were known between two moments, or came back then, with their courses."""
    where = [
        Filter("project", "=", (project,)),
        Filter("detected_at", "<", (until,)),
        Filter("updated_at", ">=", (since,)),
    ]
    found = sorted(standing(store, where), key=lambda each: (each.started_at, each.id), reverse=True)
    out: list[Past] = []
    for at in range(0, len(found), MOST_VALUES):
        some = found[at : at + MOST_VALUES]
        findings, deeds = _by_incident(store, project, tuple(each.id for each in some))
        out += [past_of(each, findings.get(each.id, ()), deeds.get(each.id, ())) for each in some]
    return out


def past_of(incident: Incident, findings: Findings, deeds: Sequence[Deed]) -> Past:
    """The course of one incident."""
    order = sorted(findings, key=lambda each: each.detected_at)
    values: dict[str, Any] = {**_UNTOUCHED, **_NEW, "severity": _first_severity(incident, order)}
    times, phases = [incident.detected_at], [_seen(incident, values, order, incident.detected_at)]
    events = [*_growth(incident, order), *_settlements(deeds), *_ends(incident, order)]
    for at, what in sorted(events, key=lambda each: each[0]):
        worse, again = what.pop("worse", values["severity"]), what.pop("again", 0)
        values |= what
        values["severity"] = max(values["severity"], worse, key=SEVERITIES.index)
        values["reopened"] += again
        if at > incident.detected_at:
            times.append(at)
            phases.append(_seen(incident, values, order, at))
    over = phases[-1].incident.state == CLOSED
    return Past(incident, tuple(times), tuple(phases), times[-1] + AFTER_S if over else float("inf"))


def _seen(incident: Incident, values: Mapping[str, Any], findings: Findings, at: float) -> Seen:
    there = [each for each in findings if each.detected_at <= at]
    return Seen(
        incident=replace(incident, **values, updated_at=at, findings=max(len(there), 1)),
        metrics=frozenset(each.metric_name for each in there),
        types=frozenset(each.anomaly_type for each in there),
    )


def _first_severity(incident: Incident, order: Findings) -> str:
    """How bad it was when it was found; where its findings are not kept, as bad as it ever was."""
    first = [each.severity for each in order if each.detected_at <= incident.detected_at]
    first = first or [each.severity for each in order[:1]]
    return max(first, key=SEVERITIES.index, default=incident.severity)


def _growth(incident: Incident, order: Findings) -> list[Event]:
    """When further findings joined, which may have made it worse."""
    return [(each.detected_at, {"worse": each.severity}) for each in order if each.detected_at > incident.detected_at]


def _ends(incident: Incident, order: Findings) -> list[Event]:
    """When it looked healed, half an hour after everything about it had ended, and closed, after two; and was back."""
    out: list[Event] = []
    for place, each in enumerate(order[1:], 1):
        ends = [one.ended_at for one in order[:place]]
        if None in ends:
            continue
        over = max(*(end for end in ends if end is not None), order[place - 1].detected_at)
        if each.detected_at > over + QUIET:
            out.append((over + SETTLED, {"state": RECOVERING}))
            out.append((over + QUIET, {"state": CLOSED, "closed_at": over}))
            out.append((each.detected_at, {"state": OPEN, "closed_at": None, "again": 1}))
    if incident.state == CLOSED:
        if incident.closed_at is not None and incident.closed_at + SETTLED < incident.updated_at:
            out.append((incident.closed_at + SETTLED, {"state": RECOVERING}))
        out.append((incident.updated_at, {"state": CLOSED, "closed_at": incident.closed_at}))
    return out


def _settlements(deeds: Sequence[Deed]) -> list[Event]:
    """What people did; what a rule acknowledged by itself is for the rules in question to say."""
    out: list[Event] = []
    for deed in sorted(deeds, key=lambda each: each.done_at):
        if deed.verb == "undo" and out:
            out.pop()
        if deed.verb in OUTCOMES and not (deed.done_by == OURS and deed.reason is None):
            values = dict(OUTCOMES[deed.verb])
            if deed.verb == "snooze":
                values["snoozed_until"] = deed.until
            if deed.verb == "reopen" and deed.done_by == OURS:
                values["regressed_at"] = deed.done_at
            out.append((deed.done_at, values))
    return out


def _by_incident(
    store: Store, project: str, ids: tuple[str, ...]
) -> tuple[Mapping[str, list[Finding]], Mapping[str, list[Deed]]]:
    theirs = Filter("project", "=", (project,))
    findings: dict[str, list[Finding]] = defaultdict(list)
    for batch in store.scan(Anomaly, ["incident_id", *_OF_FINDINGS], [theirs, Filter("incident_id", "=", ids)]):
        for row in batch.to_pylist():
            findings[row.pop("incident_id")].append(Finding(**row))
    deeds: dict[str, list[Deed]] = defaultdict(list)
    for batch in store.scan(Deed, _OF_DEEDS, [theirs, Filter("about", "=", ids)]):
        for row in batch.to_pylist():
            deeds[row["about"]].append(Deed(**row))
    return findings, deeds
