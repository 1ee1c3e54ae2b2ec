"""What spans of one shape have in common, and a row made from it with what one of them has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tracewatch.otlp import Row
from tracewatch.otlp.content import plain
from tracewatch.otlp.own import NANOSECONDS
from tracewatch.otlp.timing import SHORTEST_MS
from tracewatch.otlp.usage import INPUT, OUTPUT, READ, REASONING, TOTAL, WRITTEN
from tracewatch.pricing import PriceBook, price_noted
from tracewatch.pricing.notes import Noted
from tracewatch.receiving.slots import Kind
from tracewatch.stores.values import as_json

# To ask an enum for a member by its name takes Python 3.11 ten times as long as a name of the module's own.
_TEXT, _TOKENS, _SECONDS, _WHOLE, _VARIOUS = Kind.TEXT, Kind.TOKENS, Kind.SECONDS, Kind.WHOLE, Kind.VARIOUS
_LONGEST = 256  # characters of an id
_PLAIN = 10**10  # numbers below this are stored as they are
_LATEST_NS = 10**19
_NONE = "0" * 32  # and what it begins with: an id that is none


@dataclass(frozen=True, slots=True)
class Template:
    """What all spans of a shape have in common."""

    row: Row
    """The columns that are the same in all of them, as a database takes them."""
    places: tuple[int, ...]
    """Where the open attributes stand among all."""
    slots: tuple[tuple[Kind, str | None], ...]
    """For each open attribute what it holds, and its column or its entry in metadata; None when nobody looks at it."""
    durations: tuple[str, ...]
    """The columns that hold how long it took."""
    counts: bool
    """Whether it is a call of a model, whose tokens add up."""
    metadata: tuple[str, ...]
    """The text of metadata around each of its open entries; empty where none is open."""
    notes: Noted | None
    """What metadata says of the price; None where nothing about such a span can have one."""


def filled(
    template: Template,
    ids: tuple[str, str, str],
    start_ns: int,
    end_ns: int,
    values: Sequence[Any],
    book: PriceBook,
) -> Row | None:
    """The row of a span with these ids, times and values of its open attributes; None if it may be another one."""
    trace_id, span_id, parent_span_id = ids
    if _NONE.startswith((trace_id, span_id)) or not 0 < start_ns <= end_ns < _LATEST_NS:
        return None
    row = template.row.copy()
    row["trace_id"], row["span_id"] = trace_id, span_id
    if not _NONE.startswith(parent_span_id):
        row["parent_span_id"] = parent_span_id
    row["start_time"], row["end_time"] = start_ns / NANOSECONDS, end_ns / NANOSECONDS
    duration = (end_ns - start_ns) / 1e6
    for name in template.durations:
        row[name] = duration
    if not _put(row, template, values, duration) or (template.counts and not _added_up(row, duration)):
        return None
    if template.notes is None:
        return row
    price, inconsistent = price_noted(row, template.notes, book)
    if inconsistent:
        return None
    if price.cost_usd is not None:
        row["cost_usd"] = price.cost_usd
    row["cost_status"] = price.cost_status
    if price.cost_source is not None:
        row["cost_source"] = price.cost_source
    return row


def _put(row: Row, template: Template, values: Sequence[Any], duration: float) -> bool:
    """Sets the columns of open attributes; False where a value is not stored as it is."""
    entries: list[str] = []
    for (kind, name), value in zip(template.slots, values, strict=True):
        if name is None:
            if value is None:
                return False
            continue
        of = value.__class__
        if kind is _TEXT:
            if of is not str or not 0 < len(value) <= _LONGEST or not value.isprintable():
                return False
        elif kind is _TOKENS:
            if of is not int or not 0 <= value < _PLAIN:
                return False
        elif kind is _SECONDS:
            if of is not float or not SHORTEST_MS <= value * 1e3 <= duration:
                return False
            value = value * 1e3
        elif kind is _VARIOUS:
            if of not in (str, int, float) or plain(value) is None:
                return False
            entries.append(as_json(value))
            continue
        elif of is not (int if kind is _WHOLE else float) or not -_PLAIN < value < _PLAIN:
            return False
        row[name] = value
    if entries:
        first, *others = template.metadata
        row["metadata"] = first + "".join(chain.from_iterable(zip(entries, others, strict=True)))
    return True


def _added_up(row: Row, duration: float) -> bool:
    """Sets what `usage.settle` and `timing.read_pace` set; False where these have something to warn of."""
    get = row.get
    given, answered = get(INPUT), get(OUTPUT)
    cached = (get(READ) or 0) + (get(WRITTEN) or 0)
    if cached and (given is None or cached > given):
        return False
    if (get(REASONING) or 0) > (answered or 0):
        return False
    if given is not None or answered is not None:
        total = (given or 0) + (answered or 0)
        if get(TOTAL, total) != total:
            return False
        row[TOTAL] = total
    elif TOTAL in row:
        return False
    first = get("ttft_ms")
    if first is not None and answered and duration - first >= SHORTEST_MS:
        row["tokens_per_second"] = answered / ((duration - first) / 1e3)
    return True
