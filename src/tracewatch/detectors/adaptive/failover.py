"""Whose failure a fallback is: its row carries the substitute's model, the failure is the primary's.

The primary is what failed before in the same trace and operation; where attempts are not told, what most calls of the
operation use. Our own.
"""

import numpy as np

from .arrays import Flags, Floats, Ints, Rows

REMEMBER = 3600.0  # s between a failed attempt and its substitute
MAIN = 0.5  # of the calls of an operation, without the substitute's: less is not what it usually uses
MOST = 10_000  # failed attempts remembered


class Failover:
    """Failed attempts of the last hour, by trace and operation, and the usual segment of each operation."""

    def __init__(self) -> None:
        self.failed: dict[tuple[object, int], tuple[int, float]] = {}  # -> segment, when

    def blame(self, rows: Rows, segments: list[tuple[int, int, int]], traffic: Floats) -> Ints:
        """The segment whose fallback each row is; its own where it is none, or nobody else can be blamed."""
        out = rows["segment"].copy()
        odd = np.flatnonzero(rows["error"] | rows["fallback"])
        for i in odd.tolist():
            key, t = (rows["trace_id"][i], int(rows["operation_type"][i])), float(rows["t"][i])
            if rows["error"][i]:
                self.failed[key] = int(rows["segment"][i]), t
                continue
            segment, at = self.failed.get(key, (-1, -np.inf))
            out[i] = segment if t - at <= REMEMBER else self.usual(int(rows["segment"][i]), segments, traffic)
        if len(rows["t"]):
            self.forget(float(rows["t"][-1]))
        return out

    def usual(self, substitute: int, segments: list[tuple[int, int, int]], traffic: Floats) -> int:
        """What most other calls of the operation use, if that is more than the substitute itself."""
        others = [g for g, codes in enumerate(segments) if codes[0] == segments[substitute][0] and g != substitute]
        if not others:
            return substitute
        best = max(others, key=lambda g: traffic[g])
        enough = traffic[best] >= MAIN * sum(traffic[g] for g in others) and traffic[best] > traffic[substitute]
        return best if enough else substitute

    def forget(self, now: float) -> None:
        """Attempts that are too old or too many."""
        self.failed = {key: x for key, x in self.failed.items() if x[1] > now - REMEMBER}
        if len(self.failed) > MOST:
            self.failed = dict(sorted(self.failed.items(), key=lambda x: x[1][1])[-MOST:])

    def keep_segments(self, place: dict[int, int]) -> None:
        """Renumber segments."""
        self.failed = {key: (place[g], t) for key, (g, t) in self.failed.items() if g in place}


def moved(rows: Rows) -> Flags:
    """Which rows are another segment's fallback."""
    return np.asarray(rows["fails_as"] != rows["segment"])
