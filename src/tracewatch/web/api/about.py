"""What server this is, who is asking, and how it is set."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from tracewatch import __version__
from tracewatch.records import RIGHTS
from tracewatch.web.api import shapes
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server

router = APIRouter(prefix="/api/v1/about", tags=["about"], responses=shapes.REFUSALS)


class About(BaseModel):
    """The server as its caller sees it."""

    version: str
    project: str
    user_id: str | None
    rights: list[str]
    needs_key: bool
    content: str
    max_body_mb: int


@router.get("", response_model=About)
def about(server: Server, caller: Reader) -> Response:
    """The server, and what the caller may do."""
    return shapes.told(
        {
            "version": __version__,
            "project": caller.project,
            "user_id": caller.user_id,
            "rights": [each for each in RIGHTS if caller.may(each)],
            "needs_key": caller.key is not None,
            "content": server.settings.content,
            "max_body_mb": server.settings.max_body_mb,
        }
    )
