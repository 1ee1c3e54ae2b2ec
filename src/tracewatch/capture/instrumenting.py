"""`instrument` for all clients of a program and `wrap` for one of them: which calls are watched, and from when on."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from tracewatch.capture import noting
from tracewatch.capture.importing import on_import, stop_waiting
from tracewatch.capture.patching import Patch
from tracewatch.capture.providers import CALLED

PACKAGES = ("anthropic", "ollama", "openai")
"""The client libraries whose calls can be watched."""

_LOCK = threading.RLock()
_EVERYWHERE: set[str] = set()
_COUNTED = [False]  # whether streams may be asked to count their tokens
_PATCHES: dict[str, list[Patch]] = {}
_WRAPPED: weakref.WeakSet[Any] = weakref.WeakSet()

ClientT = TypeVar("ClientT")


def instrument(*packages: str, include_usage: bool = False) -> None:
    """Records every call of these client libraries from now on, whoever makes it; of all that are known by default.

    With `include_usage`, streamed chats of OpenAI's client are also asked for the count of their tokens, which is kept
    from the program; by default no call is changed.

    A library that is imported later is watched then. Called again it changes nothing but that. It never raises: a name
    that is not known is said in the log.
    """
    _COUNTED[:] = [include_usage]
    for name in packages or PACKAGES:
        if name not in PACKAGES:
            noting.once(f"tracewatch.instrument() knows {', '.join(PACKAGES)}, and not '{name}'")
            continue
        _EVERYWHERE.add(name)
        noting.quietly(functools.partial(_when_there, name))


def uninstrument() -> None:
    """Puts everything back as it was: no calls are recorded any more, those of wrapped clients neither."""
    with _LOCK:
        _EVERYWHERE.clear()
        _COUNTED[:] = [False]
        _WRAPPED.clear()
        CALLED.clear()
        stop_waiting()
        for patches in _PATCHES.values():
            for patch in patches:
                noting.quietly(patch.undo)


def wrap(client: ClientT, *, provider: str | None = None) -> ClientT:
    """Records the calls of this one client, and of those made from it by `with_options`; gives the client back.

    `provider` is who answers it, where the address does not tell: `vllm`, `litellm` or a name of your own. It holds
    beside `instrument` too.

    It never raises: what is no client of a known library is given back as it is, and the log says so.
    """
    try:
        package = _package_of(type(client))
        if package is None:
            noting.once(
                f"tracewatch.wrap() was given a {type(client).__name__}, and knows the clients of {', '.join(PACKAGES)}"
            )
            return client
        if provider:
            CALLED[client] = str(provider)
        _WRAPPED.add(client)
        _patch(package)
    except Exception as mistake:
        noting.swallowed(mistake)
    return client


def _package_of(kind: type) -> str | None:
    """The library a client's class comes from, or one of the classes above it."""
    roots = (each.__module__.partition(".")[0] for each in kind.__mro__)
    return next((root for root in roots if root in PACKAGES), None)


def _when_there(name: str) -> None:
    """Patches a library now, or when it is imported. Only a module that is wholly there can be patched."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and not getattr(spec, "_initializing", False):
        _patch(name)
    else:
        on_import(name, functools.partial(_patch, name))


def _patch(name: str) -> None:
    with _LOCK:
        if name not in _PATCHES:
            _PATCHES[name] = list(_patches(name, sys.modules[name]))
        for patch in _PATCHES[name]:
            patch.apply()


def _patches(name: str, module: ModuleType) -> Iterator[Patch]:
    """All that is replaced in a library."""
    dialect: Any = import_module(f"tracewatch.capture.{name}")
    watched = _watched(name)
    if name == "ollama":
        yield from dialect.patches(module, watched)
        return
    from tracewatch.capture import stainless

    yield from stainless.patches(module, dialect.CLIENTS, dialect, watched, lambda: _COUNTED[0])
    for kind in dialect.CLIENTS:
        for attribute in ("copy", "with_options"):
            if attribute in vars(getattr(module, kind)):
                yield Patch(getattr(module, kind), attribute, _copying(vars(getattr(module, kind))[attribute]))


def _watched(name: str) -> Callable[[Any], bool]:
    """Whether calls of a client of this library are to be watched just now."""

    def watched(client: Any) -> bool:
        return name in _EVERYWHERE or (bool(_WRAPPED) and client in _WRAPPED)

    return watched


def _pass_on(client: Any, made: Any) -> None:
    """What holds for a client holds for one made from it."""
    if client in _WRAPPED:
        _WRAPPED.add(made)
    if (provider := CALLED.get(client)) is not None:
        CALLED[made] = provider


def _copying(original: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a wrapped client is wrapped too."""

    @functools.wraps(original)
    def copy(client: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(client, *args, **kwargs)
        noting.quietly(functools.partial(_pass_on, client, made))
        return made

    return copy
