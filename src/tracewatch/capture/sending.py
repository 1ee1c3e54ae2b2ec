"""Out of the program with a finished span: the courier of this process, its beginning, its forks and its end."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tracewatch.capture import noting

if TYPE_CHECKING:
    from tracewatch.capture.courier import Courier

FLUSH_S = 5.0
NOT_BEGUN = (
    "tracewatch.init() was not called, and neither TRACEWATCH_URL nor TRACEWATCH_DB says where to: nothing is recorded"
)


class _Process:
    """What holds for this process; another one after a fork."""

    courier: Courier | None = None
    content = False  # whether texts of prompts and answers may be kept
    off = False  # whether it was decided that nothing is recorded
    exit_timeout = FLUSH_S
    begin: Callable[[], bool] | None = None  # what to do when a span comes before `init`
    beginning = False  # whether recording is about to begin: in another thread, or below a signal handler
    ended = False  # whether there was a `shutdown`
    registered = False  # whether this process will flush at its end
    forked = False  # whether it has a parent that had registered that, so that the interpreter's end is seen to


_LOCK = threading.RLock()
_EARLY: deque[dict[str, Any]] = deque(maxlen=1_000)  # rows that came while recording was about to begin
_BEFORE_EXIT: list[Callable[[], None]] = []


def send(fields: dict[str, Any]) -> None:
    """Hands over the fields of a row. Never waits, never raises."""
    try:
        if _Process.beginning and _Process.courier is None:
            _EARLY.append(fields)
            _send_early()
            return
        courier = _Process.courier or _begun()
        if courier is not None:
            if not _Process.registered:
                _register()
            courier.put(fields)
        elif _Process.ended:
            noting.once("spans that come after tracewatch.shutdown() are not recorded")
    except Exception as error:
        noting.swallowed(error)


def flush(timeout: float = FLUSH_S) -> bool:
    """Waits until everything recorded so far is safe in its store; at most `timeout` seconds.

    Returns whether it is. Nothing recorded, or recording switched off, counts as safe.
    """
    courier = _Process.courier
    try:
        return courier is None or courier.flush(timeout)
    except Exception as error:
        noting.swallowed(error)
        return False


def shutdown(timeout: float | None = None) -> bool:
    """Brings what waits to its store, at most `timeout` seconds, and ends recording until the next `init`.

    It runs by itself when the program ends. Returns whether everything recorded is safe.
    """
    with _LOCK:
        courier, _Process.courier = _Process.courier, None
        _Process.off = _Process.ended = True
    try:
        return courier is None or courier.close(_Process.exit_timeout if timeout is None else timeout)
    except Exception as error:
        noting.swallowed(error)
        return False


def recording() -> bool:
    """Whether spans are recorded: so that what only serves them can be left out."""
    return _Process.courier is not None or _Process.beginning or _begun() is not None


def keeps_content() -> bool:
    """Whether the owner has switched on that texts of prompts and answers are kept."""
    return _Process.content


def will_flush() -> None:
    """Sees to it that this process flushes at its end, though no span has ended yet."""
    if not _Process.registered:
        _register()


def install(courier: Courier | None, *, content: bool, exit_timeout: float) -> Courier | None:
    """Makes this the courier of the process (none: nothing is recorded). Returns the former one, to be closed."""
    with _LOCK:
        former, _Process.courier = _Process.courier, courier
        _Process.off, _Process.content, _Process.exit_timeout = courier is None, content, exit_timeout
        _Process.ended = False
    _watch_forks()
    return former


@contextmanager
def beginning() -> Iterator[None]:
    """While recording begins, rows are set aside: to begin once more within would import what is being imported."""
    with _LOCK:
        _Process.beginning = True
        try:
            yield
        finally:
            _Process.beginning = False
    _send_early()


def _send_early() -> None:
    """Sends what came while recording was about to begin, as soon as it has begun."""
    while _EARLY and (_Process.courier is not None or not _Process.beginning):
        with suppress(IndexError):  # another thread was quicker
            send(_EARLY.popleft())


def begin_with(begin: Callable[[], bool]) -> None:
    """Says what to call when a span comes before `init`; it returns whether it has installed a courier."""
    _Process.begin = begin


def _begun() -> Courier | None:
    """The courier by the environment alone, when there was no `init`."""
    if _Process.off:
        return None
    with _LOCK:
        if _Process.courier is None and not _Process.off and not (_Process.begin and _Process.begin()):
            _Process.off = True
            noting.once(NOT_BEGUN)
        return _Process.courier


def _register() -> None:
    """Has this process flush at its end: the interpreter's, or that of a child of multiprocessing, which skips it."""
    with _LOCK:
        if _Process.registered:
            return
        _Process.registered = True
        if not _Process.forked:
            atexit.register(_at_exit)
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _at_exit, exitpriority=0)


def before_exit(do: Callable[[], None]) -> None:
    """Has this done when the program ends, before what waits is brought to its store."""
    _BEFORE_EXIT.append(do)


def _at_exit() -> None:
    for do in _BEFORE_EXIT:
        noting.quietly(do)
    shutdown()


_WATCHED: list[bool] = []


def _watch_forks() -> None:
    if not _WATCHED and hasattr(os, "register_at_fork"):
        _WATCHED.append(True)
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _before_fork() -> None:
    """No thread and no open connection of ours crosses a fork, as far as the write under way ends soon."""
    courier = _Process.courier
    if courier is not None:
        noting.quietly(courier.rest)


def _after_fork() -> None:
    courier = _Process.courier
    if courier is not None:
        noting.quietly(courier.wake)


def _in_child() -> None:
    """A queue of its own: what waited is the parent's to bring."""
    global _LOCK
    _LOCK = threading.RLock()
    _Process.forked, _Process.registered = _Process.forked or _Process.registered, False
    _Process.beginning = False  # whoever was about it is not here
    _EARLY.clear()
    courier = _Process.courier
    if courier is not None:
        _Process.courier = courier.again()
