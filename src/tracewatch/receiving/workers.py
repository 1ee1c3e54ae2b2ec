"""Processes that decode beside the one that stores, so that ingest uses more than one core.

Decoding is work for Python, which holds its lock, so threads would only take turns. A process is started when bodies
begin to queue, and ends when none has come for a while. None of them is needed: what one has not taken, or was killed
over, is decoded by whoever stores it.
"""

from __future__ import annotations

import gc
import logging
import marshal
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import IO

from tracewatch.errors import BadOtlp, TooManySpans, TracewatchError
from tracewatch.receiving.decoding import Decoded, Request
from tracewatch.settings import PREFIX

MOST = 3  # one process stores as much as two or three decode
IDLE_S = 60.0  # without work, after which a process gives its memory back
AGAIN_S = 10.0  # after a process could not be started, or died
PIPE_BYTES = 2**20  # what Linux lets anybody take; a usual body and its rows are a quarter of it
GC_AFTER = (20_000, 20, 50)  # new objects and rounds; Python's own (700, 10, 10) are for small programs
REFUSALS: Mapping[str, type[TracewatchError]] = {each.__name__: each for each in (BadOtlp, TooManySpans)}
_SIZE = 8  # bytes in front of every message, which say how long it is

_log = logging.getLogger("tracewatch.receiving")


class Work:
    """One body that is to be decoded: by whoever takes it first."""

    __slots__ = ("_taken", "_turn", "decoded", "ready", "refusal", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.decoded: Decoded | None = None
        """What it holds, once `ready` is set; None when it has to be decoded by whoever stores it."""
        self.refusal: TracewatchError | None = None
        """Why it cannot be decoded, where that is known."""
        self.ready = threading.Event()
        """Set once a process has done with it, or cannot do it."""
        self._turn, self._taken = threading.Lock(), False

    def take(self) -> bool:
        """Whether it is the caller's to decode now."""
        with self._turn:
            taken, self._taken = self._taken, True
        return not taken

    @property
    def taken(self) -> bool:
        """Whether somebody is at it, or has done it."""
        return self._taken


class Workers:
    """Some threads, each with a process of its own to which it hands what is offered."""

    def __init__(self, db: str, *, content: bool, most: int | None = None) -> None:
        """`most` processes; without it one for each core but the one that stores, and one at least."""
        self._arguments = (db, "content" if content else "")
        self._offered: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        count = max(1, min(_cores() - 1, MOST)) if most is None else most
        self._threads = [
            threading.Thread(target=self._run, name="tracewatch-decoding", daemon=True) for _ in range(count)
        ]

    def start(self) -> None:
        """Begins to wait for work; no process is started before there is some."""
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Ends the processes."""
        self._stopping.set()
        for _ in self._threads:
            self._offered.put(None)
        for each in self._threads:
            each.join()

    def offer(self, work: Work) -> None:
        """Has it decoded by a process that is free, unless somebody else takes it first."""
        self._offered.put(work)

    def _run(self) -> None:
        while not self._stopping.is_set():
            work = self._offered.get()
            if work is None:
                return
            try:
                with _Child(*self._arguments) as child:
                    self._serve(child, work)
            except (OSError, EOFError, ValueError, TypeError) as error:
                work.ready.set()
                if not self._stopping.is_set():
                    _log.warning("a process that decodes spans has ended (%s); the server decodes itself", error)
                self._stopping.wait(AGAIN_S)

    def _serve(self, child: _Child, work: Work | None) -> None:
        """Hands over what is offered, until nothing is for a while. Raises what `_Child.decode` raises."""
        while work is not None:
            if work.take():
                try:
                    found = child.decode(work.request)
                    if isinstance(found, TracewatchError):
                        work.refusal = found
                    else:
                        work.decoded = found
                finally:
                    work.ready.set()
            try:
                work = self._offered.get(timeout=IDLE_S)
            except queue.Empty:
                return


class _Child:
    """A process that decodes one body after another, and ends when its standard input does."""

    def __init__(self, db: str, content: str) -> None:
        # The address not as an argument: everybody on the machine sees those, and it may hold a password.
        where = {"PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path), f"{PREFIX}DB": db}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tracewatch.receiving", content],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **where},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        for pipe in (self._input, self._output):
            _widen(pipe)

    def __enter__(self) -> _Child:
        """Waits until it can decode. Raises EOFError when it cannot."""
        if self._output.read(1) != b"\n":
            self.__exit__()
            raise EOFError("it could not begin")
        return self

    def decode(self, request: Request) -> Decoded | TracewatchError | None:
        """What the body holds, or why it is refused; None when the process cannot tell.

        Raises OSError or EOFError when the process ends.
        """
        send(self._input, _packed(request))
        answer = marshal.loads(receive(self._output))  # noqa: S302 - of our own process
        if answer is None:
            return None
        first, second = answer
        return REFUSALS[first](**second) if isinstance(first, str) else Decoded(first, Counter(second))

    def __exit__(self, *_: object) -> None:
        """Ends the process; what it is at is given up."""
        self._process.kill()
        with suppress(OSError):  # what could not be sent is still in the buffer
            self._input.close()
        self._output.close()
        self._process.wait()


def keep_what_is_there() -> None:
    """Has Python look for cycles less often, and not among what a process begins with: that was 25 % of ingest."""
    gc.freeze()
    gc.set_threshold(*GC_AFTER)


def send(pipe: IO[bytes], message: bytes) -> None:
    """Writes a message that the other end takes with `receive`."""
    pipe.write(len(message).to_bytes(_SIZE, "little"))
    pipe.write(message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes:
    """The next message. Raises EOFError when the other end has gone."""
    head = pipe.read(_SIZE)
    message = pipe.read(int.from_bytes(head, "little")) if len(head) == _SIZE else b""
    if len(head) < _SIZE or len(message) < int.from_bytes(head, "little"):
        raise EOFError("the other end of its pipe has gone")
    return message


def _widen(pipe: IO[bytes]) -> None:
    """Gives the pipe room for a message: each time that it is full, Python's lock has to be waited for again."""
    with suppress(ImportError, AttributeError, OSError):  # Linux alone can, and only up to a limit of its own
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _packed(request: Request) -> bytes:
    return marshal.dumps((request.body, request.json, request.project, request.or_project, request.user_id))


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
