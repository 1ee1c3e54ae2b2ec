"""Where spans are brought: what a sink is, and how it says that it cannot take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tracewatch.records import Span


class Unavailable(Exception):
    """The sink cannot take anything now: keep the rows and try again, not before `after` seconds if that is given."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class Refused(Exception):
    """The sink will never take these rows."""


class TooMany(Refused):
    """The sink does not take that many rows at once."""


class Sink(Protocol):
    """A place for rows. Used by one thread; writing the same row twice keeps it once."""

    name: str

    def write(self, rows: Sequence[Span]) -> int:
        """Keeps the rows; when it returns they are safe. Returns how many were refused.

        Raises Unavailable or Refused, and then has kept none of them, or the same as if they are given again.
        """

    def close(self) -> None:
        """Lets go of it."""
