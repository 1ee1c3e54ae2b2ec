"""From a store to a file: calls, findings or incidents as CSV, JSON Lines or Parquet, in bounded memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tracewatch.records import Anomaly, Incident, Record, Span, columns
from tracewatch.stores.base import Filter, Progress, Store

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["csv", "jsonl", "parquet"]
What = Literal["traces", "anomalies", "incidents"]

FORMATS: Mapping[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
"""The formats with their media types."""

WHATS: Mapping[What, type[Record]] = {"traces": Span, "anomalies": Anomaly, "incidents": Incident}
ROWS = 8_192  # of a piece: some MB of 77 columns; a store may give larger batches


def export(
    store: Store, what: What, format: Format, where: Sequence[Filter], progress: Progress | None = None
) -> Iterator[bytes]:
    """The matching records in pieces, from one consistent view, in no order. Times are ISO 8601 (Parquet: timestamps).

    What `tracewatch import` reads back is what was stored.
    """
    names = [each.name for each in columns(WHATS[what])]
    pieces = _counted(_pieces(store.scan(WHATS[what], names, where)), progress)
    return _WRITERS[format](pieces, WHATS[what])


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for begin in range(0, batch.num_rows, ROWS):
            yield batch.slice(begin, ROWS)


def _counted(batches: Iterable[pa.RecordBatch], progress: Progress | None) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        if progress is not None:
            progress(batch.num_rows)


def _csv(batches: Iterable[pa.RecordBatch], record_type: type[Record]) -> Iterator[bytes]:
    from pyarrow import csv

    yield (",".join(each.name for each in columns(record_type)) + "\r\n").encode()
    for batch in batches:
        sink = io.BytesIO()
        csv.write_csv(_with_times(batch, record_type), sink, csv.WriteOptions(include_header=False))
        yield sink.getvalue()


def _jsonl(batches: Iterable[pa.RecordBatch], record_type: type[Record]) -> Iterator[bytes]:
    parsed = [each.name for each in columns(record_type) if each.kind in ("json", "list")]
    for batch in batches:
        lines = []
        for row in _with_times(batch, record_type).to_pylist():
            values = {name: value for name, value in row.items() if value is not None}
            for name in parsed:
                if name in values:
                    values[name] = json.loads(values[name])
            lines.append(json.dumps(values, ensure_ascii=False, default=_iso))
        yield "".join(f"{line}\n" for line in lines).encode()


def _parquet(batches: Iterable[pa.RecordBatch], record_type: type[Record]) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tracewatch.stores.columns import arrow_schema

    written = _Written()
    empty = pa.RecordBatch.from_pylist([], arrow_schema(record_type))
    with pq.ParquetWriter(
        pa.PythonFile(written, mode="w"), _with_times(empty, record_type).schema, compression="zstd"
    ) as writer:
        for batch in batches:
            writer.write_batch(_with_times(batch, record_type))
            yield written.take()
    yield written.take()


_WRITERS: Mapping[Format, Callable[[Iterable[pa.RecordBatch], type[Record]], Iterator[bytes]]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


class _Written(io.RawIOBase):
    """What a writer has written and nobody has taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held.append(bytes(data))
        return len(self._held[-1])

    def take(self) -> bytes:
        """All of it, once."""
        taken = b"".join(self._held)
        self._held.clear()
        return taken


def _with_times(batch: pa.RecordBatch, record_type: type[Record]) -> pa.RecordBatch:
    """Epoch seconds as moments in UTC, to the microsecond: a float of this era knows no more."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    for each in columns(record_type):
        if each.kind == "time":
            micros = pc.cast(pc.round(pc.multiply(arrays[each.name], 1e6)), pa.int64())
            arrays[each.name] = micros.cast(pa.timestamp("us", tz="UTC"))
    return pa.RecordBatch.from_pydict(arrays)


def _iso(moment: Any) -> str:
    text: str = moment.isoformat()
    return text.replace("+00:00", "Z")
