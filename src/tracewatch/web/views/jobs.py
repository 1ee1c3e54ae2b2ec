"""Batch jobs by what their runs report: how the last one went, when the next is due, and which are missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from tracewatch.access import Caller
from tracewatch.records import Span
from tracewatch.stores.base import Filter, Store

RUNS = 30  # of a job that are shown
MOST_RUNS = 3_000  # of all jobs that are read
FEWEST = 4  # runs, fewer tell no rhythm
STEADY = 0.5  # of the rhythm: with gaps further apart from each other than that there is none
LATE = 0.5  # of the rhythm after the run was due: from then on it is missing
MOST_MISSING = 10  # of one gap that are drawn
SETTLED_S = 14 * 86_400  # a job that has not run for so long, and for ten times its rhythm, is not expected any more
Z90_LOW, Z90_HIGH = 0.05, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it reported itself; one that was due and did not come has no trace. Times are UTC epoch seconds."""

    at: float
    trace_id: str | None
    duration_ms: float | None = None
    has_failed: bool = False
    counts: Mapping[str, int]
    error: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether it was due and did not come."""
        return self.trace_id is None

    @property
    def failures(self) -> int:
        """Items that could not be done."""
        return self.counts.get("failed", 0) + self.counts.get("errors", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job with its runs, oldest first, those that are missing among them."""

    name: str
    runs: tuple[Run, ...]
    last: Run
    """The newest that came."""
    rhythm_s: float | None
    """From one run to the next; None where there is no rhythm, or it is not known yet."""
    next: float | None
    """When the next is due."""
    missing: int
    """Runs that are due by now and have not come since the last one."""
    usual_ms: tuple[float, float] | None
    """From, to: how long most of the runs before took."""
    is_over: bool
    """Whether it has not run for so long that nobody expects it."""


def jobs(store: Store, caller: Caller, now: float) -> tuple[Job, ...]:
    """The jobs that ever ran, those with something wrong first, then the newest."""
    by_job: dict[str, list[Span]] = defaultdict(list)
    for each in store.page(Span, runs_of(caller), limit=MOST_RUNS).records:
        if isinstance(each, Span):
            runs = by_job[each.usage_type or each.span_name or each.operation_type or "batch"]
            if len(runs) < RUNS:
                runs.append(each)
    found = [_job(name, runs[::-1], now) for name, runs in by_job.items()]
    return tuple(
        sorted(found, key=lambda job: (not job.last.has_failed and not job.missing, job.is_over, -job.last.at))
    )


def runs_of(caller: Caller) -> list[Filter]:
    """The summaries of batch runs, as conditions."""
    return [*caller.where, Filter("model_name", "=", ("batch",)), Filter("model_provider", "=", ("system",))]


def have_run(store: Store, caller: Caller) -> bool:
    """Whether any batch job ever reported a run."""
    return store.exists(Span, runs_of(caller))


def _job(name: str, spans: Sequence[Span], now: float) -> Job:
    runs = [_run(each) for each in spans]
    gaps = [after.at - before.at for before, after in pairwise(runs)]
    rhythm = _rhythm(gaps)
    last = runs[-1]
    is_over = now - last.at > max(SETTLED_S, 10 * (rhythm or 0.0))
    shown = _with_missing(runs, rhythm, last.at if is_over else now)
    durations = sorted(each.duration_ms for each in runs[:-1] if each.duration_ms is not None and not each.has_failed)
    return Job(
        name=name,
        runs=tuple(shown[-RUNS:]),
        last=last,
        rhythm_s=rhythm,
        next=None if rhythm is None or is_over else last.at + rhythm,
        missing=len(shown) - 1 - shown.index(last),
        usual_ms=_range(durations) if len(durations) >= FEWEST else None,
        is_over=is_over,
    )


def _run(span: Span) -> Run:
    metadata = span.metadata if isinstance(span.metadata, dict) else {}
    return Run(
        at=span.start_time,
        trace_id=span.trace_id,
        duration_ms=span.duration_ms,
        has_failed=span.status in ("error", "timeout"),
        counts={name: int(value) for name, value in metadata.items() if _is_count(value)},
        error=span.error_message or span.error_type,
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and abs(value) < 2**53


def _rhythm(gaps: Sequence[float]) -> float | None:
    """The usual time from one run to the next, where most gaps are alike."""
    if len(gaps) < FEWEST - 1:
        return None
    middle = median(gaps)
    apart = median(abs(each - middle) for each in gaps)
    return middle if middle >= 1 and apart <= STEADY * middle else None


def _with_missing(runs: Sequence[Run], rhythm: float | None, now: float) -> list[Run]:
    """The runs, and between them those that a steady rhythm would have had."""
    if rhythm is None:
        return list(runs)
    found: list[Run] = []
    for run, after in zip(runs, [*(each.at for each in runs[1:]), None], strict=True):
        found.append(run)
        # A run is missed once half of the rhythm has gone by since it was due.
        missed = round((after - run.at) / rhythm) - 1 if after is not None else int((now - run.at) / rhythm - LATE)
        found += [
            Run(at=run.at + number * rhythm, trace_id=None, counts={})
            for number in range(1, min(max(missed, 0), MOST_MISSING) + 1)
        ]
    return found


def _range(durations: Sequence[float]) -> tuple[float, float]:
    last = len(durations) - 1
    return durations[round(Z90_LOW * last)], durations[round(Z90_HIGH * last)]
