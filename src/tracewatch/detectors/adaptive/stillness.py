"""Silence of everything: not one session starts anywhere, for longer than ever before.

What one operation's silence is measured against, the rest, falls silent as well; so this is counted against the clock
alone, in starts that were to be expected. Our own.
"""

from collections.abc import Iterator

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Floats
from .intake import TICK

LEAST = 30.0  # expected starts without any: on a holiday a seventh of them, and still four, come
ROOM = 2.0  # times the longest stretch of two weeks, in expected starts
SEVERITY = 6.0  # at the limit
HOLD = 36  # ticks: it is told every tick while it lasts, and over an hour and a half after the last time


class Stillness:
    """Starts that were to be expected since the last one that came."""

    def __init__(self) -> None:
        self.missed = 0.0
        self.began = 0  # tick after that of the last start
        self.limit = np.inf

    def scan(self, first: int, starts: Floats, usual: Floats, alarming: bool) -> Iterator[tuple[int, Notice]]:
        """A notice in every tick read in which it has been silent for too long."""
        for i, (any_came, expected) in enumerate(zip((starts > 0).tolist(), usual.tolist(), strict=True)):
            if any_came:
                self.missed, self.began = 0.0, first + i + 1
                continue
            self.missed += expected
            if alarming and self.missed > self.limit:
                yield i, Notice(alert=self.alert(first + i), key=("stillness",), hold=HOLD)

    def alert(self, tick: int) -> Alert:
        """What to say."""
        severity = SEVERITY * self.missed / self.limit
        return Alert(
            detected_at=float((tick + 1) * TICK), metric="call_count", direction="down", slice={}, severity=severity,
            kind="silence", since=float(self.began * TICK), observed=0.0, expected=self.missed, lower=1.0,
            upper=self.missed, n=0, score=score_of(severity, SEVERITY),
        )  # fmt: skip

    def learn(self, starts: Floats, usual: Floats) -> None:
        """The limit, from starts and expected starts by tick of the last days."""
        at, total = np.flatnonzero(starts > 0), np.cumsum(usual)
        longest = float(np.diff(total[at]).max()) if len(at) > 1 else 0.0
        self.limit = max(LEAST, ROOM * longest)
