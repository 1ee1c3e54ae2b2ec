"""What was received is stored here: by one thread, many requests in one transaction.

One thread, because decoding holds Python's lock and SQLite has one writer anyway: a second one would only take turns
with it. A request is answered when the transaction that holds it has been committed, and not before.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tracewatch.errors import BadRecord
from tracewatch.records import Span
from tracewatch.stores import Store
from tracewatch.stores.values import to_values
from tracewatch.web.counters import Counters
from tracewatch.web.reading import Reading, Ready, row_of

GROUP_BYTES = 4 * 2**20  # of requests that share a transaction: some 8 000 spans, half a second


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
    spans: list[Span]
    reasons: Counter[str] = field(default_factory=Counter)


class Storing:
    """The thread, and the queue in front of it. `Room` bounds what waits in it."""

    def __init__(self, store: Store, counters: Counters, *, content: bool) -> None:
        self.store, self.counters = store, counters
        self.reading = Reading(store, content=content)
        self._waiting: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tracewatch-storing", daemon=True)

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
                spans, reasons = self.reading.read(
                    delivery.body,
                    json=delivery.json,
                    project=delivery.project,
                    or_project=delivery.or_project,
                    user_id=delivery.user_id,
                )
                decoded.append(_Decoded(delivery, spans, reasons))
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
                _answer(each.delivery, Stored(len(each.spans), each.reasons))
        finally:
            self.counters.queued_spans = 0

    def _commit(self, decoded: Sequence[_Decoded]) -> None:
        self.counters.queued_spans = sum(len(each.spans) for each in decoded)
        started = time.perf_counter()
        try:
            new = self._write(decoded)
        except BadRecord:
            for each in decoded:
                _leave_out_bad(each)
            new = self._write(decoded)
        spans = sum(len(each.spans) for each in decoded)
        self.counters.commit(spans, new, time.perf_counter() - started)

    def _write(self, decoded: Sequence[_Decoded]) -> int:
        """Stores all of it; returns how many spans were new. What is cut short is done again when it comes again."""
        ready: Ready = self.reading.complete([span for each in decoded for span in each.spans])
        new = self.store.add_rows(Span, ready.rows)
        if ready.duplicates:
            self.store.add(ready.duplicates)
        if ready.changed:
            self.store.put(ready.changed)
        return new


def _leave_out_bad(decoded: _Decoded) -> None:
    """Rejects the spans that no database would take, so that the others can be stored."""
    good = []
    for span in decoded.spans:
        try:
            to_values(Span, row_of(span))
        except BadRecord as error:
            decoded.reasons[str(error)] += 1
        else:
            good.append(span)
    decoded.spans = good


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
