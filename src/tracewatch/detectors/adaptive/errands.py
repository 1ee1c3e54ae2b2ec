"""Work done by a second process meanwhile: pure functions of values, which give the same wherever they are done."""

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

    def __init__(self) -> None:
        command = "from tracewatch.detectors.adaptive.errands import serve; serve()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.asking, self.answering = self.process.stdin, self.process.stdout

    def send(self, errands: Sequence[Errand]) -> Callable[[], list[Any]]:
        """Has errands done, as many as may be under way at once; returns what waits for what they give."""
        told = True
        try:
            pickle.dump(list(errands), self.asking, 5)
            self.asking.flush()
        except OSError:  # it has ended
            told = False

        def results() -> list[Any]:
            if told:
                with suppress(OSError, EOFError, pickle.UnpicklingError):
                    given: list[Any] = pickle.load(self.answering)  # noqa: S301 - by our own process
                    return given
            return done(errands)

        return results

    def close(self) -> None:
        """Ends it."""
        with suppress(OSError):
            self.asking.close()
        self.answering.close()
        self.process.wait()


def serve() -> None:
    """What the second process does until its input ends; nothing else may be written to its output."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while (errands := _read(asked)) is not None:
        pickle.dump(done(errands), answers, 5)
        answers.flush()


def _read(asked: IO[bytes]) -> list[Errand] | None:
    try:
        errands: list[Errand] = pickle.load(asked)  # noqa: S301 - by our own process
    except EOFError:
        return None
    return errands
