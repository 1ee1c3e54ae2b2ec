"""What each call was expected to bring, from calls of its kind, and how far beyond it came."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tracewatch.explaining.calls import Calls
from tracewatch.slices import Bools, Coded, Floats, Integers

FEWEST_ALIKE = 5  # the mean of fewer calls is chance
FEWEST_FITTED = 30  # calls of a kind before their tokens are allowed for: three numbers are learned
PULL = 20  # calls; the usual of a value seen in fewer is mostly chance
MOST_OFF = 4.0  # a fitted value is kept within so many times the mean of its kind, either way
BY_TOKENS = frozenset({"duration_ms", "latency_ms", "ttft_ms", "inference_time_ms", "cost_usd"})
"""Metrics that a long prompt or a long answer moves by itself."""


def sign(calls: Calls) -> float:
    """1 where more is what the story is about, -1 where less is."""
    return 1.0 if calls.story.direction == "up" else -1.0


def excess(calls: Calls) -> Floats:
    """How far each call is beyond what was expected of it, in the story's direction; NaN where it reports nothing."""
    return sign(calls) * (calls.values - expected(calls))


def departures(calls: Calls, attributes: Iterable[Coded]) -> Floats:
    """How far each call is from what is usual for its kind and for its values of these attributes, to compare calls by.

    Times, tokens and money are compared by their ratios (natural logarithms), since ten times a short call counts as
    much as ten times a long one; scores and rates by their differences. From what `expected` leaves over the usual
    median of the kind is taken away, then, attribute by attribute, what calls of the same value usually have, shrunk by
    `n / (n + 20)`: who is always slow is no news. In the story's direction; NaN where a call reports nothing. Our own.
    """
    values, like = calls.values, expected(calls)
    ratios = calls.measure.family in ("time", "money", "tokens") or calls.measure.unit in ("ms", "tokens", "USD")
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.log(values / like) if ratios else values - like
    left[~np.isfinite(left)] = np.nan
    known = calls.usual & np.isfinite(left)
    if ratios:
        left -= _medians(left, known, _kinds(calls))
    for codes, words in attributes:
        count = len(words)
        sizes = np.bincount(codes[known], minlength=count)
        sums = np.bincount(codes[known], left[known], count)
        left = left - (sums / (sizes + PULL))[codes]
    return sign(calls) * left


def expected(calls: Calls) -> Floats:
    """The metric as usual calls of each call's kind have it: same operation and model, else same operation, else any.

    A kind counts with five usual calls. Where tokens move the metric by themselves and 30 usual calls are known, it is
    `a + b · uncached input + c · output`, fitted by least squares to those calls and kept within four times the mean
    of the kind. NaN where nothing is usual. Our own.
    """
    values, known = calls.values, calls.usual & np.isfinite(calls.values)
    found = np.full(len(values), _mean(values[known]))
    for kinds in (calls.coded("operation_type")[0], _kinds(calls)):
        found = _by_kind(values, known, kinds, found)
    return _by_tokens(calls, known, _kinds(calls), found) if calls.measure.name in BY_TOKENS else found


def _kinds(calls: Calls) -> Integers:
    """Operation and model as one number."""
    operations, models = calls.coded("operation_type")[0], calls.coded("model_name")[0]
    return operations * (int(models.max(initial=0)) + 1) + models


def _medians(values: Floats, known: Bools, kinds: Integers) -> Floats:
    """The median of each kind that has enough calls; 0 of the others."""
    found = np.zeros(len(values))
    for kind in np.unique(kinds[known]).tolist():
        of_kind = kinds == kind
        if (of_kind & known).sum() >= FEWEST_ALIKE:
            found[of_kind] = np.median(values[of_kind & known])
    return found


def _by_kind(values: Floats, known: Bools, kinds: Integers, otherwise: Floats) -> Floats:
    """The mean of each kind that has enough calls."""
    _, numbers = np.unique(kinds, return_inverse=True)
    count = int(numbers.max(initial=-1)) + 1
    sizes = np.bincount(numbers[known], minlength=count)
    sums = np.bincount(numbers[known], values[known], count)
    means = np.divide(sums, sizes, out=np.full(count, np.nan), where=sizes >= FEWEST_ALIKE)[numbers]
    return np.where(np.isnan(means), otherwise, means)


def _by_tokens(calls: Calls, known: Bools, kinds: Integers, otherwise: Floats) -> Floats:
    """The expectation given the tokens of each call."""
    sent, read = (np.nan_to_num(calls.numbers(name)) for name in ("input_tokens", "cache_read_input_tokens"))
    answered = np.nan_to_num(calls.numbers("output_tokens"))
    design = np.column_stack([np.ones(len(sent)), np.maximum(sent - read, 0), answered])
    found = otherwise.copy()
    for kind in np.unique(kinds[known]).tolist():
        of_kind = kinds == kind
        learned = of_kind & known
        if learned.sum() < FEWEST_FITTED:
            continue
        fitted = np.linalg.lstsq(design[learned], calls.values[learned], rcond=1e-9)[0]
        mean = _mean(calls.values[learned])
        found[of_kind] = np.clip(design[of_kind] @ fitted, mean / MOST_OFF, mean * MOST_OFF)
    return found


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
