"""Two reports of one call into one span."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tracewatch.otlp.conventions import BY_NAME
from tracewatch.otlp.usage import INPUT, OUTPUT, TOKENS
from tracewatch.records import Duplicate, Span

STREAM_MS = "stream_duration_ms"
"""The entry of metadata in which the record of a stream's end says how long the stream took."""


def combined(first: Span, second: Span, how: str) -> Span:
    """The first report with what the second adds to it: the numbers of the one that is more to be trusted."""
    changes: dict[str, Any] = {}
    for each in _FILLED:
        if getattr(first, each) is None and getattr(second, each) is not None:
            changes[each] = getattr(second, each)
    better = _trust(second) > _trust(first) and getattr(second, OUTPUT) is not None
    if better or how == "stream":
        changes |= {name: getattr(second, name) for name in TOKENS if getattr(second, name) is not None}
    flags = [*(first.warning_flags or ()), *(each for each in second.warning_flags or () if each not in _OWN_FLAWS)]
    if better:
        flags = [each for each in flags if each not in _OWN_FLAWS]
    both = [(getattr(first, name), getattr(second, name)) for name in (INPUT, OUTPUT)]
    if any(one is not None and other is not None and one != other for one, other in both):
        flags.append("reports_disagree")
    if first.status == "ok" and second.status != "ok":
        changes |= {name: getattr(second, name) for name in _OUTCOME}
    if how == "stream":
        changes |= _streamed(first, second)
    if first.parent_span_id == second.span_id and second.trace_id == first.trace_id:
        changes["parent_span_id"] = second.parent_span_id
    others = {*(first.also_reported_by or ()), second.instrumentation or "unknown"} - {first.instrumentation}
    changes["also_reported_by"] = tuple(sorted(others)) or None
    changes["warning_flags"] = tuple(dict.fromkeys(flags)) or None
    changes["metadata"] = {**(second.metadata or {}), **(first.metadata or {})} or None
    together = dataclasses.replace(first, **changes)
    counted = any(getattr(together, name) != getattr(first, name) for name in (*TOKENS, "model_name", "model_provider"))
    if counted and first.cost_status not in (None, "reported"):  # to be priced again
        together = dataclasses.replace(together, cost_usd=None, cost_status=None, cost_source=None)
    return together


_OUTCOME = ("status", "error_type", "error_category", "error_message")
_OWN_FLAWS = ("corrected_tokens", "estimated_tokens", "total_is_not_sum", "cache_exceeds_input")
_FILLED = (
    *(*TOKENS, "ttft_ms", "tokens_per_second", "chunk_usage", "retry_count", "retry_reason", "streaming_enabled"),
    *("finish_reason", "response_id", "model_name", "model_provider", "user_id", "session_id", "conversation_id"),
    *(
        "message_id",
        "usage_type",
        "environment",
        "app_version",
        "queue_time_ms",
        "inference_time_ms",
        "network_time_ms",
    ),
)


def _streamed(first: Span, second: Span) -> dict[str, Any]:
    """When a call whose request and stream were reported apart began and ended."""
    began = min(_begun(first), _begun(second))
    ended = max(first.end_time or first.start_time, second.end_time or second.start_time)
    return {
        "start_time": began,
        "end_time": ended,
        "duration_ms": (ended - began) * 1e3,
        "streaming_enabled": True,
        "span_name": first.span_name if streamed_s(first) is None else second.span_name,
    }


def duplicate_of(span: Span, kept: tuple[str, str], how: str) -> Duplicate:
    """The span as a second report of the one with that trace id and span id."""
    return Duplicate(
        start_time=span.start_time,
        duration_ms=span.duration_ms,
        input_tokens=span.input_tokens,
        output_tokens=span.output_tokens,
        status=span.status,
        project=span.project,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        kept_trace_id=kept[0],
        kept_span_id=kept[1],
        matched_by=how,
        span_name=span.span_name,
        model_name=span.model_name,
        response_id=span.response_id,
        instrumentation=span.instrumentation,
        convention=span.convention,
    )


def _trust(span: Span) -> int:
    convention = BY_NAME.get(span.convention or "")
    return convention.trust if convention else 5


def streamed_s(span: Span) -> float | None:
    """How long (s) a stream took of whose end this span is the record; None for any other span."""
    told: Mapping[str, Any] = span.metadata or {}
    number = told.get(STREAM_MS)
    return number / 1e3 if isinstance(number, (int, float)) and span.convention == "logfire" else None


def _begun(span: Span) -> float:
    """When a call began: the record of a stream's end says how long ago that was."""
    return span.start_time - (streamed_s(span) or 0.0)
