"""Calls that come in any order and are handed out in order of their start: held in memory, or, if many, in a file.

What is handed out are few at a time, so that memory does not grow with a long history: of all calls only the moments
and their order are kept, 16 bytes a call.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Sequence
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracewatch.metrics import table_of

MOST_ROWS = 400_000  # in memory: 100 MB of 26 columns


class Spill:
    """Batches in a temporary file, which is gone with this object."""

    def __init__(self, schema: pa.Schema) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="tracewatch-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)  # as no context is as long as a replay
        # Compressed it is a third of the size, and no slower.
        self._writer = pa.ipc.new_file(self._file, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def add(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Appends batches."""
        for batch in batches:
            self._writer.write_batch(batch)

    def close(self) -> None:
        """No more are added; from now on they can be read."""
        self._writer.close()
        self._reader = pa.ipc.open_file(self._file)

    def batch(self, number: int) -> pa.RecordBatch:
        """The batch that was added as so many-th, from 0."""
        return self._reader.get_batch(number)


class Held:
    """Calls with a `start_time`; those of the same moment stay in the order they came in."""

    def __init__(self, batches: Iterable[pa.RecordBatch], names: Sequence[str], most: int = MOST_ROWS) -> None:
        self._spill: Spill | None = None
        kept: list[pa.RecordBatch] = []
        moments, rows = [np.zeros(0)], [0]
        for batch in batches:
            moments.append(batch.column("start_time").to_numpy())
            rows.append(rows[-1] + batch.num_rows)
            kept.append(batch)
            if rows[-1] > most:
                self._spill = self._spill or Spill(batch.schema)
                self._spill.add(kept)
                kept = []
        if self._spill:
            self._spill.close()
        times = np.concatenate(moments)
        self._starts = np.array(rows)
        self._order = None if (np.diff(times) >= 0).all() else np.argsort(times, kind="stable")
        self.times: NDArray[np.float64] = times if self._order is None else times[self._order]
        """The start of each call, in order."""
        table = table_of(kept, list(dict.fromkeys(names)))
        self._table = table if self._order is None or self._spill else table.take(pa.array(self._order))

    def __len__(self) -> int:
        return len(self.times)

    def rows(self, some: slice) -> pa.Table:
        """Some of the calls."""
        if not self._spill:
            return self._table.slice(some.start, some.stop - some.start)
        wanted = np.arange(some.start, some.stop) if self._order is None else self._order[some]
        batch_of = np.searchsorted(self._starts, wanted, "right") - 1
        parts, places = [], []
        for number in np.unique(batch_of).tolist():
            place = np.flatnonzero(batch_of == number)
            parts.append(self._spill.batch(number).take(pa.array(wanted[place] - self._starts[number])))
            places.append(place)
        return pa.Table.from_batches(parts).take(pa.array(np.argsort(np.concatenate(places))))
