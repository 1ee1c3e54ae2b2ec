"""The prices that projects set themselves, as a store has them."""

from __future__ import annotations

from tracewatch.records import PriceOverride
from tracewatch.stores.base import Filter, Store

MOST_OVERRIDES = 10_000  # prices a project sets itself; a page of so many is still read in one go


def overrides_of(store: Store, project: str | None = None) -> tuple[PriceOverride, ...]:
    """The prices a project set itself, or those of all projects."""
    where = [] if project is None else [Filter("project", "=", (project,))]
    page = store.page(PriceOverride, where, limit=MOST_OVERRIDES)
    return tuple(each for each in page.records if isinstance(each, PriceOverride))
