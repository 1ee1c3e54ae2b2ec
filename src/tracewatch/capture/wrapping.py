"""The one wrapper of every client's calls: functions and coroutines, and iterators of either kind."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any, Protocol

from tracewatch.capture import noting
from tracewatch.capture.calls import Call

CURRENT: ContextVar[Call | None] = ContextVar("tracewatch_call", default=None)
"""The call that this thread or task is making just now."""

Begin = Callable[[Any, tuple[Any, ...], dict[str, Any]], Call | None]
Settle = Callable[[Call, Any], Any]


class Watcher(Protocol):
    """Who is told what a stream does; a `Call` is one. None of this raises."""

    def pulling(self) -> None:
        """The next piece is waited for."""

    def arrived(self, piece: Any) -> None:
        """It is here."""

    def finished(self) -> None:
        """There are no more."""

    def left(self) -> None:
        """No more are wanted."""

    def failed(self, error: BaseException) -> None:
        """It broke."""


def wrapped(original: Callable[..., Any], begin: Begin, settle: Settle) -> Callable[..., Any]:
    """A method that makes a call, watched: `begin` says which call it is, `settle` gives back what the host gets.

    A function stays a function and a coroutine function one. What `original` raises passes through as it is.
    """
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def coroutine(client: Any, *args: Any, **kwargs: Any) -> Any:
            call = begin(client, args, kwargs)
            if call is None:
                return await original(client, *args, **kwargs)
            token = CURRENT.set(call)
            try:
                result = await original(client, *args, **kwargs)
            except BaseException as error:
                call.failed(error)
                raise
            finally:
                CURRENT.reset(token)
            return _settled(settle, call, result)

        return coroutine

    @functools.wraps(original)
    def function(client: Any, *args: Any, **kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return original(client, *args, **kwargs)
        token = CURRENT.set(call)
        try:
            result = original(client, *args, **kwargs)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            CURRENT.reset(token)
        return _settled(settle, call, result)

    return function


def _settled(settle: Settle, call: Call, result: Any) -> Any:
    try:
        return settle(call, result)
    except Exception as mistake:
        noting.swallowed(mistake)
        call.answered(None)
        return result


def pieces(source: Iterator[Any], watcher: Watcher) -> Generator[Any, None, None]:
    """The same pieces, each of them told to the watcher."""
    try:
        while True:
            watcher.pulling()
            piece = next(source)
            watcher.arrived(piece)
            yield piece
    except StopIteration:
        watcher.finished()
    except GeneratorExit:
        watcher.left()
        raise
    except BaseException as error:
        watcher.failed(error)
        raise
    finally:
        if (close := getattr(source, "close", None)) is not None:
            close()


async def pieces_async(source: AsyncIterator[Any], watcher: Watcher) -> AsyncGenerator[Any, None]:
    """The same for asynchronous iterators."""
    try:
        while True:
            watcher.pulling()
            piece = await anext(source)
            watcher.arrived(piece)
            yield piece
    except StopAsyncIteration:
        watcher.finished()
    except GeneratorExit:
        watcher.left()
        raise
    except BaseException as error:
        watcher.failed(error)
        raise
    finally:
        if (close := getattr(source, "aclose", None)) is not None:
            await close()
