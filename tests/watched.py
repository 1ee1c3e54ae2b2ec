"""A product that reports everything there is to watch, and one odd thing at a time in it."""

import json

import numpy as np
import pyarrow as pa

from tracewatch.judge import Judge, chosen, columns_of
from tracewatch.live.telling import sentence

DAY, HOUR = 86_400.0, 3600.0
MONDAY = 1_772_409_600.0  # 2026-03-02
DAYS = 11
ODD_FROM = MONDAY + 10 * DAY + 9 * HOUR
ODD_UNTIL = ODD_FROM + 6 * HOUR


def product(seed=1, days=DAYS, a_day=250):
    """Requests of three steps: an answer with a search and a check under it; a few turns of one conversation each."""
    rng = np.random.default_rng(seed)
    n = int(days * a_day)
    start = np.sort(MONDAY + rng.uniform(0, days * DAY, n)).round(3)
    spans = []
    turns = {}
    for i in range(n):
        conversation = f"c{i // 4}"
        turn = turns[conversation] = turns.get(conversation, 0) + 1
        out = int(rng.lognormal(5, 0.4))
        context = int(rng.lognormal(6.5, 0.3))
        inp = context + 200 + 150 * turn
        queue, network, work = rng.lognormal(3, 0.3), rng.lognormal(3, 0.3), (300 + 15 * out) * rng.lognormal(0, 0.2)
        search, check = 120 * rng.lognormal(0, 0.3), 60 * rng.lognormal(0, 0.3)
        shared = {
            "trace_id": f"t{i}", "conversation_id": conversation, "session_id": conversation, "status": "ok",
            "user_id": f"u{rng.integers(30)}",
        }  # fmt: skip
        gap, idle = 40 * rng.lognormal(0, 0.3), 30 * rng.lognormal(0, 0.3)
        spans.append(
            shared | {
                "span_id": "a", "operation_type": "answer", "model_name": "big", "model_provider": "cloud",
                "start_time": start[i], "queue_time_ms": queue, "network_time_ms": network, "inference_time_ms": work,
                "duration_ms": queue + network + work + idle + search + check, "input_tokens": inp,
                "output_tokens": out, "context_tokens": context, "cost_usd": inp * 1e-6 + out * 4e-6,
                "cost_status": "exact", "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": int(400 * rng.lognormal(0, 0.2)),
                "chunk_usage": {"max_gap_ms": gap}, "finish_reason": "tool_calls" if rng.random() < 0.3 else "stop",
                "rag_answer_grounded": rng.random() < 0.95, "warning_flags": [],
                "response_quality_breakdown": {"tone": rng.normal(0.8, 0.1), "clarity": rng.normal(0.7, 0.1)},
                "metadata": {"pages": rng.lognormal(2, 0.4), "document_id": int(rng.integers(1e6)),
                             "reused": bool(rng.random() < 0.1)},
            }
        )  # fmt: skip
        method = "graph" if rng.random() < 0.4 else "vector"
        spans.append(
            shared | {
                "span_id": "b", "parent_span_id": "a", "operation_type": "search", "start_time": start[i] + 0.05,
                "duration_ms": search, "retrieval_latency_ms": search, "rag_retrieval_method": method,
                "rag_graph_used": method == "graph", "rag_relevance_score": rng.normal(0.75, 0.08),
            }
        )  # fmt: skip
        spans.append(
            shared | {
                "span_id": "c", "parent_span_id": "a", "operation_type": "check", "start_time": start[i] + 0.3,
                "duration_ms": check,
            }
        )  # fmt: skip
    jobs = [
            {
                "trace_id": f"job{day}", "span_id": "s", "operation_type": "batch", "model_provider": "system",
                "model_name": "batch", "usage_type": "extraction_batch", "status": "ok",
                "start_time": MONDAY + day * DAY + 9.5 * HOUR + rng.uniform(0, 60),
                "duration_ms": 600_000 * rng.lognormal(0, 0.1),
                "metadata": {"extracted": int(rng.normal(400, 20)), "failed": int(rng.integers(0, 4)),
                             "skipped": int(rng.integers(5, 12))},
            }
            for day in range(days)
    ]  # fmt: skip
    return [*spans, *jobs]


def is_odd(span):
    return ODD_FROM <= span["start_time"] < ODD_UNTIL


def changed(spans, change):
    """The product with a change to each span of the odd hours; what the change returns stands in its place."""
    out = []
    for span in spans:
        out += change(dict(span)) if is_odd(span) else [span]
    return out


def table(spans):
    from tracewatch.judge import NEEDS

    names = {name for span in spans for name in span}
    columns = {name: [_plain(span.get(name)) for span in spans] for name in names}
    whole = pa.table(columns).sort_by("start_time")
    return pa.Table.from_batches([chosen(batch, NEEDS) for batch in whole.combine_chunks().to_batches()])


def _plain(value):
    return json.dumps(value) if isinstance(value, dict | list) else value


def judged(spans, steps=(DAYS * DAY,)):
    """What a judge says of these spans when it is asked at these moments after the start, with its sentences."""
    rows, judge, out, before = table(spans), Judge(), [], -np.inf
    times = rows["start_time"].to_numpy()
    for step in steps:
        now = MONDAY + step
        judge.feed(columns_of(rows.filter(pa.array((times >= before) & (times < now)))))
        out += judge.judge(now).alerts
        before = now
    return [(alert, sentence(alert, 0.9)) for alert in out]
