"""Of more calls of a step than can be held and judged together: an even sample, of whole traces where that can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

MOST = 100_000  # calls of a step, which is 333 a second for five minutes: 150 MB while they wait, 250 MB when judged


class Crowds:
    """How many calls of each step were left out while they waited. Picklable."""

    def __init__(self) -> None:
        self.left_out: dict[int, int] = {}

    def thin(self, calls: Mapping[str, Any], steps: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Which of the calls are kept, None for all: of a step those with the smallest lots, however they come.

        What is left out early would be left out later as well, as what comes between can only take more room.
        """
        if len(steps) <= MOST:
            return None
        numbers, place, count = np.unique(steps, return_inverse=True, return_counts=True)
        if count.max() <= MOST:
            return None
        kept = np.ones(len(steps), bool)
        for step in np.flatnonzero(count > MOST).tolist():
            rows = np.flatnonzero(place == step)
            order = np.lexsort((calls["start_time"][rows], lots(calls, rows)))
            kept[rows[order[MOST:]]] = False
            number = int(numbers[step])
            self.left_out[number] = self.left_out.get(number, 0) + len(rows) - MOST
        return np.flatnonzero(kept)

    def stands_for(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """How many calls that came each of those that are kept stands for; these steps are then done with."""
        numbers, place, count = np.unique(steps, return_inverse=True, return_counts=True)
        left_out = np.array([self.left_out.pop(number, 0) for number in numbers.tolist()], float)
        each: NDArray[np.float64] = (1 + left_out / count)[place]
        return each


def lots(calls: Mapping[str, Any], rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Numbers as if at random that follow from a call's ids: first by its trace, then by itself."""
    traces, spans = (calls[name][rows].tolist() for name in ("trace_id", "span_id"))
    starts = calls["start_time"][rows].tolist()
    named = (
        (start if trace is None else trace, span) for trace, span, start in zip(traces, spans, starts, strict=True)
    )
    numbers = np.array([(_number(trace), _number(span)) for trace, span in named], np.uint64).reshape(-1, 2)
    return numbers[:, 0] << np.uint64(32) | numbers[:, 1]


def _number(id_: object) -> int:
    return crc32(str(id_).encode("utf-8", "replace"))
