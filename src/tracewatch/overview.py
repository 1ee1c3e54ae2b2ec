"""What a person sees first: calls, money, latency and failures of a period, and the rules that raise their hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracewatch import watch, words
from tracewatch.findings import Scope
from tracewatch.records import MESSAGES_SOURCE, STATUSES, STEPS, Anomaly, Span, iso
from tracewatch.rules import Period
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter, Store
from tracewatch.times import HOUR_S

if TYPE_CHECKING:
    import pyarrow as pa

MINUTE_S = 60
SHARES = ("model_provider", "usage_type", "operation_type", "model_name")

_MEASURES = (
    *("calls", "unpriced_calls", "priced_tokens", "unpriced_tokens", "cost_usd_sum", "cost_usd_count"),
    *("input_tokens_sum", "output_tokens_sum", "duration_ms_sum", "duration_ms_count", "duration_ms_sketch"),
    *(f"{status}_calls" for status in STATUSES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts and sums over some rows: calls of a model are counted and timed, money and tokens are those of all."""

    calls: int
    by_status: Mapping[str, int]
    cost_usd: float
    unpriced_calls: int
    priced_share: float | None
    """Share of the tokens whose cost is known; None when no tokens were reported."""
    input_tokens: int
    output_tokens: int
    latency_ms: float | None
    """The mean over the calls that have a duration."""
    p95_latency_ms: float | None

    @property
    def failed_share(self) -> float:
        """Share of the calls that did not end ok."""
        return 1 - self.by_status["ok"] / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The figures of a period of one project."""

    since: float
    until: float
    totals: Totals
    queries: int
    """Traces: one for each request of a user."""
    conversations: int
    today: Totals
    shares: Mapping[str, Mapping[str | None, Totals]]
    """Per column of SHARES and value of it, the one with the most calls first."""
    fired: tuple[Anomaly, ...]
    messages_left_out: int

    def document(self) -> dict[str, Any]:
        """All of it, ready for JSON: `response()` and what it has no place for."""
        return {
            **self.response(),
            "since": iso(self.since),
            "until": iso(self.until),
            **_document(self.totals),
            "today": _document(self.today),
            "breakdown": {
                name: [{"value": value, **_document(part)} for value, part in parts.items()]
                for name, parts in self.shares.items()
            },
            "messages_left_out": self.messages_left_out,
        }

    def response(self) -> dict[str, Any]:
        """The answer of `GET /api/admin/stats`."""
        return {
            "total_queries": self.queries,
            "avg_latency_ms": self.totals.latency_ms,
            "total_conversations": self.conversations,
            "total_llm_calls": self.totals.calls,
            "total_llm_cost": self.totals.cost_usd,
            "today_cost": self.today.cost_usd,
            "today_calls": self.today.calls,
            "cost_alert": any(each.anomaly_type == "cost_spike" for each in self.fired),
            "anomalies": [_alert(each) for each in self.fired],
        }


def overview(store: Store, *, project: str, since: float, until: float) -> Overview:
    """The figures of the calls of `since` <= start < `until`, widened to whole minutes.

    Rollups must be up to date. Rows of the messages source are left out when there are others, since they are the old
    view of the same calls.
    """
    since, until = float(since // MINUTE_S * MINUTE_S), float(-(-until // MINUTE_S) * MINUTE_S)
    ours = [Filter("project", "=", (project,))]
    of_messages = [*ours, Filter("source", "=", (MESSAGES_SOURCE,))]
    others = [*ours, Filter("source", "!=", (MESSAGES_SOURCE,))]
    table = _rolled(store, since, until, others)
    messages = _rolled(store, since, until, of_messages)
    if not table.num_rows:
        table, others, messages = messages, of_messages, messages.slice(0, 0)
    where = [*others, Filter("start_time", ">=", (since,)), Filter("start_time", "<", (until,))]
    day = Period(until=until).day
    scope = Scope(project=project, source="traces", since=since, until=until, now=until)
    return Overview(
        since=since,
        until=until,
        totals=totals(table.to_pylist()),
        queries=store.distinct(Span, "trace_id", where),
        conversations=store.distinct(Span, "conversation_id", where),
        today=totals(_rolled(store, day, until, others).to_pylist()),
        shares={name: _shares(table, name) for name in SHARES},
        fired=tuple(watch.judge_rules(store, scope)),
        messages_left_out=sum(messages["calls"].to_pylist()),
    )


def unpriced(row: Mapping[str, Any]) -> float:
    """The calls of a row of a rollup by `operation_type` and `model_provider` whose cost is not known.

    Those of a model without a price, and those that a provider answered without saying how many tokens that took, as
    streams do that were not asked for their usage. What a program itself did has no provider, and a step no price.
    """
    known: float = row["unpriced_calls"] or 0
    if row["model_provider"] is None or row["operation_type"] in STEPS:
        return known
    answered = (row["ok_calls"] or 0) + (row["fallback_calls"] or 0)
    return max(known, answered - (row["cost_usd_count"] or 0))


def totals(rows: Sequence[Mapping[str, Any]]) -> Totals:
    """Rows of a rollup by `operation_type` and `model_provider`, added up.

    Steps around calls (agents, tools, whole requests, runs of a job) are no calls and would be timed twice. What they
    cost themselves still counts: no money is lost.
    """
    of_calls = [each for each in rows if each["operation_type"] not in STEPS]

    def total(name: str) -> Any:
        return sum(each[name] or 0 for each in rows)

    def counted(name: str) -> Any:
        return sum(each[name] or 0 for each in of_calls)

    timed, tokens = counted("duration_ms_count"), total("priced_tokens") + total("unpriced_tokens")
    merged = sketch.merge(each["duration_ms_sketch"] for each in of_calls)
    return Totals(
        calls=counted("calls"),
        by_status={status: counted(f"{status}_calls") for status in STATUSES},
        cost_usd=float(total("cost_usd_sum")),
        unpriced_calls=round(sum(map(unpriced, rows))),
        priced_share=total("priced_tokens") / tokens if tokens else None,
        input_tokens=round(total("input_tokens_sum")),
        output_tokens=round(total("output_tokens_sum")),
        latency_ms=counted("duration_ms_sum") / timed if timed else None,
        p95_latency_ms=sketch.quantile(merged, 0.95),
    )


def _rolled(store: Store, since: float, until: float, where: Sequence[Filter]) -> pa.Table:
    """Whole hours from the hours, and the minutes before and after them: few rows, however long the period is."""
    import pyarrow as pa

    first, last = -(-since // HOUR_S) * HOUR_S, until // HOUR_S * HOUR_S
    parts = [(since, first, MINUTE_S), (first, last, HOUR_S), (last, until, MINUTE_S)]
    if first > last:
        parts = [(since, until, MINUTE_S)]
    return pa.concat_tables(
        store.rollup(begin, end, step_s=step_s, by=SHARES, where=where, measures=_MEASURES)
        for begin, end, step_s in parts
    )


def _shares(table: pa.Table, name: str) -> dict[str | None, Totals]:
    rows: dict[str | None, list[Mapping[str, Any]]] = {}
    for each in table.to_pylist():
        rows.setdefault(each[name], []).append(each)
    summed = {value: totals(part) for value, part in rows.items()}
    told = {value: each for value, each in summed.items() if each.calls or each.cost_usd}
    return dict(sorted(told.items(), key=lambda item: -item[1].calls))


def _document(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "by_status": dict(totals.by_status),
        "cost_usd": totals.cost_usd,
        "unpriced_calls": totals.unpriced_calls,
        "priced_share": totals.priced_share,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "latency_ms": totals.latency_ms,
        "p95_latency_ms": totals.p95_latency_ms,
    }


def _alert(anomaly: Anomaly) -> dict[str, Any]:
    return {
        "type": anomaly.anomaly_type,
        "severity": words.stats_severity(anomaly.severity),
        "message": anomaly.description,
        "details": {
            "detected_value": anomaly.detected_value,
            "expected_value": anomaly.expected_value,
            "threshold_value": anomaly.threshold_value,
            "usage_type": anomaly.statistics.get("usage_type"),
            "trace_id": anomaly.trace_id,
        },
    }
