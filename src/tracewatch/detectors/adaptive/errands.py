"""Work done by a second process meanwhile: pure functions of values, which give the same wherever they are done."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

Errand = tuple[Callable[..., Any], tuple[Any, ...]]  # a function of a module, and what it is given


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

    def send(self, errands: Sequence[Errand]) -> Callable[[], list[Any]]:
        """Has errands done, as many as may be under way at once; returns what waits for what they give."""
        assert self.process.stdin and self.process.stdout
        told = True
        try:
            pickle.dump(list(errands), self.process.stdin, 5)
            self.process.stdin.flush()
        except OSError:  # it has ended
            told = False

        def results() -> list[Any]:
            if told:
                with suppress(OSError, EOFError, pickle.UnpicklingError):
                    given: list[Any] = pickle.load(self.process.stdout)
                    return given
            return done(errands)

        return results

    def close(self) -> None:
        """Ends it."""
        assert self.process.stdin and self.process.stdout
        with suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def serve() -> None:
    """What the second process does until its input ends; nothing else may be written to its output."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while (errands := _read(asked)) is not None:
        pickle.dump(done(errands), answers, 5)
        answers.flush()


def _read(asked: IO[bytes]) -> list[Errand] | None:
    try:
        errands: list[Errand] = pickle.load(asked)
    except EOFError:
        return None
    return errands
