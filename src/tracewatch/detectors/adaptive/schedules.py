"""Batch jobs by their own clock: missing, thin, fat or moved runs of operations that come in runs.

An operation is a schedule when 90 % of its calls lie in runs (split by gaps over 3 h) of 5+ calls shorter than 5 h
whose starts agree within an hour. Size limits: median x exp(+-3.5 s), s the robust deviation of log sizes, at least
.12. Our own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from tracewatch.times import DAY_S

from .alerts import Alert, Notice, score_of
from .arrays import Floats, Rows
from .intake import TICK
from .names import Names

GAP = 3 * 3600  # s without calls between two runs
LEAST_CALLS, LONGEST, AGREE = 5, 5 * 3600, 3600  # of a run: calls, s, s between starts
ALMOST_ALL, MOST = 0.9, 0.8  # of the calls lie in runs, of the starts agree, of the days have one
LATE, PUNCTUAL = 1200, 300  # s after which a run is missing: at most, and at least
LOOSE = 3.0  # times the largest difference of recent starts, for the same
EARLY = 4500  # s before its start at which a run counts as it
MOVED = 2100  # s from every start of the last eight
CLOCKS = 3600  # s that clocks move in spring and autumn
REMEMBER = 29  # days of runs
SUNDAYS = {3: (range(8, 15), range(25, 32)), 10: (range(25, 32),), 11: (range(1, 8),)}  # when zones change their clocks
MISSING_Z, SIZE_Z, MOVED_Z, LIMIT_Z = 9.0, 8.0, 7.0, 5.5  # severities: certain, less so, odd; and that of an alarm
HOLD = 12  # ticks


@dataclass(slots=True)
class Run:
    """Calls without a gap of three hours."""

    start: float
    end: float
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is known of a batch job."""

    phase: float  # s of the day at which the last run started
    starts: tuple[float, ...]  # of the last eight, s of the day
    late: float  # s after its start at which a run is missing
    daily: bool
    days: frozenset[int]  # epoch days with a run
    first: int  # first epoch day of all
    length: float  # s, of a usual run
    size: float  # calls, of a usual run
    low: float
    high: float

    @property
    def last(self) -> int:
        """The epoch day of the last run."""
        return max(self.days)

    def due(self, day: int) -> bool:
        """Was a run to be expected on a day? Daily, but for weekdays without, or on two of the last three such."""
        if self.daily:
            return day - 7 < self.first or day - 7 in self.days or day - 14 in self.days
        runs = sum(day - 7 * k in self.days for k in (1, 2, 3))
        enough = 2 if day - 21 >= self.first else 1 + (day - 14 >= self.first)
        return runs >= enough and day - 7 in self.days


def clocks_change(after: int, day: int) -> bool:
    """Has some zone changed its clocks since an epoch day, or on the day before this one, at most four weeks ago?

    >>> clocks_change(20540, 20541)  # 28 and 29 March 2026
    True
    """
    for d in range(max(min(after + 1, day - 1), day - 28), day + 1):
        date = datetime.fromtimestamp(d * DAY_S, UTC)
        if date.weekday() == 6 and any(date.day in days for days in SUNDAYS.get(date.month, ())):
            return True
    return False


def apart(a: float, b: float) -> float:
    """Seconds between two times of the day, round the clock."""
    return abs((a - b + DAY_S / 2) % DAY_S - DAY_S / 2)


