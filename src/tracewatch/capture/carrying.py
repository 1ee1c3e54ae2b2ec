"""A trace across threads, processes and machines: what is carried over, and going on from it."""

from __future__ import annotations

import contextvars
import functools
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar

from tracewatch.capture import noting
from tracewatch.capture.tracing import INHERITED, LiveSpan, Place, inherit, place, use

P = ParamSpec("P")
R = TypeVar("R")

TRACEPARENT = "traceparent"
BAGGAGE = "baggage"
PREFIX = "tracewatch."  # of our entries among those of others in the baggage

# W3C, https://www.w3.org/TR/trace-context/#traceparent-header: version 00, and what later ones keep of it.
_TRACEPARENT = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
_LONGEST = 8_192  # bytes of baggage that are read; W3C asks for no more


def carry() -> dict[str, str]:
    """What goes on elsewhere from the current span, as headers that any HTTP client, queue or pickle can hold.

    `traceparent` (W3C) names the trace and the span, and `baggage` what they inherit (user, session, conversation).
    Empty when there is no current span. Send it only to programs of your own: it names your users.
    """
    here = place()
    if here is None:
        return {}
    from urllib.parse import quote  # not at the top: a tenth of what importing us costs

    entries: dict[str, Any] = {}
    inherit(entries, here)
    entries = {name: value for name, value in entries.items() if name in INHERITED}
    header = traceparent()
    if header is None:
        entries |= {"trace_id": here.trace_id, "span_id": here.span_id or ""}
    carried = {TRACEPARENT: header} if header else {}
    if entries:
        carried[BAGGAGE] = ",".join(f"{PREFIX}{name}={quote(str(value), safe='')}" for name, value in entries.items())
    return carried


def resume(carried: Mapping[str, Any] | str | None) -> AbstractContextManager[Any]:
    """Goes on, within the `with` block, from what `carry` gave, from HTTP headers or from a `traceparent` alone.

    Spans begun within hang under the span that was current there. What cannot be read begins a new trace instead.
    """
    return use(_place_of(carried) or place())


def traceparent(span: LiveSpan | None = None) -> str | None:
    """The W3C header for a span (the current one by default); None without one, or when its ids are not W3C's."""
    here = span or place()
    if here is None or not here.span_id:
        return None
    header = f"00-{here.trace_id}-{here.span_id}-01"
    return header if parse_traceparent(header) else None


def parse_traceparent(header: str) -> tuple[str, str] | None:
    """Trace id and span id of a W3C `traceparent`; None for what is none.

    >>> parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    ('4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7')
    """
    found = _TRACEPARENT.match(header.strip())
    if found is None:
        return None
    version, trace_id, span_id, _, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return trace_id, span_id


def in_context(function: Callable[P, R]) -> Callable[P, R]:
    """The function, to be called in another thread as if here: for executors and threads, which know no context.

    >>> import concurrent.futures
    >>> with concurrent.futures.ThreadPoolExecutor() as executor:
    ...     list(executor.map(in_context(abs), [-1, -2]))
    [1, 2]
    """
    context = contextvars.copy_context()

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # Of a copy, because a context can be entered by one thread at a time.
        return context.copy().run(function, *args, **kwargs)

    return call


def _place_of(carried: Mapping[str, Any] | str | None) -> Place | None:
    try:
        if isinstance(carried, str):
            carried = {TRACEPARENT: carried}
        if not carried:
            return None
        headers = {_text(name).lower(): _text(value) for name, value in carried.items()}
        entries = _entries(headers.get(BAGGAGE, ""))
        named = entries.pop("trace_id", None), entries.pop("span_id", None)
        trace_id, span_id = parse_traceparent(headers.get(TRACEPARENT, "")) or named
        return Place(trace_id, span_id or None, dict(entries)) if trace_id else None
    except Exception as error:
        noting.swallowed(error)
        return None


def _entries(baggage: str) -> dict[str, str]:
    """Our entries of a `baggage` header."""
    from urllib.parse import unquote

    pairs = (each.partition(";")[0].partition("=") for each in baggage[:_LONGEST].split(","))
    found = {name.strip().removeprefix(PREFIX): unquote(value.strip()) for name, _, value in pairs if PREFIX in name}
    return {name: value for name, value in found.items() if name in (*INHERITED, "trace_id", "span_id")}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
