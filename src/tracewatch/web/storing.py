"""What was received is decoded, priced and stored here: by one thread, many requests in one transaction.

One thread, because decoding holds Python's lock and SQLite has one writer anyway: a second one would only take turns
with it. A request is answered when the transaction that holds it has been committed, and not before.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from tracewatch import watch
from tracewatch.errors import BadRecord, TooManySpans
from tracewatch.otlp import Received, decode
from tracewatch.pricing import INCONSISTENT_USAGE, PriceBook, price_row
from tracewatch.records import Project, Span, columns
from tracewatch.stores import Store
from tracewatch.stores.values import to_values
from tracewatch.web.counters import Counters
from tracewatch.web.pieces import MOST_SPANS, pieces

GROUP_BYTES = 4 * 2**20  # of requests that share a transaction: some 8 000 spans, a third of a second
PRICES_S = 5.0  # so often it is looked whether a project has set prices of its own
MOST_KNOWN = 20_000  # names of models without a price that are remembered; a sender could make up any number

Row = dict[str, Any]
"""Columns of a span by their names; those that are empty may be left out."""

_UNSAID = "default"  # what a program's spans are in when it names no project
_NAMES = tuple(each.name for each in columns(Span))
_values_of = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One request that is to be stored."""

    body: bytes
    json: bool
    project: str | None
    """The project all of it belongs to; None: each program says so, and those that do not are in `or_project`."""
    or_project: str
    user_id: str | None
    """The account all of it belongs to; None: each span says so."""
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Stored]


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one request."""

    spans: int
    reasons: Mapping[str, int]
    """Why spans will never be stored, and how many for each reason."""


@dataclass(slots=True)
class _Decoded:
    """A delivery that waits for the commit of its transaction."""

    delivery: Delivery
    rows: list[Row] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def leave_out_bad(self) -> None:
        """Rejects the rows that no database would take, so that the others can be stored."""
        good = []
        for row in self.rows:
            try:
                to_values(Span, row)
            except BadRecord as error:
                self.reasons[str(error)] += 1
            else:
                good.append(row)
        self.rows = good


class Storing:
    """The thread, and the queue in front of it. `Room` bounds what waits in it."""

    def __init__(self, store: Store, counters: Counters, *, content: bool) -> None:
        self.store, self.counters, self.content = store, counters, content
        self._waiting: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tracewatch-storing", daemon=True)
        self._book: PriceBook | None = None
        self._overrides: Sequence[Any] = ()
        self._asked_at = 0.0

    def start(self) -> None:
        """Begins to store."""
        self._thread.start()

    def stop(self) -> None:
        """Stores what waits, then ends."""
        self._waiting.put(None)
        self._thread.join()

    def submit(self, delivery: Delivery) -> None:
        """Has it stored; `delivery.answer` says when that is done, or why not."""
        self._waiting.put(delivery)

    def _run(self) -> None:
        going_on = True
        while going_on:
            group, going_on = self._next()
            if group:
                self._store(group)

    def _next(self) -> tuple[list[Delivery], bool]:
        """The deliveries of the next transaction, and whether there may be more after them."""
        first = self._waiting.get()
        if first is None:
            return [], False
        group, size = [first], len(first.body)
        while size < GROUP_BYTES:
            try:
                more = self._waiting.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return group, False
            group.append(more)
            size += len(more.body)
        return group, True

    def _store(self, group: Sequence[Delivery]) -> None:
        decoded: list[_Decoded] = []
        for delivery in group:
            try:
                decoded.append(self._decode(delivery))
            except Exception as error:  # of any kind: a body that breaks us must not break the others
                _answer(delivery, error)
        try:
            self._commit(decoded)
        except Exception as error:
            self.counters.failed_commits += 1
            for each in decoded:
                _answer(each.delivery, error)
        else:
            for each in decoded:
                self.counters.reject(each.reasons)
                _answer(each.delivery, Stored(len(each.rows), each.reasons))
        finally:
            self.counters.queued_spans = 0

    def _commit(self, decoded: Sequence[_Decoded]) -> None:
        rows = [row for each in decoded for row in each.rows]
        self.counters.queued_spans = len(rows)
        started = time.perf_counter()
        try:
            new = self.store.add_rows(Span, rows)
        except BadRecord:
            for each in decoded:
                each.leave_out_bad()
            rows = [row for each in decoded for row in each.rows]
            new = self.store.add_rows(Span, rows)
        self.counters.commit(len(rows), new, time.perf_counter() - started)

    def _decode(self, delivery: Delivery) -> _Decoded:
        """The spans of a delivery as rows that can be stored, priced. Raises BadOtlp or TooManySpans."""
        done = _Decoded(delivery)
        book = self._prices()
        bodies: Iterator[bytes] = iter((delivery.body,)) if delivery.json else pieces(delivery.body)
        for body in bodies:
            received = self._received(body, delivery)
            done.reasons.update(received.reasons)
            if len(done.rows) + len(received.spans) + done.reasons.total() > MOST_SPANS:
                raise TooManySpans(most=MOST_SPANS)
            for span in received.spans:
                row = dict(zip(_NAMES, _values_of(span), strict=True))
                self._complete(row, delivery, book)
                done.rows.append(row)
        return done

    def _received(self, body: bytes, delivery: Delivery) -> Received:
        """What a body holds: with its texts only where every project in it allows that."""
        if delivery.project is not None:
            content = self._content_allowed(delivery.project)
            return decode(body, json=delivery.json, content=content, project=delivery.project)
        received = decode(body, json=delivery.json)
        if self.content and all(map(self._content_allowed, {each.project for each in received.spans})):
            return decode(body, json=delivery.json, content=True)
        return received

    def _complete(self, row: Row, delivery: Delivery, book: PriceBook) -> None:
        if delivery.project is None and row["project"] == _UNSAID:
            row["project"] = delivery.or_project
        if delivery.user_id is not None:
            row["user_id"] = delivery.user_id
        price, inconsistent = price_row(row, book)
        row["cost_usd"], row["cost_status"], row["cost_source"] = price.cost_usd, price.cost_status, price.cost_source
        if inconsistent:
            flags = tuple(row.get("warning_flags") or ())
            row["warning_flags"] = flags if INCONSISTENT_USAGE in flags else (*flags, INCONSISTENT_USAGE)

    def _prices(self) -> PriceBook:
        """The price book, with what projects have set themselves by now."""
        now = time.monotonic()
        if self._book is None or now - self._asked_at >= PRICES_S:
            overrides = watch.overrides_of(self.store)
            if self._book is None or overrides != self._overrides or len(self._book.unpriced) > MOST_KNOWN:
                self._book, self._overrides = PriceBook(overrides), overrides
            self._asked_at = now
        return self._book

    def _content_allowed(self, name: str) -> bool:
        """Whether texts of this project may be kept: the server does not refuse them, and the project allows them."""
        project = self.store.get(Project, {"project": name}) if self.content else None
        return isinstance(project, Project) and project.content_allowed


def _answer(delivery: Delivery, result: Stored | Exception) -> None:
    """Tells the request what became of it; one whose sender has gone is not told."""

    def tell() -> None:
        if delivery.answer.done():
            return
        if isinstance(result, Exception):
            delivery.answer.set_exception(result)
        else:
            delivery.answer.set_result(result)

    if not delivery.loop.is_closed():
        delivery.loop.call_soon_threadsafe(tell)
