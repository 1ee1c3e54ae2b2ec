"""Which column of a file is which column of a span: by name, alias or OTLP name, however it is spelled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from tracewatch.imports.base import Kind
from tracewatch.records import Column, Span, column_of, columns

# Spelled units of time, each in milliseconds: latency_s, ttft_seconds, duration_us.
_UNITS_MS = {"s": 1e3, "sec": 1e3, "secs": 1e3, "second": 1e3, "seconds": 1e3}
_UNITS_MS |= {"us": 1e-3, "micros": 1e-3, "microseconds": 1e-3, "ns": 1e-6, "nanos": 1e-6, "nanoseconds": 1e-6}
_UNITS_MS |= {"millis": 1.0, "milliseconds": 1.0}

# What pandas calls an index that was never named.
_INDEX = re.compile(r"^(__index_level_\d+__|unnamed: \d+|)$", re.IGNORECASE)
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# A row of a messages table is a message, so its id is the message's.
_ALSO_FROM: dict[Kind, dict[str, str]] = {"messages": {"message_id": "id"}}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the values of a span's column come from, and what they are to be multiplied with."""

    name: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each column of a file: a column of the span, an entry of its metadata, or nothing."""

    origins: Mapping[str, Origin]
    unknown: tuple[str, ...]
    left_out: tuple[str, ...]


def plan(names: Iterable[str], kind: Kind) -> Plan:
    """The plan for a file with these columns. Of two names for one column the more exact one wins."""
    best: dict[str, tuple[int, Origin]] = {}
    for name in names:
        found = _known(name)
        if found and (found[1].name not in best or found[0] < best[found[1].name][0]):
            best[found[1].name] = (found[0], Origin(name, found[2]))
    origins = {column: origin for column, (_, origin) in best.items()}
    for column, other in _ALSO_FROM.get(kind, {}).items():
        if other in origins:
            origins.setdefault(column, origins[other])
    used = {origin.name for origin in origins.values()}
    content = {origin.name for column, origin in origins.items() if column_of(Span)[column].content}
    unknown = tuple(name for name in names if name not in used and not _INDEX.match(name))
    return Plan(origins, unknown, tuple(sorted(content)))


def known_names(names: Iterable[str]) -> int:
    """How many of these names stand for a column of a span."""
    return len(plan(list(names), "traces").origins)


def has_time(its_plan: Plan) -> bool:
    """Whether the beginning of each row can be told: from a start, or from an end and a duration."""
    return "start_time" in its_plan.origins or {"end_time", "duration_ms"} <= set(its_plan.origins)


def kind_of(names: Iterable[str]) -> Kind:
    """The kind of export that has these columns."""
    spelled = {normalised(name) for name in names}
    if {"created_at", "latency_ms"} <= spelled and not spelled & _ONLY_TRACES:
        return "messages"
    if {"timestamp", "provider", "model", "usage_type"} <= spelled and not spelled & {"span_id", "start_time"}:
        return "usage-db"
    return "traces"


# Any of these says that a row is a call of a trace, not a message.
_ONLY_TRACES = {"trace_id", "span_id", "parent_span_id", "start_time", "duration_ms", "ttft_ms", "usage_type"}
_ONLY_TRACES |= {"operation_type", "span_name"}


def normalised(name: str) -> str:
    """A name in lower case with single underscores.

    >>> normalised("Latency (ms)"), normalised("inputTokens"), normalised("costUSD")
    ('latency_ms', 'input_tokens', 'cost_usd')
    """
    words = _WORDS.sub("_", name.removeprefix("\ufeff").strip())
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _known(name: str) -> tuple[int, Column, float] | None:
    """The column a name stands for: (how far from its own name, the column, the factor to its unit)."""
    spelled = normalised(name)
    found = _names().get(spelled) or _names().get(spelled.replace("_", ""))
    if found:
        return found
    stem, _, unit = spelled.rpartition("_")
    timed = _names().get(f"{stem}_ms")
    if unit in _UNITS_MS and timed and timed[1].unit == "ms":
        return timed[0], timed[1], _UNITS_MS[unit]
    return None


@cache
def _names() -> Mapping[str, tuple[int, Column, float]]:
    """Every spelling of every column, the squeezed ones (spanid) included; lower ranks go first."""
    ranked = [
        (rank, column, name)
        for column in columns(Span)
        for rank, name in enumerate((column.name, *column.aliases, *column.otel))
    ]
    found: dict[str, tuple[int, Column, float]] = {}
    for rank, column, name in sorted(ranked, key=lambda each: each[0]):
        for spelled in (normalised(name), normalised(name).replace("_", "")):
            found.setdefault(spelled, (rank, column, 1.0))
    return found
