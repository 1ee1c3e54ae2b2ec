"""Every metric a story may be about: what it is called, and how it is read off calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tracewatch.detectors.adaptive.streaks import UNREPORTED
from tracewatch.metrics import Rows
from tracewatch.metrics.custom import COLUMN_OF, Custom, metric_of
from tracewatch.metrics.found import TRUTH, has_word
from tracewatch.metrics.table import METRIC_OF
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
        return self.name in RATES or self.name.partition(".")[0] in {"error_category", *_SHARES_OF}


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
    _of(
        "unstreamed_rate",
        "other",
        "share",
        "come in one piece in {value} of cases",
        ("streaming_enabled",),
        _truth("streaming_enabled", 0.0),
    ),
    _of("call_count", "volume", None, "come {value} times", ("start_time",), _each),
)
MEASURES = {each.name: each for each in _MEASURES}
RATES = frozenset(
    {*(each.name for each in _MEASURES if each.unit == "share" and each.name != "cache_hit_rate"), "truncation_rate"}
)


def measure_of(metric: str) -> Measure:
    """How to read a metric off calls; one that is not a column of a call has no value of any."""
    if metric in MEASURES:
        return MEASURES[metric]
    for mark in ("error_category.", "error_category:", "error_rate.", "error_rate:"):
        if metric.startswith(mark):
            category = metric.removeprefix(mark)
            verb = f"fail with {category} in {{value}} of cases"
            return _of(metric, "failures", "share", verb, ("error_category",), _category(category))
    root, _, entry = metric.partition(".")
    if root in COLUMN_OF:
        return _custom(root, entry)
    if root in _SHARES_OF and entry:
        return _of(metric, *_share(root, entry))
    known = column_of(Span).get(metric)
    if known is not None and known.kind in ("integer", "real", "boolean"):
        return _of(metric, "other", known.unit, _VERBS.get(metric, f"have {known.label.lower()} {{value}}"))
    return _watched(metric)


_VERBS = {
    "unexplained_time_ms": "spend {value} on what no part of them explains",
    "chunk_gap_ms": "pause for {value} between two chunks of an answer",
    "context_share": "send prompts of which {value} is context",
    "cache_creation_input_tokens": "write {value} to the cache",
    "truncation_rate": "are cut off at the limit of tokens in {value} of cases",
    "spans_per_trace": "come in requests of {value} spans",
    "trace_depth": "come in requests that are {value} levels deep",
    "trace_loops": "come in requests that repeat one step {value} times",
    "self_time_ms": "spend {value} outside of their steps",
    "turns_per_conversation": "are at turn {value} of their conversation",
    "cost_per_conversation": "are in conversations that have cost {value} so far",
    "growth_per_turn": "send {value} more than the turn before",
    "batch_duration_ms": "take {value}",
    "batch_failure_rate": "fail in {value} of cases",
    "unpriced_rate": "have no price in {value} of cases",
    "cost_per_hour": "cost {value} an hour",
    "cost_per_day": "cost {value} a day",
    "calls_per_hour": "come {value} times an hour",
    "calls_per_day": "come {value} times a day",
    "calls_per_session": "come {value} to a session",
    "cost_per_session": "cost {value} a session",
    "cost_per_1k_tokens": "cost {value} per 1,000 tokens",
    "tokens_per_hour": "use {value} an hour",
    "sessions_per_hour": "come in {value} sessions an hour",
    "users_per_hour": "are made by {value} users an hour",
    "batch_calls": "come {value} to a batch",
    "reasoning_tokens": "reason over {value}",
    "reasoning_share": "spend {value} of their answers on reasoning",
    "prompt_growth": "send {value} more than those before",
    "retry_count": "are tried again {value} times",
    "rag_chunks_used": "use {value} chunks",
    "rag_nodes_retrieved": "are given {value} nodes",
    "slow_child_share": "wait for one of their steps {value} of the time",
    "missing_child_rate": "lack a step in {value} of cases",
    "warning_rate": "carry a warning in {value} of cases",
    "provider_error_rate": "fail at the provider in {value} of cases",
    "streaming_duration_ratio": "take {value} times as long when streamed",
    "streaming_cost_ratio": "cost {value} times as much when streamed",
    "graph_latency_ratio": "take {value} times as long by graph as by vectors",
    "graph_relevance_ratio": "are {value} times as relevant by graph as by vectors",
    "method_latency_ratio": "take {value} times as long by the slowest method as by the fastest",
}
"""What calls do, of the metrics that are watched beside a call's own measures."""

_FAMILY: dict[str, Family] = {
    "latency": "time", "tokens": "tokens", "cost": "money", "cache": "cache", "quality": "quality",
    "failure": "failures",
}  # fmt: skip
_SHARES_OF: dict[str, tuple[Family, str]] = {
    "warning_flags": ("failures", "carry the warning {entry} in {{value}} of cases"),
    "finish_reason": ("other", "stop because of {entry} in {{value}} of cases"),
    "missing_child": ("other", "lack the step {entry} in {{value}} of cases"),
    UNREPORTED: ("other", "report no {entry} in {{value}} of cases"),
    TRUTH: ("other", "have {entry} true in {{value}} of cases"),
}
"""Shares of calls by a word of their own."""


def _share(root: str, entry: str) -> tuple[Family, str, str, tuple[str, ...], Values]:
    family, verb = _SHARES_OF[root]
    if root == TRUTH:
        own = metric_of(Custom(root="metadata", entry=entry, bad="either"))
        assert own.measured is not None, "a number in a JSON column is read off calls"
        return family, "share", verb.format(entry=entry.replace("_", " ")), own.needs, own.measured
    if root == "missing_child":  # of a whole request
        return family, "share", verb.format(entry=entry), ("start_time",), _absent
    if root == UNREPORTED:
        known = column_of(Span).get(entry)
        if known is None:  # another version's
            return family, "share", verb.format(entry=entry.replace("_", " ")), ("start_time",), _absent
        return family, "share", verb.format(entry=known.label.lower()), (entry,), lambda rows: _missing(rows, entry)
    return family, "share", verb.format(entry=entry), (root,), lambda rows: has_word(rows, root, entry)


def _watched(metric: str) -> Measure:
    """A row of the table of metrics; what is of no single call has no value of any."""
    row = METRIC_OF.get(metric)
    if row is None:
        return _of(metric, "other", None, f"have {metric} {{value}}", ("start_time",), _absent)
    verb = _VERBS.get(metric, f"have {row.label.lower()} {{value}}")
    unit = row.unit if row.unit in _SAID else None
    if row.measured is None or row.grain not in ("call", "share") or row.family == "hierarchy":
        return _of(metric, "other", unit, verb, ("start_time",), _absent)
    return _of(metric, _FAMILY.get(row.family, "other"), unit, verb, row.needs, row.measured)


_SAID = ("ms", "tokens", "share", "USD", "score")
"""Units that the verbs do not say."""


def _custom(root: str, entry: str) -> Measure:
    """A number in a JSON column."""
    own = metric_of(Custom(root=root, entry=entry, bad="either"))
    assert own.measured is not None, "a number in a JSON column is read off calls"
    return _of(own.key, "other", None, f"have {(entry or root).replace('_', ' ')} {{value}}", own.needs, own.measured)


def _missing(rows: Rows, name: str) -> Floats:
    return np.isnan(rows.numbers(name)).astype(float)


def _absent(rows: Rows) -> Floats:
    return np.full(len(rows), np.nan)
