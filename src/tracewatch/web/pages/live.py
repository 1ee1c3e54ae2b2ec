"""The stream of a page that is open: those parts of it that have changed, as they are to stand there.

`GET /events?page=PATH&…` with the query of the page. Each message holds partials for htmx, which put an element in
the place of the one with the same id. What is told is what `FRAGMENTS` gives for the path, when it is not as before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

from fastapi import APIRouter
from markupsafe import escape
from starlette.responses import Response

from tracewatch.records import Span
from tracewatch.web import drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.events import Channel, Message
from tracewatch.web.pages import changing
from tracewatch.web.serving import Server
from tracewatch.web.streams import stream
from tracewatch.web.views.period import period_of

router = APIRouter(include_in_schema=False)

MINUTE_S = 60.0

Fragments = Callable[[Asked], Mapping[str, str]]
"""From a page as it is asked for to its parts that change: the id of an element, and the element."""


def last_call(asked: Asked) -> Mapping[str, str]:
    """How long ago the last call was, in the top bar."""
    reach = asked.store.extent(Span, asked.caller.where)
    html = drawing.part(asked, "fragments/live.html", last_call=reach[1] if reach else None)
    return {"live": html}


EVERYWHERE: tuple[Fragments, ...] = (last_call, changing.in_the_frame)
"""What changes on every page."""

FRAGMENTS: Mapping[str, tuple[Fragments, ...]] = {
    "/": (changing.numbers,),
    "/incidents": (changing.states,),
    "/anomalies": (changing.resolutions,),
}
"""What else changes on some pages, by the first part of their path, such as /incidents."""


class Screen(Channel):
    """A page that is open somewhere."""

    every_s = MINUTE_S

    def __init__(self, asked: Asked) -> None:
        key: Hashable = (
            *("screen", asked.caller.key, asked.caller.project, asked.caller.user_id, asked.path),
            *(asked.query, asked.zone_name, asked.theme),
        )
        super().__init__(key, asked.caller)
        self._asked = asked
        self._told: dict[str, str] = {}

    def read(self, now: float) -> Sequence[Message]:
        asked = replace(self._asked, now=now, period=period_of(self._asked.given, now, self._asked.zone))
        first = "/" + asked.path.strip("/").partition("/")[0]
        parts: dict[str, str] = {}
        for each in (*EVERYWHERE, *FRAGMENTS.get(first, ())):
            parts.update(each(asked))
        changed = {id_: html for id_, html in parts.items() if self._told.get(id_) != html}
        self._told = parts
        return _partials(changed)

    def standing(self) -> Sequence[Message]:
        return _partials(self._told)


@router.get("/events")
def follow_page(asked: Ask, server: Server) -> Response:
    """The stream of the page whose path stands in `page`."""
    query = tuple(each for each in asked.query if each[0] != "page")
    return stream(server, Screen(replace(asked, path=asked.given.get("page") or "/", query=query)))


def _partials(parts: Mapping[str, str]) -> Sequence[Message]:
    data = "".join(
        f'<hx-partial hx-target="#{escape(id_)}" hx-swap="outerMorph">{html}</hx-partial>'
        for id_, html in parts.items()
    )
    return [Message(data=data)] if data else []
