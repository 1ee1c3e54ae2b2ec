"""A user who calls far more than before: in 1 h or 3 h, over 2.5 times his own maximum of 14 days + 20. Our own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alerts import Alert, Notice, score_of
from .arrays import Floats, Ints, Rows
from .intake import TICK
from .names import Names

SPANS = (12, 36)  # ticks
TIMES, PLUS, LEAST = 2.5, 20, 40  # of the limit: a person's bursts vary by as much
KNOWN_DAYS, KNOWN_CALLS = 9, 100  # before there is a limit: a new tenant grows for a week
ALMOST_ALL = 0.6  # of the traffic: his surge is everybody's, and told as such
DAYS = 14
HOLD = 72  # ticks
SEVERITY = 5.0  # at the limit


class Users:
    """Calls of users by tick (3 h), and the largest 1 h and 3 h of each of 14 days; rows are codes of users."""

    def __init__(self) -> None:
        self.last = np.zeros((0, SPANS[-1]), np.float32)
        self.most, self.calls = np.zeros((0, 2)), np.zeros(0)  # of today
        self.days: list[tuple[Floats, Floats]] = []
        self.peak, self.limit = np.zeros((0, 2)), np.zeros((0, 2))

    def scan(
        self, first: int, ticks: int, rows: Rows | None, names: dict[str, Names], alarming: bool
    ) -> dict[int, list[Notice]]:
        """Notices by tick read."""
        users = self.grow(names["user_id"].size)
        x = np.concatenate([self.last, np.zeros((users, ticks), np.float32)], 1)
        if rows is not None:
            use = (rows["user_id"] >= 0) & rows["root"]
            cell = rows["user_id"][use] * ticks + rows["tick"][use]
            x[:, SPANS[-1] :] = np.bincount(cell, minlength=ticks * users).reshape(users, ticks)
        total = np.concatenate([np.zeros((users, 1), np.float32), np.cumsum(x, 1)], 1)
        counts = [
            total[:, SPANS[-1] + 1 :] - total[:, SPANS[-1] + 1 - width : total.shape[1] - width] for width in SPANS
        ]
        self.last = x[:, -SPANS[-1] :].copy()
        self.most = np.maximum(self.most, np.stack([each.max(1, initial=0) for each in counts], 1))
        self.calls = self.calls + x[:, SPANS[-1] :].sum(1)
        out: dict[int, list[Notice]] = {}
        over = [each[: len(self.limit)] / limit[:, None] for each, limit in zip(counts, self.limit.T, strict=True)]
        hit = (over[0] > 1) | (over[1] > 1)
        for t, u in zip(*(k.tolist() for k in np.nonzero(hit.T)), strict=True) if alarming else ():
            mine, beyond = (np.array([float(each[u, t]) for each in x]) for x in (counts, over))
            notice = self.notice(first + t, u, mine, beyond, names["user_id"].word[u])
            out.setdefault(t, []).append(notice)
        return out

    def grow(self, users: int) -> int:
        """Room for new users; how many there are."""
        if users > len(self.last):
            self.last = padded(self.last, users)
            self.most, self.calls = padded(self.most, users), padded(self.calls, users)
        return users

    def notice(self, tick: int, user: int, counts: Floats, over: Floats, word: object) -> Notice:
        """The span that is furthest over its limit; expected is the busiest he was in 14 days."""
        j = int(np.argmax(over))
        severity = SEVERITY * float(over[j])
        alert = Alert(
            detected_at=float((tick + 1) * TICK), metric="call_count", direction="up", slice={"user_id": word},
            severity=severity, kind="surge", since=float((tick + 1 - SPANS[j]) * TICK), observed=float(counts[j]),
            expected=float(self.peak[user, j]), lower=0.0, upper=float(self.limit[user, j]), n=int(counts[j]),
            score=score_of(severity, SEVERITY),
        )  # fmt: skip
        return Notice(alert=alert, key=("user", user), hold=HOLD)

    def learn(self, reported: list[int]) -> None:
        """A day is over; the maxima of users who were reported in it are not believed."""
        users = len(self.calls)
        self.most[[u for u in reported if u < users]] = 0
        self.days = [*self.days, (self.most, self.calls)][-DAYS:]
        self.peak, total, active = np.zeros((users, 2)), np.zeros(users), np.zeros(users)
        for most, calls in self.days:
            self.peak = np.maximum(self.peak, padded(most, users))
            total += padded(calls, users)
            active += padded(calls, users) > 0
        self.limit = np.maximum(TIMES * self.peak + PLUS, LEAST)
        new = (active < KNOWN_DAYS) | (total < KNOWN_CALLS)
        self.limit[new | (total > ALMOST_ALL * total.sum())] = np.inf
        self.most, self.calls = np.zeros((users, 2)), np.zeros(users)

    def forget(self, codes: list[int]) -> None:
        """Users whose codes go to others."""
        gone: Ints = np.array(codes, np.int64)
        for table in (self.last, self.most, self.calls, self.peak, *(x for day in self.days for x in day)):
            table[gone[gone < len(table)]] = 0
        self.limit[gone[gone < len(self.limit)]] = np.inf


def padded(table: NDArray[Any], users: int) -> NDArray[Any]:
    """With rows of zeros up to so many users."""
    return np.concatenate([table, np.zeros((users - len(table), *table.shape[1:]), table.dtype)])