class Schedules:
    """Runs of every operation, and the plans of those that are batch jobs."""

    def __init__(self) -> None:
        self.runs: dict[int, list[Run]] = {}
        self.plans: dict[int, Plan] = {}
        self.said: set[tuple[str, int, float]] = set()

    def scan(
        self, first: int, ticks: int, rows: Rows | None, names: dict[str, Names], alarming: bool
    ) -> dict[int, list[Notice]]:
        """Notices by tick read: runs are followed, and each plan is looked at every tick."""
        out: dict[int, list[Notice]] = {}
        by: dict[int, Floats] = {}
        if rows is not None:
            operation, t = rows["operation_type"][rows["root"]], rows["t"][rows["root"]]
            by = {o: t[operation == o] for o in np.unique(operation).tolist() if o >= 0}
        for o in sorted(set(by) | set(self.plans)):
            times, runs = by.get(o, np.zeros(0)), self.runs.setdefault(o, [])
            if o in self.plans and alarming:
                for i, alert in self.watch(o, first, ticks, times, names["operation_type"].word[o]):
                    key = ("schedule", o, alert.direction, alert.kind)
                    out.setdefault(i, []).append(Notice(alert=alert, key=key, hold=HOLD))
            else:
                follow(runs, times)
        return out

    def watch(self, o: int, first: int, ticks: int, times: Floats, word: object) -> Iterator[tuple[int, Alert]]:
        """Alerts of one plan, tick by tick."""
        plan, runs = self.plans[o], self.runs[o]
        missing_at = dict(missing_moments(plan, first, ticks))
        cuts = np.searchsorted(times, (np.arange(first, first + ticks) + 1) * TICK)
        done = 0
        for i, cut in enumerate(cuts.tolist()):
            if cut > done:
                follow(runs, times[done:cut])
                done = cut
            now = (first + i + 1) * TICK
            start = missing_at.get(first + i)
            if start is not None and not any(run.end > start - EARLY and run.start < now for run in runs[-3:]):
                yield i, told(plan, now, word, 0, "silence", MISSING_Z, start)
            if runs and now - runs[-1].end < GAP:
                alert = self.odd_run(o, plan, runs[-1], now, word)
                if alert is not None:
                    yield i, alert
        follow(runs, times[done:])

    def odd_run(self, o: int, plan: Plan, run: Run, now: float, word: object) -> Alert | None:
        """Is the last run too thin, too fat or at another time of day? Each is said once."""
        if ("size", o, run.start) not in self.said:
            over = now > run.start + 1.1 * plan.length + TICK
            thin = run.calls < plan.low and plan.size - run.calls > 4 * np.sqrt(plan.size)
            if (over and thin) or run.calls > plan.high:
                self.said.add(("size", o, run.start))
                return told(plan, now, word, run.calls, "drop" if over and thin else "surge", SIZE_Z, run.start)
        off = min(apart(run.start, start) for start in plan.starts)
        excused = off < CLOCKS + LATE and clocks_change(plan.last, int(run.start // DAY_S))
        known = ("size", o, run.start) in self.said or ("moved", o, run.start) in self.said
        if run.calls >= LEAST_CALLS and off > MOVED and not excused and not known:
            self.said.add(("moved", o, run.start))
            return told(plan, now, word, run.calls, "surge", MOVED_Z, run.start, moved=True)
        return None

    def learn(self, tick: int, first: int) -> None:
        """Plans from the finished runs of four weeks."""
        now, self.plans = tick * TICK, {}
        for o in list(self.runs):
            self.runs[o] = [run for run in self.runs[o] if run.end > now - REMEMBER * DAY_S]
            plan = plan_of(
                [run for run in self.runs[o] if run.end < now - GAP], int(now // DAY_S), first * TICK // DAY_S
            )
            if plan is not None:
                self.plans[o] = plan
            if not self.runs[o]:
                del self.runs[o]
        self.said = {x for x in self.said if x[2] > now - REMEMBER * DAY_S}


def follow(runs: list[Run], times: Floats) -> None:
    """Add calls to the last run, or start new ones."""
    if not len(times):
        return
    for part in np.split(times, np.flatnonzero(np.diff(times) > GAP) + 1):
        if runs and part[0] - runs[-1].end <= GAP:
            runs[-1].end, runs[-1].calls = float(part[-1]), runs[-1].calls + len(part)
        else:
            runs.append(Run(float(part[0]), float(part[-1]), len(part)))


def missing_moments(plan: Plan, first: int, ticks: int) -> Iterator[tuple[int, float]]:
    """(tick at which to miss a run, its start), within the ticks read."""
    for day in range(first // 288 - 1, (first + ticks) // 288 + 1):
        start = day * DAY_S + plan.phase
        tick = int(np.ceil((start + plan.late + (CLOCKS if clocks_change(plan.last, day) else 0)) / TICK)) - 1
        if first <= tick < first + ticks and plan.due(day):
            yield tick, start


def told(
    plan: Plan, now: float, word: object, calls: int, kind: str, severity: float, since: float, moved: bool = False
) -> Alert:
    """What to say of a run; one at another time of day was not expected at all then."""
    return Alert(
        detected_at=float(now), metric="call_count", direction="up" if kind == "surge" else "down",
        slice={"operation_type": word}, severity=severity, kind=kind, since=float(since), observed=float(calls),
        expected=0.0 if moved else plan.size, lower=0.0 if moved else plan.low,
        upper=float(LEAST_CALLS) if moved else plan.high, n=calls, score=score_of(severity, LIMIT_Z),
    )  # fmt: skip


def plan_of(done: list[Run], today: int, first: int) -> Plan | None:
    """The plan that finished runs follow, if they do."""
    runs = [run for run in done if run.calls >= LEAST_CALLS and run.end - run.start < LONGEST]
    if len(runs) < 2 or sum(run.calls for run in runs) < ALMOST_ALL * sum(run.calls for run in done):
        return None
    starts = np.array([run.start % DAY_S for run in runs])
    off = np.array([apart(start, starts[-1]) for start in starts])
    agree = off < AGREE + 600
    if agree.mean() < MOST or (len(runs) < 4 and (agree.sum() < 2 or not agree.all())):
        return None
    days, since = frozenset(int(run.start // DAY_S) for run in runs), today - 10
    sizes = np.array([run.calls for run in runs[-14:]], float)
    size, s = float(np.median(sizes)), spread_of(np.log(sizes))
    return Plan(
        phase=float(starts[-1]), starts=tuple(starts[-8:].tolist()), days=days, first=first, size=size,
        daily=sum(d >= since for d in days) >= MOST * (today - max(first, since)),
        late=lateness(off[-8:]),
        length=float(np.median([run.end - run.start for run in runs[-8:]])),
        low=min(size * float(np.exp(-3.5 * s)), 0.8 * float(sizes.min())),
        high=max(size * float(np.exp(3.5 * s)), 1.3 * float(sizes.max()) + 10),
    )  # fmt: skip


def lateness(off: Floats) -> float:
    """Seconds to wait for a run, by how far recent starts were from the last one; those an hour off are the clocks'.

    >>> lateness(np.array([60.0, 100.0, 80.0, 0.0]))
    420.0
    """
    near = off[off < CLOCKS / 2]
    return float(np.clip(LOOSE * near.max() + 120, PUNCTUAL, LATE)) if len(near) >= 4 else float(LATE)


def spread_of(logs: Floats) -> float:
    """Robust deviation of log sizes; a few sizes are helped by a prior of .4."""
    n = len(logs)
    s = max(1.4826 * float(np.median(np.abs(logs - np.median(logs)))), 0.8 * float(np.std(logs)) if n < 8 else 0.0)
    few = max(1.0, 6 - n / 3)
    return max(0.12, float(np.sqrt((n * s * s + few * 0.4**2) / (n + few))))
