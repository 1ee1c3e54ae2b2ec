"""A process that lets others go first, but not while they wait for it.

Who holds the write lock of a file at the lowest priority keeps it for as long as others are busy, and these others wait
for the lock: 40 ms of work took seconds. Linux has a priority for each thread, so the work is of low priority and one
thread, for what is done under the lock, is not.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Hurried:
    """The one thread that keeps the priority which the process has now."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tracewatch-hurried")
        self._executor.submit(threading.get_native_id).result()  # it is there before the others' priority is lowered

    def run(self, step: Callable[[], T]) -> T:
        """Calls a function in that thread, and waits for it."""
        return self._executor.submit(step).result()


def step_back(nice: int) -> Hurried | None:
    """Lowers the priority of this thread and those it starts. Returns the one that keeps its own, where it can."""
    hurried = Hurried() if sys.platform == "linux" else None
    with suppress(OSError, AttributeError):
        os.nice(nice)  # of this thread alone on Linux, of the process elsewhere
    return hurried
