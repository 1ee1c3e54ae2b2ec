"""Incidents: listed, one with its findings and what was done about it, and dealt with."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import create_model
from starlette.responses import Response

from tracewatch.access import Caller
from tracewatch.dealing import deeds_about
from tracewatch.errors import NotFound
from tracewatch.records import SEVERITIES, Anomaly, Incident, as_dict
from tracewatch.stores.base import Filter
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import USUAL, Cursor, Limit
from tracewatch.web.api.dealing import DEED, Wanted, done
from tracewatch.web.gate import Reader, Writer
from tracewatch.web.serving import Server, Serving
from tracewatch.web.views import incidents

router = APIRouter(prefix="/api/v1/incidents", tags=["incidents"], responses=shapes.REFUSALS)

INCIDENT, ANOMALY = shapes.shape(Incident), shapes.shape(Anomaly)
WHOLE = create_model(
    "IncidentWithFindings",
    __base__=INCIDENT,
    anomalies=(list[ANOMALY], ...),  # type: ignore[valid-type]
    deeds=(list[DEED], ...),  # type: ignore[valid-type]
)
Severity = Literal["low", "medium", "high", "critical"]
Tab = Literal["open", "acknowledged", "resolved", "dismissed", "all"]


@router.get("", response_model=shapes.page_of(INCIDENT))
def list_incidents(
    server: Server,
    caller: Reader,
    tab: Annotated[Tab, Query(description="Where they stand; the open ones come worst first, others newest first.")] = (
        "all"
    ),
    severity: Annotated[list[Severity] | None, Query(description="Only of these severities.")] = None,
    metric: Annotated[str | None, Query(description="Only of this metric.")] = None,
    limit: Limit = USUAL,
    cursor: Cursor = None,
) -> Response:
    """Incidents. A page may hold fewer than `limit` where others are left out."""
    severities = tuple(each for each in SEVERITIES if severity and each in severity)
    if tab == "all":
        where = [Filter("severity", "=", severities)] if severities else []
        where += [Filter("metric_name", "=", (metric,))] if metric else []
        found = incidents.every(server.store, caller, where, limit=limit, cursor=cursor)
    else:
        found = incidents.listed(
            server.store, caller, tab, severity=severities, metric=metric or "", limit=limit, cursor=cursor
        )
    return shapes.told({"data": shapes.plain(found.incidents), "next": found.next})


@router.get("/{incident_id}", response_model=WHOLE, responses=shapes.MISSING)
def get_incident(server: Server, caller: Reader, incident_id: str) -> Response:
    """One incident with its findings, the root first, and what was done about it, the newest first."""
    incident = _found(server, caller, incident_id)
    findings = incidents.findings_of(server.store, caller, incident)
    deeds = deeds_about(server.store, caller.project, [incident.id])
    whole = {**as_dict(incident), "anomalies": shapes.plain(findings), "deeds": shapes.plain(deeds)}
    return shapes.told(whole)


@router.post("/{incident_id}/deeds", response_model=DEED, status_code=201, responses=shapes.MISSING)
def deal_with_incident(server: Server, caller: Writer, incident_id: str, wanted: Wanted) -> Response:
    """Does something about an incident and all its findings."""
    return done(server, caller, _found(server, caller, incident_id), wanted)


def _found(server: Serving, caller: Caller, incident_id: str) -> Incident:
    incident = incidents.one(server.store, caller, incident_id)
    if incident is None:
        hint = "See them with GET /api/v1/incidents"
        raise NotFound(what="incident", given=incident_id, where=f"project {caller.project}", hint=hint)
    return incident
