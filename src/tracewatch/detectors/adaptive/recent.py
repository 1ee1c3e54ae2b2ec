"""The rows of the last day, to gather evidence from: a sample of busy ticks, without what only a run needs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Ints, Rows
from .windows import DAY, HOUR

MOST = 1000  # rows of a tick, an even sample of more: a day of them is 80 MB
ONLY_OF_THE_RUN = frozenset((
    "trace_id", "root", "tick", "fit", "work", "tokens", "idle", "idle_session", "prompt_before", "miss", "read",
    "idle_cell", "warm_cell", "turn_cell", "hour_cell", "timeout", "fallback", "error",
    "stands_for",
))  # fmt: skip


class Recent:
    """Rows by the tick after their last. Iterates over (that tick, rows), the oldest first."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, Rows]] = []

    def __iter__(self) -> Iterator[tuple[int, Rows]]:
        return iter(self.parts)

    def add(self, rows: Rows, stop: int) -> None:
        """Take note of the rows of a run that stops before a tick; runs of an hour are put together."""
        some = sampled(rows["tick"])
        new = {k: small(v if some is None else v[some]) for k, v in rows.items() if k not in ONLY_OF_THE_RUN}
        if self.parts and (self.parts[-1][0] - 1) // HOUR == (stop - 1) // HOUR:
            new = {k: np.concatenate([v, new[k]]) for k, v in self.parts.pop()[1].items()}
            if (np.diff(new["t"]) < 0).any():  # rows came late
                order = np.argsort(new["t"], kind="stable")
                new = {k: v[order] for k, v in new.items()}
        self.parts.append((stop, new))

    def forget(self, tick: int) -> None:
        """What is older than a day before a tick that will be read."""
        self.parts = [part for part in self.parts if part[0] > tick - DAY]

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments; the rows of those that are gone are forgotten."""
        place = np.full(int(keep.max(initial=-1)) + 1, -1)
        place[keep] = np.arange(len(keep))
        self.parts = [(stop, renumbered(rows, place)) for stop, rows in self.parts]


def sampled(ticks: Ints) -> Ints | None:
    """Which rows to keep, given the tick of each in order; None: all."""
    size = np.bincount(ticks)
    if size.max() <= MOST:
        return None
    rank, size = np.arange(len(ticks)) - np.repeat(np.cumsum(size) - size, size), np.repeat(size, size)
    return np.flatnonzero((size <= MOST) | (rank * MOST // size != (rank - 1) * MOST // size))


def small(x: NDArray[Any]) -> NDArray[Any]:
    """Tables in single precision, which holds residuals exactly; numbers of words and segments in half the room."""
    if x.ndim > 1 and x.dtype == float:
        return x.astype(np.float32)
    return x.astype(np.int32) if x.dtype == np.int64 else x


def renumbered(rows: Rows, place: Ints) -> Rows:
    """Rows with new segment numbers, without those whose segment is gone."""
    known = rows["segment"] < len(place)
    known[known] = place[rows["segment"][known]] >= 0
    out = {k: v[known] for k, v in rows.items()}
    blamed = np.append(place, -1)[np.minimum(out["fails_as"], len(place))]
    segment = place[out["segment"]]
    fails_as = np.where(blamed >= 0, blamed, segment)
    return {**out, "segment": segment.astype(np.int32), "fails_as": fails_as.astype(np.int32)}
