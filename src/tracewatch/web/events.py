"""What has changed is told to everybody who listens: the store is read once for all of them, once a second at most.

A *channel* is what one kind of listener is to be told; those who may see the same and ask for the same share one. When
the store has not been written to, nothing is read but its tip, so listeners cost nothing while nothing happens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from tracewatch.access import Caller, still_open
from tracewatch.errors import TracewatchError
from tracewatch.stores import Store

EVERY_S = 1.0
BUSY = 4.0  # after reading for a second the rounds rest for four, so that listeners take a fifth of a core at most
LATER_S = 6.0  # after the last write all is read once more: rollups follow what is written within five seconds
HEARTBEAT_S = 15.0  # proxies cut connections on which nothing has come for 30 or 60 seconds
MOST_WAITING = 256  # messages; a listener that does not take them is let go, and asks again with the last id it has
MOST_LISTENERS = 1_000
HEARTBEAT = b": still here\n\n"

_log = logging.getLogger("tracewatch.web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a stream: its text, the name of the event (none: what is to be shown), and its id."""

    data: str
    event: str = ""
    id: str = ""

    def encoded(self) -> bytes:
        r"""The message as it goes over the wire.

        >>> Message(data="a\nb", event="numbers", id="7").encoded()
        b'id: 7\nevent: numbers\ndata: a\ndata: b\n\n'
        """
        head = "".join(f"{name}: {value}\n" for name, value in (("id", self.id), ("event", self.event)) if value)
        lines = "".join(f"data: {line}\n" for line in self.data.splitlines() or [""])
        return f"{head}{lines}\n".encode()


class Channel(ABC):
    """What one kind of listener is told. Read in a thread, by one reader at a time."""

    every_s: float | None = None
    """After how long it is read although nothing was written, because time has passed; None: never."""

    def __init__(self, key: Hashable, caller: Caller) -> None:
        """`key` holds everything that what is told depends on, who may see it included."""
        self.key, self.caller = key, caller

    @abstractmethod
    def read(self, now: float) -> Sequence[Message]:
        """What is new since it was read last; the first time everything. `now` is UTC epoch seconds."""

    @abstractmethod
    def standing(self) -> Sequence[Message]:
        """What somebody who comes now has to be told, as it was read last."""


@dataclass(slots=True, eq=False)
class _Listener:
    waiting: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def tell(self, message: bytes | None) -> None:
        """Puts a message before the listener; None ends it, and so does a queue that is full."""
        try:
            self.waiting.put_nowait(message)
        except asyncio.QueueFull:
            while not self.waiting.empty():
                self.waiting.get_nowait()
            self.waiting.put_nowait(None)


@dataclass(slots=True, eq=False)
class _Open:
    """A channel with those who listen."""

    channel: Channel
    listeners: set[_Listener] = field(default_factory=set)
    read_at: float | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Events:
    """All channels of a server, and the one task that reads for them; it runs while anybody listens."""

    def __init__(self, store: Store, clock: Callable[[], float], *, every_s: float = EVERY_S) -> None:
        self.store, self.clock, self.every_s = store, clock, every_s
        self._open: dict[Hashable, _Open] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._tip = ""
        self._written_at = -LATER_S

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return sum(len(each.listeners) for each in self._open.values())

    @property
    def full(self) -> bool:
        """Whether nobody else may listen."""
        return self.listeners >= MOST_LISTENERS

    async def listen(
        self, channel: Channel, missed: Callable[[], Sequence[Message]] = lambda: ()
    ) -> AsyncIterator[bytes]:
        """The messages of a channel, after those that were `missed`, until the listener goes or may no longer listen.

        `missed` is asked (in a thread) once all that happens from then on is sure to be told, so that nothing is lost.
        """
        listener = _Listener()
        opened = self._open.setdefault(channel.key, _Open(channel))
        opened.listeners.add(listener)
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run())
        try:
            if opened.read_at is None:
                await self._tell(opened, time.monotonic())
            else:
                for message in opened.channel.standing():
                    listener.tell(message.encoded())
            yield HEARTBEAT  # from here on nothing is missed
            for message in await run_in_threadpool(missed):
                yield message.encoded()
            while not self._closed:
                try:
                    told = await asyncio.wait_for(listener.waiting.get(), HEARTBEAT_S)
                except TimeoutError:
                    told = HEARTBEAT
                if told is None:
                    return
                yield told
        finally:
            opened.listeners.discard(listener)
            if not opened.listeners and self._open.get(channel.key) is opened:
                del self._open[channel.key]

    def close(self) -> None:
        """Ends all streams: a server that is told to stop does not wait for those who would listen for ever."""
        self._closed = True
        for opened in self._open.values():
            self._end(opened)
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        try:
            while self._open:
                began = time.monotonic()
                try:
                    await self._round(began)
                except TracewatchError as error:  # a database that is locked will answer again
                    _log.warning("%s", error)
                await asyncio.sleep(max(self.every_s, BUSY * (time.monotonic() - began)))
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    async def _round(self, at: float) -> None:
        """One reading; `at` is a monotonic clock."""
        tip = await run_in_threadpool(self.store.tip)
        await self._let_go()
        changed = tip != self._tip
        later = at - self._written_at >= LATER_S and self._written_at > -LATER_S
        if changed:
            self._tip, self._written_at = tip, at
        elif later:
            self._written_at = -LATER_S
        for opened in list(self._open.values()):
            every_s = opened.channel.every_s
            due = opened.read_at is None or (every_s is not None and at - opened.read_at >= every_s)
            if changed or later or due:
                await self._tell_or_end(opened, at)

    async def _tell_or_end(self, opened: _Open, at: float) -> None:
        """A channel that cannot be read ends, so that its listeners come back; the others go on."""
        try:
            await self._tell(opened, at)
        except TracewatchError:
            raise
        except Exception:
            _log.exception("a stream of events cannot be told and ends")
            self._end(opened)

    def _end(self, opened: _Open) -> None:
        for listener in opened.listeners:
            listener.tell(None)

    async def _tell(self, opened: _Open, at: float) -> None:
        async with opened.turn:
            messages = await run_in_threadpool(opened.channel.read, self.clock())
            opened.read_at = at
            for message in messages:
                told = message.encoded()  # once for all who listen
                for listener in opened.listeners:
                    listener.tell(told)

    async def _let_go(self) -> None:
        """Ends the streams of those who may no longer listen: their key was revoked, has expired, or is needed now."""
        keys = frozenset(each.channel.caller.key for each in self._open.values())
        still = await run_in_threadpool(still_open, self.store, keys, self.clock())
        for opened in list(self._open.values()):
            if opened.channel.caller.key not in still:
                self._end(opened)
