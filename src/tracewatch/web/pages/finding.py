"""One finding as it is shown: its numbers as texts, and what stands below it when it is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tracewatch import formats, headlines
from tracewatch.dealing import deeds_about
from tracewatch.explaining.measures import measure_of
from tracewatch.records import Anomaly, Deed
from tracewatch.stores.measures import KEYS
from tracewatch.web import charts
from tracewatch.web.asking import Asked
from tracewatch.web.pages.overview import title_of_course
from tracewatch.web.views import feed
from tracewatch.web.views.judged import Judged, course

HOUR_S = 3600.0
LEAD_S, TRAIL_S = 18 * HOUR_S, 6 * HOUR_S
MOST_S = 7 * 24 * HOUR_S
TOLD_AS_RATIO = 1.5
UNSAID = frozenset({"expectedRange", "label", "trace_id", "confidence", "operation_type", "unit", "severity"})
"""Statistics that stand elsewhere in the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """What stands below a finding."""

    chart: charts.Band | None
    title: str
    statistics: tuple[tuple[str, str], ...]
    deeds: tuple[Deed, ...]
    traces: tuple[str, ...]


def value_of(finding: Anomaly, value: float | None) -> str:
    """A value of the finding's metric in its unit."""
    if value is None:
        return formats.MISSING
    measure = measure_of(finding.metric_name)
    return formats.count(round(value)) if measure.family == "volume" else formats.amount(value, measure.unit)


def usual_of(finding: Anomaly) -> str:
    """What was expected, in the words of its incident: as a range where one is known."""
    told: Any = finding.statistics.get("expectedRange") or {}
    low, high = told.get("lower"), told.get("upper")
    if high is not None and low is None:
        low = 0.0
    said = headlines.usual_range(finding.metric_name, low, high, finding.expected_value)
    return said or value_of(finding, finding.expected_value)


def deviation(finding: Anomaly) -> str:
    """How far the value is from what was expected: as a ratio, in points of a share, or in per cent."""
    value, expected = finding.detected_value, finding.expected_value
    if measure_of(finding.metric_name).unit == "share":
        return f"{_signed((value - expected) * 100)}{formats.THIN}points"
    if expected <= 0 or value <= 0:
        return ""
    ratio = value / expected
    if ratio >= TOLD_AS_RATIO:
        return formats.ratio(ratio)
    return f"{_signed((ratio - 1) * 100)}{formats.THIN}%"


def _signed(value: float) -> str:
    """A change in whole numbers, with a minus that is as wide as the plus."""
    return f"{value:+.0f}".replace("-", "\N{MINUS SIGN}")


def more_of(asked: Asked, finding: Anomaly) -> More:
    """What stands below a finding that is open."""
    course = _chart(asked, finding)
    traces = dict.fromkeys((*((finding.trace_id,) if finding.trace_id else ()), *finding.trace_ids))
    return More(
        chart=course[1] if course else None,
        title=course[0] if course else "",
        statistics=tuple(_statistics(finding)),
        deeds=deeds_about(asked.store, finding.project, [finding.id]),
        traces=tuple(traces)[:4],
    )


def _chart(asked: Asked, finding: Anomaly) -> tuple[str, charts.Band] | None:
    """The metric of such calls around the finding; None where rollups do not hold it."""
    end = min(finding.ended_at or finding.occurred_at + TRAIL_S, finding.occurred_at + MOST_S)
    until = min(max(end, finding.occurred_at) + TRAIL_S, asked.now)
    told = finding.slice if finding.slice is not None else feed.about_of(finding)
    slice = {name: value for name, value in told.items() if name in KEYS}
    if finding.slice is not None and len(slice) < len(finding.slice):
        return None  # the course of other calls would show something else
    since = finding.occurred_at - LEAD_S
    it = course(asked.store, asked.caller, Judged.of_finding(finding, slice), since, until, asked.now)
    if it is None or not any(each is not None for each in it.values):
        return None
    title = title_of_course(finding.metric_name, it)
    band = charts.band(
        replace(it, label=f"{title}: {finding.description}"), asked.zone, asked.now,
        onset=finding.occurred_at, until=min(finding.ended_at or finding.occurred_at + it.step_s, it.end), ticks=2,
    )  # fmt: skip
    return title, band


def _statistics(finding: Anomaly) -> Iterator[tuple[str, str]]:
    yield "Value", value_of(finding, finding.detected_value)
    yield "Expected", value_of(finding, finding.expected_value)
    yield "Beyond", value_of(finding, finding.threshold_value)
    yield "Deviation", f"{finding.deviation_percentage:+,.0f}{formats.THIN}%"
    yield "Confidence", f"{min(finding.confidence_score, 0.99):.2f}"
    for name, value in _flat(finding.statistics):
        yield name.replace("_", " ").capitalize(), value
    yield "Metric", finding.metric_name
    yield "Detector", finding.detector
    yield "Found in", "messages" if finding.source == "messages" else "llm_traces"


def _flat(told: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Statistics as names and texts; what is empty, or stands elsewhere, is left out."""
    for name, value in told.items():
        if name in UNSAID or value in (None, "", [], {}):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name} ")
        elif isinstance(value, bool):
            yield f"{before}{name}", "yes" if value else "no"
        elif isinstance(value, (int, float)):
            yield f"{before}{name}", f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{before}{name}", text[:200]
