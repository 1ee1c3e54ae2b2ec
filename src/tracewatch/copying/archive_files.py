"""The files of an archive: Arrow batches as Parquet or as JSON Lines, and back, without a digit lost."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

Form = Literal["parquet", "jsonl"]

GROUP_ROWS = 65_536  # of a row group, whose columns are held in memory: some 50 MB of the widest table
ROWS = 8_192  # of a batch that is read


def write(path: Path, form: Form, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Writes a file, through to the disk. Raises OSError."""
    _WRITERS[form](path, schema, batches)
    with path.open("rb") as written:
        os.fsync(written.fileno())


def read(path: Path, form: Form, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """What `write` has put into a file with that schema. Raises OSError, ValueError, KeyError or ArrowException."""
    return _READERS[form](path, schema)


def _to_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            held.append(batch)
            if sum(each.num_rows for each in held) >= GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(held, schema))
                held = []
        if held:
            writer.write_table(pa.Table.from_batches(held, schema))


def _from_parquet(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        if file.schema_arrow.names != schema.names:
            raise ValueError("it has other columns")
        yield from (batch.cast(schema) for batch in file.iter_batches(batch_size=ROWS, use_threads=False))


def _to_lines(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for batch in batches:
            for row in batch.to_pylist():
                values = {name: value for name, value in row.items() if value is not None}
                out.write(json.dumps(values, ensure_ascii=False, default=_base64) + "\n")


def _from_lines(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        while some := list(islice(lines, ROWS)):
            rows = [json.loads(line) for line in some]
            yield pa.RecordBatch.from_arrays([_array(rows, field) for field in schema], schema=schema)


def _array(rows: list[dict[str, Any]], field: pa.Field) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    if pa.types.is_binary(field.type):
        values = [None if value is None else base64.b64decode(value, validate=True) for value in values]
    return pa.array(values, field.type)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_WRITERS: Mapping[Form, Callable[[Path, pa.Schema, Iterable[pa.RecordBatch]], None]] = {
    "parquet": _to_parquet,
    "jsonl": _to_lines,
}
_READERS: Mapping[Form, Callable[[Path, pa.Schema], Iterator[pa.RecordBatch]]] = {
    "parquet": _from_parquet,
    "jsonl": _from_lines,
}
