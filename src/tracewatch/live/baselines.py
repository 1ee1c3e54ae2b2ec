"""Where a detector's state is kept: in the store, in parts, saved and restored as a whole."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from typing import Any

import pyarrow as pa

from tracewatch.live.sealing import seal, unseal, version
from tracewatch.live.state import State
from tracewatch.records import Baseline
from tracewatch.stores.base import Filter, Store

DETECTOR = "adaptive"
PART_BYTES = 4 * 2**20  # a row that any database takes; MySQL's and some proxies' limits begin at 16 MB
MOST_PARTS = 1_000  # 4 GB; the largest state there can be is a tenth of that
LARGEST = 4 * 2**30  # bytes of a state before it was compressed, which damaged or hostile rows may overstate
CODEC = "zstd"  # a seventh of the size in 0.15 s, where zlib takes 0.6 s (measured on 36 slices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was found in the store."""

    state: State | None
    """None when there is none, or none that can be used."""
    revision: int
    """How often it had been saved; 0 for never."""
    parts: int
    """How many rows hold it."""
    unusable: str = ""
    """Why it cannot be used."""


def restore(store: Store, project: str) -> Restored:
    """What the last pass over this project left."""
    page = store.page(Baseline, _whose(project), limit=MOST_PARTS)
    parts = [each for each in page.records if isinstance(each, Baseline)]
    if not parts:
        return Restored(state=None, revision=0, parts=0)
    if not all(type(number) is int for each in parts for number in (each.part, each.parts, each.revision, each.size)):
        return Restored(state=None, revision=0, parts=len(parts), unusable="it is damaged")
    state, unusable = _state_of(sorted(parts, key=lambda each: each.part))
    return Restored(state=state, revision=parts[0].revision, parts=len(parts), unusable=unusable)


def revision_of(store: Store, project: str) -> int:
    """How often the state of this project has been saved; 0 for never."""
    first = store.scan(Baseline, ["revision"], [*_whose(project), Filter("part", "=", (0,))])
    return max((revision or 0 for batch in first for revision in batch["revision"].to_pylist()), default=0)


def save(store: Store, project: str, state: State, after: Restored, now: float) -> Restored | None:
    """Puts a state in place of the one that was restored or saved last, whole or not at all.

    Returns what is there now; None when another process has saved meanwhile, and then its state stays.
    """
    pieces, size = sealed(state)
    checksum = _checksum(pieces)
    revision = after.revision + 1
    judged = state.reading.judged
    parts = [
        Baseline(
            project=project,
            detector=DETECTOR,
            part=number,
            parts=len(pieces),
            revision=revision,
            version=version(),
            checksum=checksum,
            size=size,
            updated_at=now,
            learned_rows=state.reading.rows,
            learned_until=judged if isfinite(judged) else None,
            cursor=state.reading.cursor or "",
            state=piece,
        )
        for number, piece in enumerate(pieces)
    ]
    goes_on = after.parts > 0 and not after.unusable
    same = [*_whose(project), Filter("revision", "=", (after.revision,))] if goes_on else _whose(project)
    if not store.swap(Baseline, same, parts, expected=after.parts):
        return None
    return Restored(state=state, revision=revision, parts=len(parts))


def forget(store: Store, project: str) -> None:
    """Lets go of what was learned of a project: the next pass learns from history again."""
    store.remove(Baseline, _whose(project))


def _whose(project: str) -> list[Filter]:
    return [Filter("project", "=", (project,)), Filter("detector", "=", (DETECTOR,))]


def _state_of(parts: Sequence[Baseline]) -> tuple[State | None, str]:
    """The state in these parts; or why there is none."""
    first = parts[0]
    if first.version != version():
        return None, "another version of tracewatch wrote it"
    pieces = [each.state for each in parts]
    if len(parts) != first.parts or _checksum(pieces) != first.checksum or not 0 < first.size <= LARGEST:
        return None, "it is damaged"
    try:
        state = opened(pieces, first.size)
    except (pa.ArrowException, OSError, pickle.UnpicklingError) as error:
        return None, f"it cannot be read: {error}"
    return (state, "") if isinstance(state, State) and state.whole else (None, "it is no state of ours")


def _checksum(pieces: Iterable[bytes]) -> str:
    digest = blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def sealed(state: object) -> tuple[list[bytes], int]:
    """A state, compressed as it is written so that it is there once, in pieces; and its bytes before that."""
    pieces = _Pieces()
    with pa.CompressedOutputStream(pa.PythonFile(pieces, "w"), CODEC) as compressed:
        counted = _Counted(compressed)
        seal(state, counted)
    return pieces.all(), counted.size


def opened(pieces: Iterable[bytes], size: int) -> Any:
    """What was sealed, read as it is decompressed. Raises UnpicklingError, and Arrow's errors and OSError."""
    with pa.CompressedInputStream(pa.BufferReader(b"".join(pieces)), CODEC) as compressed:
        return unseal(_Bounded(compressed, size))


class _Counted:
    """Counts the bytes that are written."""

    def __init__(self, into: pa.NativeFile) -> None:
        self.into, self.size = into, 0

    def write(self, data: Any, /) -> None:
        """Writes and counts them."""
        self.into.write(data)
        self.size += memoryview(data).nbytes


class _Pieces(io.RawIOBase):
    """Cuts what is written into pieces of PART_BYTES."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.last = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """Takes some bytes."""
        self.last += data
        while len(self.last) >= PART_BYTES:
            self.whole.append(bytes(self.last[:PART_BYTES]))
            del self.last[:PART_BYTES]
        return len(data)

    def all(self) -> list[bytes]:
        """The pieces; all but the last are full."""
        return [*self.whole, bytes(self.last)] if self.last else self.whole


class _Bounded:
    """Reads no more than it was said to hold."""

    def __init__(self, sealed: pa.NativeFile, size: int) -> None:
        self.sealed, self.left = sealed, size

    def read(self, size: int, /) -> bytes:
        """So many bytes. Raises UnpicklingError where fewer are left."""
        if size > self.left:
            raise pickle.UnpicklingError("it is longer than it says")
        self.left -= size
        data: bytes = self.sealed.read(size)
        return data

    def readinto(self, room: Any, /) -> int:
        """Fills the room. Raises UnpicklingError where fewer are left."""
        if len(room) > self.left:
            raise pickle.UnpicklingError("it is longer than it says")
        self.left -= len(room)
        filled: int = self.sealed.readinto(room)
        return filled

    def readline(self) -> bytes:
        """Up to the next end of a line: only pickles of others have lines."""
        line = bytearray()
        while not line.endswith(b"\n") and (more := self.read(1)):
            line += more
        return bytes(line)
