"""What was received is stored here: by one thread, many requests in one transaction.

One thread, because SQLite has one writer: a second one would only take turns with it. Bodies are decoded by it, or by
processes beside it when more come than it can do by itself; they are stored in the order in which they came, but for
large ones, which others pass while they are decoded. A request is answered when the transaction that holds it has been
committed, and not before.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracewatch.receiving import Decoded, Decoder, Reading, Work, Workers
from tracewatch.records import Span
from tracewatch.stores import Store
from tracewatch.web.admitting import Projects
from tracewatch.web.counters import Counters

GROUP_BYTES = 4 * 2**20  # of requests that share a transaction: some 8 000 spans, a third of a second
SMALL_BYTES = 32 * 2**10  # of a body that is decoded in a millisecond or two: less than handing it over may take
LARGE_BYTES = GROUP_BYTES  # of a body that takes a second or more, so that nobody has to wait for it
TURN_S = 5.0  # for a process to begin with a large one; without any the server decodes it itself
LOOK_S = 0.05  # so often it is looked whether a large one is decoded
TOGETHER_S = 0.01  # that one request waits for another to be decoded: pages that both change are then written once
GIVEN_UP_S = 20.0  # for a process to decode a body; its sender has given up long before


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delivery:
    """One request that is to be stored."""

    work: Work
    has_key: bool
    """Whether a key says whose spans these are; else their sender may name any project."""
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Stored]


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one request."""

    spans: int
    reasons: Mapping[str, int]
    """Why spans will never be stored, and how many for each reason."""


class Storing:
    """The thread, and the queue in front of it. `Room` bounds what waits in it."""

    def __init__(
        self, store: Store, counters: Counters, projects: Projects, *, content: bool, workers: Workers | None = None
    ) -> None:
        self.store, self.counters, self.projects = store, counters, projects
        self.decoder = Decoder(store, content=content)
        self.reading = Reading(store, self.decoder)
        self._workers = workers
        self._coming: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._waiting: deque[Delivery] = deque()  # those that have come and are not stored; of the thread alone
        self._aside: dict[Delivery, float] = {}  # large ones that others pass, and since when; of the thread alone
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="tracewatch-storing", daemon=True)

    def start(self) -> None:
        """Begins to store."""
        if self._workers:
            self._workers.start()
        self._thread.start()

    def stop(self) -> None:
        """Stores what waits, then ends."""
        self._coming.put(None)
        self._thread.join()
        if self._workers:
            self._workers.stop()

    def submit(self, delivery: Delivery) -> None:
        """Has it stored; `delivery.answer` says when that is done, or why not."""
        size = len(delivery.work.request.body)
        alone = not self._busy and self._coming.empty()
        self._coming.put(delivery)
        if self._workers and size > (LARGE_BYTES if alone else SMALL_BYTES):
            self._workers.offer(delivery.work)

    def _run(self) -> None:
        going_on = True
        while going_on or self._waiting or self._aside:
            going_on = self._take_in(going_on)
            self._let_pass()
            self._busy = True
            if self._waiting:
                self._store(self._group())
            self._busy = False

    def _take_in(self, going_on: bool) -> bool:
        """Takes in what has come, and waits for it when nothing else waits. Returns whether more may come."""
        while going_on or (self._aside and not self._waiting):
            try:
                delivery = self._coming.get(block=not self._waiting, timeout=LOOK_S if self._aside else None)
            except queue.Empty:
                break
            if delivery is None:
                return False
            self._waiting.append(delivery)
        return going_on

    def _let_pass(self) -> None:
        """Puts large ones aside as long as a process is at them, or will be; those that are done come first again."""
        if self._workers is None:
            return
        now = time.monotonic()
        for delivery in [each for each in self._waiting if _is_large(each) and not each.work.ready.is_set()]:
            self._waiting.remove(delivery)
            self._aside[delivery] = now
        is_under_way = any(each.work.taken and not each.work.ready.is_set() for each in self._aside)
        for delivery, since in list(self._aside.items()):
            work = delivery.work
            if delivery.answer.done() and work.take():
                del self._aside[delivery]  # its sender was told to send it again, and nobody is at it
            elif work.ready.is_set() or not (work.taken or is_under_way or now - since < TURN_S):
                del self._aside[delivery]
                self._waiting.appendleft(delivery)

    def _group(self) -> list[tuple[Delivery, Decoded]]:
        """What the next transaction holds: the first that waits, and those behind it that are decoded by now."""
        group: list[tuple[Delivery, Decoded]] = []
        size = 0
        while (
            self._waiting
            and size < GROUP_BYTES
            and not (group and self._left_to_others(self._waiting[0].work, len(group)))
        ):
            delivery = self._waiting.popleft()
            size += len(delivery.work.request.body)
            try:
                decoded = self._decoded(delivery.work)
                group.append((delivery, decoded if delivery.has_key else self.projects.admit(decoded)))
            except Exception as error:  # of any kind: a body that breaks us must not break the others
                _answer(delivery, error)
        return group

    def _left_to_others(self, work: Work, held: int) -> bool:
        """Whether a process is at it, or will be: meanwhile, what is decoded already is stored."""
        if self._workers is None or work.ready.is_set() or (held == 1 and work.ready.wait(TOGETHER_S)):
            return False
        return work.taken or len(work.request.body) > SMALL_BYTES

    def _decoded(self, work: Work) -> Decoded:
        """What a body holds. Raises whatever decoding it raises."""
        if not work.take() and work.ready.wait(GIVEN_UP_S):
            if work.refusal is not None:
                raise work.refusal
            if work.decoded is not None:
                return work.decoded
        return self.decoder.decode(work.request)

    def _store(self, group: Sequence[tuple[Delivery, Decoded]]) -> None:
        try:
            self._commit([decoded for _, decoded in group])
        except Exception as error:
            self.counters.failed_commits += 1
            for delivery, _ in group:
                _answer(delivery, error)
        else:
            for delivery, decoded in group:
                self.counters.reject(decoded.reasons)
                _answer(delivery, Stored(len(decoded.rows), decoded.reasons))
        finally:
            self.counters.queued_spans = 0

    def _commit(self, group: Sequence[Decoded]) -> None:
        spans = self.counters.queued_spans = sum(len(each.rows) for each in group)
        started = time.perf_counter()
        new = self._write(group)
        self.counters.commit(spans, new, time.perf_counter() - started)

    def _write(self, group: Sequence[Decoded]) -> int:
        """Stores all of it; returns how many spans were new. What is cut short is done again when it comes again."""
        ready = self.reading.complete([row for each in group for row in each.rows])
        new = self.store.add_values(Span, ready.rows)
        if ready.duplicates:
            self.store.add(ready.duplicates)
        if ready.changed:
            self.store.put(ready.changed)
        return new


def _is_large(delivery: Delivery) -> bool:
    return len(delivery.work.request.body) > LARGE_BYTES


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
