"""Projects: how long their calls are kept, and whether texts may be stored."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from tracewatch.errors import ProjectRefused
from tracewatch.live.rounds import projects
from tracewatch.records import Project, Span, as_dict
from tracewatch.stores.base import Filter
from tracewatch.web.api import shapes
from tracewatch.web.gate import Admin, Reader
from tracewatch.web.serving import Server, Serving

router = APIRouter(prefix="/api/v1/projects", tags=["projects"], responses=shapes.REFUSALS)

PROJECT = shapes.shape(Project)
MOST = 1_000


class Wanted(BaseModel):
    """How a project is to be."""

    content_allowed: bool = False
    retention_days: Annotated[int | None, Field(ge=1, le=36_500)] = None


@router.get("", response_model=list[PROJECT])  # type: ignore[valid-type]
def list_projects(server: Server, caller: Reader) -> Response:
    """The project of the key; where no key is needed, those that were described or had calls lately.

    One that was never described was created when its first call began.
    """
    if caller.key is not None:
        return shapes.told([as_dict(_project(server, caller.project))])
    described = [each for each in server.store.page(Project, limit=MOST).records if isinstance(each, Project)]
    names = dict.fromkeys(
        (caller.project, *(each.project for each in described), *projects(server.store, server.clock()))
    )
    return shapes.told([as_dict(_project(server, name)) for name in names])


@router.put("/{project}", response_model=PROJECT)
def put_project(server: Server, caller: Admin, project: str, wanted: Wanted) -> Response:
    """Says how a project is to be: its own key may, and nobody else's."""
    if project != caller.project:
        raise ProjectRefused(given=project)
    put = Project(
        project=project,
        created_at=_project(server, project).created_at,
        content_allowed=wanted.content_allowed,
        retention_days=wanted.retention_days,
    )
    server.store.put([put])
    return shapes.told(as_dict(put))


def _project(server: Serving, name: str) -> Project:
    found = server.store.get(Project, {"project": name})
    if isinstance(found, Project):
        return found
    reach = server.store.extent(Span, [Filter("project", "=", (name,))])
    return Project(project=name, created_at=server.clock() if reach is None else reach[0])
