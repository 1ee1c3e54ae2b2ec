"""Segments: spans that are over, in Parquet files beside the database, in order of time.

A file never changes once it has its name, which is made from its times and its content. Beside it lies an index that
leads from a trace to its rows. Which files count, and which of their rows, is told by the database alone.
"""

from __future__ import annotations

import math
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.errors import StoreUnreadable
from tracewatch.records import Span, columns
from tracewatch.stores.columns import arrow_schema
from tracewatch.stores.rollups import buckets
from tracewatch.times import HOUR_S

GROUP_ROWS = 8_192  # rows that are read at once: a page costs one to fifty of these, a trace one or two
OPENED = 64  # files whose footers are kept in memory, 2 MB each
EMPTY = b"tracewatch.empty"  # names of columns without any value, in the footer: of 77 often half
SUFFIX, INDEX_SUFFIX, PART = ".parquet", ".traces", ".part"

SEQ = "seq"
SCHEMA = pa.schema([pa.field(SEQ, pa.int64()), *arrow_schema(Span)])
NAMES = tuple(each.name for each in columns(Span))
# Ids are nearly all different: a dictionary of them would only be larger.
_IDS = frozenset(("trace_id", "span_id", "id", "parent_span_id", "parent_trace_id", "message_id", "response_id"))
WORDS = [each.name for each in columns(Span) if SCHEMA.field(each.name).type == pa.string() and each.name not in _IDS]


@dataclass(frozen=True, slots=True)
class Group:
    """Some rows of a file that are read together, and the times of the first and the last of them (epoch s)."""

    rows: int
    since: float
    until: float
    priced: bool
    """Whether each has a cost status: every command asks first for those that have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A segment that lies on the disk, whole, and that no database knows yet."""

    name: str
    rows: int
    size: int
    """Bytes of both files."""
    digest: str
    last_seq: int
    groups: tuple[Group, ...]
    hours: dict[tuple[str, int], int]
    """How many spans of each project began in each hour."""


