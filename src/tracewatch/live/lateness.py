"""How long a step has to wait for calls that began in it, read off how late calls have come lately."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

# Where too little was seen: most spans that began in a step have ended by then and sent their row.
GRACE_S = 60.0
LEAST_S = 3.0  # of grace: clocks of clients differ, and exporters send every second or so
SHARE = 0.995  # of the calls that are to be there; the others count for the step that is judged next
MARGIN_S = 1.0
ENOUGH = 200  # calls before their lateness says anything
KEPT = 5_000  # calls: the last hours of a quiet product, the last minutes of a busy one
AS_IT_HAPPENED_S = 3600.0  # what comes later was not sent as it happened, and says nothing about that


class Lateness:
    """Seconds from the beginning of calls to the moment at which their rows were read, of the last ones."""

    def __init__(self) -> None:
        self._seen: deque[NDArray[np.float64]] = deque()
        self._count = 0

    def see(self, starts: NDArray[np.float64], now: float) -> None:
        """Notes calls that were read at that moment; `starts` is when they began, UTC epoch seconds."""
        late = now - starts
        late = late[(late >= 0) & (late < AS_IT_HAPPENED_S)][-KEPT:]
        if not len(late):
            return
        self._seen.append(late)
        self._count += len(late)
        while self._count - len(self._seen[0]) >= KEPT:
            self._count -= len(self._seen.popleft())

    @property
    def grace_s(self) -> float:
        """How long to wait, GRACE_S at most.

        >>> lateness = Lateness()
        >>> lateness.see(np.zeros(500), 4.0)
        >>> lateness.grace_s
        5.0
        """
        if self._count < ENOUGH:
            return GRACE_S
        late = np.quantile(np.concatenate(self._seen), SHARE)
        return float(min(max(late + MARGIN_S, LEAST_S), GRACE_S))
