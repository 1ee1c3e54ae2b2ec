"""How alike the calls of one session are: what they share is evidence once, not once a call.

The intraclass correlation rho of hits, by pairs of calls of a session (Fisher 1925); n calls of it count as
n / (1 + (n - 1) rho), the effective size of a clustered sample (Kish 1965).
"""

import numpy as np

from .arrays import Floats, Ints, Rows
from .rates import EMPTY, R

KEEP = 0.9  # of the sums of the day before: a week and a half of memory
PRIOR, PRIOR_SESSIONS = 0.5, 8  # before anything is known: half alike
SERIES = R - EMPTY


class Clumps:
    """Sums over pairs of calls of a session, pairs, squares, calls and sessions (segments x series x 5)."""

    def __init__(self) -> None:
        self.sums = np.zeros((0, SERIES, 5))

    def grow(self, segments: int) -> None:
        """Room for so many segments."""
        self.sums = np.concatenate([self.sums, np.zeros((segments - len(self.sums), SERIES, 5))])

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        self.sums = self.sums[keep]

    def learn(self, parts: list[Rows], base: Floats) -> None:
        """A day is over; base is the share of hits of each segment."""
        self.sums *= KEEP
        if not parts:
            return
        rows = {k: np.concatenate([part[k] for part in parts]) for k in ("segment", "session_id", "use", "hit", "miss")}
        for j in range(SERIES):
            use = np.flatnonzero(rows["use"][:, EMPTY + j] & (rows["session_id"] >= 0))
            segment, p = rows["segment"][use], rows["miss"][use] if j == SERIES - 1 else None
            d = rows["hit"][use, EMPTY + j] - (base[segment, EMPTY + j] if p is None else p)
            self.add(j, segment, rows["session_id"][use], d)

    def add(self, j: int, segment: Ints, session: Ints, d: Floats) -> None:
        """Sums of one series."""
        if not len(d):
            return
        cells, at = np.unique(np.stack([segment, session]), axis=1, return_inverse=True)
        n, s, q = np.bincount(at), np.bincount(at, d), np.bincount(at, d * d)
        each = np.stack([s * s - q, n * (n - 1.0), q, n, n > 1], 1)
        np.add.at(self.sums[:, j], cells[0], each)

    def effective(self, members: Floats, j: int, sizes: Ints) -> float:
        """Independent calls that sessions with so many calls of a slice are worth."""
        pairs, count, square, n, sessions = self.sums[members > 0, j].sum(0)
        rho = float(pairs / count / (square / n)) if count and square else PRIOR
        rho = (np.clip(rho, 0, 1) * sessions + PRIOR * PRIOR_SESSIONS) / (sessions + PRIOR_SESSIONS)
        return float((sizes / (1 + (sizes - 1) * rho)).sum())
