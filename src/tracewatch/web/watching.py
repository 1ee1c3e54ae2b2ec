"""The process beside the server that prices, counts and judges what came, and is started again should it fail."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

from tracewatch.settings import PREFIX, Settings

AGAIN_S = 30.0  # after it failed; by then what was wrong may have passed
STOP_S = 15.0  # it keeps what it has learned before it ends

_log = logging.getLogger("tracewatch.web")


class Watching:
    """Keeps one child going. Without it the server takes and shows calls, but finds nothing in them."""

    def __init__(self, given: Settings) -> None:
        self._command = [sys.executable, "-m", "tracewatch.live"]
        # Not as arguments: everybody on the machine sees those, and the address of a database may hold a password.
        told = {"DB": given.db, "PROJECT": given.project, "HOST": given.host}
        self._environment = {**os.environ, **{f"{PREFIX}{name}": value for name, value in told.items()}}
        self._stopping = threading.Event()
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="tracewatch-watching", daemon=True)

    def start(self) -> None:
        """Starts the child."""
        self._thread.start()

    def stop(self) -> None:
        """Has the child keep what it knows and end."""
        self._stopping.set()
        with self._turn:
            child = self._child
        if child is not None:
            self._end(child)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        child = self._child
        return child is not None and child.poll() is None

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._turn:
                if self._stopping.is_set():
                    return
                self._child = child = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=self._environment)
            code = child.wait()
            if not self._stopping.is_set():
                _log.warning("detection has stopped (exit code %s); it is started again in %g s", code, AGAIN_S)
            self._stopping.wait(AGAIN_S)

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()  # what it has judged is in the store; what it has learned it learns again
            child.wait()
