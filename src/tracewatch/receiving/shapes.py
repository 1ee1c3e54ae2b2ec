"""Spans of one shape are understood once: the next ones like it are a copy with their own ids, times and numbers.

A shape is the attributes of a span, those that `slots` leave open taken without their values, with its name and kind.
The second span of a shape is read as any span is (`otlp`, `pricing`, `stores.values`), and so is one that differs in
all that is open; a template is kept only if it comes to the same for both. What it is not sure of is read as any span.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tracewatch.otlp import Row
from tracewatch.otlp.content import KEYS
from tracewatch.otlp.conventions import MODEL_CALLS
from tracewatch.otlp.dialects import SPECIAL
from tracewatch.otlp.own import SCOPE
from tracewatch.otlp.protobuf import plain_pair, read_span
from tracewatch.otlp.reading import Program
from tracewatch.otlp.usage import INPUT, OUTPUT, READ, REASONING, TOKENS, TOTAL, WRITTEN
from tracewatch.otlp.wire import WireSpan
from tracewatch.pricing import PriceBook
from tracewatch.pricing.notes import NOTHING, noted
from tracewatch.receiving import slots
from tracewatch.receiving.slots import Kind, Slot
from tracewatch.receiving.templates import Template, filled
from tracewatch.stores.values import as_json

MOST_PARTS = 16_384  # attributes that are remembered by their bytes
LONGEST_PART = 256  # bytes of one that is remembered: what is longer is hardly said twice
MOST_VALUES = 16_384  # of open attributes that are remembered by their bytes: ids and numbers come again, too
LONGEST_VALUE = 128
MOST_SHAPES = 4_096
MOST_NAMES = 4_096
MANY_VALUES = 128  # of one attribute: it goes on to differ, and is no part of a shape any longer

_ERROR = 2
_NAME_FIRST = 0x0A  # the tag of an attribute's name
_SIZES = (16, 8)  # of a trace id and a span id
_PRICE = ("cost_usd", "cost_status", "cost_source")
_PRICED = frozenset(("model_provider", "model_name", "cost_usd", *TOKENS))
_PER_SPAN = frozenset(("trace_id", "span_id", "parent_span_id", "start_time", "end_time", "duration_ms"))
_PROBE_TOKENS = {INPUT: 2_048, OUTPUT: 512, READ: 64, WRITTEN: 16, REASONING: 32}
_PROBE_START_NS = 1_700_000_000_123_456_789
_PROBE_MS = 4_321.25

Slowly = Callable[[WireSpan], tuple[Row, Row] | None]
"""A span read as any: its columns without the price, and the row that is stored. None for one that is not kept."""


class Shapes:
    """The templates of what one scope of one program sends; for one thread."""

    def __init__(self, program: Program, slowly: Slowly) -> None:
        self._slowly = slowly
        self._own = program.scope == SCOPE
        self._known: dict[bytes, bytes] = {}
        self._values: dict[bytes, Any] = {}
        self._counted: Counter[bytes] = Counter()
        self._slots = dict(slots.OWN if self._own else slots.FOREIGN)
        self._templates: dict[Any, Template | None] = {}
        self._seen: set[int] = set()
        # What is peculiar to a convention may look at anything.
        self._apart = program.counting != "inclusive" or (not self._own and program.convention in SPECIAL)

    def read(self, span: Any, book: PriceBook) -> Row | None:
        """The row of a span (`protobuf.scopes`); None for one that has to be read as any span."""
        if self._apart or span.events or span.links:
            return None
        status = span.status
        if status.code == _ERROR or status.message:
            return None
        known, slot_of = self._known.get, self._slots.get
        given = list(span.attributes)
        try:
            parts = [known(each) or slot_of(each[2 : each[1] + 2]) for each in given]
        except IndexError:  # an attribute without a name
            return None
        if None in parts:
            parts = [part or self._new_part(each) for part, each in zip(parts, given, strict=True)]
            if None in parts:
                return None
        key = (span.name, span.kind, status.code, *parts)
        template = self._templates.get(key) or self._learned(key, parts, span, book)
        trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
        if template is None or (len(trace_id), len(span_id)) != _SIZES or len(parent) not in (0, 8):
            return None
        read = self._values.get
        values = [read(given[place]) or self._value(given[place]) for place in template.places]
        ids = trace_id.hex(), span_id.hex(), parent.hex()
        return filled(template, ids, span.start_time_unix_nano, span.end_time_unix_nano, values, book)

    def _value(self, given: bytes) -> Any:
        """The value of an open attribute; None for one that is not written as nearly all are."""
        pair = plain_pair(given)
        if pair is None:
            return None
        if len(given) <= LONGEST_VALUE:
            if len(self._values) >= MOST_VALUES:
                self._values.clear()
            self._values[given] = pair[1]
        return pair[1]

    def _new_part(self, given: bytes) -> bytes | Slot | None:
        """What an attribute that was not met before is in a shape; None for one that cannot be remembered."""
        pair, octets = plain_pair(given), given[2 : given[1] + 2]
        if pair is not None and not self._own and len(self._slots) < MOST_NAMES:
            name = pair[0]
            if slots.dropped(name):
                self._slots[octets] = Slot(name, Kind.NOTHING)
                return self._slots[octets]
            if len(given) <= LONGEST_PART and self._counted[octets] >= MANY_VALUES and slots.may_vary(name):
                self._slots[octets] = Slot(name, Kind.VARIOUS)
                return self._slots[octets]
        # Lists and truth values are no plain pairs, and say the same in many spans.
        if len(given) > LONGEST_PART or self._counted[octets] >= MANY_VALUES or given[0] != _NAME_FIRST:
            return None
        if len(self._known) >= MOST_PARTS:
            self._known.clear()
            self._counted.clear()
            self._templates.clear()
        self._known[given] = given
        self._counted[octets] += 1
        return given

    def _learned(self, key: Any, parts: Sequence[Any], span: Any, book: PriceBook) -> Template | None:
        """The template of a shape that is met the second time, if it has one."""
        if key in self._templates:
            return None
        if hash(key) not in self._seen:
            if len(self._seen) >= MOST_SHAPES:
                self._seen.clear()
            self._seen.add(hash(key))
            return None
        if len(self._templates) >= MOST_SHAPES:
            self._templates.clear()
        places = [place for place, each in enumerate(parts) if isinstance(each, Slot)]
        made = self._template(read_span(span), [parts[place] for place in places], book)
        self._templates[key] = made and replace(made, places=tuple(places))
        return self._templates[key]

    def _template(self, span: WireSpan, open_slots: Sequence[Slot], book: PriceBook) -> Template | None:
        names = [each.name for each in open_slots]
        if len(span.attributes) >= KEYS or len(set(names)) < len(names):
            return None
        other = _probe(span, open_slots)
        made = self._made(other, open_slots)
        if made is None:
            return None
        for each in (span, other):
            slowly = self._slowly(each)
            values = [each.attributes.get(name) for name in names]
            ids = each.trace_id, each.span_id, each.parent_span_id
            quickly = filled(made, ids, each.start_ns, each.end_ns, values, book)
            if slowly is None or quickly is None or not _same(quickly, slowly[1]):
                return None
        return made

    def _made(self, other: WireSpan, open_slots: Sequence[Slot]) -> Template | None:
        read = self._slowly(other)
        if read is None or not {"cost_usd", "cost_status"}.isdisjoint(read[0]):  # what a caller reports is looked at
            return None
        columns, row = read
        if not self._own and row.get("convention") in SPECIAL:
            return None
        taken = {each.column for each in open_slots if each.column}
        best = {name: min(each.rank for each in open_slots if each.column == name) for name in taken}
        various = [each.name for each in open_slots if each.kind is Kind.VARIOUS]
        metadata = columns.get("metadata")
        held = tuple(
            (each.kind, each.name if each.kind is Kind.VARIOUS else each.column)
            if each.column is None or each.rank == best[each.column]
            else (Kind.NOTHING, None)
            for each in open_slots
        )
        counts = not self._own and row.get("operation_type") in MODEL_CALLS
        made = {TOTAL, "tokens_per_second"} if counts else set()
        never_priced = _never_priced(columns)
        apart = {*_PER_SPAN, *(() if never_priced else _PRICE), *taken, *made, *(("metadata",) if various else ())}
        durations = tuple(name for name, value in row.items() if value == _PROBE_MS)
        return Template(
            places=(),
            row={name: value for name, value in row.items() if name not in apart and name not in durations},
            slots=held,
            durations=durations,
            counts=counts,
            metadata=_around(row.get("metadata", ""), [other.attributes[name] for name in various]),
            notes=None if never_priced else noted(metadata) if metadata else NOTHING,
        )


def _probe(span: WireSpan, open_slots: Sequence[Slot]) -> WireSpan:
    """A span of the same shape that differs from this one in all that may differ."""
    there = {each.column for each in open_slots}
    tokens = {**_PROBE_TOKENS, TOTAL: sum(_PROBE_TOKENS[name] for name in (INPUT, OUTPUT) if name in there)}
    values: Row = {}
    for number, each in enumerate(open_slots):
        if each.kind in (Kind.TEXT, Kind.NOTHING, Kind.VARIOUS):
            values[each.name] = f"other-{number}"
        elif each.column in tokens:
            values[each.name] = tokens[each.column]
        else:
            values[each.name] = 7 + number if each.kind is Kind.WHOLE else 0.25 + number / 64
    return replace(
        span,
        trace_id="0123456789abcdef" * 2,
        span_id="fedcba9876543210",
        parent_span_id="0f1e2d3c4b5a6978" if span.parent_span_id else "",
        start_ns=_PROBE_START_NS,
        end_ns=_PROBE_START_NS + int(_PROBE_MS * 1e6),
        attributes={**span.attributes, **values},
    )


def _never_priced(columns: Row) -> bool:
    """Whether nothing that a price could come from is in these columns."""
    return _PRICED.isdisjoint(columns) and not noted(columns.get("metadata") or {})[1]


def _around(text: str, entries: Sequence[str]) -> tuple[str, ...]:
    """The JSON text around these entries of it, in their order; a text that cannot be cut so is not right anywhere."""
    parts = []
    for each in entries:
        before, _, text = text.partition(as_json(each))
        parts.append(before)
    return (*parts, text) if parts else ()


def _same(one: Row, other: Row) -> bool:
    return one == other and all(type(value) is type(other[name]) for name, value in one.items())
