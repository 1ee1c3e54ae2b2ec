"""A session that calls far more than any did before.

Limits per operation on its calls so far, its calls in an hour, its tokens, and calls times tokens (a long session is
seldom the heavy one too): Hill's tail of past sessions (Hill 1975), u (k / expected exceedances)^(1/a), within
[1.25 max + 1, 2 max + 2] and never under LEAST calls. The bounds, and the product, are our own.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Floats, Ints, Rows
from .intake import STRIDE, TICK
from .ledger import Groups, Ledger
from .windows import DAY

MONTHLY = 0.15  # expected false sessions a month and operation
LEAST = 24  # calls, of every limit
LEAST_ALERT = 20  # calls before any measure counts
TOKEN_ROOM = 1.6  # times the tail of tokens, which is heavier than Hill's estimate of it says
CALL_ROOM, LOAD_ROOM = 1.2, 2.0  # times the tail of calls, of calls times tokens: bursts of real people reach 1.1, 1.9
LEAST_HISTORY = 50  # finished sessions before there is a limit
TOP = 60  # largest of a day that are remembered
HISTORY_DAYS = 14
IDLE = 7200.0  # s: a session without calls for so long at midnight is finished
AN_HOUR = 3600.0
SEVERITY = 5.0  # at the limit
TOGETHER = 5  # sessions of one operation in one tick: more have one cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What no session of an operation should exceed, and the calls of a usual one."""

    calls: float
    hour: float
    tokens: float
    load: float
    usual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """Sessions of an operation that finished on a day."""

    day: int
    sessions: int
    top: Floats  # the largest calls, hours, tokens and loads, each sorted down (rows x 4)
    usual: float  # median of calls


NEEDS = ("session_id", "operation_type", "t", "tick", "input_tokens", "output_tokens")


def calls_of(rows: Rows | None) -> Rows | None:
    """What is read of the calls that belong to a session; None when there are none."""
    named = np.flatnonzero(rows["session_id"] >= 0) if rows is not None else ()
    return {name: rows[name][named] for name in NEEDS} if rows is not None and len(named) else None


class Sessions:
    """Calls so far, largest hour and tokens of every session that is not finished, by session and operation."""

    def __init__(self) -> None:
        self.today = Ledger((0.0, 0.0, 0.0, 0.0))  # calls, largest hour, tokens, time of the last call
        self.hour_keys, self.hour_times = np.zeros(0, np.int64), np.zeros(0)  # calls of the last hour
        self.history: dict[int, list[Day]] = {}
        self.limits: dict[int, Limits] = {}
        self.reported: set[int] = set()

    def scan(
        self, first: int, rows: Rows | None, operations: int, jobs: Collection[int], alarming: bool
    ) -> dict[int, list[Notice]]:
        """Notices by tick read, with the codes of sessions. Runs of batch jobs are left out: they have a schedule."""
        out: dict[int, list[Notice]] = {}
        asked: dict[tuple[int, int], list[Alert]] = {}  # by tick and operation
        if rows is None:
            return out
        calls, hour, tokens = self.follow(rows)
        limits = self.limit_table(operations, jobs)[rows["operation_type"] + 1]
        over = (np.stack([calls, hour, tokens, calls * tokens], 1) / limits).max(1)
        for row in np.flatnonzero((over > 1) & (calls >= LEAST_ALERT)).tolist() if alarming else ():
            session, operation = int(rows["session_id"][row]), int(rows["operation_type"][row])
            key = session * STRIDE + operation + 1
            if key in self.reported:
                continue
            self.reported.add(key)
            measures = float(calls[row]), float(hour[row]), float(tokens[row]), float(calls[row] * tokens[row])
            tick = int(rows["tick"][row])
            alert = alert_of(first + tick, session, self.limits[operation], measures)
            out.setdefault(tick, []).append(Notice(alert=alert, key=("session", session), hold=DAY))
            asked.setdefault((tick, operation), []).append(alert)
        return {tick: fewer(tick, notices, asked) for tick, notices in out.items()}

    def follow(self, rows: Rows) -> tuple[Floats, Floats, Floats]:
        """Calls so far, calls in the last hour and tokens so far of each row's session and operation."""
        keys, t = rows["session_id"] * STRIDE + rows["operation_type"] + 1, rows["t"]
        groups = Groups(keys)
        order, at, last = groups.order, self.today.at(groups.keys), groups.starts + groups.sizes - 1
        state = self.today.values[at]
        size = (np.nan_to_num(rows["input_tokens"]) + np.nan_to_num(rows["output_tokens"]))[order]
        run = np.cumsum(size)
        calls = groups.rank + 1 + groups.spread(state[:, 0])
        tokens = run - groups.spread((run - size)[groups.starts]) + groups.spread(state[:, 2])
        hour = self.last_hour(keys, t)
        largest = np.maximum(np.maximum.reduceat(hour[order], groups.starts), state[:, 1])
        self.today.values[at] = np.stack([calls[last], largest, tokens[last], t[order][last]], 1)
        back = np.argsort(order)
        return calls[back], hour, tokens[back]

    def last_hour(self, keys: Ints, t: Floats) -> Floats:
        """Calls of the same key in the hour up to each row."""
        old = len(self.hour_keys)
        keys, t = np.concatenate([self.hour_keys, keys]), np.concatenate([self.hour_times, t])
        order = np.lexsort((t, keys))
        group = np.cumsum(np.diff(keys[order], prepend=keys[order[0]]) != 0)
        shift = group * (t.max() - t.min() + 2 * AN_HOUR)  # keeps groups apart on one line of time
        line = t[order] - t.min() + shift
        count = np.zeros(len(t))
        count[order] = np.arange(len(t)) - np.searchsorted(line, line - AN_HOUR) + 1
        fresh = t >= t.max() - AN_HOUR
        self.hour_keys, self.hour_times = keys[fresh], t[fresh]
        return count[old:]

    def limit_table(self, operations: int, jobs: Collection[int]) -> Floats:
        """Limits by operation code + 1 (operations + 1 x 4), infinite where there are none."""
        table = np.full((operations + 1, 4), np.inf)
        for o, limits in self.limits.items():
            if o not in jobs:
                table[o + 1] = limits.calls, limits.hour, limits.tokens, limits.load
        return table

    def learn(self, tick: int) -> None:
        """Finished sessions become history, without those reported; limits follow from it."""
        day = tick // DAY
        keys, done = self.today.split(self.today.values[:, 3] < tick * TICK - IDLE)
        clean = ~np.isin(keys, list(self.reported))
        operation, done = keys[clean] % STRIDE - 1, done[clean, :3]
        done = np.column_stack([done, done[:, 0] * done[:, 2]])
        for o in np.unique(operation).tolist():
            mine = done[operation == o]
            entry = Day(day=day, sessions=len(mine), top=-np.sort(-mine, 0)[:TOP], usual=float(np.median(mine[:, 0])))
            self.history.setdefault(o, []).append(entry)
        self.reported.difference_update(keys.tolist())
        for o in list(self.history):
            days = self.history[o] = [x for x in self.history[o] if x.day > day - HISTORY_DAYS]
            self.limits.pop(o, None)
            if sum(x.sessions for x in days) >= LEAST_HISTORY:
                self.limits[o] = limits_of(days, day)
            if not days:
                del self.history[o]


