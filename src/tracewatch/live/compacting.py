"""Spans that are days old go into files beside the database where they take a quarter of the room, by and by.

A thread beside detection, for a look every ten minutes; between two steps of it others write. It holds a lease of its
own, so a command may do the same beside a file that a server watches: one of them does it, the other says who.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from tracewatch.errors import CompactedElsewhere, LeaseLost, StoreBusy, StoreUnreadable, StoreUnwritable
from tracewatch.live.leasing import Tenure
from tracewatch.stores.base import Progress, Store
from tracewatch.times import DAY_S

COMPACTING = "compacting"
LOOK_S = 600.0  # what goes is days old: ten minutes do not matter
TROUBLE = (LeaseLost, StoreBusy, StoreUnreadable, StoreUnwritable)

_log = logging.getLogger("tracewatch.live")


def compact(
    store: Store,
    holder: str,
    before: float,
    *,
    least: int | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Compacts spans that began before a moment, if nobody else does. Returns how many.

    `least`: as few as that are enough; None leaves it to the store. The store is bound to the lease meanwhile. Raises
    CompactedElsewhere, LeaseLost or StoreUnwritable.
    """
    tenure = Tenure(store, holder, name=COMPACTING)
    if not tenure.take_or_hear():
        there = tenure.current()
        raise CompactedElsewhere(path=store.url, holder=there.holder if there else "nobody")
    with tenure.kept():
        return store.compact(before, least=least, progress=progress, stop=stop)


@contextlib.contextmanager
def compacting(store: Store, holder: str, after_days: int, *, clock: Callable[[], float] = time.time) -> Iterator[None]:
    """Within, spans older than so many days are compacted; 0: never, nor in a file that an application has made."""
    stop = threading.Event()
    thread = threading.Thread(
        target=_run, args=(store, holder, after_days, stop, clock), name="tracewatch-compacting", daemon=True
    )
    if after_days and not store.is_shared():
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()


def _run(store: Store, holder: str, after_days: int, stop: threading.Event, clock: Callable[[], float]) -> None:
    while not stop.wait(LOOK_S):
        with contextlib.suppress(CompactedElsewhere):
            try:
                done = compact(store, holder, clock() - after_days * DAY_S, stop=stop.is_set)
            except TROUBLE as error:
                if not stop.is_set():
                    _log.warning("%s", error)
            else:
                if done:
                    _log.warning("%s spans were compacted", f"{done:,}")
