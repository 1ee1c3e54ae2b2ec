"""Which incident an alert belongs to, among those that there are at a moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tracewatch.course import CLOSED, Course
from tracewatch.detectors.adaptive import Alert
from tracewatch.kinship import COMMON_CALLS, OTHER_CALLS, SAME_CALLS, Calls, calls_of, kinship, may_relate, nested

Movement = tuple[str, str]
"""Metric and direction."""


class Homes:
    """The incidents of a moment, so that those of an alert are found without asking each member of each.

    An alert has the cause of a member either on nested calls, or, on others, of the movement in front of an incident.
    """

    def __init__(self, incidents: Iterable[Course]) -> None:
        """The incidents in order; of those as sure the one that changed last is preferred, then the last one."""
        ranked = sorted(incidents, key=lambda each: each.updated_at)
        self.all = ranked
        self.places: dict[Calls, list[int]] = {}
        self.fronts: dict[Movement, list[int]] = {}
        self.closed: dict[Movement, list[int]] = {}
        self._near: dict[Calls, list[tuple[int, Calls]]] = {}
        for rank, each in enumerate(ranked):
            movement = (each.root.metric, each.root.direction)
            if each.state == CLOSED:
                self.closed.setdefault(movement, []).append(rank)
                continue
            self.fronts.setdefault(movement, []).append(rank)
            for calls in each.by_calls:
                self.places.setdefault(calls, []).append(rank)

    def of(self, alert: Alert) -> tuple[int, Course | None]:
        """How sure it is that an alert has the cause of some incident, and which: the surest, then the latest."""
        best = max(self._on_nested_calls(alert), default=(0, -1))
        if best[0] < SAME_CALLS and alert.kind != "point":
            best = max(best, self._of_fronts(alert), self._back(alert))
        return best[0], self.all[best[1]] if best[0] else None

    def _on_nested_calls(self, alert: Alert) -> Iterator[tuple[int, int]]:
        """How sure each incident is that has members on calls within the alert's, or around them, and its rank."""
        calls = calls_of(alert)
        if calls not in self._near:
            near = ((rank, there) for there, ranks in self.places.items() if nested(calls, there) for rank in ranks)
            self._near[calls] = sorted(near, key=lambda each: -each[0])
        for rank, there in self._near[calls]:
            sure = self.all[rank].kinship(alert, self.all[rank].by_calls[there])
            yield sure, rank
            if sure == SAME_CALLS:
                return  # those that follow changed earlier

    def _of_fronts(self, alert: Alert) -> tuple[int, int]:
        """The same by the movements in front of incidents, on any calls."""
        best = (0, -1)
        for movement, ranks in self.fronts.items():
            if not may_relate(*movement, alert.metric, alert.direction):
                continue
            for rank in reversed(ranks):
                if (COMMON_CALLS, rank) <= best:
                    break
                best = max(best, (self._of_front(rank, alert), rank))
        return best

    def _of_front(self, rank: int, alert: Alert) -> int:
        incident, best = self.all[rank], 0
        for each in incident.members:
            if incident.of_root(each) and not nested(calls_of(each), calls_of(alert)):
                best = max(best, kinship(each, alert))
                if best == COMMON_CALLS:
                    break
        return best

    def _back(self, alert: Alert) -> tuple[int, int]:
        """The incident that was closed, and whose movement this is again."""
        for rank in reversed(self.closed.get((alert.metric, alert.direction), ())):
            if self.all[rank].same_again(alert):
                return OTHER_CALLS, rank
        return 0, -1
