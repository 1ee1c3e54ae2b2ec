"""What dismissals taught, taking it back, and what findings were worth."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tracewatch import headlines
from tracewatch.explaining import saying
from tracewatch.lessons import ADAPTIVE
from tracewatch.records import Lesson
from tracewatch.teaching import forget, judged_until, quality
from tracewatch.web import drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.forms import Sent, answered, name_of
from tracewatch.web.gate import Writer
from tracewatch.web.views.taught import counting

router = APIRouter(include_in_schema=False)

DONE = {"back": "Taken back: the like is told again."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A lesson in the list."""

    lesson: Lesson
    why: str
    where: str
    told_again: str
    to: str


@router.get("/incidents/taught", response_class=HTMLResponse)
def show_taught(request: Request, asked: Ask) -> HTMLResponse:
    """What counts now, and how much of what was told was noise."""
    whole = asked.caller.user_id is None
    return drawing.page(
        request, asked, "taught.html",
        lessons=[_row(asked, each) for each in counting(asked.store, asked.caller)],
        worth=quality(asked.store, asked.caller.project) if whole else (),
        done=DONE.get(asked.given.get("done", ""), ""),
    )  # fmt: skip


@router.post("/incidents/taught")
def take_back(asked: Ask, caller: Writer, form: Sent) -> Response:
    """Takes lessons back."""
    given = form.every("id")
    judged = judged_until(asked.store, caller.project, asked.now)
    for each in counting(asked.store, caller):
        if each.id in given:
            forget(asked.store, each, who=name_of(asked.store, caller), now=asked.now, judged=judged)
    return answered("/incidents/taught?done=back")


def _row(asked: Asked, lesson: Lesson) -> Row:
    page = "incidents" if lesson.detector == ADAPTIVE else "anomalies"
    return Row(
        lesson=lesson,
        why=lesson.reason.replace("_", " "),
        where=saying.named(lesson.slice or {}) if lesson.slice else "all calls",
        told_again=headlines.told_again(lesson),
        to=asked.address(f"/{page}/{lesson.about}"),
    )
