"""Batch jobs: the last run of each, and how its runs went."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from tracewatch.records import Span, iso
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import USUAL, Limit, Within
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views.runs import jobs, runs_of

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], responses=shapes.REFUSALS)


class Run(BaseModel):
    """One run; `counts` are the numbers it reported, such as extracted, failed and skipped."""

    trace_id: str
    started_at: str
    duration_ms: float | None
    status: str
    error_message: str | None
    counts: dict[str, float]


class Job(BaseModel):
    """A batch job over a time."""

    name: str | None
    runs: int
    failed_runs: int
    last_run: Run


@router.get("", response_model=list[Job])
def list_jobs(server: Server, caller: Reader, within: Within) -> Response:
    """The jobs that ran, the one that ran last first."""
    found = jobs(server.store, caller, within)
    return shapes.told(
        [
            {"name": each.name, "runs": each.runs, "failed_runs": each.failed, "last_run": _run(each.last)}
            for each in found
        ]
    )


@router.get("/{name}/runs", response_model=list[Run])
def list_runs(server: Server, caller: Reader, within: Within, name: str, limit: Limit = USUAL) -> Response:
    """The runs of a job, the newest first."""
    return shapes.told([_run(each) for each in runs_of(server.store, caller, name, within, limit)])


def _run(span: Span) -> dict[str, Any]:
    numbers = (span.metadata or {}).items()
    return {
        "trace_id": span.trace_id,
        "started_at": iso(span.start_time),
        "duration_ms": span.duration_ms,
        "status": span.status,
        "error_message": span.error_message,
        "counts": {
            name: float(value)
            for name, value in numbers
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        },
    }
