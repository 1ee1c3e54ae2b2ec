"""What an admin page of one's own is made of: the newest calls, the calls of a trace, and the figures."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from tracewatch.errors import NotFound
from tracewatch.records import Span, iso
from tracewatch.stores.base import Filter
from tracewatch.times import parse_time
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import MOST, USUAL
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views.figures import figures

router = APIRouter(prefix="/api/admin", tags=["admin"], responses=shapes.REFUSALS)


class Call(BaseModel):
    """One call."""

    id: str
    timestamp: str
    provider: str | None
    model: str | None
    usage_type: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    trace_id: str
    latency_ms: float | None
    status: str
    error_message: str | None


class Alert(BaseModel):
    """A rule that raises its hand."""

    type: str
    severity: str
    message: str
    details: dict[str, Any]


class Stats(BaseModel):
    """The figures of all calls, and of today (UTC)."""

    total_queries: int
    avg_latency_ms: float | None
    total_conversations: int
    total_llm_calls: int
    total_llm_cost: float
    today_cost: float
    today_calls: int
    cost_alert: bool
    anomalies: list[Alert]


Few = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]


@router.get("/traces", response_model=list[Call])
def newest_calls(
    server: Server, caller: Reader, limit: Few = USUAL, usage_type: str | None = None, status: str | None = None,
    since: Annotated[str | None, Query(description="Only calls from here on: 24h, 2026-03-02T08:00Z …")] = None,
) -> Response:  # fmt: skip
    """The newest calls, the newest first."""
    where = list(caller.where)
    where += [Filter("usage_type", "=", (usage_type,))] if usage_type else []
    where += [Filter("status", "=", (status,))] if status else []
    where += [Filter("start_time", ">=", (parse_time(since, server.clock()),))] if since else []
    page = server.store.page(Span, where, limit=limit)
    return shapes.told([_call(each) for each in page.records if isinstance(each, Span)])


@router.get("/traces/{trace_id}", response_model=list[Call], responses=shapes.MISSING)
def calls_of_trace(server: Server, caller: Reader, trace_id: str) -> Response:
    """The calls of a trace, the oldest first."""
    spans = [each for each in server.store.trace(caller.project, trace_id) if caller.user_id in (None, each.user_id)]
    if not spans:
        hint = "See the newest calls with GET /api/admin/traces"
        raise NotFound(what="trace", given=trace_id, where=f"project {caller.project}", hint=hint)
    return shapes.told([_call(each) for each in spans])


@router.get("/stats", response_model=Stats)
def stats(server: Server, caller: Reader) -> Response:
    """The figures, and the rules that raise their hand."""
    return shapes.told(figures(server.store, caller, server.clock()).response())


def _call(span: Span) -> dict[str, Any]:
    return {
        "id": span.id or span.span_id,
        "timestamp": iso(span.start_time),
        "provider": span.model_provider,
        "model": span.model_name,
        "usage_type": span.usage_type,
        "input_tokens": span.input_tokens,
        "output_tokens": span.output_tokens,
        "cost_usd": span.cost_usd,
        "trace_id": span.trace_id,
        "latency_ms": span.duration_ms,
        "status": span.status,
        "error_message": span.error_message,
    }
