"""How alike the calls of one session are: what they share is evidence once, not once a call.

The intraclass correlation rho of hits, by pairs of calls of a session (Fisher 1925); n calls of it count as
n / (1 + (n - 1) rho), the effective size of a clustered sample (Kish 1965).
"""

import numpy as np

from .arrays import Floats, Ints, Rows
from .expectations import exact
from .intake import STRIDE
from .ledger import Groups, Ledger
from .rates import EMPTY, NO_HIT, R

KEEP = 0.9  # of what was known the day before: a memory of a week and a half
PRIOR, PRIOR_SESSIONS = 0.5, 8  # before anything is known: half alike
SERIES = R - EMPTY  # of the rates: parts that may fall empty, and calls without a cache hit


class Clumps:
    """By segment and series: sums over pairs of calls of a session, pairs, squares, calls, sessions with a pair."""

    def __init__(self) -> None:
        self.sums = np.zeros((0, SERIES, 5))
        self.today = Ledger((0.0,) * (3 * SERIES))  # by session and segment: calls, surprise and squares of each series

    def grow(self, segments: int) -> None:
        """Room for so many segments."""
        self.sums = np.concatenate([self.sums, np.zeros((segments - len(self.sums), SERIES, 5))])

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments; only when a day is closed."""
        self.sums = self.sums[keep]

    def add(self, rows: Rows, base: Floats) -> None:
        """Take note of rows of today; base is the share of hits of each segment."""
        named = np.flatnonzero(rows["session_id"] >= 0)
        if not len(named):
            return
        segment, use = rows["segment"][named], rows["use"][named, EMPTY:]
        expected = base[segment, EMPTY:]
        expected[:, NO_HIT - EMPTY] = rows["miss"][named]
        surprise = exact((rows["hit"][named, EMPTY:] - expected) * use)
        groups = Groups(rows["session_id"][named] * STRIDE + segment)
        values = np.concatenate([use, surprise, exact(surprise * surprise)], 1)[groups.order]
        at = self.today.at(groups.keys)
        self.today.values[at] += np.add.reduceat(values, groups.starts)

    def close_day(self) -> None:
        """A day is over."""
        self.sums *= KEEP
        keys, values = self.today.split(np.ones(len(self.today.keys), bool))
        if len(keys):
            groups = Groups(keys % STRIDE)
            n, s, q = values[groups.order].reshape(-1, 3, SERIES).transpose(1, 0, 2)
            for j, x in enumerate((s * s - q, n * (n - 1), q, n, n > 1)):
                self.sums[groups.keys, :, j] += np.add.reduceat(x, groups.starts, dtype=float)

    def effective(self, members: Floats, series: int, sizes: Ints) -> float:
        """Independent calls that sessions of a slice with so many calls are worth; series counts from EMPTY."""
        together, pairs, squares, n, sessions = self.sums[members > 0, series].sum(0)
        rho = together / pairs / (squares / n) if pairs and squares else PRIOR
        rho = (np.clip(rho, 0, 1) * sessions + PRIOR * PRIOR_SESSIONS) / (sessions + PRIOR_SESSIONS)
        return float((sizes / (1 + (sizes - 1) * rho)).sum())
