"""Does time stay linear and memory bounded? Ever more rows through the command, and streams made to hurt the engine."""

from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.quality import TRACEWATCH, child
from tracewatch.detectors.adaptive import Engine

Columns = dict[str, NDArray[Any]]
DAY_S = 86_400
START = 1_772_409_600.0  # 2026-03-02, a Monday
HOUR_S = 3600
BASE_ROWS = 50_000
TIMES = (1, 4, 16)
SEGMENTS = 40
MODELS_A_MINUTE = 1000


def run() -> Iterator[str]:
    """The command on files of ever more rows, then a line per stream through the engine, each in its own process."""
    yield f"{'tracewatch backtest':<34}" + "".join(f"{word:>14}" for word in ("rows", "s", "rows/s", "peak MB"))
    took = []
    for times in TIMES:
        rows, took_s, peak_mb = _commanded(BASE_ROWS * times)
        took.append(took_s / rows)
        figures = f"{rows:,}", f"{took_s:.1f}", f"{rows / took_s:,.0f}", f"{peak_mb:.0f}"
        title = f"{times} x {BASE_ROWS:,} rows over 28 days"
        yield f"{title:<34}" + "".join(f"{figure:>14}" for figure in figures)
    yield f"  time of a row at {TIMES[-1]} x against 1 x: {took[-1] / took[0]:.2f}"
    yield ""
    heading = "".join(f"{word:>14}" for word in ("rows", "s", "rows/s", "peak MB", "state MB", "alerts"))
    yield f"{'stream through the engine':<34}{heading}"
    yield _line(f"1 x {BASE_ROWS:,} rows over 28 days", _measured("usual", BASE_ROWS))
    for name, (title, rows, _) in STREAMS.items():
        if name != "usual":
            yield _line(title, _measured(name, rows))


