"""What dismissals taught, taking it back, and what findings were worth."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tracewatch import formats
from tracewatch.explaining import saying
from tracewatch.explaining.measures import measure_of
from tracewatch.lessons import ADAPTIVE, WORSE, is_share
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
        told_again=_told_again(lesson),
        to=asked.address(f"/{page}/{lesson.about}"),
    )


def _told_again(lesson: Lesson) -> str:
    """From where on a movement is told in spite of a lesson."""
    ways = []
    if lesson.level is not None:
        unit = measure_of(lesson.metric_name).unit
        ways.append(f"{'above' if lesson.direction == 'up' else 'below'} {formats.amount(lesson.level, unit)}")
    elif lesson.effect is not None:
        most = WORSE * lesson.effect
        if is_share(lesson.metric_name):
            ways.append(f"more than {most * 100:.0f} points off")
        elif lesson.metric_name == "call_count":
            ways.append(f"more than {formats.count(most)} calls off")
        else:
            ways.append(f"more than {formats.ratio(most + 1)} off")
    if lesson.lasted_s is not None:
        ways.append(f"after {formats.lasting(WORSE * lesson.lasted_s)}")
    return ", or ".join(ways) or "never"
