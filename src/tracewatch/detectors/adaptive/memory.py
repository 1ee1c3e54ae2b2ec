"""Rows remembered for the baselines: an even sample of each day and segment."""

import numpy as np

from .arrays import Floats, Ints, Rows

COLUMNS = ("t", "y", "work", "tokens", "idle_cell", "warm_cell", "turn_cell", "hour_cell", "r", "read")


class Memory:
    """Samples by segment: (day, rows)."""

    def __init__(self) -> None:
        self.today: list[Rows] = []
        self.days: dict[int, list[tuple[int, Rows]]] = {}

    def add(self, rows: Rows) -> None:
        """Take note of rows of today."""
        self.today.append(rows)

    def close_day(self, day: int, per_segment: int, remember_days: int) -> None:
        """Sample today's rows, and forget what is too old."""
        if self.today:
            rows = {k: np.concatenate([part[k] for part in self.today]) for k in (*COLUMNS, "segment")}
            order = np.argsort(rows["segment"], kind="stable")
            segments, starts = np.unique(rows["segment"][order], return_index=True)
            for g, at in zip(segments.tolist(), np.split(order, starts[1:]), strict=True):
                at = at[np.linspace(0, len(at) - 1, min(per_segment, len(at))).astype(np.int64)]
                self.days.setdefault(g, []).append((day, {k: compact(rows[k][at]) for k in COLUMNS}))
        self.today = []
        for g in list(self.days):
            self.days[g] = [d for d in self.days[g] if d[0] > day - remember_days]
            if not self.days[g]:
                del self.days[g]

    def rows(self, segment: int) -> Rows:
        """All that is remembered of a segment; y is the reader's to change."""
        days = self.days[segment]
        return {k: np.concatenate([rows[k] for _, rows in days]) for k in COLUMNS}

    def traffic(self, segments: int) -> Floats:
        """Remembered rows of each segment, plus one."""
        out = np.ones(segments)
        for g, days in self.days.items():
            out[g] += sum(len(rows["t"]) for _, rows in days)
        return out

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        self.days = {i: self.days[g] for i, g in enumerate(keep.tolist()) if g in self.days}


def compact(x: Floats) -> Floats:
    """Tables in single precision: they are most of the memory."""
    return np.asarray(x.astype(np.float32)) if x.ndim > 1 else x
