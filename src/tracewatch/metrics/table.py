"""METRICS: everything that is watched, one row each, and who judges it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tracewatch.detectors.adaptive.channels import CHANNELS
from tracewatch.detectors.adaptive.intake import WATCHED
from tracewatch.detectors.adaptive.rates import RATES
from tracewatch.detectors.adaptive.runs import DURATION, FAILED
from tracewatch.detectors.adaptive.streaks import UNREPORTED
from tracewatch.metrics.base import Metric
from tracewatch.metrics.calls import DERIVED, FIELDS
from tracewatch.metrics.comparisons import COMPARISONS
from tracewatch.metrics.found import TRUTH
from tracewatch.metrics.health import HEALTH
from tracewatch.metrics.observing import EACH_ANSWER, EACH_CALL, FLAGS, REASONS
from tracewatch.metrics.requests import DEPTH, LOOPS, MISSING, SPANS
from tracewatch.metrics.shares import SHARES
from tracewatch.metrics.traces import CONVERSATIONS, HIERARCHY
from tracewatch.metrics.turns import COST, GROWTH, TURNS
from tracewatch.metrics.types import TYPES
from tracewatch.metrics.volumes import BATCHES, NEWS, VOLUMES

METRICS = (*FIELDS, *DERIVED, *SHARES, *VOLUMES, *CONVERSATIONS, *HIERARCHY, *COMPARISONS, *BATCHES, *NEWS, *HEALTH)
"""Everything that is watched; metrics of the user's own come on top (see custom.py)."""

METRIC_OF: Mapping[str, Metric] = {each.key: each for each in METRICS}

FIRSTS = ("first_seen_model", "first_seen_error_type", "unpriced_rate")
"""What the engine tells of values that it sees for the first time."""

ROOTS = ("quality", "metadata", TRUTH, FLAGS.name, REASONS.name, MISSING, UNREPORTED)
"""First words of the names under which the engine tells of what it found by itself."""

ENGINE: frozenset[str] = frozenset(
    {
        *(channel.metric for channel in CHANNELS),
        *RATES,
        *FIRSTS,
        *WATCHED,
        *(thing.name for thing in (*EACH_CALL, *EACH_ANSWER, LOOPS, DEPTH, SPANS, TURNS, COST, GROWTH)),
        *(f"{root}.…" for root in ROOTS),
        DURATION,
        FAILED,
        "call_count",
    }
)
"""Names under which the adaptive engine tells of metrics; … stands for the name of what was found."""

RULES: Mapping[str, str] = {
    "cost_per_day": "cost_spike",
    "calls_per_day": "call_spike",
    "error_rate": "high_error_rate",
    "fallback_rate": "high_fallback_rate",
}
"""The rule that judges a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """Who looks at a metric; empty texts and None where nobody does."""

    engine: str
    """The metric's name in alerts of the adaptive engine; ends in `…` where that of its part follows."""
    type: str
    """The anomaly type of the first form."""
    threshold: float | None
    """That type's, in standard deviations."""
    rule: str
    series: bool
    """Whether its hours are judged as a series of their own (see hourly.py), because the user declared it."""
    declarable: bool
    """Whether they would be, once the user declares it: what has a value by the hour and no name of its own in the
    engine's alerts."""
    itself: bool = False
    """Whether tracewatch judges it by a fixed limit, because it is about itself."""

    def __bool__(self) -> bool:
        return bool(self.engine or self.type or self.rule or self.series or self.itself)


def judges_of(metric: Metric, declared: Collection[str] = ()) -> Judges:
    """Who judges a metric, as the detectors themselves say, when the user has declared those of these keys."""
    kind = next((each for each in TYPES if each.name == metric.key), None)
    engine = metric.alert if metric.alert in ENGINE or metric.family == "custom" else ""
    declarable = engine != metric.key and metric.measured is not None and metric.grain != "day"
    declarable = declarable and metric.family != "custom"
    return Judges(
        engine=engine,
        type=kind.key if kind else "",
        threshold=kind.threshold if kind else None,
        rule=RULES.get(metric.key, ""),
        series=declarable and metric.key in declared,
        declarable=declarable,
        itself=metric.family == "health",
    )


SERIES = tuple(each for each in METRICS if judges_of(each).declarable)
"""Those whose hours are judged as series once the user declares them."""
