"""Speed and size of import, detection, statistics, lists and start-up over a million spans, each beside a yardstick."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.million import million_rows
from tracewatch import metrics, watch
from tracewatch.findings import Scope
from tracewatch.metrics import TYPES, columns_of
from tracewatch.overview import overview
from tracewatch.records import Span
from tracewatch.stores import open_store
from tracewatch.stores.base import Filter, Store

ROWS = 1_000_000
RUNS = 7
TRACEWATCH = Path(sys.executable).with_name("tracewatch")


def run() -> Iterator[str]:
    """One line per measurement: what, how long, the goal, the yardstick."""
    file = million_rows(ROWS)
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "million.db"
        yield from _import(file, db)
        with open_store(str(db)) as store:
            watch.catch_up(store)
            yield from _detection(store, file)
            yield from _screens(store)
        yield from _start_up(db)


def _import(file: Path, db: Path) -> Iterator[str]:
    took_s, peak_mb = _child([str(TRACEWATCH), "import", str(file), "--db", str(db)])
    read_s = _seconds(lambda: pq.read_table(file))
    yield f"import {ROWS:,} rows, rollups included  {took_s:6.1f} s  {ROWS / took_s:,.0f} rows/s (goal 20,000)"
    yield f"  peak memory of its largest process    {peak_mb:6.0f} MB (goal 500)"
    yield f"  yardstick: reading the Parquet alone  {read_s:6.1f} s"
    yield f"  database                              {db.stat().st_size / 1e6:6.0f} MB"
    yield f"  yardstick: the Parquet file           {file.stat().st_size / 1e6:6.0f} MB"


def _detection(store: Store, file: Path) -> Iterator[str]:
    names = list(columns_of(TYPES))
    first, last = _extent(store)
    scope = Scope(project="default", source="traces", since=first, until=last + 1, now=last)
    numbers_s = _seconds(lambda: _drain(store, names))
    judged_s = _seconds(lambda: watch.find(metrics.read(store.scan(Span, names), names), TYPES))
    told_s = _seconds(lambda: watch.find(watch.read_window(store, scope), TYPES))
    parquet_s = _seconds(lambda: pq.read_table(file, columns=[n for n in names if n in _columns(file)]))
    yield f"ten detections over {ROWS:,} rows      {judged_s:6.2f} s (goal 4)"
    yield f"  yardstick: reading their columns      {numbers_s:6.2f} s  ratio {judged_s / numbers_s:.2f}"
    yield f"  yardstick: the same from Parquet      {parquet_s:6.2f} s"
    yield f"  with what findings tell of the calls  {told_s:6.2f} s"
    started = time.perf_counter()
    found = watch.detect(store, project="default", since=first, until=last + 1, now=last)
    took_s = time.perf_counter() - started
    yield f"  with {found.detected:,} findings told and saved {took_s:6.2f} s"
    day = _seconds(lambda: watch.detect(store, project="default", since=last - 86400, until=last + 1, now=last))
    yield f"detect over 24 h out of {ROWS:,}      {day:6.2f} s"


def _screens(store: Store) -> Iterator[str]:
    _, last = _extent(store)
    ours = Filter("project", "=", ("default",))
    day = _milliseconds(lambda: overview(store, project="default", since=last - 86400, until=last))
    yield f"stats of 24 h out of {ROWS:,}         {day:6.1f} ms (goal 150)"
    for text, where in _filters(store):
        took = _milliseconds(lambda where=where: store.page(Span, [ours, *where], limit=50))
        yield f"newest 50: {text:<28} {took:6.1f} ms (goal 30)"
    trace_id = store.page(Span, [ours], limit=1).records[0].trace_id
    took = _milliseconds(lambda: store.trace("default", trace_id))
    yield f"trace by id                             {took:6.1f} ms (goal 5)"


def _filters(store: Store) -> Iterator[tuple[str, list[Filter]]]:
    user = store.page(Span, [Filter("user_id", "!=", (None,))], limit=1).records[0].user_id
    yield "no filter", []
    yield "model, status error", [Filter("model_name", "=", ("gpt-4.1",)), Filter("status", "=", ("error",))]
    yield "operation, status ok", [Filter("operation_type", "=", ("chat",)), Filter("status", "=", ("ok",))]
    yield "rare model, status timeout", [Filter("model_name", "=", ("o3",)), Filter("status", "=", ("timeout",))]
    yield "user, model", [Filter("user_id", "=", (user,)), Filter("model_name", "=", ("gpt-4.1",))]
    yield "dear, slow", [Filter("cost_usd", ">", (0.2,)), Filter("duration_ms", ">", (20_000,))]
    yield "nothing matches", [Filter("model_name", "=", ("absent",)), Filter("status", "=", ("ok",))]


def _start_up(db: Path) -> Iterator[str]:
    bare = _median_child([sys.executable, "-c", "pass"])
    helped = _median_child([str(TRACEWATCH), "--help"])
    first = _median_child([str(TRACEWATCH), "stats", "--until", "newest", "--db", str(db)])
    yield f"tracewatch --help                       {helped:6.2f} s (goal 0.4; bare Python {bare:.2f} s)"
    yield f"tracewatch stats over {ROWS:,}        {first:6.2f} s (goal 1)"
    yield "  0.4 s of it are pandas, which Arrow loads where it is installed"


def _columns(file: Path) -> set[str]:
    return set(pq.read_schema(file).names)


def _extent(store: Store) -> tuple[float, float]:
    found = store.extent(Span)
    assert found is not None
    return found


def _drain(store: Store, names: list[str]) -> None:
    for _ in store.scan(Span, names):
        pass


def _seconds(work: Callable[[], object], runs: int = 3) -> float:
    """The median of some runs after one to warm up."""
    work()
    took = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def _milliseconds(work: Callable[[], object]) -> float:
    return _seconds(work, RUNS) * 1000


# A process of its own starts the command, because a process inherits the peak of the one that started it.
_MEASURED = """
import resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(code, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _child(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a whole command: of the largest of its processes."""
    done = subprocess.run([sys.executable, "-c", _MEASURED, *command], capture_output=True, text=True, check=True)
    code, took_s, peak = done.stdout.split()
    if code != "0":
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    # Linux counts kilobytes, macOS bytes.
    return float(took_s), float(peak) / (1000 if sys.platform != "darwin" else 1_000_000)


def _median_child(command: list[str]) -> float:
    _child(command)
    return statistics.median(_child(command)[0] for _ in range(5))
