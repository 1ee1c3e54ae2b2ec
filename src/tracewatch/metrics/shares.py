"""Metrics that are shares of calls: how many fail, time out, fall back, are tried again, or are not grounded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tracewatch.detectors.spec import Floats
from tracewatch.metrics.base import Bad, Family, Metric, is_word
from tracewatch.metrics.rows import Rows

Flags = NDArray[np.bool_]
FAILED = ("error", "timeout")
CUT_SHORT = frozenset(("length", "max_tokens", "MAX_TOKENS"))
"""Why a model stopped, where it is that there was no more room."""
MOST_PARTS = 12  # values of a column that have a metric of their own on screen, the most frequent ones


def _ended(*statuses: str) -> Callable[[Rows], Floats]:
    return lambda rows: is_word(rows, "status", *statuses)


def _flag(name: str, wanted: float) -> Callable[[Rows], Floats]:
    """1 where a boolean column has the value, NaN where it is empty."""

    def measured(rows: Rows) -> Floats:
        values = rows.numbers(name)
        return np.where(np.isfinite(values), (values == wanted).astype(float), np.nan)

    return measured


def _retried(rows: Rows) -> Floats:
    """Of the calls that went well: a failed one is counted as such."""
    well = 1 - is_word(rows, "status", *FAILED, "fallback")
    with np.errstate(invalid="ignore"):
        return np.where(well > 0, (rows.numbers("retry_count") > 0).astype(float), np.nan)


def _filled(name: str) -> Callable[[Rows], Floats]:
    """1 where a text column has anything in it; nothing at all while no row has."""

    def measured(rows: Rows) -> Floats:
        codes, words = rows.codes(name)
        filled = np.array([word not in (None, "", "[]") for word in words], float)
        return filled[codes] if len(words) > 1 else np.full(len(codes), np.nan)

    return measured


def _categories(rows: Rows) -> Iterator[tuple[str, Floats]]:
    """Of all calls, those that failed with each category."""
    failed = is_word(rows, "status", *FAILED)
    for _, word in frequent(rows, "error_category", failed > 0):
        yield word, failed * is_word(rows, "error_category", word)


def _providers(rows: Rows) -> Iterator[tuple[str, Floats]]:
    """Of each provider's calls, those that failed."""
    failed, codes = is_word(rows, "status", *FAILED), rows.codes("model_provider")[0]
    for code, word in frequent(rows, "model_provider", np.ones(len(rows), bool)):
        yield word, np.where(codes == code, failed, np.nan)


def _flags(rows: Rows) -> Iterator[tuple[str, Floats]]:
    """Of all calls, those with each flag."""
    codes, texts = rows.codes("warning_flags")
    lists = [_listed(text) for text in texts]
    times = np.bincount(codes, minlength=len(texts))
    counted: Counter[str] = Counter()
    for flags, count in zip(lists, times.tolist(), strict=True):
        counted.update(dict.fromkeys(flags, count))
    for flag, _ in counted.most_common(MOST_PARTS):
        yield flag, np.array([float(flag in flags) for flags in lists])[codes]


def _reasons(rows: Rows) -> Iterator[tuple[str, Floats]]:
    """Of the calls that say why the model stopped, those with each reason."""
    codes, words = rows.codes("finish_reason")
    said = codes < len(words) - 1
    for code, word in frequent(rows, "finish_reason", said):
        yield word, np.where(said, (codes == code).astype(float), np.nan)


def _listed(text: str | None) -> tuple[str, ...]:
    try:
        given = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(each for each in given if isinstance(each, str)) if isinstance(given, list) else ()


def frequent(rows: Rows, name: str, used: Flags) -> list[tuple[int, str]]:
    """The most frequent words of a column among some rows, with their codes."""
    codes, words = rows.codes(name)
    times = np.bincount(codes[used], minlength=len(words))[:-1]
    order = np.argsort(-times, kind="stable")[:MOST_PARTS].tolist()
    return [(code, words[code] or "") for code in order if times[code]]


def _unpriced(rows: Rows) -> Floats:
    return is_word(rows, "cost_status", "unpriced")


