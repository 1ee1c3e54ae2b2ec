"""What the server counts about itself, in one place: health pages and /metrics read it off here."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

# Seconds of one commit; the last bucket has no end. A disk that takes longer than a second is news.
COMMIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Counters:
    """Counts since the server started. Any thread may count."""

    accepted_spans: int = 0
    """Spans that were stored before they were acknowledged."""
    repeated_spans: int = 0
    """Those of them that were in the store already."""
    rejected_spans: Counter[str] = field(default_factory=Counter)
    """Spans that will never be stored, by reason; their sender was told."""
    refused_requests: Counter[str] = field(default_factory=Counter)
    """Requests that were turned away whole, by reason; nothing of them was acknowledged."""
    requests: int = 0
    queued_spans: int = 0
    """Spans that wait to be stored now."""
    queued_bytes: int = 0
    """Bytes of requests that are being read, or wait to be stored now."""
    commits: int = 0
    commit_seconds: float = 0.0
    commit_buckets: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BUCKETS_S) + 1))
    """Commits that took no longer than each of COMMIT_BUCKETS_S, and the rest; each is counted once."""
    failed_commits: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def refuse(self, reason: str) -> None:
        """Counts a request that is turned away whole."""
        with self._lock:
            self.refused_requests[reason] += 1

    def reject(self, reasons: Counter[str]) -> None:
        """Counts spans that will never be stored."""
        with self._lock:
            self.rejected_spans.update(reasons)

    def commit(self, spans: int, new: int, seconds: float) -> None:
        """Counts one transaction that was committed."""
        with self._lock:
            self.accepted_spans += spans
            self.repeated_spans += spans - new
            self.commits += 1
            self.commit_seconds += seconds
            self.commit_buckets[bisect_left(COMMIT_BUCKETS_S, seconds)] += 1
