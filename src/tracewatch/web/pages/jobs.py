"""Batch jobs, a line each: did the runs come, did they work, and when is the next one due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tracewatch import formats
from tracewatch.web import drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.views.jobs import Job, Run, jobs

router = APIRouter(include_in_schema=False)

SLOWER = 1.15  # beyond the usual range by so much before anybody is told
LEAST_HEIGHT = 14  # per cent: a run that took no time can still be seen and hit
LONGEST = 40  # letters of a name in a sentence
WORDS = {"extracted": "ok"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A run in the strip: how high, in per cent, how it looks, where it leads and what is said of it."""

    height: int
    tone: str
    href: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job as it is drawn."""

    job: Job
    severity: str
    state: str
    duration: str
    usual: str
    is_slow: bool
    counts: str
    next: str
    bars: tuple[Bar, ...]
    toggle: str
    is_open: bool


@router.get("/jobs", response_class=HTMLResponse)
def show_jobs(request: Request, asked: Ask) -> HTMLResponse:
    """All jobs."""
    found = jobs(asked.store, asked.caller, asked.now)
    rows = [_row(asked, each) for each in found]
    return drawing.page(request, asked, "jobs.html", rows=rows, said=sentence(found))


def sentence(found: Sequence[Job]) -> str:
    """How the jobs stand, in a sentence."""
    if not found:
        return ""
    missing = [each for each in found if each.missing]
    failed = [each for each in found if each.last.has_failed]
    if not missing and not failed:
        return "The only job runs as it should." if len(found) == 1 else f"All {len(found)} jobs run as they should."
    parts = []
    if missing:
        names = _listed([each.name for each in missing])
        parts.append(f"{names} {'has' if len(missing) == 1 else 'have'} not run when due")
    if failed:
        parts.append(f"{_listed([each.name for each in failed])} failed at the last run")
    return f"{'; '.join(parts)}."


def _listed(given: Sequence[str]) -> str:
    names = [each if len(each) <= LONGEST else f"{each[: LONGEST - 1]}…" for each in given]
    return formats.listed(names, most=3)


def _row(asked: Asked, job: Job) -> Row:
    last = job.last
    is_open = asked.given.get("open") == job.name
    usual = formats.between(*job.usual_ms, "ms") if job.usual_ms else ""
    slow = bool(job.usual_ms and last.duration_ms is not None and last.duration_ms > job.usual_ms[1] * SLOWER)
    severity, state = _state(asked, job, slow=slow)
    return Row(
        job=job,
        severity=severity,
        state=state,
        duration=formats.duration(last.duration_ms),
        usual=usual,
        is_slow=slow,
        counts=" ".join(
            f"{formats.count(number)} {WORDS.get(name, name)}" for name, number in last.counts.items() if number
        ),
        next=_next(asked, job),
        bars=tuple(_bars(asked, job)),
        toggle=asked.address(open=None if is_open else job.name),
        is_open=is_open,
    )


def _state(asked: Asked, job: Job, *, slow: bool) -> tuple[str, str]:
    if job.missing:
        since = formats.moment(job.next or job.last.at, asked.zone, asked.now)
        return "high", f"missing since {since}"
    if job.last.has_failed:
        return "critical", "failed"
    if job.is_over:
        return "", "not run any more"
    if job.last.failures:
        return "low", "with failures"
    return ("medium", "took longer") if slow else ("ok", "ok")


def _next(asked: Asked, job: Job) -> str:
    if job.is_over:
        return formats.MISSING
    if job.next is None:
        return "no fixed time" if len(job.runs) > 4 else "not known yet"
    every = f"every {formats.lasting(job.rhythm_s or 0.0)}"
    return every if job.missing else f"≈ {formats.moment(job.next, asked.zone, asked.now)}, {every}"


def _bars(asked: Asked, job: Job) -> Iterator[Bar]:
    longest = max((run.duration_ms or 0.0 for run in job.runs), default=0.0) or 1.0
    for run in job.runs:
        when = formats.moment(run.at, asked.zone, asked.now)
        if run.trace_id is None:
            yield Bar(height=60, tone="gone", href="", said=f"{when}: due, and did not come")
            continue
        height = max(round(100 * (run.duration_ms or 0.0) / longest), LEAST_HEIGHT)
        tone = "failed" if run.has_failed else "some" if run.failures else ""
        yield Bar(height=height, tone=tone, href=asked.trace(run.trace_id), said=f"{when}: {_told(run)}")


def _told(run: Run) -> str:
    counts = ", ".join(f"{number:,} {WORDS.get(name, name)}" for name, number in run.counts.items() if number)
    parts = ["failed" if run.has_failed else "ok", formats.duration(run.duration_ms), counts, run.error or ""]
    return ", ".join(each for each in parts if each)
