"""Metrics of single calls: every watched number of a span, and what follows from several of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite

import numpy as np

from tracewatch.detectors.spec import Floats
from tracewatch.metrics.base import Bad, Family, Metric, or_nothing, ratio
from tracewatch.metrics.entries import numbers
from tracewatch.metrics.found import TRUTH, parts_of
from tracewatch.metrics.rows import Rows
from tracewatch.records import Column, Span, columns

_LESS_IS_BAD = ("tokens_per_second", "cache_read_input_tokens", "rag_relevance_score", "groundedness_score")
_NEITHER_IS_GOOD = ("input_tokens", "output_tokens", "total_tokens", "rag_nodes_retrieved", "rag_chunks_used")
_FAMILIES: dict[str, Family] = {
    "ms": "latency",
    "tokens/s": "latency",
    "tokens": "tokens",
    "USD": "cost",
}
_FAMILY: dict[str, Family] = {
    "cache_read_input_tokens": "cache",
    "cache_creation_input_tokens": "cache",
    "rag_relevance_score": "quality",
    "groundedness_score": "quality",
    "rag_nodes_retrieved": "quality",
    "rag_chunks_used": "quality",
    "retry_count": "failure",
}
_TOLD_AS = {
    "total_tokens": "input_tokens",
    "context_tokens": "context_share",
    "cache_read_input_tokens": "cache_hit_rate",
    "retry_count": "retry_rate",
}
_SCORES = ("rag_relevance_score", "groundedness_score")


def _plain(name: str) -> Callable[[Rows], Floats]:
    return lambda rows: rows.numbers(name)


def _field(column: Column) -> Metric:
    """The metric of a numeric column that is watched."""
    name = column.name
    bad: Bad = "down" if name in _LESS_IS_BAD else "either" if name in _NEITHER_IS_GOOD else "up"
    return Metric(
        key=name,
        label=column.label,
        help=column.help,
        family=_FAMILY.get(name) or _FAMILIES[column.unit or ""],
        grain="call",
        unit="score" if name in _SCORES else column.unit,
        bad=bad,
        needs=(name,),
        formula=name,
        measured=_plain(name),
        told_as=_TOLD_AS.get(name, ""),
    )


def _hit_rate(rows: Rows) -> Floats:
    return np.minimum(ratio(rows.numbers("cache_read_input_tokens"), rows.numbers("input_tokens")), 1.0)


def _cost_per_1k(rows: Rows) -> Floats:
    tokens = or_nothing(rows.numbers("input_tokens")) + or_nothing(rows.numbers("output_tokens"))
    return ratio(rows.numbers("cost_usd") * 1000, tokens)


def _unexplained(rows: Rows) -> Floats:
    """Not below 0: clocks differ."""
    parts = sum(or_nothing(rows.numbers(name)) for name in ("queue_time_ms", "network_time_ms"))
    with np.errstate(invalid="ignore"):
        return np.maximum(rows.numbers("duration_ms") - rows.numbers("inference_time_ms") - parts, 0.0)


def _chunk_gap(rows: Rows) -> Floats:
    return numbers(rows.column("chunk_usage"), ["max_gap_ms"])["max_gap_ms"]


def _quality(rows: Rows) -> Floats:
    """Mean over the dimensions of each call."""
    means: dict[str | None, float] = {None: np.nan}
    codes, texts = rows.codes("response_quality_breakdown")
    for text in texts[:-1]:
        means[text] = _mean_of(text or "")
    return np.array([means[text] for text in texts])[codes]


def _mean_of(text: str) -> float:
    try:
        given = json.loads(text)
    except ValueError:
        return np.nan
    values = given.values() if isinstance(given, dict) else ()
    scores = [each for each in values if isinstance(each, int | float) and isfinite(each)]
    return float(np.mean(scores)) if scores else np.nan


FIELDS = tuple(_field(each) for each in columns(Span) if each.watched and each.kind in ("integer", "real"))
"""Every watched numeric column of a span."""

DERIVED = (
    Metric(
        key="cache_hit_rate",
        label="Cache hit rate",
        help="Share of the input that came from the provider's prompt cache.",
        family="cache",
        grain="call",
        unit="share",
        bad="down",
        needs=("cache_read_input_tokens", "input_tokens"),
        formula="cache_read_input_tokens / input_tokens",
        measured=_hit_rate,
        shown="mean",
    ),
    Metric(
        key="cost_per_1k_tokens",
        label="Cost per 1,000 tokens",
        help="What a thousand tokens of a call cost: the price, the mix of models and the cache together.",
        family="cost",
        grain="call",
        unit="USD",
        bad="up",
        needs=("cost_usd", "input_tokens", "output_tokens"),
        formula="1000 × cost_usd / (input_tokens + output_tokens)",
        measured=_cost_per_1k,
        told_as="cost_usd",
    ),
    Metric(
        key="context_share",
        label="Context share",
        help="Share of the prompt that is context: retrieved text and history.",
        family="tokens",
        grain="call",
        unit="share",
        bad="up",
        needs=("context_tokens", "input_tokens"),
        formula="context_tokens / input_tokens",
        measured=lambda rows: ratio(rows.numbers("context_tokens"), rows.numbers("input_tokens")),
    ),
    Metric(
        key="reasoning_share",
        label="Reasoning share",
        help="Share of the answer's tokens that were spent on thinking.",
        family="tokens",
        grain="call",
        unit="share",
        bad="up",
        needs=("reasoning_tokens", "output_tokens"),
        formula="reasoning_tokens / output_tokens",
        measured=lambda rows: ratio(rows.numbers("reasoning_tokens"), rows.numbers("output_tokens")),
        told_as="reasoning_tokens",
    ),
    Metric(
        key="unexplained_time_ms",
        label="Unexplained time",
        help="Time of a call that its queue, its network and the model's work do not explain.",
        family="latency",
        grain="call",
        unit="ms",
        bad="up",
        needs=("duration_ms", "queue_time_ms", "inference_time_ms", "network_time_ms"),
        formula="duration_ms - queue_time_ms - inference_time_ms - network_time_ms",
        measured=_unexplained,
    ),
    Metric(
        key="chunk_gap_ms",
        label="Chunk gap",
        help="The longest wait between two chunks of a streamed answer.",
        family="latency",
        grain="call",
        unit="ms",
        bad="up",
        needs=("chunk_usage",),
        formula="max_gap_ms of chunk_usage",
        measured=_chunk_gap,
    ),
    Metric(
        key="quality",
        label="Quality",
        help="Mean over the dimensions of the quality breakdown; each dimension that comes is watched by itself.",
        family="quality",
        grain="call",
        unit="score",
        bad="down",
        needs=("response_quality_breakdown",),
        formula="mean of response_quality_breakdown",
        measured=_quality,
        by="response_quality_breakdown",
        parts=parts_of("response_quality_breakdown", "quality"),
        told_as="quality.…",
    ),
    Metric(
        key="metadata_number",
        label="Number in metadata",
        help="A number that calls keep in metadata, up to 24 of them; what looks like an id or a moment is left out.",
        family="custom",
        grain="call",
        bad="either",
        needs=("metadata",),
        formula="each number of metadata",
        told_as="metadata.…",
        by="metadata",
        parts=parts_of("metadata", "metadata"),
    ),
    Metric(
        key="metadata_true_rate",
        label="Truth in metadata",
        help="Calls in which an entry of metadata is true.",
        family="custom",
        grain="share",
        unit="share",
        bad="up",
        needs=("metadata",),
        formula="each truth of metadata",
        shown="mean",
        told_as="metadata_true.…",
        by="metadata",
        parts=parts_of("metadata", TRUTH),
    ),
)
"""What follows from several columns of a call."""
