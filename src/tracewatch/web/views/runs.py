"""Batch jobs: the last run of each, and how its runs went. A run is one summary record, as capture writes it."""

from __future__ import annotations

from dataclasses import dataclass

from tracewatch.access import Caller
from tracewatch.records import Span
from tracewatch.stores.base import Filter, Store
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import between

SUMMARIES = (Filter("model_provider", "=", ("system",)), Filter("model_name", "=", ("batch",)))
"""The summary records among the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch job, over a period."""

    name: str | None
    runs: int
    failed: int
    last: Span
    """The summary of its last run."""


def jobs(store: Store, caller: Caller, period: Period) -> tuple[Job, ...]:
    """The jobs that ran in a period, the one that ran last first."""
    measures = ("calls", "error_calls", "timeout_calls")
    rows = between(store, caller, period.since, period.until, by=("usage_type",), where=SUMMARIES, measures=measures)
    counted: dict[str | None, list[int]] = {}
    for row in rows:
        counts = counted.setdefault(row["usage_type"], [0, 0])
        counts[0] += row["calls"] or 0
        counts[1] += (row["error_calls"] or 0) + (row["timeout_calls"] or 0)
    found = []
    for name, (runs, failed) in counted.items():
        page = runs_of(store, caller, name, period)
        if page:
            found.append(Job(name=name, runs=runs, failed=failed, last=page[0]))
    return tuple(sorted(found, key=lambda each: -each.last.start_time))


def runs_of(store: Store, caller: Caller, name: str | None, period: Period, limit: int = 1) -> tuple[Span, ...]:
    """The summaries of a job's runs in a period, the newest first."""
    where = [
        *caller.where, *SUMMARIES, Filter("usage_type", "=", (name,)),
        Filter("start_time", ">=", (period.since // 60 * 60,)), Filter("start_time", "<", (period.until,)),
    ]  # fmt: skip
    return tuple(each for each in store.page(Span, where, limit=limit).records if isinstance(each, Span))
