"""State as bytes and back: a pickle that admits our own state, plain arrays and builtin containers, and nothing else.

A pickle may name any function of any module and call it. Baselines lie in a file that others can write, so the names
are looked up here, and arrays are made by a function of ours from a kind, a shape and bytes: numpy's own way of
unpickling trusts what it reads.
"""

from __future__ import annotations

import collections
import copyreg
import math
import pickle
import re
import sys
from array import array
from functools import cache
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from pickle import PickleBuffer
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

ROOMS = (
    "tracewatch.course",
    "tracewatch.crowded",
    "tracewatch.detectors.adaptive",
    "tracewatch.detectors.aggregates",
    "tracewatch.detectors.gaps",
    "tracewatch.detectors.nearest",
    "tracewatch.incidents",
    "tracewatch.judge",
    "tracewatch.lessons",
    "tracewatch.live.state",
    "tracewatch.metrics.crowd",
    "tracewatch.metrics.custom",
    "tracewatch.metrics.declared",
    "tracewatch.metrics.found",
    "tracewatch.metrics.hourly",
    "tracewatch.metrics.jobs",
    "tracewatch.metrics.observing",
    "tracewatch.metrics.requests",
    "tracewatch.metrics.turns",
)
"""Modules whose classes make up the state; a package stands for all its modules."""

FORM = 2  # to be raised when this file writes the same state in another way
_KIND = re.compile("[<|](?:b1|[iu][1248]|f[248])")  # numbers and truth; everything else has fields, pointers or dates
_OBJECTS = "O"
_CODES = "bBhHiIlLqQfd"  # kinds of Python's arrays of numbers
_NUMBERS = (
    *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
    *(np.float16, np.float32, np.float64),
)
_CONTAINERS = {
    ("builtins", each.__name__): each
    for each in (bytearray, complex, dict, float, frozenset, int, list, range, set, slice, tuple)
} | {("collections", each.__name__): each for each in (collections.deque, collections.defaultdict, collections.Counter)}


@cache
def version() -> str:
    """What state is written by: a hash of the code that gives it its meaning.

    Constants and formulas are part of the meaning, not the names of the attributes alone. So a new release learns
    again from history rather than go on with numbers that it would have computed in another way.
    """
    digest = blake2b(digest_size=8)
    for room in ROOMS:
        for path in _files(room):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{FORM}-{digest.hexdigest()}"


class Writing(Protocol):
    """Where bytes are written."""

    def write(self, data: Any, /) -> object:
        """Takes what has bytes."""


class Reading(Protocol):
    """Where bytes are read."""

    def read(self, size: int, /) -> bytes:
        """So many bytes, or those that are left."""

    def readline(self) -> bytes:
        """Those up to the next end of a line."""


def seal(state: object, into: Writing) -> None:
    """Writes the state as bytes, the numbers of arrays from where they are: of what there is nothing is there twice."""
    _Sealer(into).dump(state)


def unseal(sealed: Reading) -> Any:
    """The state that was sealed. Raises UnpicklingError for whatever is no state of ours."""
    try:
        return _Unsealer(sealed).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged or hostile bytes may fail in any way that Python code can
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error


class _Sealer(pickle.Pickler):
    """Writes arrays and numpy's numbers as calls of our own functions."""

    def __init__(self, into: Writing) -> None:
        super().__init__(into, protocol=5)
        self.dispatch_table = {
            **copyreg.dispatch_table,
            np.ndarray: lambda array: (make_array, _parts(array)),
            array: lambda values: (make_values, (values.typecode, values.tobytes())),
            **dict.fromkeys(_NUMBERS, lambda number: (make_number, (number.dtype.str, number.tobytes()))),
        }


class _Unsealer(pickle.Unpickler):
    """Looks up our own state, our own functions and builtin containers."""

    def find_class(self, module: str, name: str) -> Any:
        """What may be named in a state."""
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        if module == __name__ and name in _MAKERS:
            return _MAKERS[name]
        found = None
        if "." not in name and any(module == room or module.startswith(f"{room}.") for room in ROOMS):
            import_module(module)
            found = vars(sys.modules[module]).get(name)
        if not isinstance(found, type) or found.__module__ != module:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no state of ours")
        return found


Kind = str | tuple[tuple[str, str], ...]
"""What numpy calls the kind of an array's numbers, or of each field of its rows."""


def make_array(kind: Kind, shape: tuple[int, ...], order: str, data: bytes | bytearray | list[Any]) -> NDArray[Any]:
    """An array of numbers from its bytes, or of objects from a list of them. Raises UnpicklingError.

    Bytes that may be changed become the array's own.
    """
    if kind == _OBJECTS and isinstance(data, list) and shape == (len(data),):
        objects = np.empty(len(data), object)
        objects[:] = data
        return objects
    if not isinstance(data, bytes | bytearray) or not _is_plain(kind) or order not in ("C", "F"):
        raise pickle.UnpicklingError("it holds an array that is none of ours")
    numbers = np.frombuffer(data, kind if isinstance(kind, str) else list(kind))
    if len(numbers) != math.prod(shape):
        raise pickle.UnpicklingError("it holds an array whose numbers do not fill it")
    whole = numbers.reshape(shape, order="F" if order == "F" else "C")
    return whole if whole.flags.writeable else np.array(whole, order="K")


def make_number(kind: Kind, data: bytes) -> Any:
    """One of numpy's numbers from its bytes."""
    return make_array(kind, (1,), "C", data)[0]


def make_values(kind: str, data: bytes) -> array[Any]:
    """One of Python's arrays of numbers from its bytes."""
    if kind not in tuple(_CODES):
        raise pickle.UnpicklingError("it holds an array that is none of ours")
    return array(kind, data)


_MAKERS = {"make_array": make_array, "make_number": make_number, "make_values": make_values}


def _is_plain(kind: Kind) -> bool:
    """Whether an array of that kind holds numbers and nothing else."""
    kinds = [kind] if isinstance(kind, str) else [each for name, each in kind if name.isidentifier()]
    return bool(kinds) and all(_KIND.fullmatch(each) for each in kinds)


def _parts(array: NDArray[Any]) -> tuple[Kind, tuple[int, ...], str, PickleBuffer | list[Any]]:
    """What `make_array` takes. The order in memory is kept, because sums depend on it in their last digits."""
    if array.dtype == object and array.ndim == 1:
        return _OBJECTS, array.shape, "C", array.tolist()
    fields = tuple((name, array.dtype[name].str) for name in array.dtype.names or ())
    kind: Kind = fields or array.dtype.str
    assert _is_plain(kind), f"state must not hold an array of {array.dtype}"
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return kind, array.shape, order, PickleBuffer(cast("Any", array if order == "F" else np.ascontiguousarray(array)))


def _files(room: str) -> list[Path]:
    """The source files of a module, or of all modules of a package."""
    path = Path(str(import_module(room).__file__))
    return sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]
