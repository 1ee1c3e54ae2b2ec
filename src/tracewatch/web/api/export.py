"""Everything that matches as one file: CSV, JSON Lines or Parquet, sent as it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from tracewatch.access import Caller
from tracewatch.exports import FORMATS, WHATS, What, export
from tracewatch.records import Incident
from tracewatch.stores.base import Filter
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import Within, conditions, described
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views import incidents

router = APIRouter(prefix="/api/v1/export", tags=["export"], responses=shapes.REFUSALS)

Format = Annotated[Literal["csv", "jsonl", "parquet"], Query(description="How it is written.")]
Which = Annotated[Literal["traces", "anomalies", "incidents"], Query(description="Which records.")]
_BYTES = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "",
    response_class=Response,
    responses={200: {"content": dict.fromkeys(FORMATS.values(), _BYTES), "description": "The file."}},
    openapi_extra=described(WHATS["traces"], ("start_time",)),
)
def export_records(
    request: Request, server: Server, caller: Reader, within: Within, format: Format = "csv", what: Which = "traces"
) -> Response:
    """All calls (or findings, or incidents) that meet the conditions. Memory is bounded, however many there are."""
    record_type = WHATS[what]
    time = record_type.newest_by
    where = [
        *_seen_by(caller, server, what),
        *conditions(request, record_type, (time,)),
        Filter(time, ">=", (within.since,)),
        Filter(time, "<", (within.until,)),
    ]
    pieces: Iterator[bytes] = export(server.store, what, format, where)
    headers = {"content-disposition": f'attachment; filename="tracewatch-{what}.{format}"', "cache-control": "no-store"}
    return StreamingResponse(pieces, media_type=FORMATS[format], headers=headers)


def _seen_by(caller: Caller, server: Server, what: What) -> list[Filter]:
    """What a caller may see: incidents have no user of their own, so those of one user are named."""
    if WHATS[what] is not Incident or caller.user_id is None:
        return list(caller.where)
    ids = tuple(each.id for each in incidents.all_of(server.store, caller))
    return [Filter("project", "=", (caller.project,)), Filter("id", "=", ids)]
