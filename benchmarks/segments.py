"""Ten million spans on a laptop: what closing spans costs, what it saves, and what questions to closed spans take.

    python -m benchmarks segments --rows=10000000

Without --rows a million are measured. Times are processor time, each question beside a yardstick of the same run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.million import million_rows
from tracewatch import watch
from tracewatch.imports import import_file
from tracewatch.pricing import PriceBook
from tracewatch.records import Span
from tracewatch.stores import Filter, open_store, sketch, sqlite_closing
from tracewatch.stores.base import Store

RUNS = 7
COLUMNS = ("start_time", "duration_ms", "cost_usd", "input_tokens", "output_tokens", "status", "model_name")
DAY_S = 86_400


def run() -> Iterator[str]:
    """One line per measurement: what, how long, the goal, the yardstick."""
    rows = next((int(word.removeprefix("--rows=")) for word in sys.argv if word.startswith("--rows=")), 1_000_000)
    file = million_rows(rows)
    with tempfile.TemporaryDirectory() as folder:
        db = str(Path(folder) / "spans.db")
        with open_store(db, create=True) as store:
            import_file(file, store, kind="traces", book=PriceBook())
            watch.catch_up(store)
            last = (store.extent(Span) or (0.0, 0.0))[1]
            hot = dict(_timed(store, last))
            yield from _closing(store, db, rows, last)
            yield from _columns(store, db, rows)
            for name, took_ms in _timed(store, last):
                yield f"{name:<44} {took_ms:8.1f} ms  yardstick: none closed {hot[name]:8.1f} ms"


def _closing(store: Store, db: str, rows: int, last: float) -> Iterator[str]:
    before = Path(db).stat().st_size
    steps: list[float] = []
    move = sqlite_closing._move_some

    def timed(*given):
        began = time.process_time()
        found = move(*given)
        steps.append(time.process_time() - began)
        return found

    sqlite_closing._move_some = timed
    began = time.process_time()
    closed = store.compact(last - 3 * DAY_S, least=1)
    took_s = time.process_time() - began
    sqlite_closing._move_some = move
    files = sum(each.stat().st_size for each in Path(f"{db}.segments").iterdir())
    yield f"closing {closed:,} of {rows:,} spans: {took_s:.1f} s, {took_s / closed * 1e6:.1f} µs/row (before: 22)"
    usual, worst = statistics.median(steps) * 1e3, max(steps) * 1e3
    yield f"  a step, in which others wait: median {usual:.0f} ms, worst {worst:.0f} ms"
    yield f"  disk, a million: {files / closed:.0f} MB closed (goal 170), {before / rows:.0f} MB in the table"
    yield f"  the database has {Path(db).stat().st_size / 1e6:.0f} MB, it had {before / 1e6:.0f} MB"


def _columns(store: Store, db: str, rows: int) -> Iterator[str]:
    files = sorted(Path(f"{db}.segments").glob("*.parquet"))
    ours = _cpu_s(lambda: sum(batch.num_rows for batch in store.scan(Span, COLUMNS)))
    theirs = _cpu_s(lambda: [pq.read_table(each, columns=list(COLUMNS), use_threads=False) for each in files])
    yield f"{len(COLUMNS)} columns of all spans: {ours:.2f} s, {ours / rows * 1e6:.2f} µs/row (goal: 2 x the yardstick)"
    yield f"  yardstick: the Parquet files alone {theirs:.2f} s, ratio {ours / theirs:.2f}"


def _timed(store: Store, last: float) -> Iterator[tuple[str, float]]:
    for name, ask in questions(store, last).items():
        yield name, _cpu_s(ask) * 1e3


def questions(store: Store, last: float) -> dict[str, Callable[[], object]]:
    """What screens ask of a store whose newest span began at `last`."""
    old = Filter("start_time", "<", (last - 30 * DAY_S,))
    ours = Filter("project", "=", ("default",))
    rare = store.page(Span, [ours, old], limit=1).records[0]
    return {
        "newest 50": lambda: store.page(Span, [ours], limit=50),
        "newest 50 errors of a month ago": lambda: store.page(Span, [ours, old, Filter("status", "=", ("error",))]),
        "newest 50 of a model, failed, a month ago": lambda: store.page(
            Span, [ours, old, Filter("model_name", "=", (rare.model_name,)), Filter("status", "=", ("timeout",))]
        ),
        "newest 50 of a session of a month ago": lambda: store.page(
            Span, [ours, Filter("session_id", "=", (rare.session_id,))]
        ),
        "a trace of a month ago": lambda: store.trace(rare.project, rare.trace_id),
        "p95 by hour and model, all of the time": lambda: _p95(store, last),
    }


def _p95(store: Store, last: float) -> int:
    table = store.rollup(0, last + 1, by=("model_name",), measures=("calls", "duration_ms_sketch"))
    held = [each for each in table["duration_ms_sketch"].to_pylist() if each is not None]
    return len([sketch.quantile(each, 0.95) for each in held])


def _cpu_s(do: Callable[[], object]) -> float:
    """The median of some runs, after one that is not counted."""
    do()
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        do()
        times.append(time.process_time() - began)
    return statistics.median(times)
