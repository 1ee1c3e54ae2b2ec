"""The order: what comes after what in one pass, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal

import pyarrow as pa

from tracewatch import contributions, findings, lessons, metrics, rules, teaching
from tracewatch.detectors import spec
from tracewatch.detectors.spec import Outliers
from tracewatch.findings import Scope, between
from tracewatch.metrics import MESSAGES_TYPES, TYPES, AnomalyType, Rows
from tracewatch.own_prices import overrides_of as overrides_of
from tracewatch.pricing import COLUMNS_READ, COLUMNS_WRITTEN, PriceBook, price_batch
from tracewatch.records import Anomaly, Span, columns, key_of
from tracewatch.rules import Counts, Period, Tally
from tracewatch.stores.address import file_of
from tracewatch.stores.base import Filter, Progress, Store
from tracewatch.stores.values import from_row
from tracewatch.times import DAY_S, HOUR_S

Source = Literal["traces", "messages"]
UNPRICED = Filter("cost_status", "=", (None,))
_PRICED_FROM = tuple(dict.fromkeys((*key_of(Span), *COLUMNS_READ)))
FEW = 500  # findings that are looked up one by one; from there on one walk over their period is quicker
TYPES_OF: Mapping[Source, tuple[AnomalyType, ...]] = {"traces": TYPES, "messages": MESSAGES_TYPES}


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
    used: Mapping[str, int]
    """How many rows have the value that each type judges."""
    findings: tuple[Anomaly, ...]
    """Outliers, in the order of TYPES, as the store has them."""
    rules: tuple[Anomaly, ...]
    """Rules that fired, as the store has them."""
    new: tuple[Anomaly, ...]
    """Those of both that this pass saved."""
    history_days: int | None
    """Days with calls among the seven the rules compare with; None when the rules were not asked."""

    @property
    def detected(self) -> int:
        """How many outliers were found."""
        return len(self.findings)

    @property
    def saved(self) -> int:
        """How many of the outliers were new."""
        return len(self.new) - self.rules_saved

    @property
    def rules_saved(self) -> int:
        """How many of the rules that fired were new."""
        return sum(each.detector == findings.RULES for each in self.new)

    @property
    def judged(self) -> bool:
        """Whether any type had enough values."""
        return max(self.used.values(), default=0) >= spec.MIN_POINTS

    def response(self) -> dict[str, object]:
        """The answer of the detection API: the counts of outliers, by type and in all."""
        return {
            "success": True,
            "analyzed_traces": self.analyzed,
            "anomaly_types_analyzed": len(TYPES_OF[self.source]),
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
    file: str = ""
    columns_added: tuple[str, ...] = ()
    """Columns that the file's own usage table gained."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Rows of that table that could not come over this time, by reason."""
    stayed_behind: Mapping[str, int] = field(default_factory=dict)
    """Those of all times so far."""

    def sentences(self) -> list[str]:
        """What was done, for people; empty when nothing had to be."""
        told = []
        if self.columns_added:
            added = len(self.columns_added)
            were = "1 column was" if added == 1 else f"{added} columns were"
            told.append(f"{self.file} was an app's usage database: {were} added to llm_usage, every row was kept.")
        if self.refused:
            rows = sum(self.refused.values())
            reasons = "; ".join(f"{count:,} × {reason}" for reason, count in self.refused.items())
            told.append(f"{rows:,} {'row' if rows == 1 else 'rows'} of llm_usage could not come over: {reasons}.")
        if self.brought:
            told.append(f"New rows of llm_usage brought over: {self.brought:,}.")
        if self.priced:
            calls = "call that was" if self.priced == 1 else "calls that were"
            told.append(f"Priced {self.priced:,} {calls} not priced yet.")
        if self.rolled_up:
            told.append(
                f"Counted {self.rolled_up:,} new {'call' if self.rolled_up == 1 else 'calls'} into the hourly figures."
            )
        return told


def catch_up(store: Store, *, project: str = "default", progress: Progress | None = None) -> CaughtUp:
    """Brings in, prices and rolls up what was written since the last time, of all projects; quick when that is nothing.

    `project` is the one that rows of a usage table in the same file come to. Commands call this before they read.
    """
    from tracewatch.imports.upgrading import upgrade

    done = upgrade(store, project=project)
    # Asked every time: a row may have come between the pricing and the rolling up of an earlier call.
    priced = price_unpriced(store)
    return CaughtUp(
        brought=done.rows_brought,
        priced=priced,
        rolled_up=store.roll_up(progress) if store.pending() else 0,
        file=PurePath(file_of(store.url) or "").name,
        columns_added=done.columns_added,
        refused=done.refused,
        stayed_behind=done.stayed_behind,
    )


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
    found = find(rows, TYPES_OF[source])
    taught = teaching.lessons_of(store, project)
    settled = [lessons.settled(each, taught) for each in findings.of_outliers(found, rows, scope)]
    anomalies, new = keep(store, settled)
    counts = {key: len(outliers.rows) for key, (_, outliers) in found.items()}
    fired: list[Anomaly] = []
    days = None
    if source == "traces" and user is None:
        fired, new_rules, days = ask_rules(store, scope)
        new += new_rules
    return Detection(
        source=source,
        since=since,
        until=until,
        analyzed=len(rows),
        breakdown={key: counts.get(key, 0) for key in breakdown_keys(source)},
        used={each.key: metrics.used(each, rows) for each in TYPES_OF[source]},
        findings=tuple(anomalies),
        rules=tuple(fired),
        new=tuple(new),
        history_days=days,
    )


