"""How live detection stands: who watches, up to which moment calls have been judged, and how far behind that is."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from tracewatch.live.pulse import pulse
from tracewatch.records import iso
from tracewatch.web.api import shapes
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server

router = APIRouter(prefix="/api/v1/detection", tags=["detection"], responses=shapes.REFUSALS)


class Detection(BaseModel):
    """Live detection of the caller's project."""

    state: str
    holder: str | None
    since: str | None
    judged_until: str | None
    behind_s: float
    waiting_rows: int
    grace_s: float | None
    late_rows: int


@router.get("", response_model=Detection)
def detection(server: Server, caller: Reader) -> Response:
    """`watching`, `behind` by more than a minute, or `unwatched`; and the numbers behind that word."""
    now = pulse(server.store, caller.project, server.clock())
    return shapes.told(
        {
            "state": now.state,
            "holder": now.holder or None,
            "since": None if now.since is None else iso(now.since),
            "judged_until": None if now.judged_until is None else iso(now.judged_until),
            "behind_s": now.behind_s,
            "waiting_rows": now.waiting,
            "grace_s": now.grace_s,
            "late_rows": now.late,
        }
    )
