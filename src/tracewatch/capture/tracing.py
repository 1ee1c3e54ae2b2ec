"""Spans that are under way, and which of them is the current one of this thread or task."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from tracewatch.capture import noting, sending
from tracewatch.categories import Failure, failure_of

INHERITED = ("user_id", "session_id", "session_tag", "conversation_id", "usage_type", "project", "environment")
"""Fields that a span has of its parent unless it is given its own."""

MESSAGE_LENGTH = 500
SHORTEST_STREAM_MS = 1.0  # below the clocks' resolution a rate is noise


class Place:
    """Where spans hang that are begun here: the trace, the span above and the fields they all get.

    `begun` are the spans that were begun here, as long as somebody asks for them (`watched`).
    """

    __slots__ = ("begun", "fields", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str | None, fields: dict[str, Any], *, watched: bool = False) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.fields = fields
        self.begun: list[LiveSpan] | None = [] if watched else None


class LiveSpan:
    """A span under way: `set` fields on it, `fail` it, `end` it. None of this ever raises.

    As a context manager it is the current span within the block, and ends with it; an exception that leaves the block
    makes it fail and goes on. `async with` does the same.
    """

    __slots__ = ("_clock", "_tokens", "ended", "fields", "last", "parent_span_id", "span_id", "start_time", "trace_id")

    def __init__(self, name: str, above: Place | LiveSpan | None, fields: dict[str, Any]) -> None:
        given = fields.pop("start_time", None)
        began = moment_of(given)
        if began is None and given is not None:
            fields["start_time_given"] = given
        # One that began before now is timed by the clock on the wall, any other by one that nobody sets.
        self._clock: float | None = time.perf_counter() if began is None else None
        self.start_time: float = time.time() if began is None else began
        self.span_id: str = _id(fields.pop("span_id", None)) or new_span_id()
        self.trace_id: str
        self.parent_span_id: str | None = _id(fields.pop("parent_span_id", None))
        self.ended = False
        self.last: LiveSpan | None = None  # the last span that was begun below
        self.fields = fields
        self._tokens: list[Any] = []
        own_trace = _id(fields.pop("trace_id", None))
        if above is not None and own_trace in (None, above.trace_id):
            self.trace_id = above.trace_id
            self.parent_span_id = self.parent_span_id or above.span_id
            inherit(fields, above)
            if isinstance(above, LiveSpan):
                above.last = self
            elif above.begun is not None:
                above.begun.append(self)
        else:
            self.trace_id = own_trace or new_trace_id()
            if above is not None:
                fields.setdefault("parent_trace_id", above.trace_id)
                inherit(fields, above)
        fields.setdefault("span_name", name)

    def set(self, **fields: Any) -> LiveSpan:
        """Sets fields of the row; names that are no column of it go to its `metadata`. Returns the span itself."""
        if self.ended:
            noting.once("what is set on a span after its end may be lost: use tracewatch.score() for later quality")
        metadata = fields.pop("metadata", None)
        if isinstance(metadata, Mapping):
            kept = self.fields.get("metadata")
            self.fields["metadata"] = {**kept, **metadata} if isinstance(kept, Mapping) else dict(metadata)
        elif metadata is not None:
            fields["metadata"] = metadata
        self.fields.update(fields)
        return self

    def warn(self, *flags: str) -> LiveSpan:
        """Adds warnings to `warning_flags`, each once. Returns the span itself."""
        kept = self.fields.get("warning_flags")
        try:
            self.fields["warning_flags"] = tuple(dict.fromkeys((*(kept if kept is not None else ()), *flags)))
        except Exception as error:  # what the program set there is no list of texts
            noting.swallowed(error)
        return self

    def fail(self, error: BaseException | str, status: str | None = None) -> LiveSpan:
        """Says that it failed, and how: status (error or timeout), type, category and message. Returns the span."""
        found: Failure = failure_of(error)
        self.fields["status"] = status or ("timeout" if found.category == "timeout" else "error")
        self.fields["error_type"] = found.type
        self.fields["error_category"] = found.category
        self.fields["error_message"] = found.message[:MESSAGE_LENGTH]
        return self

    def fall_back(self, reason: BaseException | str) -> LiveSpan:
        """Says that a substitute was used, and why: status `fallback`, with the error that led to it."""
        return self.fail(reason, status="fallback")

    def end(self, at: float | None = None) -> None:
        """Ends it now, or at a moment given in epoch seconds, and hands its row over. Only the first time counts."""
        if self.ended:
            return
        self.ended = True
        try:
            self._reckon(at)
        except Exception as error:  # values that are no numbers
            noting.swallowed(error)
        fields = self.fields
        fields["trace_id"], fields["span_id"], fields["start_time"] = self.trace_id, self.span_id, self.start_time
        if self.parent_span_id is not None:
            fields["parent_span_id"] = self.parent_span_id
        sending.send(fields)

    def _reckon(self, at: float | None) -> None:
        """Fills in when it ended and what follows from that, as far as it was not said."""
        fields = self.fields
        if at is not None or self._clock is None:
            duration_ms = max(((at or time.time()) - self.start_time) * 1e3, 0.0)
        else:
            duration_ms = (time.perf_counter() - self._clock) * 1e3
        duration_ms = _number(fields.setdefault("duration_ms", duration_ms)) or 0.0
        fields.setdefault("end_time", self.start_time + duration_ms / 1e3)
        given, answered = _number(fields.get("input_tokens")), _number(fields.get("output_tokens"))
        if given is not None or answered is not None:
            fields.setdefault("total_tokens", (given or 0) + (answered or 0))
        ttft_ms = _number(fields.get("ttft_ms"))
        if answered and ttft_ms is not None and duration_ms - ttft_ms >= SHORTEST_STREAM_MS:
            fields.setdefault("tokens_per_second", answered / (duration_ms - ttft_ms) * 1e3)

    def __enter__(self) -> LiveSpan:
        self._tokens.append(_CURRENT.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self._tokens.pop() if self._tokens else None)
        if error is not None:
            self._left_by(error)
        self.end()

    async def __aenter__(self) -> LiveSpan:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _left_by(self, error: BaseException) -> None:
        """An exception that says no more than that the block was left makes no failure."""
        if isinstance(error, GeneratorExit):
            self.warn("abandoned")
        elif not (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.fail(error)


_CURRENT: ContextVar[LiveSpan | Place | None] = ContextVar("tracewatch_current", default=None)


def trace(
    name: str,
    *,
    trace_id: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    conversation_id: str | None = None,
    **fields: Any,
) -> LiveSpan:
    """The first span of a request, for a `with` block: all spans within belong to its trace.

    `trace_id` is the caller's own, of any form; one is made up otherwise. What is given of user, session and
    conversation holds for all spans within. `fields` are columns of `llm_traces`, or else go to `metadata`. Within
    another trace it is a step of that one, unless it is given another `trace_id`: then the outer trace is its
    `parent_trace_id`.
    """
    given = {"trace_id": trace_id, "user_id": user_id, "session_id": session_id, "conversation_id": conversation_id}
    fields.update({name: value for name, value in given.items() if value is not None})
    fields.setdefault("operation_type", "request")
    return start(name, **fields)


def span(name: str, **fields: Any) -> LiveSpan:
    """A step of the current trace, for a `with` block; without a trace it begins one."""
    fields.setdefault("operation_type", "step")
    return start(name, **fields)


def start(name: str, **fields: Any) -> LiveSpan:
    """A new span below the current one (or the first of a new trace). It does not become current; `end` it."""
    return LiveSpan(name, place(), fields)


def current() -> LiveSpan | None:
    """The span that is current in this thread or task; None when there is none here."""
    found = place()
    return found if isinstance(found, LiveSpan) else None


def place() -> LiveSpan | Place | None:
    """What a new span would hang under: the current span, or what was carried here from elsewhere."""
    return _CURRENT.get()


class use:  # noqa: N801  # reads as the verb it is: with use(span)
    """Makes a span current within a `with` block, without ending it."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: LiveSpan | Place | None) -> None:
        self._span = span
        self._token: Any = None

    def __enter__(self) -> LiveSpan | Place | None:
        self._token = _CURRENT.set(self._span)
        return self._span

    def __exit__(self, *left_by: object) -> None:
        leave(self._token)


