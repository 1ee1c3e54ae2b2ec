"""A user who calls far more than before, altogether or of one operation: in 1 h or 3 h, over 3 times his own maximum
of 14 days + 25. Our own.
"""

from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alerts import Alert, Notice, score_of
from .arrays import Floats, Ints, Rows
from .intake import STRIDE, TICK
from .trailing import Trailing

SPANS = (12, 36)  # ticks
TIMES, PLUS, LEAST = 3.0, 25, 45  # of the limit: a person's bursts vary by as much
KNOWN_DAYS, KNOWN_CALLS = 9, 100  # before there is a limit: a new tenant grows for a week
ALMOST_ALL = 0.6  # of the traffic: his surge is everybody's, and told as such
DAYS = 14
PAIRS = 2_000  # of a user and an operation, watched beside all of a user's calls
ALL = 0  # operation of all of a user's calls; others are their codes + 1
HOLD = 72  # ticks
FREE = (-1, -1)
SEVERITY = 5.0  # at the limit


Calls = tuple[Ints, Ints, Ints]
"""Users, operations + 1 and ticks."""


def calls_of(rows: Rows | None) -> Calls | None:
    """The calls that are counted: those that nobody made on behalf of another, of known users."""
    if rows is None:
        return None
    use = (rows["user_id"] >= 0) & rows["root"]
    return rows["user_id"][use], rows["operation_type"][use] + 1, rows["tick"][use]


