"""What came in one OTLP request: the spans in it, and what of it was refused and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.records import Span

Row = dict[str, Any]
"""Columns of a span by their names; those that are empty are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What one OTLP request held."""

    spans: tuple[Span, ...]
    reasons: Mapping[str, int]
    """Why spans were refused, and how many for each reason."""

    @property
    def rejected(self) -> int:
        """How many spans were refused: `partialSuccess.rejectedSpans` of the answer."""
        return sum(self.reasons.values())

    @property
    def message(self) -> str:
        """The reasons in one sentence: `partialSuccess.errorMessage` of the answer; empty when nothing was refused."""
        return "; ".join(f"{count} refused: {why}" for why, count in self.reasons.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRows:
    """What one OTLP request held, as rows: a server that stores thousands a second makes no records of them."""

    rows: Sequence[Row]
    reasons: Mapping[str, int]
    """Why spans were refused, and how many for each reason."""
