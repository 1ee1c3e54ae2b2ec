"""What else is different about the calls of a story: other numbers of theirs that moved beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from tracewatch import words
from tracewatch.explaining.calls import Calls
from tracewatch.explaining.measures import MEASURES, Measure
from tracewatch.explaining.story import Cause
from tracewatch.slices import Bools, Floats

WATCHED = (
    *("duration_ms", "ttft_ms", "tokens_per_second", "queue_time_ms", "network_time_ms", "retrieval_latency_ms"),
    *("input_tokens", "output_tokens", "cache_hit_rate", "cost_usd", "rag_relevance_score", "error_rate"),
    *("timeout_rate", "fallback_rate", "retry_rate"),
)
LEADS_TO: Mapping[str, tuple[str, ...]] = {
    "groundedness_score": ("rag_relevance_score",),
    "hallucination_rate": ("rag_relevance_score",),
    "ungrounded_rate": ("rag_relevance_score",),
    "timeout_rate": ("queue_time_ms", "ttft_ms", "tokens_per_second", "input_tokens"),
}
"""Which numbers, when they move too, are the nearer reason of a metric."""
LEADS_TO_KINDS = {
    "rag_relevance_score": "relevance",
    "queue_time_ms": "queue",
    "ttft_ms": "first_token",
    "tokens_per_second": "slower_speed",
    "input_tokens": "tokens",
}
SURE = 4.0  # standard errors: some twenty numbers are looked at in each story
LEAST = 0.1  # of the usual value; a smaller move explains nothing
FEWEST = 8  # calls on either side; the error of a mean of fewer is not known
ANOTHER_MODEL = 0.15  # speed and length of answers both moved so much: models differ in both, load only in one


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A number that the calls of the story have otherwise than usual calls of their kind."""

    measure: Measure
    before: float
    after: float
    errors: float
    """How many standard errors apart."""

    @property
    def change(self) -> float:
        """As a share of the usual value."""
        return (self.after - self.before) / abs(self.before) if self.before else float("inf")


def moved(calls: Calls) -> list[Moved]:
    """The numbers that moved, the surest first; the story's own metric is not among them.

    Usual calls count by the shares that their kinds (operation and model) have among the calls since the onset.
    """
    mix = _mix(calls)
    found = [
        each
        for name in WATCHED
        if name != calls.measure.name and (each := _compared(calls, MEASURES[name], mix)) is not None
    ]
    telling = [each for each in found if abs(each.errors) >= SURE and abs(each.change) >= LEAST]
    return sorted(telling, key=lambda each: -abs(each.errors))


def document(found: Sequence[Moved]) -> list[dict[str, Any]]:
    """The numbers, ready for JSON."""
    return [
        {
            "metric": each.measure.name,
            "unit": each.measure.unit,
            "before": each.before,
            "after": each.after,
            "standard_errors": each.errors,
        }
        for each in found
    ]


def causes(calls: Calls, found: Sequence[Moved], cut: bool) -> Iterator[Cause]:
    """The nearer reason of the metric, and signs of another model behind the same name (not where answers are cut)."""
    reasons = LEADS_TO.get(calls.measure.name, ())
    for each in found:
        if each.measure.name in reasons:
            yield Cause(kind=LEADS_TO_KINDS[each.measure.name], weight=0.6, text=_told(each))
    if not cut:
        yield from _another_model(calls, {each.measure.name: each for each in found})


def _another_model(calls: Calls, found: Mapping[str, Moved]) -> Iterator[Cause]:
    """Speed and length of the answers of one model moved at once, as they do when another model answers."""
    own = _own(calls)
    speed, length = (found.get(name) or own.get(name) for name in ("tokens_per_second", "output_tokens"))
    model = _one(calls, "model_name")
    if speed is None or length is None or model is None or calls.measure.family not in ("time", "tokens", "money"):
        return
    if min(abs(speed.change), abs(length.change)) < ANOTHER_MODEL:
        return
    text = (
        f"answers of {model} come at {words.amount(speed.after, 'tokens/s')} instead of "
        f"{words.amount(speed.before, 'tokens/s')} and have {words.amount(length.after, 'tokens')} instead of "
        f"{words.amount(length.before, 'tokens')}: as if another model answered under that name"
    )
    yield Cause(kind="alias", weight=0.75, text=text, names={"model_name": model})


def _own(calls: Calls) -> dict[str, Moved]:
    """The story's own metric as something that moved."""
    if calls.measure.name not in ("tokens_per_second", "output_tokens"):
        return {}
    own = _compared(calls, calls.measure, _mix(calls))
    return {calls.measure.name: own} if own is not None else {}


def _one(calls: Calls, name: str) -> str | None:
    """The one value that all calls of the story have."""
    found = {each for each in calls.words(name, calls.now) if each}
    return found.pop() if len(found) == 1 else None


def _told(each: Moved) -> str:
    return (
        f"these calls {each.measure.verb.format(value=words.amount(each.after, each.measure.unit))}, "
        f"usually {words.amount(each.before, each.measure.unit)}"
    )


def _mix(calls: Calls) -> Floats:
    """How much each usual call counts so that their kinds have the shares of the calls since the onset."""
    operations, models = calls.coded("operation_type")[0], calls.coded("model_name")[0]
    _, kinds = np.unique(operations * (int(models.max(initial=0)) + 1) + models, return_inverse=True)
    count = int(kinds.max(initial=-1)) + 1
    now, then = (np.bincount(kinds[which], minlength=count) for which in (calls.now, calls.then))
    return np.divide(now, then, out=np.zeros(count), where=then > 0)[kinds]


def _compared(calls: Calls, measure: Measure, mix: Floats) -> Moved | None:
    values = measure.values(calls.rows)
    known = np.isfinite(values)
    now, then = calls.now & known, calls.then & known & (mix > 0)
    if min(now.sum(), then.sum()) < FEWEST:
        return None
    after, spread = _mean_and_error(values, now, np.ones(len(values)))
    before, usual_spread = _mean_and_error(values, then, mix)
    error = sqrt(spread**2 + usual_spread**2)
    errors = (
        (after - before) / error if error > 0 else (0.0 if after == before else float(np.sign(after - before)) * 99)
    )
    return Moved(measure=measure, before=before, after=after, errors=errors)


def _mean_and_error(values: Floats, which: Bools, weights: Floats) -> tuple[float, float]:
    """A weighted mean and its standard error."""
    shares = weights[which] / weights[which].sum()
    mean = float(shares @ values[which])
    return mean, float(np.sqrt(np.square(shares) @ np.square(values[which] - mean)))