def _commanded(rows: int) -> tuple[int, float, float]:
    """Rows, wall seconds of the whole command, and megabytes of its largest process, on a Parquet file of a stream."""
    parts = list(_usual(rows, np.random.default_rng(1)))
    table = pa.table({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.parquet"
        pq.write_table(table, path)
        took_s, peak_mb = child([str(TRACEWATCH), "backtest", str(path), "--alerts", str(path.with_suffix(".jsonl"))])
    return len(table), took_s, peak_mb


def _measured(name: str, rows: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scaling", name, str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _line(title: str, result: dict[str, Any]) -> str:
    figures = (
        f"{result['rows']:,}", f"{result['took_s']:.1f}", f"{result['rows_per_s']:,.0f}", f"{result['peak_mb']:.0f}",
        f"{result['state_mb']:.1f}", f"{result['alerts']}",
    )  # fmt: skip
    return f"{title:<34}" + "".join(f"{figure:>14}" for figure in figures)


def _usual(rows: int, rng: np.random.Generator) -> Iterator[Columns]:
    """An ordinary product: so many rows over four weeks, more by day than at night, in some segments."""
    hours = 28 * 24
    share = 1 + 0.7 * np.sin(np.arange(hours) / 24 * 2 * np.pi)
    for hour, count in enumerate(rng.multinomial(rows, share / share.sum())):
        segment = (SEGMENTS * rng.random(count) ** 2).astype(int)
        yield _calls(START + hour * HOUR_S, count, rng, model=np.char.add("model-", segment.astype(str)))


def _one_segment(rows: int, rng: np.random.Generator) -> Iterator[Columns]:
    """Everything is the same operation of the same model."""
    hours = 28 * 24
    for hour in range(hours):
        yield _calls(START + hour * HOUR_S, rows // hours, rng, model=np.full(rows // hours, "only"))


def _new_models(rows: int, rng: np.random.Generator) -> Iterator[Columns]:
    """Each row has a model of its own, a thousand a minute."""
    count = MODELS_A_MINUTE * HOUR_S // 60
    for hour in range(rows // count):
        names = np.char.add("model-", (hour * count + np.arange(count)).astype(str))
        yield _calls(START + hour * HOUR_S, count, rng, model=names)


def _new_people(rows: int, rng: np.random.Generator) -> Iterator[Columns]:
    """Each row has a user and a session of its own."""
    hours = 14 * 24
    count = rows // hours
    for hour in range(hours):
        names = np.char.add("p", (hour * count + np.arange(count)).astype(str)).astype(object)
        calls = _calls(START + hour * HOUR_S, count, rng, model=np.full(count, "only"))
        yield calls | {"user_id": names, "session_id": names}


def _burst(rows: int, rng: np.random.Generator) -> Iterator[Columns]:
    """Two ordinary weeks of little, then everything within five minutes."""
    for hour in range(14 * 24):
        yield _calls(START + hour * HOUR_S, 30, rng, model=np.full(30, "only"))
    yield _calls(START + 14 * DAY_S, rows, rng, model=np.full(rows, "only"), within_s=300)


def _disorder(rows: int, rng: np.random.Generator) -> Iterator[Columns]:
    """Each row comes up to six hours late, so that no batch is in order."""
    for calls in _usual(rows, rng):
        late = rng.uniform(0, 6 * 3600, len(calls["start_time"]))
        yield calls | {"start_time": calls["start_time"] - late}


def _calls(begin: float, count: int, rng: np.random.Generator, *, model: Any, within_s: float = HOUR_S) -> Columns:
    """Calls within some time, with everything a call may tell."""
    n_in, n_out = rng.lognormal(7, 0.6, count).round(), rng.lognormal(5, 0.6, count).round()
    inference = 200 + n_in / 8 + n_out * 12 * np.exp(rng.normal(0, 0.2, count))
    network = rng.lognormal(3.5, 0.3, count)
    status = np.where(rng.random(count) < 0.01, "error", "ok").astype(object)
    people = rng.integers(0, 200, count)
    return {
        "start_time": begin + np.sort(rng.random(count)) * within_s,
        "trace_id": np.arange(count).astype(str).astype(object),
        "operation_type": np.full(count, "chat", object),
        "model_name": np.asarray(model).astype(object),
        "model_provider": np.full(count, "provider", object),
        "user_id": np.char.add("user-", people.astype(str)).astype(object),
        "session_id": np.char.add(f"s{begin:.0f}-", people.astype(str)).astype(object),
        "status": status,
        "retry_count": np.zeros(count),
        "duration_ms": inference + network,
        "inference_time_ms": inference,
        "network_time_ms": network,
        "ttft_ms": 200 + n_in / 8,
        "input_tokens": n_in,
        "output_tokens": n_out,
        "cost_usd": (n_in * 3 + n_out * 15) / 1e6,
    }


STREAMS: dict[str, tuple[str, int, Callable[[int, np.random.Generator], Iterator[Columns]]]] = {
    "usual": ("usual", BASE_ROWS, _usual),
    "hourly": ("1 x, asked every hour", BASE_ROWS, _usual),
    "one segment": ("one segment", 2_000_000, _one_segment),
    "new models": ("1,000 new models a minute", 360_000, _new_models),
    "new people": ("a new user and session a row", 500_000, _new_people),
    "burst": ("everything within five minutes", 500_000, _burst),
    "disorder": ("each row up to six hours late", 200_000, _disorder),
}
"""Streams by name: what to call them, how many rows, where they come from."""


ADVANCE_HOURS = dict.fromkeys(STREAMS, 24) | {"hourly": 1, "new models": 1, "burst": 1}
"""How often the engine is asked: what is new every minute is too much for a day at once."""


def _one(name: str, rows: int) -> dict[str, Any]:
    """Runs a stream through a new engine, a day at a time as a replay does, and says what it took."""
    engine, rng = Engine(), np.random.default_rng(1)
    took_s, fed, alerts = 0.0, 0, 0
    for hour, calls in enumerate(STREAMS[name][2](rows, rng), 1):
        fed += len(calls["start_time"])
        started = time.perf_counter()
        engine.feed(calls)
        if hour % ADVANCE_HOURS[name] == 0:
            alerts += len(engine.advance(START + hour * HOUR_S))
        took_s += time.perf_counter() - started
    # Linux counts kilobytes, macOS bytes.
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1000 if sys.platform != "darwin" else 1_000_000)
    state_mb = len(pickle.dumps(engine)) / 1e6
    return {
        "rows": fed, "took_s": took_s, "rows_per_s": fed / took_s, "peak_mb": peak_mb, "state_mb": state_mb,
        "alerts": alerts,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], int(sys.argv[2]))))
