"""Incidents as screens show them: which are open, what they are called there, and who may see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracewatch.access import Caller
from tracewatch.dealing import is_awake_again, is_snoozed
from tracewatch.records import SEVERITIES, Anomaly, Incident
from tracewatch.stores.base import Filter, Store

MOST_OPEN = 200  # the engine keeps no more
MOST_FINDINGS = 200
MOST_LISTED = 5_000
HOUR_S = 3600.0
TABS = ("open", "acknowledged", "snoozed", "resolved", "dismissed")
"""How incidents are laid apart on their page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Some incidents, and where the next page begins."""

    incidents: tuple[Incident, ...]
    next: str | None


def tab_of(incident: Incident, now: float = 0.0) -> str:
    """Where an incident is found: open until somebody took note, or until it was over, and after a snooze again.

    Without the time a snooze lasts.
    """
    if incident.resolution_status in ("resolved", "dismissed"):
        return incident.resolution_status
    if incident.state == "closed":
        return "resolved"
    if is_snoozed(incident, now):
        return "snoozed"
    return "acknowledged" if incident.acknowledged and not is_awake_again(incident, now) else "open"


def state_of(incident: Incident, now: float = 0.0) -> str:
    """The word for where an incident stands: of what people did, or else its state (STATES of the records).

    What people did outweighs what the engine says, except that something is closed.
    """
    if incident.resolution_status == "dismissed":
        return "Dismissed"
    if incident.resolution_status == "resolved":
        return "Resolved"
    if incident.state == "closed":
        return "Closed"
    if is_snoozed(incident, now):
        return "Snoozed"
    if incident.regressed_at is not None and incident.state != "recovering":
        return "Regressed"
    word = incident.state.capitalize()
    again = " again" if incident.reopened and incident.state == "open" else ""
    if incident.acknowledged and not is_awake_again(incident, now):
        return "Acknowledged" if incident.state == "open" else f"Acknowledged, {incident.state}"
    return word + again


def rank(incident: Incident) -> tuple[int, float, float]:
    """The worst first: by severity, then by money an hour, then the newest."""
    lasted_h = max((incident.updated_at - incident.started_at) / HOUR_S, 0.25)
    return -SEVERITIES.index(incident.severity), -(incident.cost_effect_usd or 0.0) / lasted_h, -incident.started_at


def going_on(store: Store, caller: Caller, now: float = 0.0) -> tuple[Incident, ...]:
    """Incidents that are not over and that nobody has settled or snoozed, the worst first."""
    where = [*_ours(caller), Filter("state", "!=", ("closed",))]
    found = _seen(store, caller, where, MOST_OPEN)
    return tuple(sorted((each for each in found if tab_of(each, now) in ("open", "acknowledged")), key=rank))


def within(store: Store, caller: Caller, since: float, until: float) -> tuple[Incident, ...]:
    """Incidents that were going on at some time of a period, the worst first."""
    lasting = [*_ours(caller), Filter("state", "!=", ("closed",)), Filter("started_at", "<", (until,))]
    over = [
        *_ours(caller),
        Filter("state", "=", ("closed",)),
        Filter("closed_at", ">=", (since,)),
        Filter("started_at", "<", (until,)),
    ]
    found = [each for where in (lasting, over) for each in _seen(store, caller, where, MOST_OPEN)]
    return tuple(sorted(found, key=rank))


def listed(
    store: Store, caller: Caller, tab: str, *, severity: Sequence[str] = (), metric: str = "", limit: int = 50,
    cursor: str | None = None, now: float = 0.0,
) -> Listed:  # fmt: skip
    """The incidents of a tab: the open ones worst first, those that are over newest first, by pages."""
    more = [Filter("severity", "=", tuple(severity))] if severity else []
    more += [Filter("metric_name", "=", (metric,))] if metric else []
    if tab in ("open", "acknowledged", "snoozed"):
        where = [*_ours(caller), *more, Filter("state", "!=", ("closed",))]
        found = [each for each in _seen(store, caller, where, MOST_OPEN) if tab_of(each, now) == tab]
        return Listed(incidents=tuple(sorted(found, key=rank)), next=None)
    where = [*_ours(caller), *more]
    if tab == "dismissed":
        where.append(Filter("resolution_status", "=", ("dismissed",)))
    else:
        where.append(Filter("resolution_status", "!=", ("dismissed",)))
    page = store.page(Incident, where, limit=limit, cursor=cursor)
    found = [each for each in page.records if isinstance(each, Incident) and tab_of(each) == tab]
    return Listed(incidents=tuple(each for each in found if _may_see(caller, each)), next=page.next)


def every(
    store: Store, caller: Caller, where: Sequence[Filter] = (), *, limit: int = 50, cursor: str | None = None
) -> Listed:
    """The incidents that meet some conditions, the newest first, by pages."""
    page = store.page(Incident, [*_ours(caller), *where], limit=limit, cursor=cursor)
    found = tuple(each for each in page.records if isinstance(each, Incident) and _may_see(caller, each))
    return Listed(incidents=found, next=page.next)


def all_of(store: Store, caller: Caller) -> tuple[Incident, ...]:
    """The newest incidents that a caller may see, up to some thousands."""
    return tuple(_seen(store, caller, _ours(caller), MOST_LISTED))


def last_over(store: Store, caller: Caller) -> Incident | None:
    """The incident that was over last."""
    where = [*_ours(caller), Filter("state", "=", ("closed",))]
    found = _seen(store, caller, where, MOST_OPEN)
    return max(found, key=lambda each: each.closed_at or 0.0, default=None)


def one(store: Store, caller: Caller, incident_id: str) -> Incident | None:
    """The incident of that id or the only one whose id begins so; None when a caller may see none."""
    exact = store.get(Incident, {"project": caller.project, "id": incident_id})
    if isinstance(exact, Incident):
        return exact if _may_see(caller, exact) else None
    if len(incident_id) < 6:
        return None
    # U+10FFFF is the last character there is: everything that begins with the given text sorts before it.
    ends = [Filter("id", ">=", (incident_id,)), Filter("id", "<", (incident_id + "\U0010ffff",))]
    found = _seen(store, caller, [*_ours(caller), *ends], 2)
    return found[0] if len(found) == 1 else None


def findings_of(store: Store, caller: Caller, incident: Incident) -> list[Anomaly]:
    """What is folded under an incident, its root first."""
    where = [*_ours(caller), Filter("incident_id", "=", (incident.id,))]
    found = [each for each in store.page(Anomaly, where, limit=MOST_FINDINGS).records if isinstance(each, Anomaly)]
    return sorted(found, key=lambda each: (each.id != incident.root_id, each.detected_at, each.id))


def notes_near(store: Store, caller: Caller, incident: Incident) -> list[Anomaly]:
    """What was seen for the first time near the beginning of an incident, and is part of none."""
    where = [
        *caller.where,
        Filter("kind", "=", ("first_seen",)),
        Filter("incident_id", "=", (None,)),
        Filter("occurred_at", ">=", (incident.started_at - HOUR_S,)),
        Filter("occurred_at", "<=", (max(incident.started_at, incident.detected_at) + HOUR_S,)),
    ]
    return [each for each in store.page(Anomaly, where, limit=8).records if isinstance(each, Anomaly)]


def of_trace(store: Store, caller: Caller, trace_id: str, at: float) -> tuple[Incident, ...]:
    """Incidents that name a trace among those that show them."""
    near = [
        *_ours(caller),
        Filter("started_at", ">=", (at - 14 * 24 * HOUR_S,)),
        Filter("started_at", "<=", (at + HOUR_S,)),
    ]
    where = [*near, Filter("trace_ids", "=", (trace_id,))]
    return tuple(sorted(_seen(store, caller, where, 5), key=rank))


def _seen(store: Store, caller: Caller, where: Sequence[Filter], limit: int) -> list[Incident]:
    page = store.page(Incident, where, limit=limit)
    return [each for each in page.records if isinstance(each, Incident) and _may_see(caller, each)]


def _ours(caller: Caller) -> list[Filter]:
    return [Filter("project", "=", (caller.project,))]


def _may_see(caller: Caller, incident: Incident) -> bool:
    """A key of one user shows what is about that user alone: what others caused would tell of them."""
    return caller.user_id is None or (incident.slice or {}).get("user_id") == caller.user_id
