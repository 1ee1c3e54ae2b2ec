"""Runs of batch jobs by their summary records: slow, failed, missing, or with other counts than the runs before.

A run is one value, so each is compared with the thirty before it: the median and 1.48 times the median absolute
deviation (Hampel 1974) of twice the roots, in which a count's own chance is 1 whatever its size (Anscombe 1948). No
narrower than a tenth of the usual; the bounds are our own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Floats
from .cadence import Cadence
from .intake import TICK

REMEMBERED, LEAST = 30, 5  # runs, and before one is judged
MOST = 1_000  # jobs times numbers
MOST_JOBS = 200
LIMIT = 6.0  # deviations: a nightly job is then told by chance once in years
BEYOND = 1.4  # times the largest there was, or the smallest: what was so before is not odd
NARROWEST = 0.1  # of the usual
WELL = 0.1  # of its runs fail at most: else a failure is no news
MISSING_Z = 9.0  # as sure as that of runs that are told by their calls
HOLD = 12  # ticks
DURATION, FAILED = "batch_duration_ms", "batch_failure_rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The summary record of one run."""

    job: dict[str, object]  # column -> value that names it
    end: float  # when it was over, UTC epoch seconds
    failed: bool
    numbers: Mapping[str, float]  # by the names of metrics
    bad: Mapping[str, str]  # the bad direction of each; both where it is not named
    trace_id: str | None


@dataclass(slots=True)
class Past:
    """What a number of a job was in the runs before, the oldest first."""

    values: list[float] = field(default_factory=list)
    odd: list[float] = field(default_factory=list)  # the last ones, while they are told

    def add(self, value: float, odd: bool) -> None:
        """One more run: odd ones are not believed, unless there are three in a row."""
        self.odd = [*self.odd, value] if odd else []
        new = self.odd if len(self.odd) >= 3 else [] if odd else [value]
        self.values = [*self.values, *new][-REMEMBERED:]
        if len(self.odd) >= 3:
            self.odd = []


class Runs:
    """The past of each job's numbers."""

    def __init__(self) -> None:
        self.past: dict[tuple[str, str], Past] = {}
        self.cadences: dict[str, tuple[dict[str, object], Cadence]] = {}
        self.waiting: list[Run] = []
        self.coming: list[Iterable[Run]] = []  # not looked at yet

    def feed(self, runs: Iterable[Run]) -> None:
        """Take runs; they are asked for when they are first needed."""
        self.coming.append(runs)

    def kept(self) -> list[Run]:
        """The runs that wait."""
        self.waiting += chain(*self.coming)
        self.coming = []
        return self.waiting

    def scan(self, first: int, ticks: int, alarming: bool, z: float) -> dict[int, list[Notice]]:
        """Notices by tick read."""
        soon = [run for run in self.kept() if run.end < (first + ticks) * TICK]
        self.waiting = [run for run in self.waiting if run.end >= (first + ticks) * TICK]
        out: dict[int, list[Notice]] = {}
        for run in sorted(soon, key=lambda run: (run.end, str(run.job))):
            tick = max(int(run.end // TICK), first)
            job, cadence = self.cadences.get(str(run.job), (run.job, None))
            if cadence is None and len(self.cadences) < MOST_JOBS:
                self.cadences[str(run.job)] = (run.job, cadence := Cadence())
            if cadence is not None:
                self.miss(job, cadence, first, tick, alarming, out)
                cadence.come(run.end)
            for alert in self.judge(run, tick, z):
                if alarming:
                    out.setdefault(tick - first, []).append(Notice(alert=alert))
        for job, cadence in self.cadences.values():
            self.miss(job, cadence, first, first + ticks, alarming, out)
        return out

    @staticmethod
    def miss(
        job: dict[str, object], cadence: Cadence, first: int, until: int, alarming: bool, out: dict[int, list[Notice]]
    ) -> None:
        """Tells of a run whose time is up within the ticks read, before that tick; each is told once."""
        deadline = None if cadence.missed else cadence.deadline()
        if deadline is None or (tick := int(np.ceil(deadline / TICK)) - 1) >= until:
            return
        cadence.missed = True
        if alarming and tick >= first:
            alert = Alert(
                detected_at=float((tick + 1) * TICK), metric="call_count", direction="down", slice=job,
                severity=MISSING_Z, kind="silence", since=cadence.ends[-1], observed=0.0, expected=1.0, lower=1.0,
                upper=1.0, n=0, score=score_of(MISSING_Z, LIMIT),
            )  # fmt: skip
            key = ("run", str(job), alert.direction, alert.kind)
            out.setdefault(tick - first, []).append(Notice(alert=alert, key=key, hold=HOLD))

    def judge(self, run: Run, tick: int, z: float) -> list[Alert]:
        """What is odd about a run that its predecessor had not; it is remembered."""
        out = []
        for metric, value in {FAILED: float(run.failed), **run.numbers}.items():
            past = self.place(str(run.job), metric)
            if past is None:
                continue
            known, before = np.array(past.values), len(past.odd)
            far = failure(value, known) if metric == FAILED else deviations(value, known)
            odd = abs(far) >= LIMIT
            if odd and not before and run.bad.get(metric, "either") in ("either", "up" if far > 0 else "down"):
                out.append(self.alert(run, tick, metric, value, known, far, z))
            past.add(value, odd)
        return out

    def place(self, job: str, metric: str) -> Past | None:
        """The past of a number of a job; None when there is no room for another."""
        if (job, metric) not in self.past and len(self.past) >= MOST:
            return None
        return self.past.setdefault((job, metric), Past())

    @staticmethod
    def alert(
        run: Run, tick: int, metric: str, value: float, known: Floats,
        far: float, z: float,
    ) -> Alert:  # fmt: skip
        """What to say of a number of a run."""
        share, severity = metric == FAILED, abs(far) / LIMIT * z
        usual = float(known.mean()) if share else float(np.median(known))
        return Alert(
            detected_at=float((tick + 1) * TICK), metric=metric, direction="up" if far > 0 else "down", slice=run.job,
            trace_ids=(run.trace_id,) if run.trace_id else (), severity=severity,
            kind="rate" if share else "spike" if far > 0 else "drop", since=run.end, observed=value, expected=usual,
            lower=float(known.min()), upper=float(known.max()), n=1, score=score_of(severity, z),
        )  # fmt: skip


def failure(value: float, known: Floats) -> float:
    """At the limit for a run that failed, of a job that hardly ever does; else 0.

    >>> failure(1.0, np.zeros(9)), failure(1.0, np.ones(9)), failure(1.0, np.zeros(2))
    (6.0, 0.0, 0.0)
    """
    return LIMIT if value and len(known) >= LEAST and known.mean() <= WELL else 0.0


def deviations(value: float, known: Floats) -> float:
    """How far a number is from those before, with its sign; 0 when there are too few, or it is not beyond them.

    >>> usual = np.array([100.0, 110.0, 95.0, 105.0, 98.0, 102.0])
    >>> [round(deviations(x, usual), 1) for x in (110.0, 400.0, 10.0)]
    [0.0, 11.7, -8.0]
    """
    if len(known) < LEAST or known.min() < 0 or value < 0:
        return 0.0
    if known.min() / BEYOND - 1 <= value <= known.max() * BEYOND + 1:
        return 0.0
    roots, middle = 2 * np.sqrt(known + 3 / 8), float(np.median(known))
    apart = float(np.median(np.abs(roots - np.median(roots))))
    width = np.hypot(max(1.48 * apart, NARROWEST * np.sqrt(middle)), 1.0)
    return float((2 * np.sqrt(value + 3 / 8) - np.median(roots)) / width)
