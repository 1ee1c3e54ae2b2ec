"""The pieces of a streamed answer in time: the first of them, the gaps between them, the time the host took itself."""

from __future__ import annotations

from time import perf_counter
from typing import Any

_MOST = 4_096  # gaps kept; of a longer stream every second, fourth, … one
_MS = 1e3


class Chunks:
    """Times by `perf_counter`. A gap is how long the host waited for a piece, so a slow reader makes none."""

    __slots__ = (
        *("_answer_began", "_began", "_every", "_gaps", "_longest", "_pieces", "_total"),
        *("consumer_ms", "last", "pulled"),
    )

    def __init__(self) -> None:
        self.last = self._began = perf_counter()
        self.pulled = 0.0
        self.consumer_ms = 0.0
        self._answer_began: float | None = None
        self._pieces = 0
        self._gaps: list[float] = []
        self._every = 1
        self._longest = 0.0
        self._total = 0.0

    def pull(self) -> None:
        """The host asks for the next piece."""
        now = self.pulled = perf_counter()
        self.consumer_ms += (now - self.last) * _MS

    def arrive(self, answer: bool) -> None:
        """It is here; `answer` says whether it was part of the answer, and no mere frame around it."""
        now = self.last = perf_counter()
        waited, self.pulled = now - (self.pulled or now), 0.0
        if not answer:
            return
        self._pieces += 1
        if self._answer_began is None:
            self._answer_began = now
            return
        self._total += waited
        if waited > self._longest:
            self._longest = waited
        if self._pieces % self._every == 0:
            self._gaps.append(waited)
            if len(self._gaps) >= _MOST:
                self._gaps = self._gaps[::2]
                self._every *= 2

    @property
    def streamed_ms(self) -> float:
        """From the beginning of the stream to the piece that came last, without the host's own time."""
        return max((self.last - self._began) * _MS - self.consumer_ms, 0.0)

    def fields(self, began: float) -> dict[str, Any]:
        """`ttft_ms` and `chunk_usage` of a call that began then."""
        if self._answer_began is None:
            return {}
        return {"ttft_ms": (self._answer_began - began) * _MS, "chunk_usage": self._summary()}

    def _summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = {"count": self._pieces, "consumer_ms": round(self.consumer_ms, 3)}
        if self._gaps:
            gaps = sorted(self._gaps)
            summary["mean_gap_ms"] = round(self._total * _MS / (self._pieces - 1), 3)
            summary["p50_gap_ms"] = round(_quantile(gaps, 0.5) * _MS, 3)
            summary["p95_gap_ms"] = round(_quantile(gaps, 0.95) * _MS, 3)
            summary["max_gap_ms"] = round(self._longest * _MS, 3)
        return summary


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
