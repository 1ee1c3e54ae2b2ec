"""Watching goes on by itself: whoever holds the lease makes one round after the other, the others stand by.

A server does this in a process of its own, because judging holds Python's lock for tenths of a second, in which nobody
would be answered. `tracewatch watch` does it beside a file that no server serves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tracewatch import settings
from tracewatch.alerts.sending import sending
from tracewatch.errors import LeaseLost, StoreBusy, StoreUnreadable, StoreUnwritable
from tracewatch.following import follower_of
from tracewatch.live.compacting import compacting
from tracewatch.live.flood import Flood
from tracewatch.live.leasing import Tenure
from tracewatch.live.passing import Passed
from tracewatch.live.retaining import Limits
from tracewatch.live.rounds import Rounds
from tracewatch.metrics.custom import parse
from tracewatch.records import Lease
from tracewatch.stores import open_store
from tracewatch.stores.base import Hurry

EVERY_S = 5.0  # at the latest: what is judged by the clock, such as silence, needs no row to come
LOOK_S = 0.2  # so often it is looked whether somebody has written: 3 µs
REST_S = 1.0  # between two rounds, also where rows come all the time
SHARE = 2.0  # after a second of the processor for a round there is a rest of two: ingest comes first
TROUBLE = (StoreBusy, StoreUnreadable, StoreUnwritable)
STAND_BY_S = 0.5  # so often it is looked whether the holder still lives

_log = logging.getLogger("tracewatch.live")


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """Who is told what happens, as it happens."""

    passed: Callable[[Mapping[str, Passed]], None] = field(default=lambda passed: None)
    """What came of a round, by project."""
    took: Callable[[Lease], None] = field(default=lambda lease: None)
    """That we watch now."""
    standing_by: Callable[[Lease], None] = field(default=lambda lease: None)
    """That somebody else does; told once of each holder."""
    lost: Callable[[LeaseLost], None] = field(default=lambda error: _log.warning("%s", error))
    """That we have watched no more, and stand by from now on."""


class Going:
    """Watches a store for as long as it is wanted."""

    def __init__(
        self,
        rounds: Callable[[], Rounds],
        tenure: Tenure,
        stop: threading.Event,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.time,
        teller: Teller | None = None,
    ) -> None:
        """`rounds` makes those of a new tenure: whoever takes over begins from what the store has."""
        self._rounds, self._tenure, self._stop = rounds, tenure, stop
        self._every_s, self._clock, self._teller = every_s, clock, teller or Teller()
        self._holder: tuple[str, int] | None = None

    def go(self, *, once: bool = False) -> None:
        """Goes on until told to stop; `once`: until there was one round."""
        while True:
            if self._taken() and self._watch(once=once):
                return
            if self._stop.wait(STAND_BY_S):
                return

    def _taken(self) -> bool:
        """Whether the lease is ours now."""
        try:
            if self._tenure.take():
                self._holder = None
                assert self._tenure.lease is not None
                self._teller.took(self._tenure.lease)
                return True
            there = self._tenure.current()
        except TROUBLE as error:
            _log.warning("%s", error)
            return False
        if there is not None and there.holder and (there.holder, there.epoch) != self._holder:
            self._holder = (there.holder, there.epoch)
            self._teller.standing_by(there)
        return False

    def _watch(self, *, once: bool) -> bool:
        """Makes rounds for as long as the lease is ours. Returns whether that is the end of it all."""
        with self._tenure.kept():
            try:
                rounds = self._rounds()
                while True:
                    seconds = self._round(rounds)
                    if self._tenure.lost.is_set() or once or self._rest(rounds, seconds):
                        break
                self._tenure.renew()  # or else what was learned might be put over what another has
                rounds.save(self._clock())
                return True
            except LeaseLost as error:
                self._teller.lost(error)
        return self._stop.is_set()

    def _round(self, rounds: Rounds) -> float:
        """Makes one; returns the processor's seconds it took. Trouble with the file is logged and passes."""
        began = time.process_time()
        try:
            self._teller.passed(rounds.go(self._clock()))
        except TROUBLE as error:
            _log.warning("%s", error)
        return time.process_time() - began

    def _rest(self, rounds: Rounds, seconds: float) -> bool:
        """Waits for the next round: for rows, for the end of a step, or for the longest time. Returns whether to stop.

        A flood of calls is let pass first, if it does not last.

        `seconds` is what the last round took of the processor: on a machine that others keep busy a round is long
        without having taken much, and to rest for longer would only make it later.
        """
        began, due = time.monotonic(), rounds.due()
        least = min(max(REST_S, SHARE * seconds), self._every_s)
        stamp, flood = rounds.store.stamp(), Flood(rounds.store, time.monotonic)
        while not self._stop.wait(LOOK_S):
            rested = time.monotonic() - began
            if self._tenure.lost.is_set():
                return False
            if flood.holds_back(rested):
                continue
            judging = due is not None and self._clock() >= due
            if rested >= self._every_s or judging or (rested >= least and rounds.store.stamp() != stamp):
                return False
        return True


def keep_going(
    db: str,
    project: str,
    stop: threading.Event,
    *,
    holder: str,
    every_s: float = EVERY_S,
    clock: Callable[[], float] = time.time,
    teller: Teller | None = None,
    once: bool = False,
    hurry: Hurry | None = None,
) -> None:
    """Watches a store until told to stop, whenever nobody else does. Raises the Store… errors when it cannot start.

    `hurry` runs what keeps other writers waiting: in a process of low priority it would keep them waiting for long.
    """
    given = settings.load()
    with (
        open_store(db, create=True, durability=given.durability) as store,
        # One of its own: what is written through the other is bound to the lease, and a slow receiver must not matter.
        open_store(db, durability=given.durability) as outbox,
        sending(outbox, given.alert_channels, private=given.private_channels) as sender,
        # And one that is bound to a lease of its own.
        open_store(db, durability=given.durability) as closing,
        compacting(closing, holder, 0 if once else given.compact_after, clock=clock),
    ):
        if hurry is not None:
            store.hurry(hurry)
        going = Going(
            lambda: Rounds(
                store,
                project,
                parse(given.metrics),
                alert_channels=given.alert_channels,
                public_url=given.public_url,
                limits=Limits(spans=given.keep_spans, gigabytes=given.keep_gb),
                follower=follower_of(given, store),
            ),
            Tenure(store, holder, clock=clock),
            stop,
            every_s=every_s,
            clock=clock,
            teller=teller,
        )
        going.go(once=once)
        if once:
            sender.go()
