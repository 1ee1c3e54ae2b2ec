"""Help: the keys, the words, what a band means and how detection works, on one page."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tracewatch.judge import WARMUP_DAYS
from tracewatch.web import drawing, navigation
from tracewatch.web.asking import Ask
from tracewatch.web.views.usual import DAYS_BACK, FEWEST_DAYS

router = APIRouter(include_in_schema=False)

KEYS = (
    ("j, k", "next and previous row"),
    ("Enter", "open the row"),
    ("e", "show the calls of a trace under its row"),
    ("/", "to the filter"),
    ("a, r, s", "acknowledge, resolve, snooze an incident"),
    ("u", "next unusual span of a trace"),
    ("t", "compare a trace with a typical one"),
    ("y", "copy the link to this page"),
)


@router.get("/help", response_class=HTMLResponse)
def show_help(request: Request, asked: Ask) -> HTMLResponse:
    """The page."""
    going = [each for each in navigation.ENTRIES if each.key]
    return drawing.page(
        request,
        asked,
        "help.html",
        keys=KEYS,
        going=going,
        warmup=int(WARMUP_DAYS),
        days_back=DAYS_BACK,
        fewest=FEWEST_DAYS,
    )