def fewer(tick: int, notices: list[Notice], asked: dict[tuple[int, int], list[Alert]]) -> list[Notice]:
    """Of sessions of one operation that all get out of hand at once, one story: it is the operation."""
    out = list(notices)
    for (its, operation), alerts in asked.items():
        if its == tick and len(alerts) > TOGETHER:
            worst = max(alerts, key=lambda alert: alert.severity)
            told = replace(worst, slice={"operation_type": operation})
            out = [notice for notice in out if all(notice.alert is not alert for alert in alerts)]
            out.append(Notice(alert=told, key=("sessions", operation), hold=DAY))
    return out


def limits_of(days: list[Day], today: int) -> Limits:
    """Limits from the sessions of some days."""
    n, top = sum(x.sessions for x in days), -np.sort(-np.concatenate([x.top for x in days]), 0)
    span = min(HISTORY_DAYS, max(1, today - days[0].day + 1))
    calls, hour, tokens, load = (tail(top[:, j], n, span) for j in range(4))
    usual = float(np.median([x.usual for x in days]))
    return Limits(
        calls=CALL_ROOM * max(LEAST, calls),
        hour=CALL_ROOM * max(LEAST, hour),
        tokens=TOKEN_ROOM * tokens,
        load=LOAD_ROOM * load,
        usual=usual,
    )


def tail(top: Floats, n: int, days: int) -> float:
    """Hill's estimate of the size that MONTHLY sessions a month exceed, of n in so many days; near the largest seen."""
    k = min(max(min(n // 50, 60), 8), len(top) - 1)
    u = max(top[k], 1)
    hill = max(float(np.mean(np.log(np.maximum(top[:k], 1) / u))), 1e-3)
    return float(min(max(u * (k / (MONTHLY * days / 30)) ** hill, 1.25 * top[0] + 1), 2 * top[0] + 2))


def alert_of(tick: int, session: int, limits: Limits, measures: tuple[float, float, float, float]) -> Alert:
    """What to say: calls so far or in the last hour; when tokens gave it away, the calls that would have held them."""
    most = limits.calls, limits.hour, limits.tokens, limits.load
    ratio = [x / y for x, y in zip(measures, most, strict=True)]
    worst = int(np.argmax(ratio))
    observed = measures[1] if worst == 1 else measures[0]
    severity = SEVERITY * ratio[worst]
    return Alert(
        detected_at=float((tick + 1) * TICK), metric="call_count", direction="up", slice={"session_id": session},
        severity=severity, kind="surge", observed=observed, expected=min(limits.usual, observed), lower=0.0,
        upper=observed / ratio[worst], n=int(measures[0]), score=score_of(severity, SEVERITY),
    )  # fmt: skip
