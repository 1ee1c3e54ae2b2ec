"""What rows that came mean for what is stored: reports of one call are put together here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from tracewatch.otlp import RecentCalls, Row
from tracewatch.otlp.conventions import MODEL_CALLS
from tracewatch.receiving.decoding import Decoder
from tracewatch.records import Duplicate, Span, columns, key_of
from tracewatch.stores import Filter, Store
from tracewatch.stores.values import from_values

REMEMBERED_S = 3600.0  # of calls stored before the server started; a second report comes within seconds
REMEMBERED = 5_000  # of those, the newest

_NAMES = tuple(each.name for each in columns(Span))
_values_of = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What is to be written of some rows."""

    rows: list[Row]
    """Those that are new."""
    changed: tuple[Span, ...]
    """Stored ones, with what a second report of the same call adds."""
    duplicates: tuple[Duplicate, ...]


class Reading:
    """Looks at rows in the order in which they came: what it knows of recent calls is for one thread."""

    def __init__(self, store: Store, decoder: Decoder) -> None:
        self.store, self.decoder = store, decoder
        self._recent: RecentCalls | None = None

    def complete(self, rows: Sequence[Row]) -> Ready:
        """What to write of these, which are as a database takes them: each call once, and with its price."""
        if self._recent is None:
            self._recent = self._remembered()
        merged = self._recent.merge_rows(rows, self._fetch, _span_of)
        return Ready(
            rows=[self._again(each) if isinstance(each, Span) else each for each in merged.rows],
            changed=tuple(_span_of(self._again(each)) for each in merged.changed),
            duplicates=merged.duplicates,
        )

    def _again(self, span: Span) -> Row:
        """A span that was put together, as a row with its price."""
        return self.decoder.priced(
            {name: value for name, value in zip(_NAMES, _values_of(span), strict=True) if value is not None}
        )

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


def _span_of(row: Row) -> Span:
    span: Span = from_values(Span, row)
    return span
