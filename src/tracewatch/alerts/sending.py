"""What is due is sent, each channel by itself, so that a slow receiver keeps nobody else waiting."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tracewatch.alerts import outbox
from tracewatch.alerts.book import Book
from tracewatch.alerts.kept import book_of
from tracewatch.channels import Channel, from_json
from tracewatch.channels.base import SHORT_MARK
from tracewatch.errors import DeliveryFailed, DeliveryRefused, StoreBusy, StoreUnreadable, StoreUnwritable
from tracewatch.errors import TracewatchError as Ours
from tracewatch.records import Delivery
from tracewatch.stores.base import Store

LOOK_S = 1.0  # so often it is looked whether something is to be sent
MOST_AT_ONCE = 8  # channels
MOST_A_TURN = 20  # messages of one channel, after which others have their turn
TIDY_S = 86_400.0
TROUBLE = (StoreBusy, StoreUnreadable, StoreUnwritable)

_log = logging.getLogger("tracewatch.alerts")


@contextmanager
def sending(store: Store, addresses: str, *, private: bool = True) -> Iterator[Sender]:
    """Within, what is due is sent."""
    sender = Sender(store, addresses, private=private)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()


class Sender:
    """Sends what is due of a store, from threads of its own. Several processes may do so at once."""

    def __init__(
        self, store: Store, addresses: str, clock: Callable[[], float] = time.time, *, private: bool = True
    ) -> None:
        """`addresses` are those of TRACEWATCH_ALERT_CHANNELS; `private` is whether others may lead to private networks.

        The store must not be bound to a lease.
        """
        self._private = private
        self._store, self._addresses, self._clock = store, addresses, clock
        self.who = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._stop = threading.Event()
        self._busy: set[tuple[str, str]] = set()
        self._turn = threading.Lock()
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="tracewatch-sending")
        self._stamp: object = None
        self._next: float | None = None
        self._tidied_at = clock()

    def start(self) -> None:
        """Sends from now on, until stopped."""
        threading.Thread(target=self._run, name="tracewatch-alerts", daemon=True).start()

    def stop(self) -> None:
        """Ends after the attempts that are under way."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def go(self) -> int:
        """Sends everything that is due now, and waits until that is done. Returns how many were tried."""
        tried = 0
        for (project, channel), some in self._grouped(outbox.due(self._store, self._clock())).items():
            tried += self._send_all(project, channel, some)
        return tried

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except TROUBLE as error:
                _log.warning("%s", error)
            except RuntimeError:  # the pool was shut down between two looks
                return
            self._stop.wait(LOOK_S)

    def _look(self) -> None:
        """Hands what is due to threads; asks the store only when somebody wrote or a moment has come."""
        now, stamp = self._clock(), self._store.stamp()
        if stamp == self._stamp and (self._next is None or now < self._next <= now + outbox.FARTHEST_S):
            return
        self._stamp = stamp
        for (project, channel), some in self._grouped(outbox.due(self._store, now)).items():
            with self._turn:
                if (project, channel) in self._busy:
                    continue
                self._busy.add((project, channel))
            self._pool.submit(self._work, project, channel, some[:MOST_A_TURN])
        self._next = outbox.next_due(self._store)
        if now - self._tidied_at > TIDY_S:
            self._tidied_at = now
            outbox.tidy(self._store, now)

    def _work(self, project: str, channel: str, some: Sequence[Delivery]) -> None:
        try:
            self._send_all(project, channel, some)
        except TROUBLE as error:
            _log.warning("%s", error)  # what was claimed is tried again when its time is over
        finally:
            with self._turn:
                self._busy.discard((project, channel))
                self._stamp = None

    def _send_all(self, project: str, channel: str, some: Sequence[Delivery]) -> int:
        book, tried = book_of(self._store, project, self._addresses, private=self._private), 0
        for each in some:
            for part in self._apart(book, each):
                if self._stop.is_set():
                    return tried
                claimed = outbox.claim(self._store, part, self.who, self._clock())
                if claimed is not None:
                    self._send(book, channel, claimed)
                    tried += 1
        return tried

    def _apart(self, book: Book, delivery: Delivery) -> Sequence[Delivery]:
        """One delivery for each recipient of the channel, where there are several."""
        if delivery.recipient:
            return (delivery,)
        try:
            recipients = tuple(book.open(delivery.channel).parts)
        except Ours:  # the attempt says what is wrong
            recipients = ()
        return outbox.apart(self._store, delivery, recipients) if len(recipients) > 1 else (delivery,)

    def _send(self, book: Book, channel: str, claimed: Delivery) -> None:
        """One attempt, and what came of it."""
        try:
            _way(book, claimed).send(from_json(claimed.message))
        except DeliveryRefused as error:
            self._note(outbox.dead(self._store, claimed, str(error)), claimed, error)
        except DeliveryFailed as error:
            again = outbox.failed(self._store, claimed, self._clock(), str(error), error.retry_after_s)
            self._note(again, claimed, error)
        except TROUBLE:
            raise
        except Ours as error:  # a channel that is not there any more, or lacks a secret: people may see to it
            self._note(outbox.failed(self._store, claimed, self._clock(), str(error)), claimed, error)
        except Exception as error:  # a receiver's library may raise anything, and others are to be told all the same
            why = f"{channel}: {type(error).__name__}"
            self._note(outbox.failed(self._store, claimed, self._clock(), why), claimed, error)
        else:
            outbox.sent(self._store, claimed, self._clock())

    def _note(self, kept: bool, claimed: Delivery, error: Exception) -> None:
        lost = "" if kept else " (another process has it now)"
        what = str(error) if isinstance(error, Ours) else type(error).__name__
        if claimed.attempts == 1 or not kept:
            _log.warning("an alert of project %s was not delivered: %s%s", claimed.project, what, lost)

    @staticmethod
    def _grouped(some: Sequence[Delivery]) -> dict[tuple[str, str], list[Delivery]]:
        out: dict[tuple[str, str], list[Delivery]] = defaultdict(list)
        for each in some:
            out[each.project, each.channel].append(each)
        return out


def _way(book: Book, delivery: Delivery) -> Channel:
    """The channel to the recipient of a delivery. Raises what `Book.open` raises, and DeliveryRefused."""
    channel = book.open(delivery.channel)
    if not delivery.recipient:
        return channel
    parts = channel.parts
    if len(delivery.recipient) == SHORT_MARK:  # of two that share it, the last was meant
        parts = {mark[:SHORT_MARK]: part for mark, part in parts.items()}
    if delivery.recipient in parts:
        return parts[delivery.recipient]
    why = f"recipient {delivery.recipient[:SHORT_MARK]} is none of its own any more"
    raise DeliveryRefused(channel=channel.name, why=why)
