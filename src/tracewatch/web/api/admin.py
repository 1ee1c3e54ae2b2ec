"""What an admin page of one's own is made of: the newest calls, the calls of a trace, and the figures."""

from __future__ import annotations

from collections.abc import Mapping
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
    where = [*caller.where, Filter("trace_id", "=", (trace_id,))]
    rows = [row for batch in server.store.scan(Span, _READ, where) for row in batch.to_pylist()]
    if not rows:
        hint = "See the newest calls with GET /api/admin/traces"
        raise NotFound(what="trace", given=trace_id, where=f"project {caller.project}", hint=hint)
    return shapes.told([_told(each) for each in sorted(rows, key=lambda each: each["start_time"])])


@router.get("/stats", response_model=Stats)
def stats(server: Server, caller: Reader) -> Response:
    """The figures, and the rules that raise their hand."""
    return shapes.told(figures(server.store, caller, server.clock()).response())


# A trace may have 30,000 spans: of 60 columns these alone are read, in a third of the time.
_READ = (
    "id", "span_id", "start_time", "model_provider", "model_name", "usage_type", "input_tokens", "output_tokens",
    "cost_usd", "trace_id", "duration_ms", "status", "error_message",
)  # fmt: skip


def _call(span: Span) -> dict[str, Any]:
    return _told({name: getattr(span, name) for name in _READ})


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A call from the columns of _READ."""
    return {
        "id": row["id"] or row["span_id"],
        "timestamp": iso(row["start_time"]),
        "provider": row["model_provider"],
        "model": row["model_name"],
        "usage_type": row["usage_type"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "cost_usd": row["cost_usd"],
        "trace_id": row["trace_id"],
        "latency_ms": row["duration_ms"],
        "status": row["status"],
        "error_message": row["error_message"],
    }
