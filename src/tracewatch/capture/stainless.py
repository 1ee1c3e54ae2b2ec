"""What the clients of OpenAI and Anthropic have in common, as one generator has made them both: where calls pass.

Every call goes through `request` of the client's base class: plain, parsed, streamed, through helpers, raw. Around it
we see each response before it becomes an object (`_process_response`), and each wait before another attempt
(`_sleep_for_retry`). Where a version has not got one of these two, we know less and still make a row.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import Any

from tracewatch.capture import noting
from tracewatch.capture.bodies import Events, is_events, watch_body, watch_close
from tracewatch.capture.calls import Call, Dialect, begin
from tracewatch.capture.patching import Patch
from tracewatch.capture.reading import document
from tracewatch.capture.wrapping import CURRENT, pieces, pieces_async, wrapped

_RAW = "x-stainless-raw-response"  # the header by which a client notes that its caller wants the response itself


def patches(
    module: Any,
    names: tuple[str, ...],
    dialect: Dialect,
    watched: Callable[[Any], bool],
    counted: Callable[[], bool],
) -> Iterator[Patch]:
    """What to patch so that calls of these client classes are seen, where `watched` says so of the client.

    `counted` says whether streams may be asked to count their tokens.
    """

    def start(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        return _begin(dialect, client, args, kwargs, counted=counted()) if watched(client) else None

    makers: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
        "request": lambda original: wrapped(original, start, _settle),
        "_process_response": _responding,
        "_sleep_for_retry": _retrying,
    }
    seen = set()
    for name in names:
        for attribute, maker in makers.items():
            owner = _owner(getattr(module, name, None), attribute)
            if owner is not None and (owner, attribute) not in seen:
                seen.add((owner, attribute))
                yield Patch(owner, attribute, maker(vars(owner)[attribute]))


def _owner(kind: Any, attribute: str) -> type | None:
    """The class above `kind` that defines the attribute."""
    return next((each for each in getattr(kind, "__mro__", ()) if attribute in vars(each)), None)


def _begin(
    dialect: Dialect, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, counted: bool
) -> Call | None:
    """A call, if this request is one to a model. `args` and `kwargs` are those of `request`."""
    try:
        options = kwargs["options"] if "options" in kwargs else args[1]
        if options.method.lower() != "post":
            return None
        call = begin(dialect, client, options.url, options.json_data)
        if call is not None and counted and not _reads_bytes(options.headers):
            options.json_data = call.ask_for_count(options.json_data)  # of this call alone
        return call
    except Exception as mistake:
        noting.swallowed(mistake)
        return None


def _reads_bytes(headers: Any) -> bool:
    """Whether the host will read the response itself, so that it would see what we have asked for."""
    return isinstance(headers, Mapping) and any(name.lower() == _RAW for name in headers)


def _responding(original: Callable[..., Any]) -> Callable[..., Any]:
    """`_process_response`, which sees the response itself. It only looks, so a coroutine may pass through it."""

    @functools.wraps(original)
    def process(client: Any, *args: Any, **kwargs: Any) -> Any:
        call = CURRENT.get()
        if call is not None:
            call.responded(kwargs.get("response"), kwargs.get("retries_taken"))
        return original(client, *args, **kwargs)

    return process


def _retrying(original: Callable[..., Any]) -> Callable[..., Any]:
    """`_sleep_for_retry`, which is told what went wrong and returns when the next attempt begins."""
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def sleep_async(client: Any, *args: Any, **kwargs: Any) -> Any:
            call = CURRENT.get()
            if call is None:
                return await original(client, *args, **kwargs)
            _failed_attempt(call, kwargs)
            try:
                return await original(client, *args, **kwargs)
            finally:
                call.attempting()

        return sleep_async

    @functools.wraps(original)
    def sleep(client: Any, *args: Any, **kwargs: Any) -> Any:
        call = CURRENT.get()
        if call is None:
            return original(client, *args, **kwargs)
        _failed_attempt(call, kwargs)
        try:
            return original(client, *args, **kwargs)
        finally:
            call.attempting()

    return sleep


def _failed_attempt(call: Call, kwargs: dict[str, Any]) -> None:
    """Without a response it was an error, and that is being handled further up while the client waits."""
    status = getattr(kwargs.get("response"), "status_code", None)
    call.retrying(status, sys.exception() if status is None else None)


def _settle(call: Call, result: Any) -> Any:
    """Ends the call with a whole answer, or has it follow a stream. The host gets `result` itself."""
    response = call.let_go()
    if _is_stream(result.__class__):
        call.streaming()
        follow = pieces_async if hasattr(type(result), "__anext__") else pieces
        result._iterator = follow(result._iterator, call)
        if call.counted:
            result._iterator = (_uncounted_async if follow is pieces_async else _uncounted)(result._iterator)
        if response is None:
            response = result.response
        watch_close(response, call)
    elif response is None or not (result is response or "http_response" in getattr(result, "__dict__", ())):
        call.answered(result)
    elif not response.is_closed:
        watch_body(response, call)
    elif is_events(response):
        _read_at_once(call, response)
    else:
        call.answered(document(response))
    return result


def _is_count(piece: Any) -> bool:
    return not getattr(piece, "choices", True) and getattr(piece, "usage", None) is not None


def _uncounted(source: Generator[Any, None, None]) -> Iterator[Any]:
    """The pieces without the one that only counts tokens, which the host has not asked for."""
    with contextlib.closing(source):
        for piece in source:
            if not _is_count(piece):
                yield piece


async def _uncounted_async(source: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
    """The same for asynchronous iterators."""
    async with contextlib.aclosing(source):
        async for piece in source:
            if not _is_count(piece):
                yield piece


@functools.lru_cache(maxsize=256)
def _is_stream(kind: type) -> bool:
    """Whether it is one of the client's classes of streams. To ask a class of pydantic's takes some microseconds."""
    return hasattr(kind, "__stream__")


def _read_at_once(call: Call, response: Any) -> None:
    """A stream that was read before the client got it, as transports of tests do it."""
    call.streaming()
    events = Events(call, bytes)
    events.arrived(response.content)
    events.finished()
