"""How things stand: the numbers of today, what waits, how far detection is."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from tracewatch.records import iso
from tracewatch.web.api import shapes
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views import happening
from tracewatch.web.views.standing import standing

router = APIRouter(prefix="/api/v1/stats", tags=["stats"], responses=shapes.REFUSALS)


class Stats(BaseModel):
    """The numbers since midnight (UTC), and how things stand."""

    calls: int
    cost_usd: float
    unpriced_calls: int
    error_rate: float | None
    p95_latency_ms: float | None
    open_incidents: int
    worst_severity: str | None
    first_call: str | None
    last_call: str | None
    waiting_calls: int
    judged_until: str | None
    is_learning: bool
    is_stale: bool


@router.get("", response_model=Stats)
def get_stats(server: Server, caller: Reader) -> Response:
    """The numbers of the overview."""
    now = server.clock()
    stand = standing(server.store, caller, now)
    return shapes.told(
        {
            **happening.numbers(server.store, caller, now),
            "first_call": None if stand.first_call is None else iso(stand.first_call),
            "last_call": None if stand.last_call is None else iso(stand.last_call),
            "waiting_calls": stand.waiting if caller.user_id is None else 0,
            "judged_until": None if stand.learned_until is None else iso(stand.learned_until),
            "is_learning": stand.is_learning,
            "is_stale": stand.is_stale,
        }
    )
