"""Calls of projects in which one instrumentation alone reports: nothing is looked for among them until a second does.

Most projects are like that, and one in which a second has long been silent is again (`RecentCalls`). Their calls are
kept as they came, and read only when somebody asks: a third of the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tracewatch.otlp.conventions import MODEL_CALLS
from tracewatch.otlp.received import Row

# What has to be known of a call to find another report of it; the first three are its key.
_KEPT = ("start_time", "end_time", "response_id", "model_name", "input_tokens", "output_tokens", "status")
_KEPT_TOO = ("service_name", "parent_span_id", "instrumentation")
NAMES = ("project", "trace_id", "span_id", *_KEPT, *_KEPT_TOO)
Kept = tuple[Any, ...]
"""The values of NAMES of one call."""


class LoneCalls:
    """The newest of these calls, `limit` and a batch at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._batches: deque[list[Kept]] = deque()
        self._count = 0
        self._by: dict[str, str | None] = {}

    @property
    def full(self) -> bool:
        """Whether they are as many as may be: whatever came before them is forgotten."""
        return self._count >= self._limit

    def take(
        self, rows: Iterable[Row], known: Container[Any], reporters: Mapping[str, Mapping[str | None, int]]
    ) -> bool:
        """Keeps the calls among rows; False, and nothing is kept, where one might be a second report of another.

        `known` are the keys of calls about which more is known, `reporters` the instrumentations that reported others,
        by project.
        """
        found: list[Kept] = []
        by_project: dict[str, str | None] = {}
        for row in rows:
            get = row.get
            operation = get("operation_type")
            if operation not in MODEL_CALLS:
                if operation == "http":  # it may be a try of a call
                    return False
                continue
            kept: Kept = tuple(map(get, NAMES))
            if kept[:3] in known or get("convention") == "logfire" or get("also_reported_by") is not None:
                return False
            if by_project.setdefault(row["project"], kept[-1]) != kept[-1]:
                return False
            found.append(kept)
        for project, by in by_project.items():
            if self._by.get(project, by) != by or not reporters.get(project, {}).keys() <= {by}:
                return False
        self._by |= by_project
        self._keep(found)
        return True

    def drain(self) -> Iterator[list[Row]]:
        """Gives them up as batches of rows, the oldest first."""
        batches, self._batches = self._batches, deque()
        self._count, self._by = 0, {}
        for each in batches:
            yield [dict(zip(NAMES, kept, strict=True)) for kept in each]

    def _keep(self, found: Sequence[Kept]) -> None:
        if found:
            self._batches.append(list(found))
            self._count += len(found)
        while self._batches and self._count - len(self._batches[0]) >= self._limit:
            self._count -= len(self._batches.popleft())
