"""What may have led to a finding, from the numbers of its row against those of its like, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import numpy as np

from tracewatch import words
from tracewatch.detectors.spec import Direction, Floats, Integers
from tracewatch.metrics import LATENCY, TYPES, AnomalyType, Rows, measure

TELLING_RATIO = 1.5  # below it a number is within what calls of one kind do anyway
GROUP_SAMPLE = 10_000  # rows per kind of call; the median of so many is within a per cent of rank of the true one
FEWEST_ALIKE = 5  # the median of fewer calls is chance
MOST_FACTORS = 4  # more is a list nobody reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A number of the row that can explain another."""

    name: str
    text: str
    unit: str | None
    bad: Direction
    advice: str
    less: str
    """What a number below the usual means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One thing that may have led to a finding, and what to do about it."""

    name: str
    text: str
    advice: str


Weighed = tuple[int, tuple[float, Factor]]
"""A place among the found rows, how telling the factor is, and the factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Medians of each finding's own kind of call: the same operation and model, in the window."""

    subjects: list[str]
    statuses: list[str | None]
    values: Mapping[str, Floats]
    medians: Mapping[str, Floats]


def _driver(name: str, text: str, unit: str | None, advice: str, bad: Direction = "up", less: str = "less") -> Driver:
    return Driver(name=name, text=text, unit=unit, advice=advice, bad=bad, less=less)


DRIVERS = {
    each.name: each
    for each in (
        _driver("output_tokens", "the answer is", "tokens", "Cap the length of answers with max_tokens."),
        _driver("input_tokens", "the input is", "tokens", "Look at what made the prompt grow."),
        _driver("context_tokens", "the context is", "tokens", "Retrieve fewer or shorter chunks."),
        _driver("ttft_ms", "the first token took", "ms", "Compare the provider's first-token times around then."),
        _driver(
            "queue_time_ms", "the provider's queue took", "ms", "Check the provider's status page and rate limits."
        ),
        _driver("retrieval_latency_ms", "retrieval took", "ms", "Look at the index and its load at that time."),
        _driver(
            "tokens_per_second", "the answer came at", "tokens/s", "Try another model or region.", "down", "slower"
        ),
        _driver(
            "cache_hit_rate", "the cache gave", "share", "Compare the start of the prompt with earlier ones.", "down"
        ),
    )
}

# Which numbers can explain which type; a number never explains itself.
EXPLAINED_BY: Mapping[str, tuple[str, ...]] = {
    "duration": (
        "output_tokens",
        "ttft_ms",
        "queue_time_ms",
        "retrieval_latency_ms",
        "tokens_per_second",
        "input_tokens",
    ),
    "latency": ("output_tokens", "input_tokens"),
    "ttft": ("queue_time_ms", "input_tokens", "cache_hit_rate", "retrieval_latency_ms"),
    "throughput": ("queue_time_ms", "input_tokens", "ttft_ms"),
    "tokens": ("input_tokens", "output_tokens", "context_tokens"),
    "cache_miss": ("input_tokens", "context_tokens"),
    "cost": ("output_tokens", "input_tokens", "cache_hit_rate", "context_tokens"),
    "rag_latency": ("context_tokens",),
    "rag_relevance": ("context_tokens", "retrieval_latency_ms"),
    "context_bloat": ("input_tokens", "retrieval_latency_ms"),
    "queue_time": ("input_tokens",),
}

_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "duration": ("Open the trace and see which part took the time.",),
    "latency": ("See whether other messages of that hour were slow too.",),
    "ttft": ("Check whether other calls to this provider started late at that time.",),
    "throughput": ("Compare the model's throughput with an hour before; a drop for all calls is the provider's.",),
    "tokens": ("Open the trace and see what filled the prompt or the answer.",),
    "cache_miss": ("Check whether the prompt starts differently or the cache had expired.",),
    "cost": ("Open the trace and compare its tokens with a usual call.",),
    "rag_latency": ("Check the index, its load and the network to it.",),
    "rag_relevance": ("Look at the query and what was retrieved for it.", "Check when the index was last updated."),
    "context_bloat": ("Limit how many chunks and how much history go into the prompt.",),
    "queue_time": ("Check the provider's status page.", "Spread the load or ask for a higher rate limit."),
    "cost_spike": ("List today's dearest calls and see what they have in common.", "Look for a loop or a new job."),
    "call_spike": ("Look for a loop, a retry storm or a new job that makes these calls.",),
    "high_error_rate": (
        "List the failed calls of that hour and read their errors.",
        "Check the provider's status page.",
    ),
    "high_fallback_rate": (
        "Read the errors of the rerank calls that fell back.",
        "Check the reranker's model and limits.",
    ),
}

NEEDS = ("input_tokens", "output_tokens", "retry_count", "status", "operation_type", "model_name")
"""The columns that factors are found in, besides those of the metrics."""


def union(found: Iterable[Integers]) -> Integers:
    """The rows in any of these, each once, in order."""
    every = list(found)
    return np.unique(np.concatenate(every)) if every else np.empty(0, np.int64)


def positions_in(every: Integers, some: Integers) -> Integers:
    """Where each of some rows stands among all found ones (which are in order)."""
    return np.searchsorted(every, some)


