"""Work done by a second process meanwhile: pure functions of values, which give the same wherever they are done.

A thing may also live there, for as long as calls are replayed: its steps are done in the order they are asked for.
"""

import fcntl
import mmap
import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

import numpy as np

from .arrays import Floats

Errand = tuple[Callable[..., Any], tuple[Any, ...]]  # a function of a module, and what it is given


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shared table is."""

    number: int  # of each a new one, as numbers of open files come again
    path: str
    shape: tuple[int, ...]


Table = Floats | Place
NUMBERS = count()
PIPE = 1 << 20  # bytes that may be under way, so that nobody waits until they are read; Linux allows as many
TURN_S = 0.0005  # after which the second process goes on reading, though it works


class SecondEnded(Exception):
    """The second process has ended, and with it what lived there."""


class Shared:
    """A table of zeros in memory that a second process can see; it is gone with the last who sees it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        size = max(int(np.prod(shape)), 1) * 8
        file = os.memfd_create("tracewatch")
        weakref.finalize(self, os.close, file)
        os.ftruncate(file, size)
        self.place = Place(next(NUMBERS), f"/proc/{os.getpid()}/fd/{file}", shape)
        self.table: Floats = np.frombuffer(mmap.mmap(file, size), float, int(np.prod(shape))).reshape(shape)


CAN_SHARE = hasattr(os, "memfd_create")  # Linux


def array_of(table: Table) -> Floats:
    """A table that may be another process's."""
    return _opened(table) if isinstance(table, Place) else table


@lru_cache(1)
def _opened(place: Place) -> Floats:
    with open(place.path, "rb") as file:
        view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    return np.frombuffer(view, float, int(np.prod(place.shape))).reshape(place.shape)


def done(errands: Sequence[Errand]) -> list[Any]:
    """What each gives, done here."""
    return [work(*given) for work, given in errands]


class Second:
    """A second Python, which does errands as they come; what it cannot do is done here."""

    def __init__(self, *modules: str) -> None:
        """Loads modules before it is asked for anything, those that it will need."""
        loading = "".join(f"import {module}; " for module in modules)
        command = f"{loading}from tracewatch.detectors.adaptive.errands import serve; serve()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.asking, self.answering = self.process.stdin, self.process.stdout
        for pipe in (self.asking, self.answering):
            with suppress(OSError, AttributeError):  # only Linux has it
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE)
        self.sent = self.heard = 0
        self.later: list[Callable[[], None]] = []  # what is to be sent when something is waited for
        self.answers: dict[int, list[Any]] = {}  # that were heard before they were asked for

    def send(self, errands: Sequence[Errand]) -> Callable[[], list[Any]]:
        """Has errands done, as many as may be under way at once; returns what waits for what they give."""
        number = self.tell(list(errands))

        def results() -> list[Any]:
            given = self.hear(number)
            return done(errands) if given is None else given

        return results

    def settle(self, **things: Any) -> None:
        """Has things live there from now on, by name; they are copied."""
        self.tell(things)

    def ask(self, step: Callable[..., Any], names: Sequence[str], *given: Any) -> Callable[[], Any]:
        """Has a step of things that live there done; returns what waits for what it gives, or raises SecondEnded."""
        number = self.tell((step, names, given))
        return lambda: self.result(number)

    def ask_later(self, step: Callable[..., Any], names: Sequence[str], *given: Any) -> Callable[[], Any]:
        """The same of what nobody waits for yet: it is done after all that is asked until something is waited for."""
        number: list[int | None] = []
        self.later.append(lambda: number.append(self.tell((step, names, given))))
        return lambda: self.result(number[0])

    def ask_now(self) -> None:
        """Sends what was to be asked later."""
        later, self.later = self.later, []
        for each in later:
            each()

    def result(self, number: int | None) -> Any:
        """What a step gave; raises SecondEnded."""
        answer = self.hear(number)
        if answer is None:
            raise SecondEnded
        return answer[0]

    def tell(self, message: Any) -> int | None:
        """Sends something and says its number; None when the process has ended."""
        try:
            pickle.dump(message, self.asking, 5)
            self.asking.flush()
        except OSError:
            return None
        self.sent += 1
        return self.sent

    def hear(self, number: int | None) -> list[Any] | None:
        """What was answered to the message of that number; None when the process has ended."""
        self.ask_now()
        if number is None:
            return None
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            while self.heard < number:
                answer = pickle.load(self.answering)  # noqa: S301 - by our own process
                self.heard += 1
                if answer is not None:
                    self.answers[self.heard] = answer
        return self.answers.pop(number, None)

    def close(self) -> None:
        """Ends it."""
        with suppress(OSError):
            self.asking.close()
        self.answering.close()
        self.process.wait()


def serve() -> None:
    """What the second process does until its input ends; nothing else may be written to its output.

    What is asked is read at once, also while it works: else both might wait for each other to read.
    """
    sys.setswitchinterval(TURN_S)
    asked: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_read, args=(sys.stdin.buffer, asked), daemon=True).start()
    living: dict[str, Any] = {}
    while (message := asked.get()) is not None:
        pickle.dump(_answer(message, living), sys.stdout.buffer, 5)
        sys.stdout.buffer.flush()


def _answer(message: Any, living: dict[str, Any]) -> list[Any] | None:
    """To errands what they give, to a step of what lives here the same; nothing to things that come to live here."""
    if isinstance(message, dict):
        living |= message
        return None
    if isinstance(message, list):
        return done(message)
    step, names, given = message
    return [step(*(living[name] for name in names), *given)]


def _read(asked: IO[bytes], into: SimpleQueue[Any]) -> None:
    message: Any = ()
    while message is not None:
        try:
            message = pickle.load(asked)  # noqa: S301 - by our own process
        except EOFError:
            message = None
        into.put(message)
