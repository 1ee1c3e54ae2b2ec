"""METRICS: everything that is watched, one row each, and who judges it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tracewatch.detectors.adaptive.channels import CHANNELS
from tracewatch.detectors.adaptive.intake import WATCHED
from tracewatch.detectors.adaptive.rates import RATES
from tracewatch.metrics.base import Metric
from tracewatch.metrics.calls import DERIVED, FIELDS
from tracewatch.metrics.comparisons import COMPARISONS
from tracewatch.metrics.shares import SHARES
from tracewatch.metrics.traces import CONVERSATIONS, HIERARCHY
from tracewatch.metrics.types import TYPES
from tracewatch.metrics.volumes import BATCHES, NEWS, VOLUMES

METRICS = (*FIELDS, *DERIVED, *SHARES, *VOLUMES, *CONVERSATIONS, *HIERARCHY, *COMPARISONS, *BATCHES, *NEWS)
"""Everything that is watched; metrics of the user's own come on top (see custom.py)."""

METRIC_OF: Mapping[str, Metric] = {each.key: each for each in METRICS}

FIRSTS = ("first_seen_model", "first_seen_error_type", "unpriced_rate")
"""What the engine tells of values that it sees for the first time."""

ENGINE: frozenset[str] = frozenset({*(channel.metric for channel in CHANNELS), *RATES, *FIRSTS, *WATCHED, "call_count"})
"""Names under which the adaptive engine tells of metrics."""

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
    """The metric's name in alerts of the adaptive engine."""
    type: str
    """The anomaly type of the first form."""
    threshold: float | None
    """That type's, in standard deviations."""
    rule: str
    series: bool
    """Whether its hours are judged as a series of their own (see hourly.py), because the user declared it."""
    declarable: bool
    """Whether they would be, once the user declares it: what the engine does not judge and has a value by the hour."""

    def __bool__(self) -> bool:
        return bool(self.engine or self.type or self.rule or self.series)


def judges_of(metric: Metric, declared: Collection[str] = ()) -> Judges:
    """Who judges a metric, as the detectors themselves say, when the user has declared those of these keys."""
    kind = next((each for each in TYPES if each.name == metric.key), None)
    engine = metric.alert if metric.alert in ENGINE or metric.family == "custom" else ""
    declarable = not engine and metric.measured is not None and metric.grain != "day"
    return Judges(
        engine=engine,
        type=kind.key if kind else "",
        threshold=kind.threshold if kind else None,
        rule=RULES.get(metric.key, ""),
        series=declarable and metric.key in declared,
        declarable=declarable,
    )


SERIES = tuple(each for each in METRICS if judges_of(each).declarable)
"""Those whose hours are judged as series once the user declares them."""
