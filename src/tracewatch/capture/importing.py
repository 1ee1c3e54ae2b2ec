"""What to do when a library is imported that is not there yet."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

from tracewatch.capture import noting

_WAITING: dict[str, Callable[[], None]] = {}
_LOCK = threading.RLock()


def on_import(name: str, do: Callable[[], None]) -> None:
    """Does something once the module of that name has been imported; the import itself is as it was."""
    with _LOCK:
        _WAITING[name] = do
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)


def stop_waiting() -> None:
    """Does nothing more at imports."""
    with _LOCK:
        _WAITING.clear()
        if _FINDER in sys.meta_path:
            sys.meta_path.remove(_FINDER)


class _Finder:
    """Finds nothing by itself: it has the others find a module, and is told when it has been executed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in _WAITING:
            return None
        others = [each for each in sys.meta_path if each is not self and hasattr(each, "find_spec")]
        found = (each.find_spec(name, path, target) for each in others)
        spec = next((each for each in found if each is not None), None)
        if spec is not None:
            noting.quietly(functools.partial(_follow, spec))
        return spec


def _follow(spec: ModuleSpec) -> None:
    """Has the loader of this one module tell when it is done."""
    loader: Any = spec.loader
    execute = loader.exec_module

    def exec_module(module: Any) -> None:
        execute(module)
        do = _WAITING.pop(spec.name, None)
        if do is not None:
            noting.quietly(do)

    loader.exec_module = exec_module


_FINDER: Any = _Finder()
