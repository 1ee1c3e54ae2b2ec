"""Everything that is watched by itself: each odd thing is told, with its slice, and quiet days say nothing."""

import numpy as np
import pytest
from watched import DAY, DAYS, HOUR, ODD_FROM, ODD_UNTIL, changed, judged, product


@pytest.fixture(scope="module")
def spans():
    return product()


def step(operation, change):
    """Changes the spans of one operation."""

    def of(span):
        if span["operation_type"] == operation:
            return change(span)
        return [span]

    return of


def with_(**values):
    return lambda span: [span | {name: value(span) for name, value in values.items()}]


def entry(column, name, value):
    return with_(**{column: lambda span: span[column] | {name: value(span.get(column, {}).get(name))}})


def every(share, change):
    """For so many of the spans, in turn."""
    at = iter(np.cumsum(np.full(100_000, share)) % 1 < share)
    return lambda span: change(span) if next(at) else [span]


def repeated(span):
    return [span, *(span | {"span_id": f"c{i}", "start_time": span["start_time"] + i / 10} for i in range(1, 5))]


def nested(span):
    return [span, span | {"span_id": "d", "parent_span_id": "c", "operation_type": "recheck"},
            span | {"span_id": "e", "parent_span_id": "d", "operation_type": "recheck"}]  # fmt: skip


ANSWER = {"operation_type": "answer"}
JOB = {"usage_type": "extraction_batch"}
FAULTS = {
    "unexplained time": (
        step("answer", with_(inference_time_ms=lambda s: s["inference_time_ms"] - 150)),
        "unexplained_time_ms", "up", ANSWER, "on what no part of them explains",
    ),
    "chunk gaps": (
        step("answer", entry("chunk_usage", "max_gap_ms", lambda v: v * 6)),
        "chunk_gap_ms", "up", ANSWER, "between two chunks",
    ),
    "context share": (
        step("answer", with_(context_tokens=lambda s: s["input_tokens"] * 0.97)),
        "context_share", "up", ANSWER, "is context",
    ),
    "cache writes": (
        step("answer", with_(cache_creation_input_tokens=lambda s: s["cache_creation_input_tokens"] * 2.5)),
        "cache_creation_input_tokens", "up", ANSWER, "to the cache",
    ),
    "ungrounded": (
        step("answer", every(0.4, with_(rag_answer_grounded=lambda s: False))),
        "ungrounded_rate", "up", ANSWER, "not grounded in",
    ),
    "truncated": (
        step("answer", every(0.3, with_(finish_reason=lambda s: "length"))),
        "truncation_rate", "up", ANSWER, "cut off",
    ),
    "a new reason to stop": (
        step("answer", every(0.3, with_(finish_reason=lambda s: "content_filter"))),
        "finish_reason.content_filter", "up", ANSWER, "stop because of content_filter in",
    ),
    "another mix of reasons": (
        step("answer", with_(finish_reason=lambda s: "tool_calls")),
        "finish_reason.tool_calls", "up", ANSWER, "stop because of tool_calls in 9",
    ),
    "a new warning flag": (
        step("answer", every(0.3, with_(warning_flags=lambda s: ["low_context"]))),
        "warning_flags.low_context", "up", ANSWER, "carry the warning low_context in",
    ),
    "a dimension of quality": (
        step("answer", entry("response_quality_breakdown", "tone", lambda v: v - 0.3)),
        "quality.tone", "down", ANSWER, "have tone 0.4",
    ),
    "a number of metadata": (
        step("answer", entry("metadata", "pages", lambda v: v * 4)),
        "metadata.pages", "up", ANSWER, "have pages",
    ),
    "a truth of metadata": (
        step("answer", entry("metadata", "reused", lambda v: True)),
        "metadata_true.reused", "up", ANSWER, "have reused true in 100 % of cases",
    ),
    "more spans": (
        step("check", repeated), "trace_loops", "up", ANSWER, "repeat one step 5 times",
    ),
    "deeper": (
        step("check", nested), "trace_depth", "up", ANSWER, "are 4 levels deep",
    ),
    "a missing step": (
        step("check", every(0.6, lambda span: [])), "missing_child.check", "up", ANSWER, "lack the step check in",
    ),
    "long conversations": (
        with_(conversation_id=lambda s: f"long{int(s['trace_id'][1:]) // 12}" if "conversation_id" in s else None),
        "turns_per_conversation", "up", ANSWER, "are at turn",
    ),
    "a slow run": (
        step("batch", with_(duration_ms=lambda s: s["duration_ms"] * 4)),
        "batch_duration_ms", "up", JOB, "A run of extraction_batch took 40 min",
    ),
    "a failed run": (
        step("batch", with_(status=lambda s: "error")), "batch_failure_rate", "up", JOB,
        "A run of extraction_batch failed",
    ),
    "a run with failures": (
        step("batch", entry("metadata", "failed", lambda v: 150)), "metadata.failed", "up", JOB, "have failed 150",
    ),
    "a method that is slow": (
        step("search", lambda s: [s | {"retrieval_latency_ms": s["retrieval_latency_ms"] * (4 if s["rag_graph_used"]
                                                                                             else 1)}]),
        "retrieval_latency_ms", "up", {"rag_retrieval_method": "graph"}, "retrieval method graph",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_odd_is_told(spans, name):
    change, metric, direction, slice_, words = FAULTS[name]
    told = judged(changed(spans, change))
    assert {alert.metric for alert, _ in told} == {metric}
    ((alert, text),) = [(alert, text) for alert, text in told if alert.slice == slice_]
    assert alert.direction == direction
    assert ODD_FROM < alert.detected_at <= ODD_UNTIL
    assert words in text


def test_quiet_days_say_nothing(spans):
    assert judged(spans) == []


def test_batches_do_not_matter(spans):
    odd = changed(spans, FAULTS["a new warning flag"][0])
    odd = changed(odd, FAULTS["a missing step"][0])
    odd = changed(odd, FAULTS["a number of metadata"][0])
    hours = [*range(7, DAYS * 24, 7), DAYS * 24]
    told = judged(odd)
    assert len(told) == 3
    assert judged(odd, [hour * HOUR for hour in hours]) == told
    assert judged(odd, [3.3 * DAY, 7.9 * DAY, DAYS * DAY]) == told
