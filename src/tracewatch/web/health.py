"""Whether the server lives, and whether it can do its work: for whoever restarts it or sends it traffic."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from tracewatch.errors import TracewatchError
from tracewatch.live.pulse import pulse_of_all
from tracewatch.web.serving import Server

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, str]:
    """Answers as long as the server runs."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(server: Server) -> JSONResponse:
    """Answers 200 when the database can be read, and 503 with the reason when not; and how live detection stands.

    That one is behind or that nobody watches is no reason to send no traffic: calls are taken and kept all the same.
    """
    try:
        now = await run_in_threadpool(pulse_of_all, server.store, server.clock())
    except TracewatchError as error:
        return JSONResponse({"status": "not ready", "error": str(error)}, status_code=503)
    detection = {"state": now.state, "behind_s": round(now.behind_s, 1), "waiting_rows": now.waiting}
    return JSONResponse({"status": "ok", "detection": detection})
