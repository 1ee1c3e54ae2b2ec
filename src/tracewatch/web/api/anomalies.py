"""Findings: listed, one, dealt with; and the detection that may be asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import create_model
from starlette.responses import Response

from tracewatch import watch
from tracewatch.access import Caller
from tracewatch.dealing import deeds_about
from tracewatch.errors import NotFound
from tracewatch.records import Anomaly, as_dict
from tracewatch.stores.base import Filter
from tracewatch.times import DAY_S
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import USUAL, Cursor, Limit, Within, conditions, described
from tracewatch.web.api.dealing import DEED, Wanted, done
from tracewatch.web.gate import Reader, Writer
from tracewatch.web.serving import Server, Serving

router = APIRouter(tags=["anomalies"], responses=shapes.REFUSALS)

PATH = "/api/v1/anomalies"
ANOMALY = shapes.shape(Anomaly)
WHOLE = create_model("AnomalyWithDeeds", __base__=ANOMALY, deeds=(list[DEED], ...))  # type: ignore[valid-type]
DETECTED = create_model(
    "Detected",
    success=(bool, ...),
    analyzed_traces=(int, ...),
    anomaly_types_analyzed=(int, ...),
    anomalies_detected=(int, ...),
    anomalies_saved=(int, ...),
    breakdown=(dict[str, int], ...),
)
Source = Annotated[Literal["traces", "messages"], Query(description="Which rows are judged.")]


@router.get(PATH, response_model=shapes.page_of(ANOMALY), openapi_extra=described(Anomaly, ("occurred_at",)))
def list_anomalies(
    request: Request, server: Server, caller: Reader, within: Within, limit: Limit = USUAL, cursor: Cursor = None
) -> Response:
    """Findings, the newest first. Every field is a condition: `severity=high,critical`, `metric_name=cost_usd`."""
    during = [Filter("occurred_at", ">=", (within.since,)), Filter("occurred_at", "<", (within.until,))]
    where = [*caller.where, *conditions(request, Anomaly, ("occurred_at",)), *during]
    return shapes.paged(server.store.page(Anomaly, where, limit=limit, cursor=cursor))


@router.get(PATH + "/{anomaly_id}", response_model=WHOLE, responses=shapes.MISSING)
def get_anomaly(server: Server, caller: Reader, anomaly_id: str) -> Response:
    """One finding, and what was done about it, the newest first."""
    found = _found(server, caller, anomaly_id)
    deeds = deeds_about(server.store, caller.project, [found.id])
    return shapes.told({**as_dict(found), "deeds": shapes.plain(deeds)})


@router.post(PATH + "/{anomaly_id}/deeds", response_model=DEED, status_code=201, responses=shapes.MISSING)
def deal_with_anomaly(server: Server, caller: Writer, anomaly_id: str, wanted: Wanted) -> Response:
    """Does something about a finding."""
    return done(server, caller, _found(server, caller, anomaly_id), wanted)


@router.post("/api/analytics/anomalies/detect", response_model=DETECTED)
def detect(server: Server, caller: Writer, source: Source = "traces") -> Response:
    """Judges the calls of the last 24 hours by ten z-scores, and saves each finding once.

    A key of one user judges that user's calls alone.
    """
    watch.catch_up(server.store, project=server.settings.project)
    now = server.clock()
    found = watch.detect(
        server.store, project=caller.project, since=now - DAY_S, until=now, now=now, source=source, user=caller.user_id
    )
    return shapes.told(found.response())


def _found(server: Serving, caller: Caller, anomaly_id: str) -> Anomaly:
    found = server.store.get(Anomaly, {"project": caller.project, "id": anomaly_id})
    if not isinstance(found, Anomaly) or caller.user_id not in (None, found.user_id):
        hint = f"See them with GET {PATH}"
        raise NotFound(what="anomaly", given=anomaly_id, where=f"project {caller.project}", hint=hint)
    return found
