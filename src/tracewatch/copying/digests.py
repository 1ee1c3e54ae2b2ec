"""A number for each row, and for rows together, that is the same in every store exactly when the rows are.

A row's number mixes the numbers of its values; rows are added up, so their order does not matter. Numbers are those of
a multilinear hash with fixed random weights (Dietzfelbinger, 1996) and the finaliser of splitmix64 (Steele and others,
2014): against chance and damage, not against somebody who wants two rows to look alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]

_ABSENT = np.uint64(0x9E37_79B9_7F4A_7C15)
_MASK = 2**64 - 1
_TEXT_BYTES = 2**20  # bytes of a column of texts that are weighed at once: eight times as much memory


@dataclass(frozen=True, slots=True)
class Digest:
    """How many rows, and the sum of their numbers modulo 2 ** 64."""

    rows: int = 0
    total: int = 0

    def __add__(self, other: Digest) -> Digest:
        return Digest(self.rows + other.rows, (self.total + other.total) & _MASK)

    @property
    def checksum(self) -> str:
        """The sum as people compare it: 16 hexadecimal digits."""
        return f"{self.total:016x}"


def digest(numbers: Numbers) -> Digest:
    """Of rows with those numbers."""
    return Digest(len(numbers), int(np.sum(numbers, dtype=np.uint64)))


def numbers_of(batch: pa.RecordBatch) -> Numbers:
    """A number for each row, from all its columns in their order: numbers, booleans, texts and bytes."""
    rows = np.zeros(batch.num_rows, np.uint64)
    for place, column in enumerate(batch.columns):
        values = np.where(_absent(column), _ABSENT, _values(column))
        rows = _mixed(rows ^ _mixed(values + np.uint64(place + 1)))
    return rows


def _absent(column: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.is_null(column).to_numpy(zero_copy_only=False)
    return found


def _values(column: pa.Array) -> Numbers:
    """A number for each value; that of an absent one does not count."""
    kind = column.type
    if pa.types.is_floating(kind):
        reals = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False).astype(np.float64)
        return np.asarray(reals + 0.0).view(np.uint64)  # not every database tells -0.0 from 0.0
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        whole = pc.fill_null(column.cast(pa.int64()), 0)
        return np.asarray(whole.to_numpy(zero_copy_only=False)).view(np.uint64)
    texts = column.cast(pa.large_binary())
    parts = [_texts(texts.slice(begin, length)) for begin, length in _stretches(texts)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _stretches(texts: pa.LargeBinaryArray) -> Iterator[tuple[int, int]]:
    """Where to cut a column so that no part but one of a single value is larger than _TEXT_BYTES."""
    ends = np.cumsum(pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    begin = 0
    while begin < len(ends):
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + _TEXT_BYTES, side="right")), begin + 1)
        yield begin, end - begin
        begin = end


def _texts(texts: pa.LargeBinaryArray) -> Numbers:
    """For each text the sum of its bytes, each weighed by its place, and its length."""
    filled = pc.fill_null(texts, b"")
    offsets, data = _laid_out(filled)
    lengths = np.diff(offsets)
    begins, ends = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    places = np.arange(len(data)) - np.repeat(begins, lengths)
    weighed = (data.astype(np.uint64) + np.uint64(1)) * _weights(int(lengths.max(initial=0)))[places]
    # Differences of a running sum, as reduceat gives a text without bytes the byte of its neighbour.
    running = np.concatenate((np.zeros(1, np.uint64), np.cumsum(weighed, dtype=np.uint64)))
    found: Numbers = running[ends] - running[begins] + lengths.astype(np.uint64) * _ABSENT
    return found


def _laid_out(texts: pa.LargeBinaryArray) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Where each text begins and the last one ends, and the bytes from the first of them to the last."""
    _, where, what = texts.buffers()
    offsets = np.frombuffer(where, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(what or b"", np.uint8)[offsets[0] : offsets[-1]]
    return offsets, data


def _weights(length: int) -> Numbers:
    """A weight for each place; the same ones everywhere and always."""
    return _weights_up_to(1 << max(length - 1, 255).bit_length())[:length]


@lru_cache(maxsize=2)
def _weights_up_to(length: int) -> Numbers:
    places = np.arange(1, length + 1, dtype=np.uint64)
    return _mixed(places * _ABSENT) | np.uint64(1)


def _mixed(numbers: Numbers) -> Numbers:
    """The finaliser of splitmix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return numbers ^ (numbers >> np.uint64(31))
