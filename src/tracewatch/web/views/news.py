"""What is new while a page is open: how many incidents are open and which, and how much has been found and called."""

from __future__ import annotations

from dataclasses import dataclass

from tracewatch.access import Caller
from tracewatch.records import Anomaly, Incident
from tracewatch.stores.base import Store
from tracewatch.web.views import incidents
from tracewatch.web.views.rolled import between

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """How things stand now; a page that was opened before tells what is new by the difference."""

    opened: tuple[Incident, ...]
    """Open incidents, the worst first."""
    findings: int | None
    """All findings there are; None where the page does not show findings."""
    calls: int | None
    """Calls of the day (UTC) so far; None where the page does not show calls."""

    @property
    def worst(self) -> str:
        """The severity of the worst open incident; empty when there is none."""
        return self.opened[0].severity if self.opened else ""


def news(store: Store, caller: Caller, path: str, now: float) -> News:
    """How things stand for the page at that path."""
    opened = tuple(each for each in incidents.going_on(store, caller, now) if incidents.tab_of(each, now) == "open")
    return News(
        opened=opened,
        findings=store.count(Anomaly, caller.where) if path == "/anomalies" else None,
        calls=_calls_today(store, caller, now) if path == "/traces" else None,
    )


def _calls_today(store: Store, caller: Caller, now: float) -> int:
    return sum(row["calls"] for row in between(store, caller, now // DAY_S * DAY_S, now))
