"""The ten anomaly types of the first form, one row each, and the rows of spans they are measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np

from tracewatch.detectors.spec import Direction, Floats
from tracewatch.metrics.rows import Rows

WIDE = 100.0  # two decades: beyond them one far value leaves a single bar for all others

Unit = Literal["ms", "tokens/s", "tokens", "share", "USD", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyType:
    """One thing that can be abnormal about a call, and how the first form judges it."""

    key: str
    """The anomaly type, and the key in the breakdown."""
    name: str
    label: str
    unit: Unit
    bad: Direction
    threshold: float
    """In standard deviations."""
    used: str
    """Which rows count, in words."""
    needs: tuple[str, ...]
    """The columns it is measured from."""
    measured: Callable[..., Floats]
    """From those columns, in that order, to one value a row; NaN where the row does not count."""
    highest: float = inf
    lowest: float = 0.0


def measure(metric: AnomalyType, rows: Rows) -> Floats:
    """One value a row, NaN where the metric does not use the row."""
    values: Floats = metric.measured(*(rows.numbers(name) for name in metric.needs))
    return values


def used(metric: AnomalyType, rows: Rows) -> int:
    """How many rows have a value."""
    return int(np.isfinite(measure(metric, rows)).sum())


def histogram(values: Floats, bins: int) -> tuple[list[int], list[float]]:
    """How many values fall into each bin, and the edges of the bins (one more).

    Bins are equally wide; equally wide in logarithms where all values are positive and the largest is more than
    WIDE times the smallest.

    >>> histogram(np.array([1.0, 2.0, 1000.0]), 3)[0]
    [2, 0, 1]
    """
    used = values[np.isfinite(values)]
    least, most = (float(used.min()), float(used.max())) if len(used) else (0.0, 0.0)
    # Divided this way round, because the other may overflow.
    wide = least > 0 and least / most < 1 / WIDE
    edges = np.geomspace(least, most, bins + 1) if wide else np.histogram_bin_edges(used, bins)
    if wide:
        edges[0], edges[-1] = least, most  # rounding must not put the ends outside
    counts, edges = np.histogram(used, edges)
    return counts.tolist(), edges.tolist()


def _present(values: Floats) -> Floats:
    return values


def _streaming(values: Floats, streaming: Floats) -> Floats:
    return np.where(streaming == 1, values, np.nan)


def _total(sent: Floats, answered: Floats) -> Floats:
    """Input and output together; one that is missing counts as 0, a row that reports neither is absent."""
    neither = np.isnan(sent) & np.isnan(answered)
    return np.where(neither, np.nan, np.nan_to_num(sent) + np.nan_to_num(answered))


def _hit_rate(read_from_cache: Floats, sent: Floats) -> Floats:
    """Share of the input that came from the cache; the input includes it."""
    rates: Floats = np.full(len(sent), np.nan)
    np.divide(read_from_cache, sent, out=rates, where=sent > 0)
    return rates


TYPES = (
    AnomalyType(
        key="duration",
        name="duration_ms",
        label="Duration Spike",
        unit="ms",
        bad="up",
        threshold=3,
        used="present",
        needs=("duration_ms",),
        measured=_present,
    ),
    AnomalyType(
        key="ttft",
        name="ttft_ms",
        label="First Token Delay",
        unit="ms",
        bad="up",
        threshold=3,
        used="streaming only",
        needs=("ttft_ms", "streaming_enabled"),
        measured=_streaming,
    ),
    AnomalyType(
        key="throughput",
        name="tokens_per_second",
        label="Throughput Drop",
        unit="tokens/s",
        bad="down",
        threshold=3,
        used="present",
        needs=("tokens_per_second",),
        measured=_present,
    ),
    AnomalyType(
        key="tokens",
        name="total_tokens",
        label="Token Usage Spike",
        unit="tokens",
        bad="up",
        threshold=3,
        used="all that report tokens",
        needs=("input_tokens", "output_tokens"),
        measured=_total,
    ),
    AnomalyType(
        key="cache_miss",
        name="cache_hit_rate",
        label="Cache Miss Rate",
        unit="share",
        bad="down",
        threshold=2,
        used="cache tokens reported and any input",
        needs=("cache_read_input_tokens", "input_tokens"),
        measured=_hit_rate,
        highest=1.0,
    ),
    AnomalyType(
        key="cost",
        name="cost_usd",
        label="Cost Anomaly",
        unit="USD",
        bad="up",
        threshold=3,
        used="priced",
        needs=("cost_usd",),
        measured=_present,
    ),
    AnomalyType(
        key="rag_latency",
        name="retrieval_latency_ms",
        label="RAG Retrieval Slow",
        unit="ms",
        bad="up",
        threshold=3,
        used="present",
        needs=("retrieval_latency_ms",),
        measured=_present,
    ),
    AnomalyType(
        key="rag_relevance",
        name="rag_relevance_score",
        label="Low Relevance Score",
        unit="score",
        bad="down",
        threshold=2,
        used="present",
        needs=("rag_relevance_score",),
        measured=_present,
        highest=1.0,
    ),
    AnomalyType(
        key="context_bloat",
        name="context_tokens",
        label="Context Bloat",
        unit="tokens",
        bad="up",
        threshold=3,
        used="present",
        needs=("context_tokens",),
        measured=_present,
    ),
    AnomalyType(
        key="queue_time",
        name="queue_time_ms",
        label="Provider Queue Delay",
        unit="ms",
        bad="up",
        threshold=3,
        used="present",
        needs=("queue_time_ms",),
        measured=_present,
    ),
)
"""The ten types of the first form, in the order of the breakdown."""

LATENCY = AnomalyType(
    key="latency",
    name="latency_ms",
    label="Latency Spike",
    unit="ms",
    bad="up",
    threshold=3,
    used="present",
    needs=("duration_ms",),
    measured=_present,
)

MESSAGES_TYPES = (LATENCY, *(each for each in TYPES if each.key == "tokens"))
"""The two metrics of a messages table."""

TYPE_OF: dict[str, AnomalyType] = {each.key: each for each in (*TYPES, LATENCY)}


def columns_of(metrics: Iterable[AnomalyType]) -> list[str]:
    """The columns these metrics are measured from, each once."""
    return list(dict.fromkeys(name for each in metrics for name in each.needs))
