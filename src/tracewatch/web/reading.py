"""From a body to rows that can be stored: decoded, reports of one call put together, priced."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from tracewatch import watch
from tracewatch.errors import TooManySpans
from tracewatch.otlp import Received, RecentCalls, decode
from tracewatch.otlp.conventions import MODEL_CALLS
from tracewatch.pricing import INCONSISTENT_USAGE, PriceBook, price_row
from tracewatch.records import Duplicate, PriceOverride, Project, Span, columns, key_of
from tracewatch.stores import Filter, Store
from tracewatch.web.pieces import MOST_SPANS, pieces

PRICES_S = 5.0  # so often it is looked whether a project has set prices of its own
MOST_KNOWN = 20_000  # names of models without a price that are remembered; a sender could make up any number
REMEMBERED_S = 3600.0  # of calls stored before the server started; a second report comes within seconds
REMEMBERED = 5_000  # of those, the newest

Row = dict[str, Any]
"""Columns of a span by their names; those that are empty are left out."""

_UNSAID = "default"  # what a program's spans are in when it names no project
_NAMES = tuple(each.name for each in columns(Span))
_values_of = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What is to be written of some spans."""

    rows: list[Row]
    """Those that are new."""
    changed: tuple[Span, ...]
    """Stored ones, with what a second report of the same call adds."""
    duplicates: tuple[Duplicate, ...]


class Reading:
    """Reads bodies, one after another: what it knows of prices and of recent calls is for one thread."""

    def __init__(self, store: Store, *, content: bool) -> None:
        self.store, self.content = store, content
        self._book: PriceBook | None = None
        self._overrides: Sequence[PriceOverride] = ()
        self._asked_at = 0.0
        self._recent: RecentCalls | None = None

    def read(
        self, body: bytes, *, json: bool, project: str | None, or_project: str, user_id: str | None
    ) -> tuple[list[Span], Counter[str]]:
        """The spans of a body, and why others were rejected. Raises BadOtlp or TooManySpans.

        Without `project` each program says to which it belongs, and `or_project` is for those that do not.
        """
        spans: list[Span] = []
        reasons: Counter[str] = Counter()
        bodies: Iterator[bytes] = iter((body,)) if json else pieces(body, reasons)
        for each in bodies:
            received = self._received(each, json=json, project=project)
            reasons.update(received.reasons)
            if len(spans) + len(received.spans) + reasons.total() > MOST_SPANS:
                raise TooManySpans(most=MOST_SPANS)
            spans += received.spans
        if project is None and or_project != _UNSAID:
            unsaid = (each.project == _UNSAID for each in spans)
            spans = [
                replace(each, project=or_project) if own else each for each, own in zip(spans, unsaid, strict=True)
            ]
        return spans if user_id is None else [replace(each, user_id=user_id) for each in spans], reasons

    def complete(self, spans: Sequence[Span]) -> Ready:
        """What to write of these: each call once, and with its price."""
        if self._recent is None:
            self._recent = self._remembered()
        merged = self._recent.merge(spans, self._fetch)
        book = self._prices()
        changed = [_priced(row_of(each), book) for each in merged.changed]
        return Ready(
            rows=[_priced(row_of(each), book) for each in merged.spans],
            changed=tuple(Span(**each) for each in changed),
            duplicates=merged.duplicates,
        )

    def _received(self, body: bytes, *, json: bool, project: str | None) -> Received:
        """What a body holds: with its texts only where every project in it allows that."""
        if project is not None:
            return decode(body, json=json, content=self._content_allowed(project), project=project)
        received = decode(body, json=json)
        if self.content and all(map(self._content_allowed, {each.project for each in received.spans})):
            return decode(body, json=json, content=True)
        return received

    def _content_allowed(self, name: str) -> bool:
        """Whether texts of this project may be kept: the server does not refuse them, and the project allows them."""
        project = self.store.get(Project, {"project": name}) if self.content else None
        return isinstance(project, Project) and project.content_allowed

    def _prices(self) -> PriceBook:
        """The price book, with what projects have set themselves by now."""
        now = time.monotonic()
        if self._book is None or now - self._asked_at >= PRICES_S:
            overrides = watch.overrides_of(self.store)
            if self._book is None or overrides != self._overrides or len(self._book.unpriced) > MOST_KNOWN:
                self._book, self._overrides = PriceBook(overrides), overrides
            self._asked_at = now
        return self._book

    def _remembered(self) -> RecentCalls:
        """The calls that were stored before the server started, for reports that come after it."""
        recent = RecentCalls()
        where = [
            Filter("start_time", ">=", (time.time() - REMEMBERED_S,)),
            Filter("operation_type", "=", tuple(sorted(MODEL_CALLS))),
        ]
        known = self.store.page(Span, where, limit=REMEMBERED).records
        recent.remember(each for each in reversed(known) if isinstance(each, Span))
        return recent

    def _fetch(self, key: tuple[str, str, str]) -> Span | None:
        found = self.store.get(Span, dict(zip(key_of(Span), key, strict=True)))
        return found if isinstance(found, Span) else None


def row_of(span: Span) -> Row:
    """The columns of a span that are not empty."""
    return {name: value for name, value in zip(_NAMES, _values_of(span), strict=True) if value is not None}


def _priced(row: Row, book: PriceBook) -> Row:
    price, inconsistent = price_row(row, book)
    row["cost_usd"], row["cost_status"], row["cost_source"] = price.cost_usd, price.cost_status, price.cost_source
    if inconsistent:
        flags = tuple(row.get("warning_flags") or ())
        row["warning_flags"] = flags if INCONSISTENT_USAGE in flags else (*flags, INCONSISTENT_USAGE)
    return row