def leave(token: Any) -> None:
    """Makes current again what was so before; a block that is left in another task than it was entered in is let be."""
    try:
        if token is not None:
            _CURRENT.reset(token)
    except (ValueError, RuntimeError):
        pass


def inherit(fields: dict[str, Any], above: LiveSpan | Place) -> None:
    """Fills in what a span has of what is above it: of a span some fields, of a place all."""
    theirs = above.fields
    for name in INHERITED if isinstance(above, LiveSpan) else theirs:
        if name in theirs and name not in fields:
            fields[name] = theirs[name]


def _number(value: Any) -> Any:
    """The value if one can reckon with it."""
    return value if isinstance(value, (int, float)) else None


def _id(given: Any) -> str | None:
    """The id that the program gave, as text; None when it gave none, or something that has no text."""
    try:
        text = given.decode(errors="replace") if isinstance(given, bytes) else str(getattr(given, "value", given))
        return text if given is not None and text else None
    except Exception as error:
        noting.swallowed(error)
        return None


def moment_of(given: Any) -> float | None:
    """Epoch seconds from a number or a datetime; None for anything else."""
    try:
        return float(given if isinstance(given, (int, float)) else given.timestamp())
    except Exception:  # None, or no moment: it begins now
        return None


def new_trace_id() -> str:
    """32 hexadecimal digits, as W3C and OpenTelemetry have them."""
    return new_span_id() + new_span_id()


def new_span_id() -> str:
    """16 hexadecimal digits, as W3C and OpenTelemetry have them."""
    try:
        return _IDS.pop()
    except IndexError:
        # One call of the system for many ids: where systems are watched closely, such a call takes 50 us and more.
        drawn = os.urandom(_ID_BYTES * _IDS_AT_ONCE).hex()
        _IDS.extend(drawn[at : at + 2 * _ID_BYTES] for at in range(0, len(drawn), 2 * _ID_BYTES))
        return os.urandom(_ID_BYTES).hex()


_ID_BYTES, _IDS_AT_ONCE = 8, 256
_IDS: deque[str] = deque()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDS.clear)
