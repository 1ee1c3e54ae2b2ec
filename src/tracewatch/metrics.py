"""What is measured of spans: METRICS, one row each, and the rows they are measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
import pyarrow as pa

from tracewatch.detectors.spec import Direction, Floats, Integers
from tracewatch.records import Span, column_of

WIDE = 100.0  # two decades: beyond them one far value leaves a single bar for all others

Unit = Literal["ms", "tokens/s", "tokens", "share", "USD", "score"]


class Rows:
    """Columns of some spans: numbers as float64 with NaN for absent, texts by position."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._numbers: dict[str, Floats] = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def numbers(self, name: str) -> Floats:
        """A numeric or boolean column; true is 1."""
        if name not in self._numbers:
            self._numbers[name] = self._table[name].cast(pa.float64(), safe=False).to_numpy()
        return self._numbers[name]

    def texts(self, name: str, positions: Integers) -> list[str | None]:
        """A text column at some positions."""
        found: list[str | None] = self._table[name].take(pa.array(positions)).to_pylist()
        return found

    def codes(self, name: str) -> tuple[Integers, list[str | None]]:
        """A text column as numbers, and what each number stands for; the last one stands for absent."""
        encoded = self._table[name].combine_chunks().dictionary_encode()
        words: list[str | None] = [*encoded.dictionary.to_pylist(), None]
        return encoded.indices.fill_null(len(words) - 1).to_numpy().astype(np.int64), words

    def since(self, time_s: float) -> pa.Table:
        """The columns of the rows that began at that moment or later."""
        return self._table.filter(pa.array(self.numbers("start_time") >= time_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One thing that can be abnormal about a call, and how it is judged."""

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


def read(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Rows:
    """The rows of a scan."""
    return Rows(table_of(batches, names))


def table_of(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> pa.Table:
    """A scan of those columns as one table; it has them also when the scan found nothing."""
    kept = list(batches)
    return pa.Table.from_batches(kept) if kept else pa.table({name: _empty(name) for name in names})


def _empty(name: str) -> pa.Array:
    """A column of a scan that found nothing."""
    text = column_of(Span)[name].kind in ("text", "json", "list")
    return pa.array([], pa.string() if text else pa.float64())


def measure(metric: Metric, rows: Rows) -> Floats:
    """One value a row, NaN where the metric does not use the row."""
    values: Floats = metric.measured(*(rows.numbers(name) for name in metric.needs))
    return values


def used(metric: Metric, rows: Rows) -> int:
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


METRICS = (
    Metric(
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
    Metric(
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
    Metric(
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
    Metric(
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
    Metric(
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
    Metric(
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
    Metric(
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
    Metric(
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
    Metric(
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
    Metric(
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

LATENCY = Metric(
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

MESSAGES_METRICS = (LATENCY, *(each for each in METRICS if each.key == "tokens"))
"""The two metrics of a messages table."""

METRIC_OF: dict[str, Metric] = {each.key: each for each in (*METRICS, LATENCY)}


def columns_of(metrics: Iterable[Metric]) -> list[str]:
    """The columns these metrics are measured from, each once."""
    return list(dict.fromkeys(name for each in metrics for name in each.needs))
