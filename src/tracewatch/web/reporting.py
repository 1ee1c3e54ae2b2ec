"""What the server counts about itself is written into the store, where detection, another process, looks after it."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from tracewatch.errors import TracewatchError
from tracewatch.records import Intake, columns
from tracewatch.stores import Store
from tracewatch.web.bodies import Room
from tracewatch.web.counters import Counters

EVERY_S = 10.0
NO_ROOM = ("full", "slow", "store", "disk")
"""Reasons for which a request is turned away that are the server's, not the sender's."""

_log = logging.getLogger("tracewatch.web")


class Reporting:
    """The thread that writes; while nothing changes it writes nothing."""

    def __init__(self, store: Store, counters: Counters, room: Room, clock: Callable[[], float] = time.time) -> None:
        self._store, self._counters, self._room, self._clock = store, counters, room, clock
        self._server = f"{socket.gethostname()} {os.getpid()} {clock():.0f}"
        self._told: Intake | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracewatch-reporting", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def stop(self) -> None:
        """Writes no more."""
        self._stopping.set()
        self._thread.join()

    def report(self) -> None:
        """Writes what has been counted, where that is another number than before."""
        counters = self._counters
        refused = counters.refused_requests.copy()
        now = Intake(
            server=self._server,
            updated_at=self._clock(),
            requests=counters.requests,
            refused_requests=sum(refused[reason] for reason in NO_ROOM),
            spans=counters.accepted_spans,
            failed_commits=counters.failed_commits,
            queue_share=round(counters.queued_bytes / self._room.most, 2),
        )
        if self._told is not None and replace(now, updated_at=self._told.updated_at) == self._told:
            return
        values = {each.name: getattr(now, each.name) for each in columns(Intake) if not each.key}
        # In place: a new row would tell everybody who listens that something has happened.
        if self._told is None or not self._store.annotate(Intake, {"server": self._server}, values):
            self._store.put([now])
        self._told = now

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                self.report()
            except TracewatchError as error:  # a database that is locked will answer again
                _log.warning("%s", error)