def _cut_short(rows: Rows) -> Floats:
    """Of the calls that say why the model stopped."""
    codes, words = rows.codes("finish_reason")
    cut = [np.nan if word is None else float(word in CUT_SHORT) for word in words]
    return np.array(cut)[codes]


def _share(
    key: str,
    label: str,
    help: str,
    needs: tuple[str, ...],
    formula: str,
    measured: Callable[[Rows], Floats],
    *,
    family: Family = "failure",
    bad: Bad = "up",
    told_as: str = "",
    by: str = "",
    parts: Callable[[Rows], Iterator[tuple[str, Floats]]] | None = None,
) -> Metric:
    return Metric(
        key=key, label=label, help=help, family=family, grain="share", unit="share", bad=bad, needs=needs,
        formula=formula, measured=measured, shown="mean", told_as=told_as, by=by, parts=parts,
    )  # fmt: skip


SHARES = (
    _share(
        "error_rate",
        "Error rate",
        "Calls that failed or timed out.",
        ("status",),
        "status in (error, timeout)",
        _ended(*FAILED),
    ),
    _share("timeout_rate", "Timeout rate", "Calls that timed out.", ("status",), "status = timeout", _ended("timeout")),
    _share(
        "fallback_rate",
        "Fallback rate",
        "Calls that were answered by a cheaper substitute.",
        ("status",),
        "status = fallback",
        _ended("fallback"),
    ),
    _share(
        "retry_rate",
        "Retry rate",
        "Of the calls that went well, those that took more than one attempt.",
        ("status", "retry_count"),
        "retry_count > 0, of calls that ended well",
        _retried,
    ),
    _share(
        "error_category_rate",
        "Error category rate",
        "Calls that failed with an error of one category, such as rate limits.",
        ("status", "error_category"),
        "status in (error, timeout) and error_category = …",
        lambda rows: is_word(rows, "status", *FAILED) * _filled("error_category")(rows),
        told_as="error_rate",
        by="error_category",
        parts=_categories,
    ),
    _share(
        "provider_error_rate",
        "Provider error rate",
        "Calls of one provider that failed or timed out.",
        ("status", "model_provider"),
        "status in (error, timeout), of calls with model_provider = …",
        _ended(*FAILED),
        told_as="error_rate",
        by="model_provider",
        parts=_providers,
    ),
    _share(
        "warning_rate",
        "Warning rate",
        "Calls with one warning flag.",
        ("warning_flags",),
        "warning_flags has …",
        _filled("warning_flags"),
        told_as="warning_flags.…",
        by="warning_flags",
        parts=_flags,
    ),
    _share(
        "finish_reason_rate",
        "Reason to stop",
        "Calls in which the model stopped for one reason, such as a content filter or a tool to be called.",
        ("finish_reason",),
        "finish_reason = …",
        _filled("finish_reason"),
        bad="either",
        told_as="finish_reason.…",
        by="finish_reason",
        parts=_reasons,
    ),
    _share(
        "ungrounded_rate",
        "Ungrounded answers",
        "Answers judged not to be grounded in what was retrieved.",
        ("rag_answer_grounded",),
        "not rag_answer_grounded",
        _flag("rag_answer_grounded", 0.0),
        family="quality",
    ),
    _share(
        "hallucination_rate",
        "Hallucinations",
        "Answers in which a hallucination was found.",
        ("hallucination_detected",),
        "hallucination_detected",
        _flag("hallucination_detected", 1.0),
        family="quality",
    ),
    _share(
        "truncation_rate",
        "Truncated answers",
        "Answers cut off at the limit of tokens.",
        ("finish_reason",),
        "finish_reason in (length, max_tokens)",
        _cut_short,
        family="quality",
    ),
    _share(
        "unstreamed_rate",
        "Calls that do not stream",
        "Calls whose answer came in one piece: who asked waits for the first word as long as for the last.",
        ("streaming_enabled",),
        "not streaming_enabled",
        _flag("streaming_enabled", 0.0),
        family="latency",
    ),
    _share(
        "unpriced_rate",
        "Unpriced calls",
        "Calls of paid models without a known price.",
        ("cost_status",),
        "cost_status = unpriced",
        _unpriced,
        family="cost",
    ),
)
