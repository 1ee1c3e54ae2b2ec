"""What every page is asked with: who, which time, which clock, and the address it was asked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Annotated
from urllib.parse import parse_qsl, quote, unquote, urlencode
from zoneinfo import ZoneInfo

from fastapi import Depends, Request

from tracewatch.access import Caller
from tracewatch.stores.base import Store
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views.period import LONGEST_DRAWN_S, Period, period_of

ZONE_COOKIE, THEME_COOKIE = "tracewatch_zone", "tracewatch_theme"
THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request for a page. Times are UTC epoch seconds."""

    store: Store
    caller: Caller
    now: float
    zone: tzinfo
    zone_name: str
    period: Period
    path: str
    query: tuple[tuple[str, str], ...]
    theme: str = ""
    """light or dark where the reader has chosen; empty follows the system."""

    @property
    def given(self) -> Mapping[str, str]:
        """The query, of a name that is given twice the last."""
        return dict(self.query)

    def address(self, path: str = "", /, **changes: str | None) -> str:
        """This address (or another path) with some of the query changed; None takes a name away."""
        kept = (
            [(name, value) for name, value in self.query if name not in changes] if not path else self._lasting(changes)
        )
        query = [*kept, *((name, value) for name, value in changes.items() if value is not None)]
        return f"{path or self.path}{'?' + urlencode(query) if query else ''}"

    def trace(self, trace_id: str, *more: str, **changes: str | None) -> str:
        """The address of a trace, or of what belongs to it."""
        return self.address("/traces/" + "/".join(quote(each, safe="") for each in (trace_id, *more)), **changes)

    def _lasting(self, changes: Mapping[str, str | None]) -> list[tuple[str, str]]:
        """What goes along to other pages: the period and the project, so that a link shows the same time."""
        return [
            (name, value)
            for name, value in self.query
            if name in LASTING and name not in changes and not (name == "from" and value.isalpha())
        ]


LASTING = ("since", "from", "to", "project", "tz")


def asked_of(request: Request, server: Server, caller: Reader) -> Asked:
    """The request as pages take it. Raises BadTime or PeriodTooLong."""
    query = tuple(parse_qsl(request.url.query, keep_blank_values=True))
    given = dict(query)
    now = server.clock()
    # The script writes a cookie as an address has it: `Europe%2FBerlin`.
    zone, name = _zone(given.get("tz") or unquote(request.cookies.get(ZONE_COOKIE, "")))
    theme = given.get("theme") or request.cookies.get(THEME_COOKIE, "")
    return Asked(
        store=server.store,
        caller=caller,
        now=now,
        zone=zone,
        zone_name=name,
        period=period_of(given, now, zone, longest_s=LONGEST_DRAWN_S),
        path=request.url.path,
        query=query,
        theme=theme if theme in THEMES else "",
    )


Ask = Annotated[Asked, Depends(asked_of)]
"""A parameter of this type is the request as pages take it."""


def _zone(given: str) -> tuple[tzinfo, str]:
    """The zone of that name; UTC where there is none such."""
    try:
        return ZoneInfo(given or "UTC"), given or "UTC"
    except (OSError, ValueError, LookupError):  # what is no zone, or no name at all
        return ZoneInfo("UTC"), "UTC"
