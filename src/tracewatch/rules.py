"""The four rules over a project's calls: its last hour, its day so far and the seven days before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch import findings, words
from tracewatch.detectors import spec
from tracewatch.detectors.spec import Verdict
from tracewatch.findings import Scope
from tracewatch.records import STEPS, Anomaly
from tracewatch.times import DAY_S, HOUR_S

HISTORY_DAYS = 7

NEEDS = ("start_time", "status", "cost_usd", "usage_type", "operation_type", "trace_id")
"""The columns of single calls that the rules look at."""

MEASURES = ("calls", "ok_calls", "fallback_calls", "cost_usd_sum")
"""The measures of rollups that they look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The moments the rules look at, all before `until`, which is not in them itself."""

    until: float

    @property
    def hour(self) -> float:
        """Where the last hour begins."""
        return self.until - HOUR_S

    @property
    def whole_hours(self) -> float:
        """Up to where the day so far consists of whole clock hours."""
        return float(self.until // HOUR_S * HOUR_S)

    @property
    def day(self) -> float:
        """Midnight (UTC) of the day of the last moment before `until`."""
        return float((math.ceil(self.until / DAY_S) - 1) * DAY_S)

    @property
    def history(self) -> float:
        """Where the seven days before that day begin."""
        return self.day - HISTORY_DAYS * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Calls of one usage type and operation in one period, counted."""

    began: float
    usage_type: str | None
    operation_type: str | None
    calls: int
    failed: int
    fallbacks: int
    cost_usd: float

    @property
    def of_steps(self) -> bool:
        """Whether these are steps around calls of a model, and no calls themselves."""
        return self.operation_type in STEPS

    @property
    def reranks(self) -> bool:
        """Whether these are rerank calls: the word stands in the operation or the usage type."""
        return any("rerank" in (text or "").lower() for text in (self.usage_type, self.operation_type))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the rules judge: tallies of the seven days before, the day so far and the last hour."""

    history: Sequence[Tally]
    today: Sequence[Tally]
    last_hour: Sequence[Tally]
    failed_trace: str | None
    """The trace of the newest call of the last hour that did not end ok."""


def tally(calls: pa.Table) -> list[Tally]:
    """Single calls (columns NEEDS), counted by usage type and operation."""
    slices = ["usage_type", "operation_type"]
    counted = pa.table(
        {
            **{name: calls[name] for name in slices},
            "calls": pa.repeat(1, len(calls)),
            "failed": pc.not_equal(calls["status"], "ok").cast(pa.int64()),
            "fallbacks": pc.equal(calls["status"], "fallback").cast(pa.int64()),
            "cost_usd": pc.fill_null(calls["cost_usd"], 0.0),
            "began": calls["start_time"],
        }
    )
    sums = [(name, "sum") for name in ("calls", "failed", "fallbacks", "cost_usd")]
    rows = counted.group_by(slices).aggregate([*sums, ("began", "min")]).to_pylist()
    return [
        Tally(**{name.removesuffix("_sum").removesuffix("_min"): value for name, value in row.items()}) for row in rows
    ]


def reranks(calls: pa.Table) -> pa.ChunkedArray:
    """Which of these calls are rerank calls, as `Tally.reranks` says it."""
    named = [pc.match_substring(pc.utf8_lower(calls[name]), "rerank") for name in ("usage_type", "operation_type")]
    return pc.or_(*(pc.fill_null(each, False) for each in named))


def days_of_history(counts: Counts) -> int:
    """How many of the seven days before have any calls."""
    return len({each.began // DAY_S for each in counts.history if each.calls})


def newest_failed(calls: pa.Table) -> str | None:
    """The trace of the newest call of a model that did not end ok."""
    steps = pc.fill_null(pc.is_in(calls["operation_type"], value_set=pa.array(STEPS)), False)
    failed = calls.filter(pc.and_(pc.not_equal(calls["status"], "ok"), pc.invert(steps))).sort_by("start_time")
    return str(failed["trace_id"][-1]) if len(failed) else None


def from_rollups(rolled: pa.Table) -> list[Tally]:
    """Rollups by usage type and operation (measures MEASURES) as tallies."""
    return [
        Tally(
            began=each["bucket"],
            usage_type=each["usage_type"],
            operation_type=each["operation_type"],
            calls=each["calls"],
            failed=each["calls"] - each["ok_calls"],
            fallbacks=each["fallback_calls"],
            cost_usd=each["cost_usd_sum"] or 0.0,
        )
        for each in rolled.to_pylist()
    ]


def judge(counts: Counts, scope: Scope) -> list[Anomaly]:
    """What the rules find at `scope.until`, the surest first."""
    period = Period(until=scope.until)
    found = [*_spikes(counts, scope, period), *_rates(counts, scope, period)]
    return sorted(found, key=lambda each: -each.confidence_score)


def _spikes(counts: Counts, scope: Scope, period: Period) -> Iterator[Anomaly]:
    cost = sum(each.cost_usd for each in counts.today)
    before = counts.history
    verdict = spec.cost_spike(cost, _by_day(before, period, "cost_usd"), _by_day(before, period, "calls"))
    if verdict:
        yield _of_day("cost_spike", verdict, scope, period, metric_name="cost_usd")
    today, history = _of_calls(counts.today), _of_calls(counts.history)
    for usage_type in dict.fromkeys(each.usage_type for each in today):
        calls = sum(each.calls for each in today if each.usage_type == usage_type)
        before = [each for each in history if each.usage_type == usage_type]
        verdict = spec.call_spike(calls, _by_day(before, period, "calls"))
        if verdict:
            yield _of_day("call_spike", verdict, scope, period, metric_name="call_count", usage_type=usage_type)


def _rates(counts: Counts, scope: Scope, period: Period) -> Iterator[Anomaly]:
    last_hour = _of_calls(counts.last_hour)
    calls, failed = (sum(getattr(each, name) for each in last_hour) for name in ("calls", "failed"))
    verdict = spec.high_error_rate(calls, failed)
    if verdict:
        facts = {"metric_name": "error_rate", "began": period.hour, "trace_id": counts.failed_trace}
        facts["when"] = f"in the hour to {words.moment(scope.until)}"
        yield findings.of_verdict("high_error_rate", verdict, facts, scope, f"hour {math.ceil(scope.until / HOUR_S)}")
    verdict = _of_reranks(counts.today)
    if verdict:
        yield _of_day("high_fallback_rate", verdict, scope, period, metric_name="fallback_rate")


def _of_reranks(today: Sequence[Tally]) -> Verdict | None:
    """What the rule says of components that rerank, or of the calls they make if nobody records the components.

    When the call itself fails, it is an error, and only the component around it knows that it fell back.
    """
    for of_steps in (True, False):
        mine = [each for each in today if each.reranks and each.of_steps is of_steps]
        verdict = spec.high_fallback_rate(sum(each.calls for each in mine), sum(each.fallbacks for each in mine))
        if verdict:
            return verdict
    return None


def _of_calls(tallies: Sequence[Tally]) -> list[Tally]:
    return [each for each in tallies if not each.of_steps]


def _by_day(history: Iterable[Tally], period: Period, counted: str) -> list[Any]:
    """The sum of one count on each of the days before."""
    days = [0] * HISTORY_DAYS
    for each in history:
        days[int((each.began - period.history) // DAY_S)] += getattr(each, counted)
    return days


def _of_day(rule: str, verdict: Verdict, scope: Scope, period: Period, **facts: Any) -> Anomaly:
    facts = {"began": period.day, "when": f"on {words.day(period.day)}", **facts}
    return findings.of_verdict(rule, verdict, facts, scope, f"day {period.day:.0f}")
