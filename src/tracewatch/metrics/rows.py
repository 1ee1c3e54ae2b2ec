"""Columns of spans as numbers and words, for measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracewatch.detectors.adaptive.names import Words
from tracewatch.detectors.spec import Floats, Integers
from tracewatch.records import Span, column_of

Made = TypeVar("Made")


class Rows:
    """Columns of some spans: numbers as float64 with NaN for absent, texts by position."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._numbers: dict[str, Floats] = {}
        self._codes: dict[str, tuple[Integers, list[str | None]]] = {}
        self._made: dict[object, object] = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def numbers(self, name: str) -> Floats:
        """A numeric or boolean column; true is 1."""
        if name not in self._numbers:
            self._numbers[name] = self._table[name].cast(pa.float64(), safe=False).to_numpy()
        return self._numbers[name]

    def column(self, name: str) -> pa.ChunkedArray:
        """A column as it is."""
        return self._table[name]

    def texts(self, name: str, positions: Integers) -> list[str | None]:
        """A text column at some positions."""
        found: list[str | None] = self._table[name].take(pa.array(positions)).to_pylist()
        return found

    def codes(self, name: str) -> tuple[Integers, list[str | None]]:
        """A text column as numbers, and what each number stands for; the last one stands for absent."""
        if name not in self._codes:
            encoded = self._table[name].combine_chunks().dictionary_encode()
            words: list[str | None] = [*encoded.dictionary.to_pylist(), None]
            self._codes[name] = encoded.indices.fill_null(len(words) - 1).to_numpy().astype(np.int64), words
        return self._codes[name]

    def joint_codes(self, one: str, other: str) -> tuple[Integers, Integers]:
        """Two text columns as numbers that are equal where the texts are, in both; -1 where one is empty."""
        both = pa.chunked_array([*self._table[one].chunks, *self._table[other].chunks], pa.string())
        codes = both.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
        return codes[: len(self)], codes[len(self) :]

    def once(self, make: Callable[[Rows], Made]) -> Made:
        """What a function makes of these rows, made the first time it is asked for."""
        if make not in self._made:
            self._made[make] = make(self)
        return cast("Made", self._made[make])

    def since(self, time_s: float) -> pa.Table:
        """The columns of the rows that began at that moment or later."""
        return self._table.filter(pa.array(self.numbers("start_time") >= time_s))


def read(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Rows:
    """The rows of a scan."""
    return Rows(table_of(batches, names))


def table_of(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> pa.Table:
    """A scan of those columns as one table; it has them also when the scan found nothing."""
    kept = list(batches)
    return pa.Table.from_batches(kept) if kept else pa.table({name: _empty(name) for name in names})


def is_text(name: str) -> bool:
    """Whether a column of a span holds texts rather than numbers."""
    return column_of(Span)[name].kind in ("text", "json", "list")


def present(texts: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of these objects are there at all."""
    nothing: Any = None
    found: NDArray[np.bool_] = np.not_equal(texts, nothing).astype(bool)
    return found


def arrow_of(calls: Mapping[str, NDArray[Any] | Words]) -> pa.Table:
    """Calls as Arrow has them; texts may all be absent."""
    return pa.table(
        {name: _column(values, pa.string() if is_text(name) else pa.float64()) for name, values in calls.items()}
    )


def _column(values: NDArray[Any] | Words, kind: pa.DataType) -> pa.Array:
    if isinstance(values, Words):
        return pa.array(values.words, kind).take(pa.array(values.places, mask=values.places < 0))
    return pa.array(values if len(values) else [], kind)


def _empty(name: str) -> pa.Array:
    """A column of a scan that found nothing."""
    return pa.array([], pa.string() if is_text(name) else pa.float64())
