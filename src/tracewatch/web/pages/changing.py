"""The parts of pages that change in place while they are open: words and numbers, never rows, forms or what is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tracewatch.web import drawing
from tracewatch.web.asking import Asked
from tracewatch.web.pages import incidents as listing
from tracewatch.web.pages.anomalies import in_time
from tracewatch.web.pages.overview import numbers_of
from tracewatch.web.views import feed, incidents
from tracewatch.web.views.news import news


def in_the_frame(asked: Asked) -> Mapping[str, str]:
    """What is open, in the navigation, and what is new, for the line below the top bar."""
    now = news(asked.store, asked.caller, asked.path, asked.now)
    ids = ("nav-open", "nav-open-phone", "news")
    return {id_: drawing.part(asked, "fragments/news.html", news=now, id=id_) for id_ in ids}


def numbers(asked: Asked) -> Mapping[str, str]:
    """The numbers of the first screen, with their small pictures."""
    return {"numbers": drawing.part(asked, "numbers.html", **numbers_of(asked))}


def states(asked: Asked) -> Mapping[str, str]:
    """How far the incidents of the list have come."""
    if asked.path != "/incidents":
        return {}
    return dict(_states(asked))


def resolutions(asked: Asked) -> Mapping[str, str]:
    """What people did about the findings of the feed."""
    if asked.path != "/anomalies" or asked.given.get("view") == "trends":
        return {}
    asked, _ = in_time(asked)
    found = feed.feed(asked.store, asked.caller, asked.period, feed.wanted(asked.given),
                      cursor=asked.given.get("cursor") or None).findings  # fmt: skip
    return {f"s-{each.id}": _word(asked, f"s-{each.id}", each.resolution_status, "word") for each in found}


def _states(asked: Asked) -> Iterator[tuple[str, str]]:
    tab = asked.given.get("tab", "open")
    for row in listing.rows_of(asked):
        id_ = row.incident.id
        state = incidents.state_of(row.incident, asked.now)
        shown = state if tab != "open" or row.incident.state != "open" or row.incident.acknowledged else ""
        yield f"st-{id_}", _word(asked, f"st-{id_}", shown, "dim")
        yield f"ef-{id_}", _word(asked, f"ef-{id_}", row.effect)
        yield f"la-{id_}", _word(asked, f"la-{id_}", row.lasted)


def _word(asked: Asked, id_: str, text: str, tone: str = "") -> str:
    return drawing.part(asked, "fragments/word.html", id=id_, text=text, tone=tone)
