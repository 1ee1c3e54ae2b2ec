"""Makes examples/workload.parquet: the shop of the demo, 25 days of LLM calls with incidents in them.

    .venv/bin/python examples/make_workload.py

Arrivals, burstiness and lengths are distilled from public workload traces (see examples/README.md);
the incidents are injected by benchmarks/llmbench. The same arguments give the same file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from llmbench.generate import generate  # noqa: E402

SEED = 104
RATE = 0.4  # of the benchmark's traffic: keeps the file under 4 MB
NAMES = {"claude-haiku-4": "claude-haiku-4-5", "claude-sonnet-4": "claude-sonnet-4-5"}  # as the price table has them
END = pd.Timestamp("2026-03-26 15:30")  # two incidents are still open then, and two have just passed


BETWEEN = pd.Timedelta("4ms")  # that a program takes from one step to the next


def in_turn(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the steps of a question one after the other: retrieval, reranking, answer.

    The benchmark hangs the first two below the answer, though they begin before it, and lets them last into it. In a
    program nothing begins before what it is a part of, and an answer waits for what it is made from.
    """
    rows = rows.set_index("span_id", drop=False)
    starts, lasted = rows.start_time.copy(), pd.to_timedelta(rows.duration_ms, unit="ms")
    parts = rows[rows.parent_span_id.notna()]
    later = starts.loc[parts.parent_span_id.unique()]
    for name in ("rerank", "retrieval"):
        those = parts[parts.operation_type == name]
        begin = those.parent_span_id.map(later) - lasted[those.index] - BETWEEN
        starts.loc[those.index] = begin
        later = pd.Series(begin.to_numpy(), index=those.parent_span_id.to_numpy())
    return rows.assign(start_time=starts).drop(columns="parent_span_id").reset_index(drop=True)


def main() -> None:
    rows = in_turn(generate(SEED, "dev", rate=RATE)[0])
    rows = rows[rows.start_time < END].sort_values("start_time", kind="stable")
    for name in ("context_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "rag_chunks_used"):
        rows[name] = rows[name].round().astype("Int64")
    rows["hallucination_detected"] = rows.hallucination_detected.map({0.0: False, 1.0: True}).astype("boolean")
    rows["start_time"] = rows.start_time.dt.round("ms").astype("datetime64[ms]").dt.tz_localize("UTC")
    rows["model_name"] = rows.model_name.replace(NAMES)
    rows["service_name"] = "shop-assistant"
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    out = HERE / "workload.parquet"
    pq.write_table(table, out, compression="zstd", compression_level=19)
    print(f"{out.name}: {table.num_rows:,} rows, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
