"""What is kept between two passes: what has been learned, and where reading stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from tracewatch.detectors.adaptive.ledger import Ledger
from tracewatch.judge import Judge
from tracewatch.times import HOUR_S

MOST_KEYS = 1_000_000  # remembered keys: 100 rows a second for almost three hours; 16 bytes each


class Keys:
    """Which rows have been handed over already, and in which hour each of them ended."""

    def __init__(self) -> None:
        self._hours = Ledger((0.0,))

    def __len__(self) -> int:
        return len(self._hours.keys)

    def new(self, keys: NDArray[np.int64], ended: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of these were not known, of the same the first; they are remembered. `ended` is in epoch seconds."""
        unique, first = np.unique(keys, return_index=True)
        before = len(self)
        at = self._hours.at(unique)
        unknown = at >= before
        self._hours.values[at[unknown], 0] = ended[first[unknown]] // HOUR_S
        out = np.zeros(len(keys), bool)
        out[first[unknown]] = True
        return out

    def forget(self, before: float) -> None:
        """Forgets rows that ended in hours before that moment, and of too many the oldest hours."""
        hours, count = np.unique(self._hours.values[:, 0], return_counts=True)
        left = len(self) - np.cumsum(count) + count  # with each hour and those after it
        over = hours[((hours + 1) * HOUR_S <= before) | (left > MOST_KEYS)]
        if len(over):
            self._hours.split(self._hours.values[:, 0] <= over[-1])


@dataclass(slots=True, kw_only=True)
class Reading:
    """How far the rows of a store have been read. Times are UTC epoch seconds."""

    cursor: str | None = None
    """Rows written up to here have been read; None before the first pass."""
    target: str | None = None
    """Rows written up to here are being read, in order of their start; None between two passes."""
    through: float = -inf
    """Of those, the ones that began before this have been read."""
    judged: float = -inf
    """The moment up to which calls have been judged."""
    newest: float = -inf
    """When the latest call that was read began."""
    fresh: bool = False
    """Whether rows have ever come as they happened, and not only as the history of an import."""
    ahead_from: float = inf
    """Rows that began from here on have been passed over, because their time had not come."""
    ahead_until: float = -inf
    """When the latest of those begins."""
    rows: int = 0
    """How many calls have been learned from."""
    late: int = 0
    """How many came too late to count."""
    keys: Keys = field(default_factory=Keys)


@dataclass(slots=True, kw_only=True)
class Told:
    """A finding that may still end."""

    id: str
    since: float
    ended: float | None = None


@dataclass(slots=True, kw_only=True)
class State:
    """Everything that a pass leaves to the next one."""

    judge: Judge
    reading: Reading = field(default_factory=Reading)
    anew: bool = True
    """Whether history is being learned for the first time, or again."""
    told: dict[int, Told] = field(default_factory=dict)
    """Findings by the engine's number of their story."""

    @property
    def whole(self) -> bool:
        """Whether everything is there and of its kind: what was stored may have been written by anybody."""
        kinds = {"judge": Judge, "reading": Reading, "anew": bool, "told": dict}
        return all(isinstance(getattr(self, name, None), kind) for name, kind in kinds.items())