class SegmentWriter:
    """Writes one segment. Until it is finished there is nothing under its name; afterwards all of it is on the disk."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder, if need be. Raises OSError."""
        import pyarrow.parquet as pq

        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.rows = 0
        self._path = folder / f"{os.getpid()}-{os.urandom(4).hex()}{PART}"
        self._writer: Any = pq.ParquetWriter(
            self._path, SCHEMA, compression="zstd", use_dictionary=WORDS, write_statistics=False, data_page_size=1 << 22
        )
        self._waiting: list[pa.Table] = []
        self._groups: list[Group] = []
        self._keys = array("Q")
        self._empty = set(NAMES)
        self._hours: dict[tuple[str, int], int] = {}
        self._last_seq = 0

    def add(self, spans: pa.Table) -> None:
        """More spans, with the columns of SCHEMA, in order of time and number, and behind all that came before."""
        self.rows += spans.num_rows
        self._waiting.append(spans)
        waiting = sum(each.num_rows for each in self._waiting)
        if waiting >= GROUP_ROWS:
            self._write(waiting // GROUP_ROWS * GROUP_ROWS)

    def finish(self) -> Written:
        """Ends the files, has the disk confirm them, and gives them their name. Raises OSError."""
        assert self.rows, "a segment has at least one span"
        self._write(self.rows - len(self._keys))
        self._writer.add_key_value_metadata({EMPTY: ",".join(sorted(self._empty))})
        self._writer.close()
        index = self._path.with_name(self._path.name + INDEX_SUFFIX)
        index.write_bytes(_index_of(self._keys))
        digest = digest_of(self._path)
        name = f"{_hour(self._groups[0].since)}-{_hour(self._groups[-1].until)}-{digest[:16]}"
        size = 0
        # The index first: whoever finds the file finds its index as well.
        for path, suffix in ((index, INDEX_SUFFIX), (self._path, SUFFIX)):
            _confirm(path)
            size += path.stat().st_size
            path.replace(self.folder / f"{name}{suffix}")
        _confirm(self.folder)
        _confirm(self.folder.parent)
        return Written(
            name=name,
            rows=self.rows,
            size=size,
            digest=digest,
            last_seq=self._last_seq,
            groups=tuple(self._groups),
            hours=self._hours,
        )

    def abandon(self) -> None:
        """Leaves nothing of it."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        for path in (self._path, self._path.with_name(self._path.name + INDEX_SUFFIX)):
            path.unlink(missing_ok=True)

    def _write(self, rows: int) -> None:
        """Writes that many of the rows that wait."""
        waiting = pa.concat_tables(self._waiting)
        for start in range(0, rows, GROUP_ROWS):
            self._write_group(waiting.slice(start, min(GROUP_ROWS, rows - start)).combine_chunks())
        self._waiting = [waiting.slice(rows)] if rows < waiting.num_rows else []

    def _write_group(self, spans: pa.Table) -> None:
        times = spans["start_time"]
        self._empty = {name for name in self._empty if spans[name].null_count == spans.num_rows}
        priced = spans["cost_status"].null_count == 0
        self._groups.append(Group(spans.num_rows, times[0].as_py(), times[-1].as_py(), priced))
        self._keys.extend(trace_keys(spans["project"].to_pylist(), spans["trace_id"].to_pylist()))
        self._last_seq = max(self._last_seq, pc.max(spans[SEQ]).as_py())
        hours = pa.table({"project": spans["project"], "hour": buckets(times.combine_chunks(), int(HOUR_S))})
        for each in hours.group_by(["project", "hour"]).aggregate([([], "count_all")]).to_pylist():
            place = (each["project"], each["hour"])
            self._hours[place] = self._hours.get(place, 0) + each["count_all"]
        self._writer.write_table(spans.select(SCHEMA.names), row_group_size=GROUP_ROWS)


class SegmentFile:
    """A segment that is read. What lies in it never changes, so footers and indexes are kept in memory."""

    __slots__ = ("path",)

    def __init__(self, folder: str, name: str) -> None:
        self.path = f"{folder}/{name}"

    def read(self, group: int, names: Sequence[str]) -> pa.Table:
        """Those columns of a group; texts of few values as dictionaries. Raises StoreUnreadable."""
        with _told(self.path), _opened(self.path) as file:
            empty = _empty_of(self.path)
            found = file.read_row_group(group, columns=[each for each in names if each not in empty], use_threads=False)
            rows = file.metadata.row_group(group).num_rows
        types = {name: SCHEMA.field(name).type for name in empty.intersection(names)}
        return pa.table({name: pa.nulls(rows, types[name]) if name in types else found[name] for name in names})

    def numbers(self) -> Any:
        """The sequence numbers of all rows, as numpy has them. Raises StoreUnreadable."""
        with _told(self.path), _opened(self.path) as file:
            return file.read(columns=[SEQ])[SEQ].to_numpy()

    def broken(self, digest: str) -> str | None:
        """What is wrong with the file, in a few words; None when its content is what it was."""
        path = Path(f"{self.path}{SUFFIX}")
        if not path.is_file() or not Path(f"{self.path}{INDEX_SUFFIX}").is_file():
            return "it, or the index beside it, is missing"
        return None if digest_of(path) == digest else "its content is not what was written"

    def rows_of(self, key: int) -> list[int]:
        """Rows that may be of the trace with that key, in order. Raises StoreUnreadable."""
        with _told(self.path):
            keys, rows = _traces(self.path)
        at = bisect_left(keys, key)
        found = []
        while at < len(keys) and keys[at] == key:
            found.append(rows[at])
            at += 1
        return sorted(found)

    def some_of(self, keys: Any) -> Any:
        """Those of the keys (numbers in order, as numpy has them) that lead to a row. Raises StoreUnreadable."""
        with _told(self.path):
            known = np.frombuffer(_traces(self.path)[0], np.uint64)
        at = np.searchsorted(known, keys)
        return keys[known[np.minimum(at, len(known) - 1)] == keys]


def trace_keys(projects: Iterable[str], trace_ids: Iterable[str]) -> list[int]:
    """The number under which each trace stands in an index: 64 bits that are the same on every machine."""
    known: dict[tuple[str, str], int] = {}
    found = []
    for each in zip(projects, trace_ids, strict=True):
        key = known.get(each)
        if key is None:
            text = "\0".join(each).encode("utf-8", "replace")
            key = known[each] = int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
        found.append(key)
    return found


def digest_of(path: Path) -> str:
    """What the content of a file comes to."""
    found = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _hour(time_s: float) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=math.floor(time_s)):%Y%m%dT%H}"


def _index_of(keys: array[int]) -> bytes:
    """Keys in order, eight bytes each, and then the row of each, four bytes."""
    given = np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64)
    order = np.argsort(given, kind="stable")
    return bytes(given[order].astype("<u8").tobytes() + order.astype("<u4").tobytes())


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Says in one sentence what is wrong with a file."""
    try:
        yield
    except FileNotFoundError as error:
        why = "it is missing: the folder it lies in belongs to the database, and must be copied and moved with it"
        raise StoreUnreadable(path=f"{path}{SUFFIX}", why=why) from error
    except (OSError, pa.ArrowException) as error:
        raise StoreUnreadable(path=f"{path}{SUFFIX}", why=str(error).splitlines()[0]) from error


def _opened(path: str) -> Any:
    import pyarrow.parquet as pq  # 50 ms, which a store without segments need not wait for

    return pq.ParquetFile(
        f"{path}{SUFFIX}", metadata=_footer(path), read_dictionary=WORDS, memory_map=True, pre_buffer=False
    )


@lru_cache(OPENED)
def _footer(path: str) -> Any:
    import pyarrow.parquet as pq

    return pq.read_metadata(f"{path}{SUFFIX}")


@lru_cache(OPENED)
def _empty_of(path: str) -> frozenset[str]:
    return frozenset((_footer(path).metadata or {}).get(EMPTY, b"").decode().split(","))


@lru_cache(OPENED * 4)
def _traces(path: str) -> tuple[memoryview, memoryview]:
    with open(f"{path}{INDEX_SUFFIX}", "rb") as file:
        mapped = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    rows = len(mapped) // 12
    return mapped[: rows * 8].cast("Q"), mapped[rows * 8 :].cast("I")


def _confirm(path: Path) -> None:
    """Waits until the disk has it."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
