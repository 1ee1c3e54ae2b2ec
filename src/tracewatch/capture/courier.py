"""What brings rows to a sink: a bounded queue, and one thread that writes in batches and does not give up."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from tracewatch.capture import noting
from tracewatch.capture.losses import told

if TYPE_CHECKING:
    from tracewatch.capture.sinks import Sink
    from tracewatch.records import Span

BATCH_ROWS = 500  # 15 ms of writing into a file, 100 kB to a server
PAUSE_S = 0.2  # for so long rows are collected before they are written
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # between attempts when a sink cannot take rows; doubled each time
LOSS_EVERY_S = 1.0  # one row for all that was dropped in that time
SINGLE_REFUSALS = 10  # so many rows are refused one by one; then it is not the rows, and the batch is dropped

Fields = dict[str, Any]


class Courier:
    """Takes rows from any thread without waiting, and brings them to the sink from a thread of its own."""

    def __init__(
        self,
        open_sink: Callable[[Courier], Sink],
        *,
        limit: int,
        row_of: Callable[[Mapping[str, Any]], Span],
        loss_of: Callable[[Mapping[str, int]], Span],
        fork_wait_s: float,
    ) -> None:
        """`limit` rows wait at most; `row_of` makes them from fields, `loss_of` makes the row that tells of losses.

        `fork_wait_s` is for how long a fork waits, at most, until the write under way is over.
        """
        self._open_sink, self._limit, self._row_of, self._loss_of = open_sink, limit, row_of, loss_of
        self._fork_wait_s = fork_wait_s
        self._waiting: deque[Fields | threading.Event] = deque()
        self._held: list[Span] = []  # a batch that the sink has not taken yet
        self._marks: list[threading.Event] = []  # flushes that wait for that batch
        self._bell = threading.Lock()  # locked until somebody rings; unlike an Event it is safe in signal handlers
        self._bell.acquire()
        self._asleep = self._pausing = self._hurry = self._leaving = self._closed = False
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._losing = threading.RLock()
        self._losses: Counter[str] = Counter()  # not told yet
        self._lost = 0
        self._told_at = 0.0
        self._failures = 0

    def again(self) -> Courier:
        """A new one, with nothing in it, for a process that was forked: what waits here is the parent's to bring."""
        return Courier(
            self._open_sink,
            limit=self._limit,
            row_of=self._row_of,
            loss_of=self._loss_of,
            fork_wait_s=self._fork_wait_s,
        )

    @property
    def leaving(self) -> bool:
        """Whether the thread is to come to an end."""
        return self._leaving

    def put(self, fields: Fields) -> None:
        """Takes the fields of a row. Never waits: beyond the limit the row is dropped and counted."""
        if self._closed:
            self.lose("they came after the end")
        elif len(self._waiting) >= self._limit:
            self.lose("the queue was full")
        else:
            self._waiting.append(fields)
            if self._thread is None:
                self._begin()
            elif self._asleep or (self._pausing and len(self._waiting) >= BATCH_ROWS):
                self._ring()

    def lose(self, reason: str, rows: int = 1) -> None:
        """Counts rows that were dropped, to be told with the next batch."""
        with self._losing:
            self._losses[reason] += rows
            self._lost += rows

    def flush(self, timeout: float) -> bool:
        """Waits until all that was put so far is safe in the sink. False: not within `timeout` seconds, or refused."""
        nothing = not (self._waiting or self._held or self._marks or self._losses)
        if nothing and (self._thread is None or self._asleep):
            return True
        mark, lost = threading.Event(), self._lost
        self._waiting.append(mark)
        self._hurry = True
        self._begin()
        self._ring()
        return mark.wait(timeout) and self._lost == lost

    def close(self, timeout: float) -> bool:
        """Brings what waits, as far as `timeout` seconds allow, and ends. What is left is lost, and said so."""
        until = time.monotonic() + timeout
        self._closed = True
        done = self.flush(timeout)
        self.rest(max(until - time.monotonic(), 0.05))
        left = len(self._held) + sum(isinstance(each, dict) for each in self._waiting)
        if self._losses:
            noting.warn(told(self._losses))
        if left:
            noting.warn(f"{left:,} rows were lost: they could not be brought to their store within {timeout:g} s")
        return done and not left

    def rest(self, timeout: float | None = None) -> None:
        """Ends the thread, and with it the sink's connections, until `wake`; nothing that waits is lost."""
        self._leaving = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._ring()
            thread.join(self._fork_wait_s if timeout is None else timeout)

    def wake(self) -> None:
        """Goes on after a `rest`."""
        self._leaving = False
        if self._waiting or self._held:
            self._begin()

    def _begin(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread is about it
        try:
            if self._thread is None and not self._leaving:
                self._thread = threading.Thread(target=self._run, name="tracewatch", daemon=True)
                self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending: what waits is counted at the end
            self._thread = None
            noting.swallowed(error)
        finally:
            self._starting.release()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # somebody has rung already
            self._bell.release()

    def _run(self) -> None:
        # The sink lives in this frame alone: in a forked process, where this thread does not exist, nobody can use its
        # connection to a database, or close it.
        sink = None
        try:
            sink = self._open_sink(self)
            while not self._leaving:
                self._collect()
                self._fill()
                self._bring(sink)
        except Exception as error:  # no sink can be opened, or a mistake of ours: going on would only repeat it
            noting.swallowed(error)
            self._closed = True
        finally:
            if sink is not None:
                noting.quietly(sink.close)
            self._thread = None
        if (self._waiting or self._held) and not self._leaving and not self._closed:
            self._begin()  # came in between the last look and now

    def _collect(self) -> None:
        """Sleeps until there is something, and then a little, so that more comes along."""
        if not self._waiting and not self._held:
            self._asleep = True
            if not self._waiting and not self._leaving:
                self._bell.acquire(timeout=LOSS_EVERY_S if self._losses else -1)
            self._asleep = False
        if not self._hurry and not self._leaving:
            self._pausing = True
            if len(self._waiting) < BATCH_ROWS:
                self._bell.acquire(timeout=PAUSE_S)
            self._pausing = False

    def _fill(self) -> None:
        """Makes rows of what waits, up to a batch."""
        while self._waiting and len(self._held) < BATCH_ROWS:
            item = self._waiting.popleft()
            if isinstance(item, threading.Event):
                self._marks.append(item)
                continue
            try:
                self._held.append(self._row_of(dict(item)))
            except Exception as error:
                noting.swallowed(error)
                self.lose("no row could be made of it")
        self._hurry = self._hurry and bool(self._waiting)
        self._tell_losses()

    def _tell_losses(self) -> None:
        """Adds a row that says what was dropped since the last one."""
        now = time.monotonic()
        if not self._losses or (now - self._told_at < LOSS_EVERY_S and not self._marks):
            return
        with self._losing:
            losses, self._losses = self._losses, Counter()
        self._told_at = now
        self._held.append(self._loss_of(losses))
        noting.warn(told(losses), kind="dropped")

    def _bring(self, sink: Sink) -> None:
        """Writes the batch, trying until the sink takes it or we are to leave."""
        size, refusals = len(self._held), 0
        while self._held and not self._leaving:
            part = self._held[:size]
            outcome = self._write(sink, part)
            if outcome == "later":
                continue
            if outcome == "refused":
                if len(part) > 1 and refusals < SINGLE_REFUSALS:
                    size = len(part) // 2  # until the rows that are at fault stand alone
                    continue
                part = part if refusals < SINGLE_REFUSALS else self._held[:]
                refusals += 1
                self.lose(f"{sink.name} refused them", len(part))
            size *= 2
            del self._held[: len(part)]
        if not self._held:
            marks, self._marks = self._marks, []
            for mark in marks:
                mark.set()

    def _write(self, sink: Sink, part: list[Span]) -> Literal["taken", "later", "refused"]:
        from tracewatch.capture.sinks import Refused, Unavailable

        try:
            refused = sink.write(part)
        except Unavailable as error:
            self._failed(sink, str(error), error.after)
            return "later"
        except Refused as error:
            noting.warn(f"{sink.name} refused rows: {error}", kind="refused")
            return "refused"
        except Exception as error:  # a row that nobody had thought of
            noting.swallowed(error)
            return "refused"
        self._worked(sink, refused)
        return "taken"

    def _worked(self, sink: Sink, refused: int) -> None:
        if refused:
            self.lose(f"{sink.name} refused them", refused)
        if self._failures:
            noting.info(f"{sink.name} takes rows again")
            self._failures = 0

    def _failed(self, sink: Sink, why: str, after: float | None) -> None:
        """Waits before the next attempt: as long as the sink wishes, otherwise longer each time."""
        if self._failures == 0:
            kept = f"Up to {self._limit:,} are kept meanwhile, and it is tried again"
            noting.warn(f"cannot bring rows to {sink.name}: {why}. {kept}")
        wait_s = min(FIRST_WAIT_S * 2 ** min(self._failures, 10), LONGEST_WAIT_S) * random.uniform(0.8, 1.2)  # noqa: S311
        self._failures += 1
        until = time.monotonic() + (wait_s if after is None else max(after, FIRST_WAIT_S))
        while not self._leaving and (left := until - time.monotonic()) > 0:
            if self._bell.acquire(timeout=left) and after is None:
                return  # somebody flushes