class Users:
    """Calls by tick (3 h), and the largest 1 h and 3 h of each of 14 days; rows are users, and operations of theirs."""

    def __init__(self) -> None:
        self.row: dict[int, int] = {}  # code of a user x STRIDE + operation -> row of the tables
        self.whose: list[tuple[int, int]] = []  # user and operation of each row
        self.free: list[int] = []  # rows of users who are forgotten
        self.pairs = 0
        self.last = np.zeros((0, SPANS[-1]), np.float32)
        self.most, self.calls = np.zeros((0, 2)), np.zeros(0)  # of today
        self.days: list[tuple[Floats, Floats]] = []
        self.peak, self.limit = np.zeros((0, 2)), np.zeros((0, 2))

    def scan(self, first: int, ticks: int, calls: Calls | None, alarming: bool) -> dict[int, list[Notice]]:
        """Notices by tick read, with the codes of users."""
        counted = np.zeros((2, 0), np.int64) if calls is None else self.rows_of(*calls)
        self.grow(len(self.whose))
        there: NDArray[np.bool_] = np.asarray(self.last.any(1))
        there[counted[0]] = True
        some = np.flatnonzero(there)  # of the others nothing is new
        seen = Trailing(self.last[some], (np.cumsum(there) - 1)[counted[0]], counted[1], ticks)
        self.last[some], most = seen.last, seen.most(SPANS)
        self.most[some] = np.maximum(self.most[some], most)
        self.calls[some] += seen.calls
        out: dict[int, list[Notice]] = {}
        known = np.flatnonzero(some < len(self.limit))
        known = known[(most[known] > self.limit[some[known]]).any(1)] if alarming else known[:0]
        counts = seen.windows(known, SPANS)
        over = [each / self.limit[some[known], j, None] for j, each in enumerate(counts)]
        hits = zip(*(k.tolist() for k in np.nonzero(((over[0] > 1) | (over[1] > 1)).T)), strict=True)
        for t, i in sorted(hits, key=lambda hit: (hit[0], self.whose[some[known[hit[1]]]])):
            u = int(some[known[i]])
            mine = np.array([float(each[i, t]) for each in counts])
            beyond = np.array([float(each[i, t]) for each in over])
            notice = self.notice(first + t, u, mine, beyond)
            out.setdefault(t, []).append(notice)
        return out

    def rows_of(self, users: Ints, operations: Ints, ticks: Ints) -> Ints:
        """Rows and ticks to count: each call for its user, and for the operation of his (2 x calls counted)."""
        out = []
        for which in (np.full(len(users), ALL), operations):
            keys, first, at = np.unique(users * STRIDE + which, return_index=True, return_inverse=True)
            places = np.fromiter(map(self.row.get, keys.tolist(), repeat(-1)), np.int64, len(keys))
            new = np.flatnonzero(places < 0)
            for i in new[np.argsort(first[new])].tolist():  # in order of appearance, lest batches matter
                places[i] = self.place(int(keys[i]))
            known = places[at] >= 0
            out.append(np.stack([places[at][known], ticks[known]]))
        return np.concatenate(out, 1)

    def place(self, key: int) -> int:
        """The row of a new user's operation; -1 if there is no room for more."""
        other = key % STRIDE != ALL
        if other and self.pairs >= PAIRS:
            return -1
        row = self.row[key] = self.free.pop() if self.free else len(self.whose)
        self.whose[row : row + 1] = [(key // STRIDE, key % STRIDE)]
        self.pairs += other
        return row

    def grow(self, users: int) -> None:
        """Room for new users."""
        if users > len(self.last):
            self.last = padded(self.last, users)
            self.most, self.calls = padded(self.most, users), padded(self.calls, users)

    def notice(self, tick: int, user: int, counts: Floats, over: Floats) -> Notice:
        """The span that is furthest over its limit; expected is the busiest he was in 14 days."""
        j = int(np.argmax(over))
        severity = SEVERITY * float(over[j])
        alert = Alert(
            detected_at=float((tick + 1) * TICK), metric="call_count", direction="up",
            slice={"user_id": self.whose[user][0]}, severity=severity, kind="surge",
            since=float((tick + 1 - SPANS[j]) * TICK), observed=float(counts[j]), expected=float(self.peak[user, j]),
            lower=0.0, upper=float(self.limit[user, j]), n=int(counts[j]),
            score=score_of(severity, SEVERITY),
        )  # fmt: skip
        return Notice(alert=alert, key=("user", self.whose[user][0]), hold=HOLD)

    def learn(self, reported: list[int]) -> None:
        """A day is over; the maxima of users (codes) who were reported in it are not believed."""
        users = len(self.calls)
        self.most[[i for i, (user, _) in enumerate(self.whose) if user in reported and i < users]] = 0
        self.days = [*self.days, (self.most, self.calls)][-DAYS:]
        self.peak, total, active = np.zeros((users, 2)), np.zeros(users), np.zeros(users)
        for most, calls in self.days:
            self.peak = np.maximum(self.peak, padded(most, users))
            total += padded(calls, users)
            active += padded(calls, users) > 0
        self.limit = np.maximum(TIMES * self.peak + PLUS, LEAST)
        new = (active < KNOWN_DAYS) | (total < KNOWN_CALLS)
        everyone = total[[i for i, (_, operation) in enumerate(self.whose) if operation == ALL]].sum()
        his = np.array([total[self.row[user * STRIDE + ALL]] if user >= 0 else 0.0 for user, _ in self.whose])
        self.limit[new | (his > ALMOST_ALL * everyone)] = np.inf
        self.most, self.calls = np.zeros((users, 2)), np.zeros(users)

    def forget(self, codes: list[int]) -> None:
        """Users whose codes go to others."""
        leave = set(codes)
        gone: Ints = np.array([i for i, (user, _) in enumerate(self.whose) if user in leave], np.int64)
        for i in gone.tolist():
            user, operation = self.whose[i]
            del self.row[user * STRIDE + operation]
            self.pairs -= operation != ALL
            self.whose[i] = FREE
            self.free.append(i)
        tables: list[NDArray[Any]] = [self.last, self.most, self.calls, self.peak]
        tables += [x for day in self.days for x in day]
        for table in tables:
            table[gone[gone < len(table)]] = 0
        self.limit[gone[gone < len(self.limit)]] = np.inf


def padded(table: NDArray[Any], users: int) -> NDArray[Any]:
    """With rows of zeros up to so many users."""
    return np.concatenate([table, np.zeros((users - len(table), *table.shape[1:]), table.dtype)])
