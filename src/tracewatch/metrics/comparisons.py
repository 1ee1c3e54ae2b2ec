"""Metrics that compare two ways of doing a thing: streamed or not, by graph or by vectors, method by method."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracewatch.detectors.spec import Floats
from tracewatch.metrics.base import Metric, ratio
from tracewatch.metrics.rows import Rows

KIND = ("operation_type", "model_name")
MOST_KINDS = 100  # compared; of thousands of model names most have too few calls anyway
LEAST_CALLS = 20  # on each side: the median of fewer is chance


def _with_and_without(flag: str, measure: str) -> Callable[[Rows], Floats]:
    """The median where a flag is true, divided by that where it is false, of each operation × model that has both.

    Across kinds it would compare chats with embeddings.
    """

    def measured(rows: Rows) -> Floats:
        flags, values = rows.numbers(flag), rows.numbers(measure)
        operation, model = (rows.codes(name) for name in KIND)
        kinds = operation[0] * len(model[1]) + model[0]
        mixed = np.intersect1d(kinds[flags == 1], kinds[flags == 0])[:MOST_KINDS]
        return np.array([_quotient(values[kinds == kind], flags[kinds == kind]) for kind in mixed.tolist()])

    return measured


def _quotient(values: Floats, flags: Floats) -> float:
    above, below = _median(values[flags == 1]), _median(values[flags == 0])
    return above / below if below > 0 else np.nan


def _median(values: Floats) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) >= LEAST_CALLS else np.nan


def _slowest_to_fastest(rows: Rows) -> Floats:
    """Of the retrieval methods with enough calls."""
    codes, words = rows.codes("rag_retrieval_method")
    latencies = rows.numbers("retrieval_latency_ms")
    medians = [_median(latencies[codes == code]) for code in range(min(len(words) - 1, MOST_KINDS))]
    there = np.array([each for each in medians if np.isfinite(each)])
    return ratio(there.max(keepdims=True), there.min(keepdims=True)) if len(there) > 1 else np.zeros(0)


def _comparison(
    key: str,
    label: str,
    help: str,
    needs: tuple[str, ...],
    formula: str,
    measured: Callable[[Rows], Floats],
    told_as: str,
) -> Metric:
    return Metric(
        key=key, label=label, help=help, family="comparison", grain="window", unit="×", needs=needs,
        bad="down" if "relevance" in key else "up", formula=formula, measured=measured, told_as=told_as,
    )  # fmt: skip


COMPARISONS = (
    _comparison(
        "streaming_duration_ratio",
        "Streamed against not",
        "How much longer streamed calls take than others.",
        ("streaming_enabled", "duration_ms", *KIND),
        "median duration_ms with streaming_enabled / without, by operation_type × model_name",
        _with_and_without("streaming_enabled", "duration_ms"),
        "duration_ms",
    ),
    _comparison(
        "streaming_cost_ratio",
        "Cost of streaming",
        "How much more streamed calls cost than others.",
        ("streaming_enabled", "cost_usd", *KIND),
        "median cost_usd with streaming_enabled / without, by operation_type × model_name",
        _with_and_without("streaming_enabled", "cost_usd"),
        "cost_usd",
    ),
    _comparison(
        "graph_latency_ratio",
        "Graph against vectors: time",
        "How much longer retrieval takes when it walks a graph.",
        ("rag_graph_used", "retrieval_latency_ms", *KIND),
        "median retrieval_latency_ms with rag_graph_used / without, by operation_type × model_name",
        _with_and_without("rag_graph_used", "retrieval_latency_ms"),
        "retrieval_latency_ms",
    ),
    _comparison(
        "graph_relevance_ratio",
        "Graph against vectors: relevance",
        "How much more relevant text is when it comes from a graph; below 1 the graph does not pay.",
        ("rag_graph_used", "rag_relevance_score", *KIND),
        "median rag_relevance_score with rag_graph_used / without, by operation_type × model_name",
        _with_and_without("rag_graph_used", "rag_relevance_score"),
        "rag_relevance_score",
    ),
    _comparison(
        "method_latency_ratio",
        "Slowest against fastest method",
        "How much longer the slowest retrieval method takes than the fastest.",
        ("rag_retrieval_method", "retrieval_latency_ms"),
        "largest median retrieval_latency_ms by rag_retrieval_method / smallest",
        _slowest_to_fastest,
        "retrieval_latency_ms",
    ),
)
