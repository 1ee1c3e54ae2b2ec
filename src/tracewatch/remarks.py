"""What is to be known of the data of one span beside its fields: what is missing and why, corrected, or told twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tracewatch.otlp.usage import WARNINGS as ON_ARRIVAL
from tracewatch.records import ANSWERED, STEPS, Span

WARNINGS: Mapping[str, str] = {
    **ON_ARRIVAL,
    "inconsistent_usage": "the numbers of tokens contradict each other; none is taken to be negative for the price",
    "abandoned": "the stream was left before its end; what had come by then is recorded",
    "truncated": "the stream ended without the provider having said that the answer was complete",
    "substitute": "it was asked because the choice before it had failed",
    "bad_value": "a value did not fit its column; it is kept in metadata as bad_values",
    "rows_dropped": "rows of this program were dropped before they could be stored",
}
"""Entries of `warning_flags` that tracewatch sets, and what each means."""

ASK_FOR_TOKENS = (
    "OpenAI's API, and whoever speaks it, counts the tokens of a stream only when asked to: with "
    'stream_options={"include_usage": True}, which tracewatch.instrument(include_usage=True) adds to your calls.'
)
"""Why a streamed chat may have no tokens, and what to do about it."""

COUNTING_UNASKED = frozenset(("anthropic",))
"""Providers whose streams are always counted."""

_CUT_SHORT = ("abandoned", "truncated", "unfinished_stream", "estimated_tokens")  # each says why there is no count


def remarks_on(span: Span) -> Iterator[str]:
    """Sentences about one span, without the full stop."""
    if has_no_tokens(span):
        of = " of this stream" if is_uncounted(span) else ""
        yield f"no tokens{of} were reported, so what it cost is not known"
    if span.retry_count:
        yield _retries(span)
    for flag in span.warning_flags or ():
        yield f"{flag}: {WARNINGS[flag]}" if flag in WARNINGS else flag
    if span.also_reported_by:
        yield f"also reported by {', '.join(span.also_reported_by)}; it counts once"


def has_no_tokens(span: Span) -> bool:
    """Whether a model answered, and nobody said how many tokens that took, or what it cost."""
    told = (span.input_tokens, span.output_tokens, span.total_tokens, span.cost_usd)
    answered = span.status in ANSWERED and span.operation_type not in STEPS and span.model_name is not None
    return answered and all(each is None for each in told)


def is_uncounted(span: Span) -> bool:
    """Whether the tokens are missing because a stream was not asked to count them, as far as that can be seen."""
    streamed = span.streaming_enabled or span.ttft_ms is not None
    cut_short = any(each in _CUT_SHORT for each in span.warning_flags or ())
    return has_no_tokens(span) and streamed and not cut_short and span.model_provider not in COUNTING_UNASKED


def _retries(span: Span) -> str:
    times = "once" if span.retry_count == 1 else f"{span.retry_count} times"
    reasons = (span.metadata or {}).get("retry_reasons") or [span.retry_reason]
    named = ", ".join(dict.fromkeys(str(each) for each in reasons if each))
    lost = (span.metadata or {}).get("retry_time_ms")
    took = f"; {lost:,.0f} ms were lost" if isinstance(lost, int | float) else ""
    return f"the client tried again {times}{f' ({named})' if named else ''}{took}"
