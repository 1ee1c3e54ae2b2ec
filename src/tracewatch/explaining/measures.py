"""Every metric a story may be about: what it is called, and how it is read off calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tracewatch.metrics import Rows
from tracewatch.metrics.custom import COLUMN_OF, Custom, metric_of
from tracewatch.records import Span, column_of
from tracewatch.slices import Floats

Family = Literal["time", "money", "tokens", "cache", "quality", "failures", "volume", "other"]
Values = Callable[[Rows], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric as explanations need it: which bridge it belongs to, its words, and its value of each call."""

    name: str
    family: Family
    unit: str | None
    verb: str
    """What calls do, with {value} in it."""
    needs: tuple[str, ...]
    values: Values
    """One number a call, NaN where the call does not report it. Of volumes 1."""

    @property
    def is_rate(self) -> bool:
        """Whether a call either counts or does not."""
        return self.name in RATES or self.name.startswith("error_category")


def _column(name: str) -> Values:
    return lambda rows: rows.numbers(name)


def _hit_rate(rows: Rows) -> Floats:
    sent, read = rows.numbers("input_tokens"), rows.numbers("cache_read_input_tokens")
    reported = (sent > 0) & np.isfinite(read)
    found: Floats = np.divide(read, sent, out=np.full(len(sent), np.nan), where=reported)
    return np.minimum(found, 1.0)


def _total(rows: Rows) -> Floats:
    sent, answered = rows.numbers("input_tokens"), rows.numbers("output_tokens")
    neither = np.isnan(sent) & np.isnan(answered)
    return np.where(neither, np.nan, np.nan_to_num(sent) + np.nan_to_num(answered))


def _status(*statuses: str) -> Values:
    def values(rows: Rows) -> Floats:
        codes, words = rows.codes("status")
        return np.array([float(word in statuses) for word in words])[codes]

    return values


def _category(category: str) -> Values:
    def values(rows: Rows) -> Floats:
        codes, words = rows.codes("error_category")
        return np.array([float(word == category) for word in words])[codes]

    return values


def _truth(name: str, hit: float = 1.0) -> Values:
    def values(rows: Rows) -> Floats:
        given = rows.numbers(name)
        return np.where(np.isnan(given), np.nan, (given == hit).astype(np.float64))

    return values


def _retried(rows: Rows) -> Floats:
    return (np.nan_to_num(rows.numbers("retry_count")) > 0).astype(np.float64)


def _each(rows: Rows) -> Floats:
    return np.ones(len(rows))


def _of(
    name: str, family: Family, unit: str | None, verb: str, needs: tuple[str, ...] = (), values: Values | None = None
) -> Measure:
    needed = needs or (name,)
    return Measure(name=name, family=family, unit=unit, verb=verb, needs=needed, values=values or _column(needed[0]))


_CACHE = ("cache_read_input_tokens", "input_tokens")
_MEASURES = (
    _of("duration_ms", "time", "ms", "take {value}"),
    _of("latency_ms", "time", "ms", "take {value}", ("duration_ms",)),
    _of("ttft_ms", "time", "ms", "take {value} to the first token"),
    _of("inference_time_ms", "time", "ms", "are worked on for {value} by the provider"),
    _of("tokens_per_second", "time", "tokens/s", "answer at {value}"),
    _of("queue_time_ms", "time", "ms", "are kept waiting {value} by the provider"),
    _of("network_time_ms", "time", "ms", "spend {value} on the wire"),
    _of("retrieval_latency_ms", "time", "ms", "wait {value} for retrieval"),
    _of("cost_usd", "money", "USD", "cost {value} each"),
    _of("input_tokens", "tokens", "tokens", "send {value}"),
    _of("output_tokens", "tokens", "tokens", "answer with {value}"),
    _of("total_tokens", "tokens", "tokens", "use {value}", ("input_tokens", "output_tokens"), _total),
    _of("context_tokens", "tokens", "tokens", "carry {value} of context"),
    _of("cache_hit_rate", "cache", "share", "find {value} of their input in the cache", _CACHE, _hit_rate),
    _of("cache_read_input_tokens", "cache", "tokens", "read {value} from the cache"),
    _of("rag_relevance_score", "quality", "score", "are given context of relevance {value}"),
    _of("groundedness_score", "quality", "score", "answer with a groundedness of {value}"),
    _of(
        "hallucination_rate",
        "quality",
        "share",
        "are marked as hallucinated in {value} of cases",
        ("hallucination_detected",),
        _truth("hallucination_detected"),
    ),
    _of(
        "ungrounded_rate",
        "quality",
        "share",
        "are not grounded in {value} of cases",
        ("rag_answer_grounded",),
        _truth("rag_answer_grounded", 0.0),
    ),
    _of("error_rate", "failures", "share", "fail in {value} of cases", ("status",), _status("error", "timeout")),
    _of("timeout_rate", "failures", "share", "time out in {value} of cases", ("status",), _status("timeout")),
    _of("fallback_rate", "failures", "share", "fall back in {value} of cases", ("status",), _status("fallback")),
    _of("retry_rate", "failures", "share", "are tried again in {value} of cases", ("retry_count",), _retried),
    _of("call_count", "volume", None, "come {value} times", ("start_time",), _each),
)
MEASURES = {each.name: each for each in _MEASURES}
RATES = frozenset(each.name for each in _MEASURES if each.unit == "share" and each.name != "cache_hit_rate")


def measure_of(metric: str) -> Measure:
    """How to read a metric off calls; one that is not a column of a call has no value of any."""
    if metric in MEASURES:
        return MEASURES[metric]
    for mark in ("error_category.", "error_category:", "error_rate.", "error_rate:"):
        if metric.startswith(mark):
            category = metric.removeprefix(mark)
            verb = f"fail with {category} in {{value}} of cases"
            return _of(metric, "failures", "share", verb, ("error_category",), _category(category))
    if metric.partition(".")[0] in COLUMN_OF:
        return _custom(metric)
    known = column_of(Span).get(metric)
    if known is not None and known.kind in ("integer", "real", "boolean"):
        return _of(metric, "other", known.unit, f"have {known.label.lower()} {{value}}")
    return _of(metric, "other", None, f"have {metric} {{value}}", ("start_time",), _absent)


def _custom(metric: str) -> Measure:
    """A number in a JSON column, which the user declared."""
    root, _, entry = metric.partition(".")
    own = metric_of(Custom(root=root, entry=entry, bad="either"))
    assert own.measured is not None, "a number in a JSON column is read off calls"
    return _of(metric, "other", None, f"have {entry.replace('_', ' ')} {{value}}", own.needs, own.measured)


def _absent(rows: Rows) -> Floats:
    return np.full(len(rows), np.nan)
