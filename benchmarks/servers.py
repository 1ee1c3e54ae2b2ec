"""What is measured of a store on a database server: spans in, columns out, the screens' questions, room on disk."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.million import million_rows
from benchmarks.segments import COLUMNS, questions
from tracewatch import watch
from tracewatch.imports import import_file
from tracewatch.pricing import PriceBook
from tracewatch.records import Span, columns
from tracewatch.stores import open_store
from tracewatch.stores.base import Store

ROWS = 300_000
BATCH = 16_384
RUNS = 5


@dataclass(frozen=True)
class Yardstick:
    """The same by the database's own client, without any of what a store does."""

    name: str
    insert: Callable[[Sequence[pa.RecordBatch]], None]
    """Into one plain table without keys."""
    read: Callable[[Sequence[str]], int]
    """Columns of that table; how many rows there were."""
    size: Callable[[str], int]
    """Bytes of a table, indexes included: that of spans (ours), or the plain one (raw)."""


def rows_wanted() -> int:
    """How many are measured: --rows, or ROWS."""
    return next((int(word.removeprefix("--rows=")) for word in sys.argv if word.startswith("--rows=")), ROWS)


def measured(store: Store, raw: Yardstick, cpu: Callable[[], float]) -> Iterator[str]:
    """One line per measurement; `cpu` gives the seconds that client and database have taken so far."""
    rows = rows_wanted()
    with tempfile.TemporaryDirectory() as folder:
        batches, parquet = _spans(Path(folder), rows)
        yield f"{rows:,} spans of {len(columns(Span))} columns, {BATCH:,} a batch; times are the processor's"
        theirs = _took(cpu, lambda: raw.insert(batches))
        ours = _took(cpu, lambda: [None for _ in store.load(Span, batches)])
        yield _against("ingest", ours, theirs, rows, raw.name)
        rolled = _took(cpu, store.roll_up)
        yield f"rollups, sketches included: {rolled / rows * 1e6:.1f} µs/row"
        again = _took(cpu, lambda: [None for _ in store.load(Span, batches[:4])])
        yield f"the same spans sent again: {again / sum(each.num_rows for each in batches[:4]) * 1e6:.1f} µs/row"
        assert store.count(Span) == rows
        read = _median(cpu, lambda: sum(batch.num_rows for batch in store.scan(Span, COLUMNS)))
        plain = _median(cpu, lambda: raw.read(COLUMNS))
        yield _against(f"{len(COLUMNS)} columns out", read, plain, rows, f"{raw.name} of the plain table")
        scanned = _median(cpu, lambda: pq.read_table(parquet, columns=list(COLUMNS), use_threads=False))
        yield f"  yardstick: a Parquet file {scanned / rows * 1e6:.2f} µs/row"
        size, held = raw.size(Span.table), raw.size("raw")
        yield f"disk, a million spans: {size / rows:.0f} MB, yardstick: plain table {held / rows:.0f} MB"
        yield f"  Parquet file {parquet.stat().st_size / rows:.0f} MB"
        last = (store.extent(Span) or (0.0, 0.0))[1]
        for name, ask in questions(store, last).items():
            yield f"{name:<44} {_median(cpu, ask) * 1e3:8.1f} ms of processor, {_wall_ms(ask):8.1f} ms by the clock"


def _spans(folder: Path, rows: int) -> tuple[list[pa.RecordBatch], Path]:
    """Spans as they are stored, and the same as a Parquet file."""
    with open_store(str(folder / "from.db"), create=True) as store:
        import_file(million_rows(rows), store, kind="traces", book=PriceBook())
        watch.catch_up(store)
        table = pa.Table.from_batches(store.scan(Span, [each.name for each in columns(Span)]))
    parquet = folder / "spans.parquet"
    pq.write_table(table, parquet, compression="zstd")
    return table.combine_chunks().to_batches(max_chunksize=BATCH), parquet


def _against(what: str, ours: float, theirs: float, rows: int, name: str) -> str:
    told = f"{what}: {ours / rows * 1e6:.2f} µs/row, yardstick: {name} {theirs / rows * 1e6:.2f} µs/row"
    return f"{told}, ratio {ours / theirs:.1f}"


def _took(cpu: Callable[[], float], do: Callable[[], object]) -> float:
    began = cpu()
    do()
    return cpu() - began


def _median(cpu: Callable[[], float], do: Callable[[], object]) -> float:
    do()
    return statistics.median(_took(cpu, do) for _ in range(RUNS))


def _wall_ms(do: Callable[[], object]) -> float:
    return statistics.median(_took(time.perf_counter, do) for _ in range(RUNS)) * 1e3
