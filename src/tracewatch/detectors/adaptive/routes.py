"""Which models the calls of an operation go to: a model that takes over calls that are not its own.

A share k/n of an operation's good calls is compared with the largest that the model had on any day of two weeks, or at
any hour of the day: what is alternated by itself is no news. Of a model that is new to all another room tells. Our own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Floats, Ints, Rows
from .firsts import Firsts
from .intake import TICK
from .knowledge import Knowledge
from .windows import DAY, deviance_root_of

SPANS = (6, 12, 36, 72)  # ticks
RISE, MOST_RISE = 0.15, 0.4  # of the share: as much again, within these; less is nobody's incident
LEAST_CALLS, LEAST_DAYS = 8, 3  # of the model in the window; on which the operation was seen
FEW = 20  # calls of an operation on a day or at an hour: of fewer no share is told
FRESH = 0.05  # largest share of a model that the operation never used
HALF = 0.5  # of the limit must remain without the worst ten minutes
BY_SESSION = 0.75  # of the limit must remain when sessions are counted instead of calls
DAYS, ACCEPTED = 14, 3  # remembered; after so many days of it, it is the new normal
HOLD = ACCEPTED * DAY  # ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Calls of a segment in a window, those of its operation, and the share it was known to have at most."""

    tick: int  # read
    segment: int
    width: int
    calls: float
    all_calls: float
    usual: float
    most: float

    @property
    def z(self) -> float:
        """How surprising."""
        return deviance_root_of(self.calls, self.all_calls, self.most)


class Routes:
    """Good calls by tick (six hours), day and hour of the day; columns are segments."""

    def __init__(self) -> None:
        self.last = np.zeros((SPANS[-1], 0))
        self.today = np.zeros((24, 0))
        self.days: list[Floats] = []  # hours x segments
        self.usual, self.most = np.zeros(0), np.zeros(0)  # shares
        self.settled: set[int] = set()  # operations that are known
        self.said: dict[int, list[int]] = {}  # operation -> days on which it was told of

    def scan(
        self, known: Knowledge, firsts: Firsts, first: int, ticks: int, rows: Rows | None, alarming: bool
    ) -> dict[int, list[Notice]]:  # fmt: skip
        """Notices by tick read."""
        new = self.count(first, ticks, rows, len(known.intake.segments))
        x = np.concatenate([self.last, new])
        self.last = x[-SPANS[-1] :]
        out: dict[int, list[Notice]] = {}
        if rows is None or not alarming:
            return out
        self.meet(known)
        for route in self.odd(known, x, ticks):
            model = known.intake.names["model_name"].word.get(known.intake.segments[route.segment][1])
            notice = self.judge(known, route, first, x)
            if notice is not None and not firsts.is_new("model_name", model, first + route.tick + 1):
                out.setdefault(route.tick, []).append(notice)
        return out

    def count(self, first: int, ticks: int, rows: Rows | None, segments: int) -> Floats:
        """The calls of a run (ticks x segments), which are added to those of the day."""
        self.last, self.today = padded(self.last, segments), padded(self.today, segments)
        new = np.zeros((ticks, segments))
        if rows is not None:
            some = np.flatnonzero(rows["good"] & (rows["model_name"] >= 0) & (rows["operation_type"] >= 0))
            cell = rows["tick"][some] * segments + rows["segment"][some]
            new = np.bincount(cell, minlength=ticks * segments).reshape(ticks, segments).astype(float)
            hour = (first + np.arange(ticks)) % DAY // 12
            np.add.at(self.today, hour, new)
        return new

    def meet(self, known: Knowledge) -> None:
        """Segments that are new today: of a known operation a share of nothing, of others nothing is known."""
        new = [codes[0] in self.settled for codes in known.intake.segments[len(self.most) :]]
        self.usual = np.concatenate([self.usual, np.zeros(len(new))])
        self.most = np.concatenate([self.most, np.where(new, FRESH, 1.0)])

    def odd(self, known: Knowledge, x: Floats, ticks: int) -> Iterator[Route]:
        """The most surprising window of each segment and tick, in order of ticks."""
        total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, 0)])
        i, group = np.arange(ticks) + SPANS[-1] + 1, operations(known, x.shape[1])
        best: dict[tuple[int, int], Route] = {}
        for width in SPANS:
            calls = total[i] - total[i - width]
            sums = np.zeros((ticks, int(group.max(initial=0)) + 1))
            np.add.at(sums.T, group, calls.T)
            all_calls = sums[:, group]
            hit = (calls >= LEAST_CALLS) & (calls > all_calls * (self.most + np.clip(self.most, RISE, MOST_RISE)))
            for t, g in zip(*(k.tolist() for k in np.nonzero(hit)), strict=True):
                route = Route(
                    tick=t, segment=g, width=width, calls=float(calls[t, g]), all_calls=float(all_calls[t, g]),
                    usual=float(self.usual[g]), most=float(self.most[g]),
                )  # fmt: skip
                if route.z > known.settings.z and ((t, g) not in best or best[t, g].z < route.z):
                    best[t, g] = route
        for _, route in sorted(best.items(), key=lambda each: each[0]):
            yield route

    def judge(self, known: Knowledge, route: Route, first: int, x: Floats) -> Notice | None:
        """Is it more than one moment's and one session's? Then what is to be said."""
        operation = known.intake.segments[route.segment][0]
        group = np.flatnonzero(operations(known, x.shape[1]) == operation + 1)
        stop = SPANS[-1] + route.tick + 1
        mine, everyone = x[stop - route.width : stop, route.segment], x[stop - route.width : stop, group].sum(1)
        at = int(np.argmax(np.convolve(mine, [1, 1], "valid")))
        k, n = route.calls - mine[at : at + 2].sum(), route.all_calls - everyone[at : at + 2].sum()
        limit = known.settings.z
        if deviance_root_of(float(k), float(n), route.most) < HALF * limit:
            return None
        if by_session(known, route, first) < BY_SESSION * limit:
            return None
        days, day = self.said.setdefault(operation, []), (first + route.tick) // DAY
        if day not in days:
            days.append(day)
        label = known.intake.describe(route.segment)
        alert = Alert(
            detected_at=float((first + route.tick + 1) * TICK), metric="call_count", direction="up",
            slice={word: label[word] for word in ("operation_type", "model_name")}, severity=route.z, kind="surge",
            since=float((first + began(x[:stop, route.segment])) * TICK - SPANS[-1] * TICK), observed=route.calls,
            expected=route.all_calls * route.usual, lower=0.0, upper=route.all_calls * (route.most + RISE),
            n=int(route.calls), score=score_of(route.z, known.settings.z),
        )  # fmt: skip
        key = ("route", "failure", operation, known.intake.segments[route.segment][1])
        return Notice(alert=alert, key=key, hold=HOLD, segments=tuple(group.tolist()))

    def learn(self, known: Knowledge, day: int) -> None:
        """A day is over: the shares of two weeks, without the days of what was told, unless it goes on."""
        segments = len(known.intake.segments)
        group = operations(known, segments)
        self.said = {o: kept for o, days in self.said.items() if (kept := [x for x in days if x > day - DAYS])}
        told = [o + 1 for o, days in self.said.items() if day - 1 in days and len(days) <= ACCEPTED]
        today = padded(self.today, segments)
        today[:, np.isin(group, told)] = 0.0
        self.days = [*self.days, today][-DAYS:]
        self.today = np.zeros((24, segments))
        calls = np.stack([padded(each, segments) for each in self.days])  # days x hours x segments
        by_day, by_hour = calls.sum(1), calls.sum(0)
        self.usual = shares(by_day.sum(0)[None], group, 1)[0]
        self.most = np.maximum.reduce([shares(by_day, group, FEW).max(0), shares(by_hour, group, FEW).max(0)])
        seen = (totals(by_day, group) >= FEW).sum(0)
        self.most[(seen < LEAST_DAYS) | (group == 0)] = 1.0
        self.settled = set((group[seen >= LEAST_DAYS] - 1).tolist()) - {-1}

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        self.days = [padded(each, int(keep.max(initial=-1)) + 1)[:, keep] for each in self.days]
        self.last, self.today = self.last[:, keep], self.today[:, keep]
        self.usual, self.most = self.usual[keep], self.most[keep]


