"""The order: what comes after what in one pass, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from tracewatch import findings, metrics, rules
from tracewatch.detectors import spec
from tracewatch.detectors.spec import Outliers
from tracewatch.findings import Scope
from tracewatch.metrics import MESSAGES_METRICS, METRICS, Metric, Rows
from tracewatch.pricing import COLUMNS_READ, COLUMNS_WRITTEN, PriceBook, price_batch
from tracewatch.records import MESSAGES_SOURCE, Anomaly, PriceOverride, Span, key_of
from tracewatch.rules import DAY_S, HOUR_S, Counts, Period, Tally
from tracewatch.stores.base import Filter, Operator, Progress, Store

Source = Literal["traces", "messages"]
UNPRICED = Filter("cost_status", "=", (None,))
_PRICED_FROM = tuple(dict.fromkeys((*key_of(Span), *COLUMNS_READ)))
MOST_OVERRIDES = 10_000  # prices a project sets itself; a page of so many is still read in one go
METRICS_OF: Mapping[Source, tuple[Metric, ...]] = {"traces": METRICS, "messages": MESSAGES_METRICS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What one pass over a window found and saved."""

    source: Source
    since: float
    until: float
    analyzed: int
    """How many rows of the window were judged."""
    breakdown: Mapping[str, int]
    """Findings per type; the ten types are always there."""
    findings: tuple[Anomaly, ...]
    """Outliers, in the order of METRICS."""
    rules: tuple[Anomaly, ...]
    saved: int
    """How many of the findings were new."""
    rules_saved: int

    @property
    def detected(self) -> int:
        """How many outliers were found."""
        return len(self.findings)

    def response(self) -> dict[str, object]:
        """The answer of the detection API: the counts of outliers, by type and in all."""
        return {
            "success": True,
            "analyzed_traces": self.analyzed,
            "anomaly_types_analyzed": len(METRICS_OF[self.source]),
            "anomalies_detected": self.detected,
            "anomalies_saved": self.saved,
            "breakdown": dict(self.breakdown),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """What had to be done before the database could be read."""

    brought: int
    """Rows of the file's own usage table that came over."""
    priced: int
    rolled_up: int

    def sentences(self) -> list[str]:
        """What was done, for people; empty when nothing had to be."""
        told = []
        if self.brought:
            told.append(f"New rows of llm_usage brought over: {self.brought:,}.")
        if self.priced:
            told.append(f"Priced {self.priced:,} calls that were not priced yet.")
        if self.rolled_up:
            told.append(f"Counted {self.rolled_up:,} new calls into the hourly figures.")
        return told


def catch_up(store: Store, *, project: str = "default", progress: Progress | None = None) -> CaughtUp:
    """Brings in, prices and rolls up what was written since the last time, of all projects; quick when that is nothing.

    `project` is the one that rows of a usage table in the same file come to. Commands call this before they read.
    """
    from tracewatch.imports.upgrading import upgrade

    brought = upgrade(store, project=project).rows_brought
    if not store.pending() and not brought:
        return CaughtUp(brought=0, priced=0, rolled_up=0)
    priced = price_unpriced(store)
    return CaughtUp(brought=brought, priced=priced, rolled_up=store.roll_up(progress))


def price_unpriced(store: Store) -> int:
    """Sets cost, status and source of the rows that have not been priced. Returns how many there were."""
    book: PriceBook | None = None
    rows = 0
    for batch in store.scan(Span, _PRICED_FROM, (UNPRICED,)):
        # Made when there is something to price: the price table takes its time to load.
        book = book or PriceBook(overrides_of(store))
        rows += store.annotate_all(Span, _prices(batch, book))
    return rows


def _prices(batch: pa.RecordBatch, book: PriceBook) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The key of each row, and what pricing sets in it."""
    for each in price_batch(batch, book).to_pylist():
        values = {name: each[name] for name in COLUMNS_WRITTEN}
        if each["warning_flags"]:
            values["warning_flags"] = json.loads(each["warning_flags"])
        yield {name: each[name] for name in key_of(Span)}, values


def detect(
    store: Store,
    *,
    project: str,
    since: float,
    until: float,
    now: float,
    source: Source = "traces",
    user: str | None = None,
) -> Detection:
    """Judges the rows of `since` <= start < `until`, and saves what is found, each finding once.

    With `user`, only that account's rows; the four rules are about the whole project and then not asked, nor are they
    for messages. Rollups must be up to date (`catch_up`).
    """
    scope = Scope(project=project, source=source, since=since, until=until, now=now)
    rows = read_window(store, scope, user)
    found = find(rows, METRICS_OF[source])
    anomalies = findings.of_outliers(found, rows, scope)
    fired = judge_rules(store, scope) if source == "traces" and user is None else []
    counts = {key: len(outliers.rows) for key, (_, outliers) in found.items()}
    return Detection(
        source=source,
        since=since,
        until=until,
        analyzed=len(rows),
        breakdown={key: counts.get(key, 0) for key in breakdown_keys(source)},
        findings=tuple(anomalies),
        rules=tuple(fired),
        saved=save(store, anomalies),
        rules_saved=save(store, fired),
    )


def save(store: Store, anomalies: Sequence[Anomaly]) -> int:
    """Keeps those that are not there yet, and leaves the others as people have made them. Returns how many were new."""
    if not anomalies:
        return 0
    oldest = min(each.occurred_at for each in anomalies)
    where = [Filter("project", "=", (anomalies[0].project,)), Filter("occurred_at", ">=", (oldest,))]
    # Asked for first, because to look up an id costs a tenth of trying to add a finding.
    known = {name for batch in store.scan(Anomaly, ("id",), where) for name in batch["id"].to_pylist()}
    new = [each for each in anomalies if each.id not in known]
    return store.add(new) if new else 0


def breakdown_keys(source: Source) -> tuple[str, ...]:
    """The ten types, and those of the source that are not among them."""
    return tuple(dict.fromkeys(each.key for each in (*METRICS, *METRICS_OF[source])))


def read_window(store: Store, scope: Scope, user: str | None = None) -> Rows:
    """All that the detection of a window needs, in one reading."""
    names = list(dict.fromkeys((*findings.NEEDS, *metrics.columns_of(METRICS))))
    where = [*_of_source(scope), *_between(scope.since, scope.until)]
    if user is not None:
        where.append(Filter("user_id", "=", (user,)))
    return metrics.read(store.scan(Span, names, where), names)


def find(rows: Rows, judged: Sequence[Metric]) -> dict[str, tuple[Metric, Outliers]]:
    """The outliers of each metric that has any, by its key."""
    found = {}
    for metric in judged:
        outliers = spec.outliers(
            metrics.measure(metric, rows), metric.threshold, metric.bad, lowest=metric.lowest, highest=metric.highest
        )
        if outliers is not None and len(outliers.rows):
            found[metric.key] = (metric, outliers)
    return found


def judge_rules(store: Store, scope: Scope) -> list[Anomaly]:
    """What the four rules find at `scope.until`, not saved."""
    period = Period(until=scope.until)
    where = [*_of_source(scope), *_between(min(period.hour, period.whole_hours), period.until)]
    recent = metrics.read(store.scan(Span, rules.NEEDS, where), rules.NEEDS)
    hour = recent.since(period.hour)
    counts = Counts(
        history=_rolled(store, scope, period.history, period.day),
        today=[
            *_rolled(store, scope, period.day, period.whole_hours),
            *rules.tally(recent.since(max(period.whole_hours, period.day))),
        ],
        last_hour=rules.tally(hour),
        failed_trace=rules.newest_failed(hour),
    )
    return rules.judge(counts, scope)


def newest(store: Store, *, project: str, source: Source = "traces") -> float | None:
    """When the newest row of a source began; None when there is none."""
    scope = Scope(project=project, source=source, since=0, until=0, now=0)
    extent = store.extent(Span, _of_source(scope))
    return extent[1] if extent else None


def distribution(
    store: Store, anomaly: Anomaly, since: float, until: float, bins: int
) -> tuple[list[int], list[float]]:
    """How the values of a finding's metric are spread over the window it was found in; empty when they are gone."""
    metric = metrics.METRIC_OF.get(anomaly.anomaly_type)
    if metric is None:
        return [], []
    scope = Scope(project=anomaly.project, source=anomaly.source, since=since, until=until, now=until)
    where = [*_of_source(scope), *_between(since, until)]
    return metrics.histogram(
        metrics.measure(metric, metrics.read(store.scan(Span, metric.needs, where), metric.needs)), bins
    )


def overrides_of(store: Store, project: str | None = None) -> tuple[PriceOverride, ...]:
    """The prices a project set itself, or those of all projects."""
    where = [] if project is None else [Filter("project", "=", (project,))]
    page = store.page(PriceOverride, where, limit=MOST_OVERRIDES)
    return tuple(each for each in page.records if isinstance(each, PriceOverride))


def _rolled(store: Store, scope: Scope, since: float, until: float) -> list[Tally]:
    """Calls of whole hours or days, counted by usage type and operation."""
    if until <= since:
        return []
    step_s = DAY_S if (until - since) % DAY_S == 0 else HOUR_S
    slices = ("usage_type", "operation_type")
    where = _of_source(scope)
    return rules.from_rollups(
        store.rollup(since, until, step_s=step_s, by=slices, where=where, measures=rules.MEASURES)
    )


def _of_source(scope: Scope) -> list[Filter]:
    """Rows of the project that are messages, or that are not."""
    same: Operator = "=" if scope.source == "messages" else "!="
    return [Filter("project", "=", (scope.project,)), Filter("source", same, (MESSAGES_SOURCE,))]


def _between(since: float, until: float) -> list[Filter]:
    return [Filter("start_time", ">=", (since,)), Filter("start_time", "<", (until,))]
