"""The way of finished spans out of the program: a bounded queue and one thread behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracewatch.capture.tracing import LiveSpan

SENT: list[LiveSpan] = []


def send(span: LiveSpan) -> None:
    """Hands over a span that has ended. Never blocks, never raises."""
    SENT.append(span)


def swallowed(error: BaseException) -> None:
    """Takes note of a mistake of ours that must not reach the host."""
