"""A million spans to measure with: the demo's calls repeated under other ids and times."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("BENCHMARK_CACHE", HERE / ".cache"))
"""Where files to measure with are made, once, and stay."""
WORKLOAD = HERE.parent / "examples" / "workload.parquet"


def million_rows(rows: int = 1_000_000) -> Path:
    """The Parquet file of `rows` spans, made once; each copy of the workload lies just before the one after it."""
    path = CACHE / f"spans-{rows}.parquet"
    if path.exists():
        return path
    CACHE.mkdir(exist_ok=True, parents=True)
    once = pq.read_table(WORKLOAD)
    times = once["start_time"]
    length = pc.subtract(pc.max(times), pc.min(times)).cast(pa.int64()).as_py() + 1000
    with pq.ParquetWriter(path, _copied(once, 0, 0).schema, compression="zstd") as writer:
        copies = -(-rows // once.num_rows)
        for copy in range(copies):
            wanted = min(once.num_rows, rows - copy * once.num_rows)
            writer.write_table(
                _copied(once, copy, (copy - copies + 1) * length).slice(0, wanted), row_group_size=65_536
            )
    return path


def _copied(table: pa.Table, copy: int, shift_ms: int) -> pa.Table:
    """The rows with times moved by `shift_ms` and ids that no other copy has."""
    for name in ("trace_id", "span_id", "parent_span_id", "session_id"):
        renamed = pc.binary_join_element_wise(table[name].cast(pa.string()), str(copy), "-")
        table = table.set_column(table.schema.get_field_index(name), name, renamed)
    times = pc.add(table["start_time"], pa.scalar(shift_ms, pa.duration("ms")))
    return table.set_column(table.schema.get_field_index("start_time"), "start_time", times)
