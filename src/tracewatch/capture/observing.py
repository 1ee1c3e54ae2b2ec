"""`@observe`: every call of a function is a span, be it plain, a coroutine, a generator or an async generator."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar, cast, overload

from tracewatch.capture.tracing import LiveSpan, span, use

F = TypeVar("F", bound=Callable[..., Any])

# Flags of a code object: https://docs.python.org/3/library/inspect.html#code-objects-bit-flags
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


@overload
def observe(function: F, /) -> F: ...


@overload
def observe(name: str | None = None, /, **fields: Any) -> Callable[[F], F]: ...


def observe(function: Any = None, /, **fields: Any) -> Any:
    """Makes every call of a function a span, below the current one: `@observe`, or `@observe("name", usage_type=…)`.

    Without a name it is called like the function. The span lasts until the function returns; for coroutines until they
    are done, for generators from the first item to the last, and only while their own code runs it is the current one.
    An exception makes it fail, and goes on to the caller. Arguments and results are not recorded.
    """
    if function is None or isinstance(function, str):
        return lambda observed: _observed(observed, function, fields)
    return _observed(function, None, fields)


def _observed(function: Any, name: str | None, fields: dict[str, Any]) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_observed(function.__func__, name, fields))
    called = name or getattr(function, "__qualname__", type(function).__name__).replace(".<locals>", "")
    wrap = _WRAPPERS.get(_kind(function), _plain)
    return wrap(function, lambda: span(called, **fields))


def _kind(function: Any) -> int:
    """The flag of what calling it gives: 0 for a plain value."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:  # an object that can be called
        code = getattr(type(function).__dict__.get("__call__"), "__code__", None)
    flags = getattr(code, "co_flags", 0)
    return next((flag for flag in (_COROUTINE, _ASYNC_GENERATOR, _GENERATOR) if flags & flag), 0)


def _plain(function: Callable[..., Any], begin: Callable[[], LiveSpan]) -> Callable[..., Any]:
    @_like(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with begin():
            return function(*args, **kwargs)

    return call


def _coroutine(function: Callable[..., Any], begin: Callable[[], LiveSpan]) -> Callable[..., Any]:
    @_like(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with begin():
            return await function(*args, **kwargs)

    return call


def _generator(function: Callable[..., Any], begin: Callable[[], LiveSpan]) -> Callable[..., Any]:
    @_like(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator: Generator[Any, Any, Any] = function(*args, **kwargs)
        observed = begin()
        step: Callable[[], Any] = lambda: next(generator)  # noqa: E731  # one of next, send and throw
        try:
            while True:
                with use(observed):
                    item = step()
                try:
                    sent = yield item
                    step = functools.partial(generator.send, sent)
                except GeneratorExit:
                    observed.warn("abandoned")
                    with use(observed):
                        generator.close()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
        except StopIteration as stop:
            return stop.value
        except GeneratorExit:
            raise
        except BaseException as error:
            observed.fail(error)
            raise
        finally:
            observed.end()

    return call


def _async_generator(function: Callable[..., Any], begin: Callable[[], LiveSpan]) -> Callable[..., Any]:
    @_like(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        observed = begin()
        step: Callable[[], Any] = lambda: anext(generator)  # noqa: E731  # one of anext, asend and athrow
        try:
            while True:
                with use(observed):
                    item = await step()
                try:
                    sent = yield item
                    step = functools.partial(generator.asend, sent)
                except GeneratorExit:
                    observed.warn("abandoned")
                    with use(observed):
                        await generator.aclose()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.athrow, error)
        except StopAsyncIteration:
            return
        except GeneratorExit:
            raise
        except BaseException as error:
            observed.fail(error)
            raise
        finally:
            observed.end()

    return call


def _like(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def named(call: Callable[..., Any]) -> Callable[..., Any]:
        return cast(Callable[..., Any], functools.update_wrapper(call, function))

    return named


_WRAPPERS: dict[int, Callable[[Callable[..., Any], Callable[[], LiveSpan]], Callable[..., Any]]] = {
    _COROUTINE: _coroutine,
    _GENERATOR: _generator,
    _ASYNC_GENERATOR: _async_generator,
}