def alike(rows: Rows, found: Integers) -> Alike:
    """For each found row, its own numbers and the medians of its kind of call."""
    operations, operation_words = rows.codes("operation_type")
    models, model_words = rows.codes("model_name")
    kinds = operations * len(model_words) + models
    kind_of_found, where = np.unique(kinds[found], return_inverse=True)
    subjects = [
        words.who(operation_words[kind // len(model_words)], model_words[kind % len(model_words)])
        for kind in kind_of_found.tolist()
    ]
    samples = list(_samples(kinds, kind_of_found))
    columns = {name: rows.numbers(name) for name in ("input_tokens", "output_tokens", "retry_count")}
    columns |= {metric.name: measure(metric, rows) for metric in TYPES}
    return Alike(
        subjects=[subjects[each] for each in where.tolist()],
        statuses=rows.texts("status", found),
        values={name: values[found] for name, values in columns.items()},
        medians={name: _medians(values, samples)[where] for name, values in columns.items()},
    )


def factors(metric: AnomalyType, like: Alike, positions: Integers) -> list[tuple[Factor, ...]]:
    """What may have led to each of these found rows, the most telling first; empty when nothing stands out."""
    found: list[list[tuple[float, Factor]]] = [[] for _ in range(len(positions))]
    for name in EXPLAINED_BY[metric.key]:
        for place, told in _driven(DRIVERS[name], like, positions):
            found[place].append(told)
    for place, told in _circumstances(like, positions):
        found[place].append(told)
    ordinary = _ordinary(metric, like, positions)
    return [_most_telling(each) if each else ordinary[place] for place, each in enumerate(found)]


def actions(anomaly_type: str, led_to_it: Sequence[Factor] = ()) -> tuple[str, ...]:
    """What to do about a finding of this type with these factors, the first thing first."""
    return _advice(anomaly_type, tuple([factor.advice for factor in led_to_it]))


@lru_cache(maxsize=1024)  # the few combinations there are, for the many findings there may be
def _advice(anomaly_type: str, advice: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_ACTIONS[anomaly_type], *(each for each in advice if each))))


def _samples(kinds: Integers, wanted: Integers) -> Iterator[Integers]:
    """Rows of each wanted kind, evenly thinned out to GROUP_SAMPLE."""
    order = np.argsort(kinds, kind="stable")
    ordered = kinds[order]
    starts, ends = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield order[start : end : max(1, (end - start) // GROUP_SAMPLE)]


def _medians(values: Floats, samples: Sequence[Integers]) -> Floats:
    """The median of each sample; NaN where too few of it have a value."""
    medians = np.full(len(samples), np.nan)
    for place, sample in enumerate(samples):
        present = values[sample]
        present = present[~np.isnan(present)]
        if len(present) >= FEWEST_ALIKE:
            medians[place] = np.median(present)
    return medians


def _most_telling(told: list[tuple[float, Factor]]) -> tuple[Factor, ...]:
    told.sort(key=itemgetter(0), reverse=True)
    return tuple([factor for _, factor in told[:MOST_FACTORS]])


def _driven(driver: Driver, like: Alike, positions: Integers) -> Iterator[Weighed]:
    """The rows in which this number is far from what calls of their kind have."""
    values, medians = like.values[driver.name][positions], like.medians[driver.name][positions]
    usable = (medians > 0) & np.isfinite(values)
    ratios = np.divide(values, medians, out=np.ones(len(values)), where=usable)
    telling = ratios >= TELLING_RATIO if driver.bad == "up" else ratios <= 1 / TELLING_RATIO
    for place in np.flatnonzero(telling).tolist():
        ratio = ratios[place].item()
        usual = words.known_amount(medians[place].item(), driver.unit)
        value = words.amount(values[place].item(), driver.unit)
        far = words.times(ratio) if driver.bad == "up" else words.below(ratio, driver.less)
        text = f"{driver.text} {value}, {far} the usual {usual} of {like.subjects[positions[place]]}"
        # A number of a tenth tells as much as one of ten times; nothing at all tells more than either.
        weight = ratio if driver.bad == "up" else 1 / max(ratio, 0.01)
        yield place, (weight, Factor(name=driver.name, text=text, advice=driver.advice))


def _circumstances(like: Alike, positions: Integers) -> Iterator[Weighed]:
    """What happened to the call itself: retries and how it ended. They come before any ratio."""
    retries = like.values["retry_count"][positions]
    for place in np.flatnonzero(retries >= 1).tolist():
        count = retries[place].item()
        text = f"{count:.0f} {'retry' if count == 1 else 'retries'} before the answer"
        yield place, (1e9, Factor(name="retry_count", text=text, advice="See why the client had to try again."))
    for place, position in enumerate(positions.tolist()):
        status = like.statuses[position]
        if status is not None and status != "ok":
            text = f"the call ended as {status}"
            yield place, (2e9, Factor(name="status", text=text, advice="Read the call's error message."))


def _ordinary(metric: AnomalyType, like: Alike, positions: Integers) -> list[tuple[Factor, ...]]:
    """Where the value is what calls of that kind have anyway, saying so: the window mixes different kinds."""
    name = "duration_ms" if metric is LATENCY else metric.name
    values, medians = like.values[name][positions], like.medians[name][positions]
    ratios = np.divide(values, medians, out=np.full(len(values), np.nan), where=medians > 0)
    plain = (ratios < TELLING_RATIO) & (ratios > 1 / TELLING_RATIO)
    told: list[tuple[Factor, ...]] = [()] * len(positions)
    for place in np.flatnonzero(plain).tolist():
        usual = words.known_amount(medians[place].item(), metric.unit)
        text = f"ordinary for {like.subjects[positions[place]]} (its median is {usual}), rare in the mix of all calls"
        told[place] = (Factor(name="kind", text=text, advice=""),)
    return told
