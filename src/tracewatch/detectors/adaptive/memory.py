"""Rows remembered for the baselines: an even sample of each day and segment."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Flags, Floats, Ints, Rows
from .channels import SINGLE
from .intake import WORDS
from .ledger import Groups

CELLS = ("idle_cell", "warm_cell", "turn_cell", "hour_cell")
COLUMNS = ("t", "y", "work", "tokens", *CELLS, "r", "read")
TODAY = 1 << 18  # rows held of a day that is not over, shared by its segments: 30 MB
BUSY = 12  # calls of a day: a segment is in use, and no name that came once
MOST = 4096  # of these a segment holds, even if it is alone


class Memory:
    """Samples by segment: (day, rows)."""

    def __init__(self) -> None:
        self.today: list[Rows] = []
        self.seen = np.zeros(0, np.int64)  # rows of each segment today
        self.days: dict[int, list[tuple[int, Rows]]] = {}
        self.size: dict[int, int] = {}  # rows remembered of each segment

    def add(self, rows: Rows) -> None:
        """Take note of rows of today."""
        groups = Groups(rows["segment"])
        more = int(groups.keys[-1]) + 1 - len(self.seen)
        self.seen = np.concatenate([self.seen, np.zeros(max(more, 0), np.int64)])
        nth = np.empty(len(groups.order), np.int64)
        nth[groups.order] = groups.rank + np.repeat(self.seen[groups.keys], groups.sizes)
        self.seen[groups.keys] += groups.sizes
        words = {k: rows[k].astype(np.int32) for k in (*WORDS, "segment")}
        self.today.append({"nth": nth, **words, **{k: compact(k, rows[k]) for k in COLUMNS}})
        if sum(len(part["nth"]) for part in self.today) > TODAY * 2:
            self.today = [self.thinned()]

    def thinned(self) -> Rows:
        """Today's rows; of segments with very many every second, fourth, ... no matter how often this was asked."""
        rows = {k: np.concatenate([part[k] for part in self.today]) for k in self.today[0]}
        room = min(MOST, 2 ** int(np.log2(TODAY / np.count_nonzero(self.seen))))
        stride = 2 ** np.ceil(np.log2(np.maximum(self.seen / room, 1))).astype(np.int64)
        keep = rows["nth"] % stride[rows["segment"]] == 0
        return rows if keep.all() else {k: v[keep] for k, v in rows.items()}

    def close_day(self, day: int, per_segment: int, remember_days: int) -> None:
        """Sample today's rows, and forget what is too old."""
        if self.today:
            rows = self.thinned()
            groups = Groups(rows["segment"])
            place, sizes = sampled(groups.sizes, per_segment)
            at = groups.order[np.repeat(groups.starts, sizes) + place]
            columns, ends = [rows[k][at] for k in COLUMNS], np.cumsum(sizes)
            for g, start, end in zip(groups.keys.tolist(), (ends - sizes).tolist(), ends.tolist(), strict=True):
                some = {k: column[start:end] for k, column in zip(COLUMNS, columns, strict=True)}
                self.days.setdefault(g, []).append((day, some))
                self.size[g] = self.size.get(g, 0) + end - start
        self.seen = np.zeros(0, np.int64)
        self.today = []
        for g, days in list(self.days.items()):
            while days and days[0][0] <= day - remember_days:
                self.size[g] -= len(days.pop(0)[1]["t"])
            if not days:
                del self.days[g], self.size[g]

    def rows(self, segment: int) -> Rows:
        """All that is remembered of a segment; y is the reader's to change."""
        days = self.days[segment]
        rows = {k: np.concatenate([rows[k] for _, rows in days]) for k in COLUMNS}
        return rows | {k: rows[k].astype(np.int64) for k in CELLS}

    def busy(self, day: int, segments: int) -> Flags:
        """Which segments had a good number of calls on a day."""
        out = np.zeros(segments, bool)
        out[[g for g, days in self.days.items() if days[-1][0] == day and len(days[-1][1]["t"]) >= BUSY]] = True
        return out

    def traffic(self, segments: int) -> Floats:
        """Remembered rows of each segment, plus one."""
        out = np.ones(segments)
        out[list(self.size)] += list(self.size.values())
        return out

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        left = [(i, g) for i, g in enumerate(keep.tolist()) if g in self.days]
        self.days = {i: self.days[g] for i, g in left}
        self.size = {i: self.size[g] for i, g in left}


def sampled(sizes: Ints, most: int) -> tuple[Ints, Ints]:
    """The places of an even sample of each group, group by group, and how many each has: all, or `most`.

    >>> sampled(np.array([2, 9]), 3)
    (array([0, 1, 0, 4, 8]), array([2, 3]))
    """
    many = np.minimum(sizes, most)
    ends = np.cumsum(many)
    nth = np.arange(ends[-1]) - np.repeat(ends - many, many)
    place = (nth * np.repeat((sizes - 1) / np.maximum(many - 1, 1), many)).astype(np.int64)
    last = many > 1
    place[ends[last] - 1] = sizes[last] - 1  # not one less, as rounding might have it
    return place, many


def compact(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """A column as it is kept: tables in single precision, cells as small numbers, residuals of single calls alone."""
    if name == "r":
        x = x[:, SINGLE]
    if name in CELLS:
        return x.astype(np.int8)
    return x.astype(np.float32) if x.ndim > 1 else x
