"""A run of a batch job as one row: what it did, what it could not do and how long it took."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tracewatch.capture.tracing import LiveSpan, place


class BatchRun(LiveSpan):
    """A run under way: count what it does with `extracted`, `failed`, `skipped`, or `count` for words of your own."""

    __slots__ = ("_counts",)

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        super().__init__(name, place(), fields)
        self._counts: Counter[str] = Counter(extracted=0, failed=0, skipped=0)

    def extracted(self, items: int = 1) -> None:
        """Items that were done."""
        self._counts["extracted"] += items

    def failed(self, items: int = 1) -> None:
        """Items that could not be done."""
        self._counts["failed"] += items

    def skipped(self, items: int = 1) -> None:
        """Items that there was nothing to do about."""
        self._counts["skipped"] += items

    def count(self, **items: int) -> None:
        """Items by words of your own."""
        self._counts.update(items)

    def end(self, at: float | None = None) -> None:
        """Ends the run and records it, with its counts in `metadata`."""
        if not self.ended:
            self.set(metadata=dict(self._counts))
        super().end(at)


def batch(name: str, **fields: Any) -> BatchRun:
    """A run of a batch job, for a `with` block: one summary row besides those of the calls within.

        with tracewatch.batch("inbox_batch") as run:
            for mail in mails:
                run.extracted() if extract(mail) else run.skipped()

    The row has the provider `system`, the model `batch`, the operation `batch` and the name as its usage type; how many
    were extracted, failed and skipped is in its `metadata`, and a run that an exception ends has failed.
    """
    fields = {
        "model_provider": "system",
        "model_name": "batch",
        "operation_type": "batch",
        "usage_type": name,
        **fields,
    }
    return BatchRun(name, fields)
