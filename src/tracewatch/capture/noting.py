"""What we say to the host's log, and no more often than it helps; nothing here ever raises."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

EVERY_S = 60.0
_SAID: dict[str, float] = {}
_MOST = 1_000  # kinds of mistakes that are remembered


def warn(text: str, *, kind: str = "") -> None:
    """A warning in the log `tracewatch`; of one `kind` there is one a minute."""
    if not kind or _due(kind, EVERY_S):
        _log("warning", text)


def info(text: str) -> None:
    """A line in the log `tracewatch`."""
    _log("info", text)


def once(text: str) -> None:
    """A warning that is given once in the life of the program."""
    if _due(text, float("inf")):
        _log("warning", text)


def swallowed(error: BaseException) -> None:
    """Takes note of a mistake of ours that must not reach the host: one line for each kind."""
    place = _place(error)
    if _due(place, float("inf")):
        _log("warning", f"tracewatch made a mistake, and your program goes on without it: {error!r} ({place})")


def quietly(do: Callable[[], Any]) -> None:
    """Does something that may fail without consequences for the host."""
    try:
        do()
    except Exception as error:
        swallowed(error)


def _due(key: str, every_s: float) -> bool:
    now = time.monotonic()
    said = _SAID.get(key)
    if said is not None and now - said < every_s:
        return False
    if len(_SAID) < _MOST:
        _SAID[key] = now
    return True


def _place(error: BaseException) -> str:
    """The innermost line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    return f"{type(error).__name__} at {where}"


def _log(level: str, text: str) -> None:
    try:
        import logging  # not at the top: it is most of what importing us would cost

        getattr(logging.getLogger("tracewatch"), level)("%s", text)
    except Exception:  # noqa: S110  # a handler of the host's that raises: there is nobody left to tell
        pass
