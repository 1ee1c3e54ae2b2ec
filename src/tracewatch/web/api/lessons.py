"""What dismissals taught: listed, taken back, and what findings were worth."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from tracewatch.access import Caller
from tracewatch.errors import NotFound
from tracewatch.records import Lesson, as_dict
from tracewatch.teaching import forget, judged_until, quality
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import USUAL, Cursor, Limit
from tracewatch.web.forms import name_of
from tracewatch.web.gate import Reader, Writer
from tracewatch.web.serving import Server, Serving
from tracewatch.web.views import taught

router = APIRouter(prefix="/api/v1/lessons", tags=["lessons"], responses=shapes.REFUSALS)

LESSON = shapes.shape(Lesson)
Counting = Annotated[bool, Query(description="Only those that count now, and were not taken back.")]


class Worth(BaseModel):
    """What the findings of a metric were worth to those who dealt with them."""

    metric: str
    useful: int = Field(description="Acknowledged or resolved.")
    expected: int
    noise: int
    undecided: int
    known: int = Field(description="Told to nobody, because of what was taught.")
    precision: float | None = Field(description="The share of those decided on that was no noise; null without any.")


@router.get("", response_model=shapes.page_of(LESSON))
def list_lessons(
    server: Server, caller: Reader, counting: Counting = False, limit: Limit = USUAL, cursor: Cursor = None
) -> Response:
    """What dismissals taught, the newest first. A page may hold fewer than `limit` where others are left out."""
    found, following = taught.listed(server.store, caller, only_counting=counting, limit=limit, cursor=cursor)
    return shapes.told({"data": shapes.plain(found), "next": following})


@router.get("/worth", response_model=list[Worth])
def tell_worth(server: Server, caller: Reader) -> Response:
    """What findings were worth, by metric; nothing for a key of one user."""
    found = quality(server.store, caller.project) if caller.user_id is None else ()
    return shapes.told([{name: getattr(each, name) for name in Worth.model_fields} for each in found])


@router.delete("/{lesson_id}", response_model=LESSON, responses=shapes.MISSING)
def take_lesson_back(server: Server, caller: Writer, lesson_id: str) -> Response:
    """Takes a lesson back: the like is told again. One that was taken back stays as it is."""
    lesson = _found(server, caller, lesson_id)
    if lesson.until is None:
        now = server.clock()
        judged = judged_until(server.store, caller.project, now)
        forget(server.store, lesson, who=name_of(server.store, caller), now=now, judged=judged)
        lesson = _found(server, caller, lesson_id)
    return shapes.told(as_dict(lesson))


def _found(server: Serving, caller: Caller, lesson_id: str) -> Lesson:
    found = server.store.get(Lesson, {"project": caller.project, "id": lesson_id})
    if not isinstance(found, Lesson) or not taught.may_see(caller, found):
        hint = "See them with GET /api/v1/lessons"
        raise NotFound(what="lesson", given=lesson_id, where=f"project {caller.project}", hint=hint)
    return found
