"""A store of a busy project: the demo's calls of 25 days, laid over each other and repeated for 74 days.

Each copy of the workload has users, sessions and traces of its own, and belongs to one service of one environment of
one project; most belong to the project `default`. So hours hold some hundred slices, as those of a company do.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.million import CACHE, WORKLOAD
from tracewatch.records import SEVERITIES, Anomaly, Incident, Span
from tracewatch.stores import Store, open_store

LAPS = 3
LONG_TRACE, LONG_SPANS = "a-long-trace", 30_000
DAY_MS = 86_400_000
HOMES = (
    *(("default", "shop-assistant", "production"),) * 5,
    *(("default", "support-bot", "production"),) * 3,
    *(("default", "back-office", "production"),) * 2,
    *(("default", "shop-assistant", "staging"),) * 1,
    *(("research", "notebooks", "production"),) * 1,
    *(("partners", "gateway", "production"),) * 1,
)
"""Project, service and environment of one copy after the other."""


def busy_store(rows: int) -> Path:
    """The store, made once: the rows imported, the newest day judged, incidents, findings, runs and a long trace."""
    path = CACHE / f"busy-{rows}.db"
    if path.exists():
        return path
    making = path.with_suffix(".making")
    for each in (making, Path(f"{making}-wal"), Path(f"{making}-shm")):
        each.unlink(missing_ok=True)
    for words in (
        ["import", str(_parquet(rows)), "--as", "traces"],
        ["detect", "--detector", "spec", "--until", "newest"],
    ):
        subprocess.run([sys.executable, "-m", "tracewatch", *words, "--db", str(making)], check=True)
    with open_store(str(making)) as store:
        reach = store.extent(Span)
        assert reach is not None
        store.add(_long_trace(reach[1] - 3600))
        store.add(_runs(reach))
        store.add(_incidents(reach))
        store.add(_findings(store, reach))
        store.roll_up()  # what was added, and the minutes up to the newest call
    making.rename(path)
    return path


def _parquet(rows: int) -> Path:
    path = CACHE / f"busy-{rows}.parquet"
    if path.exists():
        return path
    CACHE.mkdir(exist_ok=True, parents=True)
    with pq.ParquetWriter(path, next(_days(1)).schema, compression="zstd") as writer:
        left = rows
        for day in _days(rows):
            writer.write_table(day.slice(0, left), row_group_size=65_536)
            left -= min(day.num_rows, left)
    return path


def _days(rows: int) -> Iterator[pa.Table]:
    """The rows of one day after the other, each in order of time."""
    once = pq.read_table(WORKLOAD)
    times = once["start_time"].cast(pa.int64()).to_numpy()
    first = int(times.min()) // DAY_MS * DAY_MS
    days = int((times.max() - first) // DAY_MS) + 1
    copies = -(-rows // (LAPS * once.num_rows))
    chance = np.random.default_rng(0)
    shifts = chance.integers(0, 3_600_000, copies)
    for lap in range(LAPS):
        for day in range(days):
            begin = first + day * DAY_MS
            part = once.filter(pa.array((times >= begin) & (times < begin + DAY_MS)))
            back = (lap - LAPS + 1) * days * DAY_MS
            copied = [_copied(part, lap * copies + each, back + int(shifts[each])) for each in range(copies)]
            yield pa.concat_tables(copied).sort_by("start_time")


def _copied(table: pa.Table, copy: int, shift_ms: int) -> pa.Table:
    """The rows as those of another service and other people, at other times."""
    for name in ("trace_id", "span_id", "session_id", "user_id"):
        renamed = pc.binary_join_element_wise(table[name].cast(pa.string()), str(copy), "-")
        table = table.set_column(table.schema.get_field_index(name), name, renamed)
    times = pc.add(table["start_time"], pa.scalar(shift_ms, pa.duration("ms")))
    table = table.set_column(table.schema.get_field_index("start_time"), "start_time", times)
    chats = pc.if_else(pc.equal(table["operation_type"], "chat"), table["session_id"], pa.scalar(None, pa.string()))
    table = table.append_column("conversation_id", chats).drop_columns(["service_name"])
    for name, value in zip(("project", "service_name", "environment"), HOMES[copy % len(HOMES)], strict=True):
        table = table.append_column(name, pa.repeat(value, table.num_rows).cast(pa.string()))
    return table


def _long_trace(at: float) -> Iterator[Span]:
    """An agent that took ten thousand steps, each a thought, a search and a call of a tool."""
    common = {"project": "default", "trace_id": LONG_TRACE, "service_name": "back-office", "environment": "production"}
    yield Span(start_time=at, duration_ms=3_000_000.0, span_id="root", operation_type="agent", span_name="agent",
               **common)  # fmt: skip
    for number in range(1, LONG_SPANS):
        parent = "root" if number % 3 == 1 else f"step-{number - (number - 1) % 3}"
        model = "gpt-4.1" if number % 3 == 2 else None
        yield Span(
            start_time=at + number * 0.1, duration_ms=95.0 + number % 7, span_id=f"step-{number}",
            parent_span_id=parent, operation_type=("tool", "agent_step", "chat")[number % 3], model_name=model,
            model_provider="openai" if model else None, span_name=("look_up", "step", "think")[number % 3],
            input_tokens=900 if model else None, output_tokens=60 if model else None,
            status="error" if number % 997 == 0 else "ok", **common,
        )  # fmt: skip


def _runs(reach: tuple[float, float]) -> Iterator[Span]:
    """The summaries of a nightly job and of one by the hour."""
    for name, rhythm_s in (("extraction_batch", 86_400), ("indexing_batch", 3600)):
        for number in range(int((reach[1] - reach[0]) // rhythm_s)):
            yield Span(
                start_time=reach[0] + number * rhythm_s, duration_ms=60_000.0 + number % 5, trace_id=f"{name}-{number}",
                span_id=f"{name}-{number}", project="default", usage_type=name, operation_type="batch",
                model_name="batch", model_provider="system", metadata={"processed": 100 + number % 9, "failed": 0},
            )  # fmt: skip


def _incidents(reach: tuple[float, float]) -> Iterator[Incident]:
    """Two hundred over the whole time, of which the newest four are going on."""
    chance = random.Random(0)
    metrics = (("cost_usd", "chat"), ("latency_ms", "summarize"), ("error_rate", "classify"), ("call_count", "chat"))
    for number in range(200):
        began = reach[1] - 7200 - number * (reach[1] - reach[0] - 86_400) / 200
        metric, operation = metrics[number % 4]
        over = number >= 4
        yield Incident(
            id=f"benchmark{number:07}", severity=SEVERITIES[-1 - number % len(SEVERITIES)],
            title=f"Calls of {operation} are not as usual.", root_id="none", metric_name=metric, kind="level_shift",
            direction="up", slice={"operation_type": operation}, confidence_score=0.9, started_at=began,
            detected_at=began + 600, updated_at=began + 3600, observed=0.02, expected=0.01, lower=0.005, upper=0.015,
            state="closed" if over else "open", closed_at=began + chance.randrange(3600, 90_000) if over else None,
        )  # fmt: skip


def _findings(store: Store, reach: tuple[float, float]) -> Iterable[Anomaly]:
    """Twenty thousand findings of calls, spread over the whole time; those of the newest day are the judge's own."""
    found = store.page(Anomaly, limit=1).records
    spans = store.page(Span, limit=1000).records
    made = []
    for number in range(20_000):
        span = spans[number % len(spans)]
        pattern = found[0]
        assert isinstance(span, Span)
        assert isinstance(pattern, Anomaly)
        at = reach[0] + number * (reach[1] - reach[0] - 86_400) / 20_000
        made.append(
            Anomaly(
                id=f"finding{number:09}", project="default", anomaly_type="z_score",
                severity=SEVERITIES[number % len(SEVERITIES)], confidence_score=0.8,
                metric_name=("cost_usd", "latency_ms", "output_tokens")[number % 3], model_id=span.model_name,
                detected_value=2.0, expected_value=1.0, threshold_value=1.5, deviation_percentage=100.0,
                statistics=pattern.statistics, description="Twice as much as usual.", detected_at=at + 60,
                occurred_at=at, trace_id=span.trace_id, span_id=span.span_id, detector="spec",
                incident_id=f"benchmark{number % 200:07}" if number % 10 == 0 else None, kind="spike", direction="up",
                slice={"operation_type": span.operation_type}, user_id=span.user_id,
            )
        )  # fmt: skip
    return made
