"""Calls and traces: the calls that meet conditions, and one trace with all its calls."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from tracewatch.errors import NotFound
from tracewatch.records import Span, iso
from tracewatch.stores.base import Filter
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import USUAL, Cursor, Limit, Within, conditions, described
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views.summary import of_long, summary
from tracewatch.web.views.traces import chips, matching, sequence

router = APIRouter(prefix="/api/v1/traces", tags=["traces"], responses=shapes.REFUSALS)

MOST_SPANS = 1_000
SPAN = shapes.shape(Span)
OWN_TIME = ("start_time",)


class Totals(BaseModel):
    """What all matching calls come to; null is what cannot be told without reading each of them."""

    calls: int | None
    cost_usd: float | None
    p95_latency_ms: float | None


class Trace(BaseModel):
    """One trace: what it comes to, and its calls, the oldest first."""

    trace_id: str
    name: str
    started_at: str
    duration_ms: float | None
    cost_usd: float | None
    calls: int
    failed: int
    fallbacks: int
    spans: list[SPAN]  # type: ignore[valid-type]
    next: str | None
    """Of more than 1,000 calls those are the newest, and this cursor goes on in `/api/v1/traces?trace_id=…`."""


@router.get("", response_model=shapes.page_of(SPAN), openapi_extra=described(Span, OWN_TIME))
def list_calls(
    request: Request, server: Server, caller: Reader, within: Within, limit: Limit = USUAL, cursor: Cursor = None
) -> Response:
    """Calls, the newest first. Every field is a condition: `status=error,timeout`, `cost_usd=>0.05`."""
    where = [*caller.where, *conditions(request, Span, OWN_TIME), *_during(within)]
    return shapes.paged(server.store.page(Span, where, limit=limit, cursor=cursor))


@router.get("/totals", response_model=Totals, openapi_extra=described(Span, OWN_TIME))
def count_calls(request: Request, server: Server, caller: Reader, within: Within) -> Response:
    """What all calls that meet the conditions come to."""
    found = matching(server.store, caller, within, chips(dict(request.query_params)))
    return shapes.told({"calls": found.calls, "cost_usd": found.cost_usd, "p95_latency_ms": found.p95_ms})


@router.get("/{trace_id}", response_model=Trace, responses=shapes.MISSING)
def get_trace(server: Server, caller: Reader, trace_id: str) -> Response:
    """One trace."""
    where = [*caller.where, Filter("trace_id", "=", (trace_id,))]
    following, spans = None, list[Span]()
    if server.store.count(Span, where) > MOST_SPANS:
        whole = of_long(server.store, caller, trace_id)
        page = server.store.page(Span, where, limit=MOST_SPANS)
        spans, following = [each for each in page.records if isinstance(each, Span)][::-1], page.next
    else:
        spans = list(sequence(server.store, caller, trace_id))
        whole = summary(spans) if spans else None
    if whole is None:
        raise NotFound(what="trace", given=trace_id, where=f"project {caller.project}", hint="It may be another's")
    head: dict[str, Any] = {
        "trace_id": trace_id,
        "name": whole.name,
        "started_at": iso(whole.start),
        "duration_ms": whole.duration_ms,
        "cost_usd": whole.cost_usd,
        "calls": whole.calls,
        "failed": whole.failed,
        "fallbacks": whole.fallbacks,
    }
    return shapes.told({**head, "spans": shapes.plain(spans), "next": following})


def _during(within: Within) -> list[Filter]:
    return [Filter("start_time", ">=", (within.since,)), Filter("start_time", "<", (within.until,))]
