"""Where no key says whose spans these are, their sender may name any project, and could make up names without end."""

from __future__ import annotations

import time

from tracewatch.errors import ProjectsFull
from tracewatch.receiving import Decoded
from tracewatch.records import Span
from tracewatch.stores import Filter, Store

COUNTED_S = 60.0  # so often they are counted anew: those go whose spans are all too old to be kept


class Projects:
    """The projects that spans may come for: so many at most. Of one thread alone."""

    def __init__(self, store: Store, *, most: int, always: str) -> None:
        """The project `always` is taken however many there are."""
        self.store, self.most = store, most
        self._known = {always}
        self._count = most  # as far as is known before they are counted
        self._counted_at = float("-inf")

    def admit(self, decoded: Decoded) -> Decoded:
        """What may be stored of a body: spans of a project too many are rejected, and the reason says so."""
        new = {each["project"] for each in decoded.rows} - self._known
        refused = {name for name in sorted(new) if not self._take(name)}
        if not refused:
            return decoded
        rows = [each for each in decoded.rows if each["project"] not in refused]
        reasons = decoded.reasons.copy()
        reasons[str(ProjectsFull(most=self.most))] += len(decoded.rows) - len(rows)
        return Decoded(rows, reasons)

    def _take(self, name: str) -> bool:
        """Whether the project has spans already, or there is room for one more."""
        if not self.store.exists(Span, [Filter("project", "=", (name,))]):
            if self._is_full():
                return False
            self._count += 1
        self._known.add(name)
        return True

    def _is_full(self) -> bool:
        now = time.monotonic()
        if self._count >= self.most and now - self._counted_at >= COUNTED_S:
            self._count, self._counted_at = self.store.distinct(Span, "project"), now
        return self._count >= self.most
