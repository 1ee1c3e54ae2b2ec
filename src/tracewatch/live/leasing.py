"""One detector at a time: who holds the lease of a store, keeps it and gives it back, and how it passes to another.

No two clocks are compared, so none that is wrong or jumps can steal a lease or strand it: who stands by looks whether
the holder still says that it lives, and counts the time without a word on a clock of its own that only goes forward.
A holder that slept through the loss is kept from writing by the store (`Store.fence`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tracewatch.errors import LeaseLost, StoreBusy, StoreUnreadable, StoreUnwritable
from tracewatch.records import Lease
from tracewatch.stores.base import Filter, Store

WATCHING = "watching"
LEASE_S = (
    6.0  # without a word of the holder before another takes over; a busy machine keeps a thread waiting for 1 or 2
)
RENEW_S = 1.5
LOOK_S = 0.2

_log = logging.getLogger("tracewatch.live")


def this_process(command: str) -> str:
    """Who this is, as people read it and as no other process is called."""
    return f"{command} on {socket.gethostname()}, process {os.getpid()}"


class Tenure:
    """One process that holds the lease of a store, or would like to."""

    def __init__(
        self,
        store: Store,
        holder: str,
        *,
        name: str = WATCHING,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` only says when, for people; `steady` (seconds, going forward alone) is what counts."""
        self.store, self.holder, self.name = store, holder, name
        self.lease: Lease | None = None
        self.lost = threading.Event()
        """Set when another process has taken the lease."""
        self._clock, self._steady = clock, steady
        self._heard: tuple[int, int] | None = None
        self._heard_at = 0.0

    def take(self) -> bool:
        """Takes the lease, if nobody holds it or its holder has said nothing for too long. Returns whether it did."""
        there = self.current()
        if there is not None and there.holder and not self._is_silent(there):
            return False
        now = self._clock()
        mine = Lease(
            name=self.name, holder=self.holder, epoch=there.epoch + 1 if there else 1, taken_at=now, renewed_at=now
        )
        where = [Filter("name", "=", (self.name,))]
        if there is not None:
            where += [Filter("epoch", "=", (there.epoch,)), Filter("beat", "=", (there.beat,))]
        if not self.store.swap(Lease, where, [mine], expected=0 if there is None else 1):
            return False
        self.lease, self._heard = mine, None
        self.lost.clear()
        self.store.fence(mine)
        return True

    def take_or_hear(self, wait: Callable[[float], object] = time.sleep) -> bool:
        """Takes the lease as soon as its holder is known to be silent. Returns False once it is known to live."""
        first: tuple[int, int] | None = None
        while not self.take():
            if first is not None and self._heard != first:
                return False
            first = self._heard
            wait(LOOK_S)
        return True

    def current(self) -> Lease | None:
        """The lease as it stands; None when it was never taken."""
        return current_lease(self.store, self.name)

    def renew(self) -> None:
        """Says that the holder lives. Raises LeaseLost."""
        assert self.lease is not None, "only who holds the lease renews it"
        self.lease = replace(self.lease, beat=self.lease.beat + 1, renewed_at=self._clock())
        values = {"beat": self.lease.beat, "renewed_at": self.lease.renewed_at}
        self.store.annotate(Lease, {"name": self.name}, values)

    def give_back(self) -> None:
        """Lets the next one take it at once; does nothing where it is lost."""
        if self.lease is not None:
            with contextlib.suppress(LeaseLost, StoreBusy, StoreUnreadable, StoreUnwritable):
                self.store.annotate(Lease, {"name": self.name}, {"holder": "", "renewed_at": self._clock()})
        self.lease = None
        self.store.fence(None)

    @contextlib.contextmanager
    def kept(self, every_s: float = RENEW_S) -> Iterator[None]:
        """Within, the lease is renewed by a thread, and given back at the end."""
        stop = threading.Event()
        thread = threading.Thread(target=self._keep, args=(stop, every_s), name="tracewatch-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.give_back()

    def _is_silent(self, there: Lease) -> bool:
        """Whether the holder has said nothing for too long, as far as we have listened."""
        if self._heard != (there.epoch, there.beat):
            self._heard, self._heard_at = (there.epoch, there.beat), self._steady()
            return False
        return self._steady() - self._heard_at > LEASE_S

    def _keep(self, stop: threading.Event, every_s: float) -> None:
        while not stop.wait(every_s):
            try:
                self.renew()
            except LeaseLost:
                self.lost.set()
                return
            except (StoreBusy, StoreUnreadable, StoreUnwritable) as error:
                _log.warning("%s", error)  # the others cannot write either


def current_lease(store: Store, name: str = WATCHING) -> Lease | None:
    """The lease of a store as it stands; None when it was never taken."""
    found = store.get(Lease, {"name": name})
    return found if isinstance(found, Lease) else None
