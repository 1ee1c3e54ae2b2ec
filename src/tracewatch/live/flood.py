"""Whether calls come in such a flood that detection holds back: ingest needs the processor and the file then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tracewatch.records import Span
from tracewatch.stores import Store, file_of
from tracewatch.stores.queries import decode_token

FLOOD = 8_000.0  # spans a second: counting and judging them takes a fifth of a core, storing them a third
OVER_S = 1.0  # so long a time is looked at
HELD_S = 15.0  # the longest for which a round is held back


class Flood:
    """How fast spans come, of a store that is looked at all the time."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._in_a_file = file_of(store.url) is not None  # whose one lock ingest and detection share
        self._looks: deque[tuple[float, int]] = deque()

    def holds_back(self, rested_s: float) -> bool:
        """Whether the next round waits, that many seconds after the last one."""
        return self._in_a_file and rested_s < HELD_S and self._is_one()

    def _is_one(self) -> bool:
        now, written = self._clock(), decode_token(Span, self._store.tip())
        self._looks.append((now, written))
        while len(self._looks) > 2 and now - self._looks[1][0] >= OVER_S:
            self._looks.popleft()
        then, before = self._looks[0]
        return written - before >= FLOOD * max(now - then, OVER_S)
