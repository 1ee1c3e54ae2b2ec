"""Tokens as conventions count them -> tokens as we count them: input includes what a cache gave, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracewatch.otlp.conventions import TokenRule
from tracewatch.otlp.own import object_of, whole_of

Values = dict[str, Any]
"""Column of a span -> value."""

INPUT, OUTPUT, TOTAL = "input_tokens", "output_tokens", "total_tokens"
READ, WRITTEN, REASONING = "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens"
TOKENS = (INPUT, OUTPUT, TOTAL, READ, WRITTEN, REASONING)

WARNINGS: Mapping[str, str] = {
    "negative_tokens": "a number of tokens below 0 was reported; it is left empty",
    "cache_exceeds_input": "more input tokens came from a cache, or went into one, than there were input tokens",
    "reasoning_exceeds_output": "more tokens were spent on thinking than came out",
    "total_is_not_sum": "the total that was reported is not input plus output; the sum is kept",
    "estimated_tokens": "the tokens were made up by the instrumentation, because the provider sent none; left empty",
    "corrected_tokens": "the instrumentation counts them differently or wrongly; what it said is in metadata",
    "reports_disagree": "two reports of the same call name different numbers of tokens; the more reliable is kept",
    "ends_before_it_begins": "the end lies before the start, so there is no duration",
    "impossible_first_token": "the first token is said to have come at once, or after the end; left empty",
    "too_long": "a text was longer than a row keeps: it was cut, or an id of another instrumentation left out",
    "unfinished_stream": "the stream ended without a finish reason: it broke, or the program gave up on it",
}
"""Entries of `warning_flags` that are set on arrival, and what each means."""

# Keys of usage objects, as providers and instrumentations write them.
_KEYS: Mapping[str, tuple[str, ...]] = {
    INPUT: ("input_tokens", "prompt_tokens", "input", "prompt"),
    OUTPUT: ("output_tokens", "completion_tokens", "output", "completion"),
    TOTAL: ("total_tokens", "total"),
    READ: ("cache_read_input_tokens", "input_cached_tokens", "cache_read_tokens", "cached_tokens", "input_cache_read"),
    WRITTEN: ("cache_creation_input_tokens", "cache_write_tokens", "cache_creation_tokens", "input_cache_creation"),
    REASONING: ("reasoning_tokens", "output_reasoning_tokens", "output_reasoning"),
}
_DETAILS: Mapping[str, tuple[str, str]] = {
    "prompt_tokens_details": (READ, "cached_tokens"),
    "input_tokens_details": (READ, "cached_tokens"),
    "completion_tokens_details": (REASONING, "reasoning_tokens"),
    "output_tokens_details": (REASONING, "reasoning_tokens"),
}
HOUR = "cache_creation_1h_input_tokens"
"""The entry of metadata with the tokens that were cached for an hour, which cost more."""


def read_usage(given: Any) -> Values:
    """The columns that a usage object (or its JSON text) fills, and HOUR where it says so."""
    usage = object_of(given)
    if usage is None:
        return {}
    found: Values = {}
    for column, keys in _KEYS.items():
        number = next((number for key in keys if (number := whole_of(usage.get(key))) is not None), None)
        if number is not None:
            found[column] = number
    for name, (column, key) in _DETAILS.items():
        details = usage.get(name)
        if isinstance(details, dict) and column not in found and (number := whole_of(details.get(key))) is not None:
            found[column] = number
    created = usage.get("cache_creation")
    hour = whole_of(created.get("ephemeral_1h_input_tokens")) if isinstance(created, dict) else None
    hour = hour or whole_of(usage.get("cache_creation_input_tokens_above_1hr"))
    if hour:
        found[HOUR] = hour
    return found


def disjoint(usage: Values) -> bool:
    """Whether the parts of a usage object add up to its total only when cached input is not part of the input."""
    total, parts = usage.get(TOTAL), usage.get(INPUT, 0) + usage.get(OUTPUT, 0)
    cached = usage.get(READ, 0) + usage.get(WRITTEN, 0)
    return total is not None and cached > 0 and parts != total and parts + cached == total


def settle(values: Values, rule: TokenRule) -> Iterator[str]:
    """Brings the token columns to our way of counting; yields the WARNINGS."""
    for name in TOKENS:
        if values.get(name, 0) < 0:
            del values[name]
            yield "negative_tokens"
    cached = values.get(READ, 0) + values.get(WRITTEN, 0)
    if rule == "exclusive" and cached and INPUT in values:
        values[INPUT] += cached
        if TOTAL in values:
            values[TOTAL] += cached
    given, answered = values.get(INPUT), values.get(OUTPUT)
    if given is not None and cached > given:
        yield "cache_exceeds_input"
    if answered is not None and values.get(REASONING, 0) > answered:
        yield "reasoning_exceeds_output"
    if given is None and answered is None:
        return
    added = (given or 0) + (answered or 0)
    sums = (added, added + cached) if rule == "exclusive" else (added,)  # some leave it out of the input alone
    if given is not None and answered is not None and values.get(TOTAL, added) not in sums:
        yield "total_is_not_sum"
    values[TOTAL] = added