def padded(table: Floats, columns: int) -> Floats:
    """With columns of zeros up to so many."""
    return np.concatenate([table, np.zeros((len(table), max(columns - table.shape[1], 0)))], 1)


def operations(known: Knowledge, segments: int) -> Ints:
    """The operation of each segment, plus one."""
    return np.array([codes[0] + 1 for codes in known.intake.segments[:segments]], np.int64)


def totals(calls: Floats, group: Ints) -> Floats:
    """Calls of each segment's operation, in each row."""
    sums = np.zeros((len(calls), int(group.max(initial=0)) + 1))
    np.add.at(sums.T, group, calls.T)
    return sums[:, group]


def shares(calls: Floats, group: Ints, least: float) -> Floats:
    """Upper plausible share of each segment in its operation, in each row; 0 where there are too few calls."""
    n = totals(calls, group)
    p = (calls + 0.5) / (n + 1)
    return np.where(n >= least, np.minimum(p + np.sqrt(p * (1 - p) / (n + 1)), 1.0), 0.0)


def began(calls: Floats) -> int:
    """The tick after the last two hours without any."""
    quiet = np.convolve(calls > 0, np.ones(24), "valid") == 0
    at = np.flatnonzero(quiet)
    return int(at[-1]) + 24 if len(at) else 0


def by_session(known: Knowledge, route: Route, first: int) -> float:
    """z of the sessions that used the model, of all of the operation; of calls without one, as it is."""
    low, high = (first + route.tick + 1 - route.width) * TICK, (first + route.tick + 1) * TICK
    operation = known.intake.segments[route.segment][0]
    sessions, mine = [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    for until, rows in known.recent:
        if until * TICK > low:
            some = (rows["operation_type"] == operation) & (rows["t"] >= low) & (rows["t"] < high)
            some &= rows["good"] & (rows["session_id"] >= 0)
            sessions.append(rows["session_id"][some])
            mine.append(rows["segment"][some] == route.segment)
    who, its = np.concatenate(sessions), np.concatenate(mine)
    if not len(who):
        return route.z
    return deviance_root_of(float(len(np.unique(who[its]))), float(len(np.unique(who))), route.most)
