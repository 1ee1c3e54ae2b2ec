"""From outliers and verdicts to the anomalies that are kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tracewatch import causes, words
from tracewatch.detectors import spec
from tracewatch.detectors.spec import Integers, Outliers, Verdict
from tracewatch.metrics import AnomalyType, Rows
from tracewatch.records import MESSAGES_SOURCE, SEVERITIES, Anomaly, iso
from tracewatch.stores.base import Filter, Operator

SPEC, RULES = "spec", "rules"
"""Names of the two detectors of the first form, as `Anomaly.detector` has them."""

NEEDS = (
    *("start_time", "trace_id", "span_id", "user_id"),
    *causes.NEEDS,
)
"""The columns a finding tells about, besides those of the metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose rows were judged, over which time, and when."""

    project: str
    source: str
    since: float
    until: float
    now: float

    def identity(self, *parts: str | None) -> str:
        """An id made from what was found, so finding it twice gives the same one."""
        text = "\x1f".join((self.project, self.source, *(part or "" for part in parts)))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def rows(self) -> list[Filter]:
        """The project's rows that are messages, or that are not."""
        same: Operator = "=" if self.source == "messages" else "!="
        return [Filter("project", "=", (self.project,)), Filter("source", same, (MESSAGES_SOURCE,))]

    def window(self, since: float) -> dict[str, str]:
        """The time that was looked at; its end to the millisecond after, so that the last call is within it."""
        return {"since": iso(since), "until": iso((math.ceil(self.until * 1000) + 0.5) / 1000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Findings of one type in one kind of call: what a person would call one thing."""

    findings: tuple[Anomaly, ...]

    @property
    def worst(self) -> Anomaly:
        """The finding that stands for the others."""
        return max(self.findings, key=lambda each: (SEVERITIES.index(each.severity), each.confidence_score))

    @property
    def weight(self) -> tuple[int, int]:
        """How much it deserves attention: by how bad the worst one is, then by how often it came."""
        return SEVERITIES.index(self.worst.severity), len(self.findings)

    @property
    def period(self) -> tuple[float, float]:
        """When the first and the last of them began, in epoch seconds."""
        times = [each.occurred_at for each in self.findings]
        return min(times), max(times)


def grouped(anomalies: Iterable[Anomaly]) -> list[Group]:
    """Findings by type, operation and model, the group that deserves most attention first."""
    kinds: dict[tuple[str, str | None, str | None], list[Anomaly]] = {}
    for each in anomalies:
        kind = (each.anomaly_type, each.statistics.get("operation_type"), each.model_id)
        kinds.setdefault(kind, []).append(each)
    return sorted((Group(findings=tuple(some)) for some in kinds.values()), key=lambda each: each.weight, reverse=True)


def between(since: float, until: float) -> list[Filter]:
    """Spans that began in `since` <= start < `until`."""
    return [Filter("start_time", ">=", (since,)), Filter("start_time", "<", (until,))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What findings tell about the calls they are in, one entry a found row."""

    times: list[float]
    traces: list[str | None]
    spans: list[str | None]
    users: list[str | None]
    operations: list[str | None]
    models: list[str | None]


def of_outliers(found: Mapping[str, tuple[AnomalyType, Outliers]], rows: Rows, scope: Scope) -> list[Anomaly]:
    """One anomaly for each outlier of each metric, in the order of the metrics."""
    every = causes.union(outliers.rows for _, outliers in found.values())
    if not len(every):
        return []
    calls = _calls(rows, every)
    like = causes.alike(rows, every)
    anomalies: list[Anomaly] = []
    for metric, outliers in found.values():
        positions = causes.positions_in(every, outliers.rows)
        anomalies.extend(_of_metric(metric, outliers, positions, calls, like, scope))
    return anomalies


def of_verdict(rule: str, verdict: Verdict, facts: Mapping[str, Any], scope: Scope, bucket: str) -> Anomaly:
    """The anomaly of a rule that fired. `facts`: metric_name, began, when, and what else backs it up."""
    usage_type = facts.get("usage_type")
    severity = SEVERITIES[verdict.level]
    upper = verdict.limit
    statistics = {
        "expectedRange": {"lower": 0.0, "upper": upper},
        "confidence": verdict.confidence,
        "trace_id": facts.get("trace_id"),
        "operation_type": facts.get("operation_type"),
        "severity": words.stats_severity(severity),
        "label": words.label_of(rule),
        "usage_type": usage_type,
        "n": verdict.n,
        "window": scope.window(facts["began"]),
    }
    return Anomaly(
        project=scope.project,
        id=scope.identity(rule, bucket, usage_type),
        anomaly_type=rule,
        severity=severity,
        confidence_score=verdict.confidence,
        metric_name=facts["metric_name"],
        detected_value=verdict.value,
        expected_value=verdict.expected,
        threshold_value=verdict.limit,
        deviation_percentage=(verdict.value - verdict.expected) / verdict.expected * 100,
        statistics=statistics,
        description=words.sentence(words.describe_rule(rule, verdict, facts["when"], usage_type)),
        recommended_actions=causes.actions(rule),
        detected_at=scope.now,
        occurred_at=facts["began"],
        trace_id=facts.get("trace_id"),
        detector=RULES,
        source=scope.source,
    )


def _calls(rows: Rows, found: Integers) -> Calls:
    return Calls(
        times=rows.numbers("start_time")[found].tolist(),
        traces=rows.texts("trace_id", found),
        spans=rows.texts("span_id", found),
        users=rows.texts("user_id", found),
        operations=rows.texts("operation_type", found),
        models=rows.texts("model_name", found),
    )


def _of_metric(
    metric: AnomalyType, outliers: Outliers, positions: Integers, calls: Calls, like: causes.Alike, scope: Scope
) -> Iterator[Anomaly]:
    usually = words.usually(metric, outliers.lower, outliers.upper)
    shared = {
        "expectedRange": {"lower": outliers.lower, "upper": outliers.upper},
        "label": metric.label,
        "unit": metric.unit,
        "n": outliers.n,
        "mean": outliers.mean,
        "standard_deviation": outliers.deviation,
        "window": scope.window(scope.since),
    }
    led_to_it = causes.factors(metric, like, positions)
    scores = zip(
        positions.tolist(),
        outliers.values.tolist(),
        outliers.z.tolist(),
        spec.levels(outliers.z, metric.threshold).tolist(),
        spec.confidences(outliers.z, outliers.n).tolist(),
        spec.deviations(outliers.values, outliers.mean, outliers.deviation).tolist(),
        led_to_it,
        strict=True,
    )
    for place, value, z, level, confidence, deviation, told in scores:
        trace, span, operation = calls.traces[place], calls.spans[place], calls.operations[place]
        statistics = {**shared, "confidence": confidence, "trace_id": trace, "operation_type": operation, "z": z}
        sentence = words.describe(metric, value, usually, like.subjects[place], calls.times[place])
        yield Anomaly(
            project=scope.project,
            id=scope.identity(metric.key, trace, span),
            user_id=calls.users[place],
            anomaly_type=metric.key,
            severity=SEVERITIES[level],
            confidence_score=confidence,
            metric_name=metric.name,
            model_id=calls.models[place],
            detected_value=value,
            expected_value=outliers.mean,
            threshold_value=outliers.limit,
            deviation_percentage=deviation,
            statistics=statistics,
            description=words.sentence(sentence),
            contributing_factors=tuple(factor.text for factor in told),
            recommended_actions=causes.actions(metric.key, told),
            detected_at=scope.now,
            occurred_at=calls.times[place],
            trace_id=trace,
            span_id=span,
            detector=SPEC,
            source=scope.source,
        )
