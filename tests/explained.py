"""An ordinary product for tests of explanations: calls from six to two on nine days, into which a test puts a fault."""

import numpy as np
import pyarrow as pa

from tracewatch.explaining import Story
from tracewatch.records import Span
from tracewatch.stores import open_store

DAY_S, HOUR_S = 86400.0, 3600.0
FIRST = 1772409600.0  # Monday 2 March 2026, midnight
ONSET = FIRST + 8 * DAY_S + 10 * HOUR_S  # Tuesday 10:00
END = ONSET + 3 * HOUR_S
KINDS = (
    ("chat", "gpt-4o", "openai", (2.5e-6, 1.25e-6, 10e-6), 70.0),
    ("summarize", "claude-haiku-4-5", "anthropic", (1e-6, 1e-7, 5e-6), 120.0),
    ("extract", "gpt-4o", "openai", (2.5e-6, 1.25e-6, 10e-6), 70.0),
)


def ordinary(seed=1, per_hour=30):
    """Rows of calls up to the end of the story, as dictionaries."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(int((END - FIRST) / HOUR_S * per_hour)):
        if not 6 <= number / per_hour % 24 < 14:
            continue
        operation, model, provider, (sent_usd, read_usd, out_usd), speed = KINDS[int(rng.integers(len(KINDS)))]
        sent, answered = round(float(rng.lognormal(7, 0.3))), round(float(rng.lognormal(5, 0.4)))
        read = round(sent * 0.5) if operation == "chat" else 0
        ttft = float(rng.lognormal(6, 0.2))
        per_second = speed * float(rng.lognormal(0, 0.1))
        rows.append(
            {
                "start_time": FIRST + number * HOUR_S / per_hour + float(rng.uniform(0, 60)),
                "trace_id": f"t{number}",
                "span_id": f"s{number}",
                "operation_type": operation,
                "model_name": model,
                "model_provider": provider,
                "user_id": f"u{rng.integers(8)}",
                "session_id": f"session-{number // 5}",
                "app_version": "1.0",
                "status": "ok",
                "retry_count": 0,
                "input_tokens": sent,
                "cache_read_input_tokens": read,
                "cache_creation_input_tokens": 0,
                "output_tokens": answered,
                "cost_usd": (sent - read) * sent_usd + read * read_usd + answered * out_usd,
                "cost_status": "exact",
                "ttft_ms": ttft,
                "queue_time_ms": 20.0,
                "network_time_ms": 15.0,
                "tokens_per_second": per_second,
                "duration_ms": 15.0 + ttft + answered / per_second * 1000,
                "rag_relevance_score": 0.8 + float(rng.normal(0, 0.03)),
                "groundedness_score": 0.9 + float(rng.normal(0, 0.03)),
                "source": "traces",
            }
        )
    return rows


def since_onset(rows, **slice):
    """The rows of a slice that began in the story's time."""
    return [
        row for row in rows if row["start_time"] >= ONSET and all(row[name] == value for name, value in slice.items())
    ]


def kept(path, rows):
    """A new store with those rows."""
    store = open_store(str(path), create=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if rows:
        store.add_batch(Span, pa.RecordBatch.from_pydict({name: [row.get(name) for row in rows] for name in names}))
    return store


def a_story(metric, direction="up", **odd):
    """A story of the three hours, of all calls unless said otherwise."""
    usual = {"kind": "level_shift", "slice": {}, "since": ONSET, "confidence": 0.97}
    return Story(metric=metric, direction=direction, **usual | odd)
