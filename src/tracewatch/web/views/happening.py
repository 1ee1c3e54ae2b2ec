"""What has happened since it was looked at last: to incidents, in findings, in the numbers of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tracewatch.access import Caller
from tracewatch.records import Anomaly, Deed, Incident, Span
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter, Store
from tracewatch.web.views import incidents
from tracewatch.web.views.rolled import PRICED, TOLD_APART, between, counting_calls, with_unpriced

HOUR_S, DAY_S = 3600.0, 86_400.0
MOST = 200  # of each kind at once
LONGEST_S = DAY_S  # of a gap that is made up for; after a longer one a reader looks anew

Change = Literal["opened", "changed", "closed"]
_TOLD = ("state", "severity", "resolution_status", "acknowledged", "updated_at", "findings", "cost_effect_usd", "calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An incident, and what has become of it."""

    change: Change
    incident: Incident


def standing_now(store: Store, caller: Caller, now: float) -> dict[str, Incident]:
    """The incidents about which something may yet happen, by id: those going on, and those that are just over."""
    return {each.id: each for each in incidents.within(store, caller, now - HOUR_S, now + DAY_S)}


def between_looks(before: Mapping[str, Incident], after: Mapping[str, Incident]) -> Iterator[Happened]:
    """What happened to incidents between two looks."""
    for id_, incident in after.items():
        known = before.get(id_)
        if known is None:
            yield Happened(change="opened" if incident.state != "closed" else "closed", incident=incident)
        elif incident.state == "closed" != known.state:
            yield Happened(change="closed", incident=incident)
        elif known.state == "closed" != incident.state:
            yield Happened(change="opened", incident=incident)
        elif any(getattr(known, name) != getattr(incident, name) for name in _TOLD):
            yield Happened(change="changed", incident=incident)


def since(store: Store, caller: Caller, at: float) -> tuple[list[Happened], list[Anomaly]]:
    """What happened since a moment (UTC epoch seconds), for somebody who was away; what was told may come again."""
    own = Filter("project", "=", (caller.project,))
    changed = store.page(Incident, [own, Filter("updated_at", ">=", (at,))], limit=MOST).records
    deeds = store.page(Deed, [own, Filter("done_at", ">=", (at,))], limit=MOST).records
    ids = {each.id for each in changed if isinstance(each, Incident)}
    ids |= {each.about for each in deeds if isinstance(each, Deed)}
    happened = []
    for id_ in sorted(ids):
        incident = incidents.one(store, caller, id_)
        if incident is not None and incident.id == id_:
            closed = incident.closed_at is not None and incident.closed_at >= at
            change: Change = "closed" if closed else "opened" if incident.detected_at >= at else "changed"
            happened.append(Happened(change=change, incident=incident))
    where = [*caller.where, Filter("detected_at", ">=", (at,))]
    return happened, _anomalies(store, where)


def found_after(store: Store, caller: Caller, token: str) -> list[Anomaly]:
    """The findings that were written after that token of the store's tip."""
    ids = [
        id_
        for batch in store.scan(Anomaly, ("id",), caller.where, after=token)
        for id_ in batch.column("id").to_pylist()
    ]
    return _anomalies(store, [*caller.where, Filter("id", "=", tuple(ids[:MOST]))]) if ids else []


def numbers(store: Store, caller: Caller, now: float) -> dict[str, Any]:
    """The numbers since midnight (UTC): calls, cost, errors, latency, and how many incidents are open."""
    names = (*PRICED, "error_calls", "timeout_calls", "duration_ms_sketch")
    today = between(store, caller, now // DAY_S * DAY_S, now, by=TOLD_APART, measures=names)
    rows = counting_calls(with_unpriced(today))
    sums = {name: sum(row[name] or 0 for row in rows) for name in names[:-1]}
    calls = int(sums["calls"])
    reach = store.extent(Span, caller.where)
    opened = [each for each in incidents.going_on(store, caller) if incidents.tab_of(each) == "open"]
    return {
        "calls": calls,
        "cost_usd": float(sums["cost_usd_sum"]),
        "unpriced_calls": int(sums["unpriced_calls"]),
        "error_rate": (sums["error_calls"] + sums["timeout_calls"]) / calls if calls else None,
        "p95_latency_ms": sketch.quantile(sketch.merge(row["duration_ms_sketch"] for row in rows), 0.95),
        "open_incidents": len(opened),
        "worst_severity": opened[0].severity if opened else None,
        "last_call": reach[1] if reach else None,
    }


def _anomalies(store: Store, where: Sequence[Filter]) -> list[Anomaly]:
    return [each for each in store.page(Anomaly, where, limit=MOST).records if isinstance(each, Anomaly)]