def ask_rules(store: Store, scope: Scope) -> tuple[list[Anomaly], list[Anomaly], int]:
    """Asks the four rules at `scope.until`, and saves each that fires once.

    Returns those that fired as the store has them, those that were saved now, and the days of history they had.
    """
    asked = count_for_rules(store, scope)
    taught = teaching.lessons_of(store, scope.project)
    explained = _explained(store, scope, rules.judge(asked, scope))
    fired, new = keep(store, [lessons.settled(each, taught) for each in explained])
    return fired, new, rules.days_of_history(asked)


def keep(store: Store, anomalies: Sequence[Anomaly]) -> tuple[list[Anomaly], list[Anomaly]]:
    """Saves those that are not there yet. Returns all as the store has them now, and those that were saved."""
    known = stored(store, anomalies)
    new = [each for each in anomalies if each.id not in known]
    if new and store.add(new) < len(new):
        # Another process found the same meanwhile, and what it saved stays.
        known = stored(store, anomalies)
        new = [each for each in new if known[each.id] == each]
    return [known.get(each.id, each) for each in anomalies], new


def stored(store: Store, anomalies: Sequence[Anomaly]) -> dict[str, Anomaly]:
    """What the store has of these findings (all of one project), by id."""
    if not anomalies:
        return {}
    names = tuple(each.name for each in columns(Anomaly))
    at, ids = names.index("id"), {each.id for each in anomalies}
    times = [each.occurred_at for each in anomalies]
    where = [Filter("project", "=", (anomalies[0].project,))]
    if len(ids) <= FEW:
        where.append(Filter("id", "=", tuple(ids)))
    else:
        where += [Filter("occurred_at", ">=", (min(times),)), Filter("occurred_at", "<=", (max(times),))]
    rows = (row for batch in store.scan(Anomaly, names, where) for row in _rows(batch))
    return {row[at]: from_row(Anomaly, row) for row in rows if row[at] in ids}


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _explained(store: Store, scope: Scope, fired: Sequence[Anomaly]) -> list[Anomaly]:
    """Rules that fired, with what contributed to those that are not saved yet."""
    known = stored(store, fired)
    return [
        each if each.id in known else replace(each, contributing_factors=contributions.of_rule(store, scope, each))
        for each in fired
    ]


def breakdown_keys(source: Source) -> tuple[str, ...]:
    """The ten types, and those of the source that are not among them."""
    return tuple(dict.fromkeys(each.key for each in (*TYPES, *TYPES_OF[source])))


def read_window(store: Store, scope: Scope, user: str | None = None) -> Rows:
    """All that the detection of a window needs, in one reading."""
    names = list(dict.fromkeys((*findings.NEEDS, *metrics.columns_of(TYPES))))
    where = [*scope.rows(), *between(scope.since, scope.until)]
    if user is not None:
        where.append(Filter("user_id", "=", (user,)))
    return metrics.read(store.scan(Span, names, where), names)


def find(rows: Rows, judged: Sequence[AnomalyType]) -> dict[str, tuple[AnomalyType, Outliers]]:
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
    """What the four rules find at `scope.until`, neither explained nor saved."""
    return rules.judge(count_for_rules(store, scope), scope)


def count_for_rules(store: Store, scope: Scope) -> Counts:
    """What the four rules judge at `scope.until`."""
    period = Period(until=scope.until)
    where = [*scope.rows(), *between(min(period.hour, period.whole_hours), period.until)]
    recent = metrics.read(store.scan(Span, rules.NEEDS, where), rules.NEEDS)
    hour = recent.since(period.hour)
    return Counts(
        history=_rolled(store, scope, period.history, period.day),
        today=[
            *_rolled(store, scope, period.day, period.whole_hours),
            *rules.tally(recent.since(max(period.whole_hours, period.day))),
        ],
        last_hour=rules.tally(hour),
        failed_trace=rules.newest_failed(hour),
    )


def newest(store: Store, *, project: str, source: Source = "traces", user: str | None = None) -> float | None:
    """When the newest row of a source (or of one account in it) began; None when there is none."""
    scope = Scope(project=project, source=source, since=0, until=0, now=0)
    of_user = [] if user is None else [Filter("user_id", "=", (user,))]
    extent = store.extent(Span, [*scope.rows(), *of_user])
    return extent[1] if extent else None


def distribution(
    store: Store, anomaly: Anomaly, since: float, until: float, bins: int
) -> tuple[list[int], list[float]]:
    """How the values of a finding's metric are spread over the window it was found in; empty when they are gone."""
    metric = metrics.TYPE_OF.get(anomaly.anomaly_type)
    if metric is None:
        return [], []
    scope = Scope(project=anomaly.project, source=anomaly.source, since=since, until=until, now=until)
    where = [*scope.rows(), *between(since, until)]
    return metrics.histogram(
        metrics.measure(metric, metrics.read(store.scan(Span, metric.needs, where), metric.needs)), bins
    )


def _rolled(store: Store, scope: Scope, since: float, until: float) -> list[Tally]:
    """Calls of whole hours or days, counted by usage type and operation."""
    if until <= since:
        return []
    step_s = DAY_S if (until - since) % DAY_S == 0 else HOUR_S
    slices = ("usage_type", "operation_type")
    return rules.from_rollups(
        store.rollup(since, until, step_s=step_s, by=slices, where=scope.rows(), measures=rules.MEASURES)
    )
