"""From checks to incidents: opened once, kept as they stand, and over by themselves. Where each stands is in the store.

Nothing is remembered between two rounds, so whoever watches next goes on where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from tracewatch import dealing
from tracewatch.checks.base import Check, identity_of
from tracewatch.course import BACK, CALM, CLOSED, GROWING, OPEN, RECOVERING, WORSE
from tracewatch.records import SEVERITIES, Anomaly, Incident
from tracewatch.stores.base import Filter, Store

QUIET_S = 600.0  # well for so long: over. A limit that is crossed to and fro is one incident
MOVED = 0.1  # of the value: less is not written down again
MOST = 1_000  # incidents of one detector within a day

_PEOPLES = frozenset(("resolution_status", "acknowledged", "snoozed_until", "snoozed_beyond", "regressed_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of some checks."""

    new: tuple[Anomaly, ...] = ()
    """Findings that were saved now."""
    incidents: tuple[Incident, ...] = ()
    """Those that opened or changed, as they stand."""


def settle(store: Store, project: str, detector: str, checks: Sequence[Check], now: float) -> Settled:
    """Opens, changes and closes what follows from the checks of a detector: all of them, as they are now.

    What is open and not among them is over: its rule has gone, or there is nothing of its kind any more.
    """
    there = _known(store, project, detector, now)
    new: list[Anomaly] = []
    changed: list[Incident] = []
    for check in checks:
        incident = there.pop(check.identity, None)
        if check.bad and incident is None:
            incident, finding = opened(project, check, now)
            store.add([incident])
            store.add([finding])
            new.append(finding)
            changed.append(incident)
        elif incident is not None and check.bad is not None:
            changed += _stored(store, incident, after(incident, check, now), now)
    for incident in there.values():
        changed += _stored(store, incident, _healed(incident, now), now)
    return Settled(new=tuple(new), incidents=tuple(changed))


def _known(store: Store, project: str, detector: str, now: float) -> dict[str, Incident]:
    """The incidents of a detector that are not over, or were within a day, by what they are about."""
    ours = [Filter("project", "=", (project,)), Filter("detector", "=", (detector,))]
    ways = [
        [*ours, Filter("state", "=", (CLOSED,)), Filter("closed_at", ">=", (now - BACK,))],
        [*ours, Filter("state", "!=", (CLOSED,))],
    ]
    found = (each for way in ways for each in reversed(store.page(Incident, way, limit=MOST).records))
    return {_identity(each): each for each in found if isinstance(each, Incident)}


def _identity(incident: Incident) -> str:
    return identity_of(incident.metric_name, incident.rule, incident.slice)


def after(incident: Incident, check: Check, now: float) -> Incident:
    """The incident after a check of the same thing."""
    return _as_bad(incident, check, now) if check.bad else _healed(incident, now)


def _as_bad(incident: Incident, check: Check, now: float) -> Incident:
    again = incident.state == CLOSED
    worse = SEVERITIES.index(check.severity) > SEVERITIES.index(incident.severity) or _is_further(incident, check)
    calm = incident.state == GROWING and now - incident.updated_at < CALM
    state = GROWING if not again and (worse or calm) else OPEN
    moved = again or worse or state != incident.state or _has_moved(incident, check)
    if not moved:
        return incident
    return replace(
        incident,
        state=state,
        severity=max(incident.severity, check.severity, key=SEVERITIES.index),
        title=check.title,
        confidence_score=check.confidence,
        updated_at=now,
        recovering_at=None,
        closed_at=None,
        reopened=incident.reopened + again,
        observed=check.observed,
        expected=check.expected,
        calls=check.calls,
        cost_effect_usd=check.cost_effect_usd,
        contributing_factors=check.factors,
        recommended_actions=check.actions,
        trace_ids=check.trace_ids or incident.trace_ids,
    )


def _healed(incident: Incident, now: float) -> Incident:
    if incident.state == CLOSED:
        return incident
    if incident.recovering_at is None:
        return replace(incident, state=RECOVERING, recovering_at=now, updated_at=now)
    if now - incident.recovering_at < QUIET_S:
        return incident
    return replace(incident, state=CLOSED, closed_at=incident.recovering_at, updated_at=now)


def _is_further(incident: Incident, check: Check) -> bool:
    """Whether it is 1.5 times as far from what is expected, or else from its limit, as it was told last."""
    middle = check.limit if check.expected is None else check.expected
    before = abs((incident.observed or 0.0) - middle)
    return before > 0 and abs(check.observed - middle) >= WORSE * before


def _has_moved(incident: Incident, check: Check) -> bool:
    before = incident.observed or 0.0
    return abs(check.observed - before) > MOVED * max(abs(before), abs(check.observed))


def _stored(store: Store, before: Incident, after: Incident, now: float) -> Iterable[Incident]:
    """Puts back what is ours of an incident, where it changed; and when its finding ended, or that it goes on."""
    if after == before:
        return ()
    key = {"project": before.project, "id": before.id}
    values: Mapping[str, Any] = {
        name: getattr(after, name)
        for name in Incident.__dataclass_fields__
        if name not in _PEOPLES and getattr(after, name) != getattr(before, name)
    }
    store.annotate(Incident, key, values)
    store.annotate(Anomaly, {"project": before.project, "id": before.root_id}, {"ended_at": after.closed_at})
    back = now if before.state == CLOSED and after.state != CLOSED else None
    worse = now if after.state == GROWING and before.state != GROWING else None
    if back or worse:
        dealing.come_back(store, before, after, back=back, worse=worse)
    return (after,)


def opened(project: str, check: Check, now: float) -> tuple[Incident, Anomaly]:
    """The incident and its finding that a check opens."""
    id_, root = (_id(project, check, what) for what in ("incident", "finding"))
    shared: dict[str, Any] = {
        "project": project,
        "severity": check.severity,
        "confidence_score": check.confidence,
        "metric_name": check.metric,
        "kind": check.kind,
        "direction": check.direction,
        "slice": dict(check.slice),
        "detected_at": now,
        "contributing_factors": check.factors,
        "recommended_actions": check.actions,
        "trace_ids": check.trace_ids,
        "detector": check.detector,
    }
    middle = check.limit if check.expected is None else check.expected
    up = check.direction == "up"
    lower, upper = (None, check.limit) if up else (check.limit, None)
    incident = Incident(
        id=id_, rule=check.rule or None, title=check.title, updated_at=now,
        root_id=root, started_at=check.since, observed=check.observed,
        expected=check.expected, calls=check.calls, cost_effect_usd=check.cost_effect_usd, lower=lower, upper=upper,
        **shared,
    )  # fmt: skip
    finding = Anomaly(
        id=root, anomaly_type=check.metric, detected_value=check.observed, expected_value=middle,
        threshold_value=check.limit,
        deviation_percentage=(check.observed - middle) / abs(middle) * 100 if middle else 100.0,
        statistics={
            "expectedRange": {"lower": lower, "upper": upper},
            "confidence": check.confidence,
            "rule": check.rule or None,
        },
        description=check.title, occurred_at=check.since, incident_id=id_,
        user_id=check.slice.get("user_id"), model_id=check.slice.get("model_name"),
        trace_id=check.trace_ids[0] if check.trace_ids else None, **shared,
    )  # fmt: skip
    return incident, finding


def _id(project: str, check: Check, what: str) -> str:
    """The same for the same thing that began in the same minute, whoever finds it."""
    text = "\x1f".join((project, check.detector, check.identity, f"{check.since // 60:.0f}", what))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
