"""From a body to rows that a database takes: decoded, priced, every value checked; nothing of it needs other bodies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracewatch.errors import BadRecord, TooManySpans
from tracewatch.otlp import ReceivedRows, Row, decode_rows
from tracewatch.otlp.decoding import refused_why, row_of
from tracewatch.otlp.protobuf import read_span, scopes, told
from tracewatch.otlp.reading import Program, program_of
from tracewatch.otlp.wire import WireSpan
from tracewatch.own_prices import overrides_of
from tracewatch.pricing import INCONSISTENT_USAGE, PriceBook, price_row
from tracewatch.receiving.pieces import MOST_SPANS, pieces
from tracewatch.receiving.shapes import Shapes
from tracewatch.records import PriceOverride, Project, Span
from tracewatch.stores import Store
from tracewatch.stores.values import to_values

PRICES_S = 5.0  # so often it is looked whether a project has set prices of its own
MOST_PROGRAMS = 64  # whose shapes are remembered: senders could name any number
MOST_KNOWN = 20_000  # names of models without a price that are remembered; a sender could make up any number

_UNSAID = "default"  # what a program's spans are in when it names no project


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One body, and what its sender's key says of it."""

    body: bytes
    json: bool
    project: str | None
    """The project all of it belongs to; None: each program says so, and those that do not are in `or_project`."""
    or_project: str
    user_id: str | None
    """The account all of it belongs to; None: each span says so."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a body holds."""

    rows: list[Row]
    """As `stores.values.to_values` gives them."""
    reasons: Counter[str]
    """Why spans will never be stored, and how many for each reason."""


class Decoder:
    """Decodes bodies, one after another: what it knows of prices is for one thread."""

    def __init__(self, store: Store, *, content: bool) -> None:
        """With `content` texts are kept of those projects that allow it."""
        self.store, self.content = store, content
        self._book: PriceBook | None = None
        self._overrides: Sequence[PriceOverride] = ()
        self._asked_at = 0.0
        self._shapes: dict[Any, Shapes] = {}

    def decode(self, request: Request) -> Decoded:
        """The rows of a body. Raises BadOtlp or TooManySpans."""
        found = Decoded([], Counter())
        bodies: Iterator[bytes] = iter((request.body,)) if request.json else pieces(request.body, found.reasons)
        book = self._prices()
        for each in bodies:
            if request.json or self.content:
                self._decode_any(each, request, found, book)
            else:
                self._decode_alike(each, request, found, book)
            if len(found.rows) + found.reasons.total() > MOST_SPANS:
                raise TooManySpans(most=MOST_SPANS)
        return found

    def _decode_any(self, body: bytes, request: Request, found: Decoded, book: PriceBook) -> None:
        received = self._received(body, json=request.json, project=request.project)
        found.reasons.update(received.reasons)
        for row in received.rows:
            _keep(_addressed(row, request), found, book)

    def _decode_alike(self, body: bytes, request: Request, found: Decoded, book: PriceBook) -> None:
        """Spans of protobuf without their texts: most of them are like others that came before."""
        with told():
            for scope, spans in scopes(body):
                program = program_of(scope, request.project)
                shapes = self._shapes_of(program, request)
                for each in spans:
                    row = shapes.read(each, book)
                    if row is not None:
                        found.rows.append(row)
                    else:
                        _read(read_span(each), program, request, found, book)

    def _shapes_of(self, program: Program, request: Request) -> Shapes:
        """What is known of the spans of that program in requests like this one."""
        columns = tuple(program.columns.items())
        key = program.scope, program.version, columns, request.project, request.or_project, request.user_id
        shapes = self._shapes.get(key)
        if shapes is None:
            if len(self._shapes) >= MOST_PROGRAMS:
                self._shapes.clear()
            sender = replace(request, body=b"")
            shapes = self._shapes[key] = Shapes(program, lambda span: self._slowly(span, program, sender))
        return shapes

    def _slowly(self, span: WireSpan, program: Program, request: Request) -> tuple[Row, Row] | None:
        """A span's columns before it has a price, and its row; None for one that is not stored."""
        columns = None if refused_why(span) else row_of(span, program, content=False)
        if columns is None:
            return None
        columns = _addressed(columns, request)
        try:
            return columns, to_values(Span, priced(dict(columns), self._prices()))
        except BadRecord:
            return None

    def priced(self, span: Row) -> Row:
        """A row by the names of columns as it is stored, with its price as it is now."""
        return to_values(Span, priced(span, self._prices()))

    def _received(self, body: bytes, *, json: bool, project: str | None) -> ReceivedRows:
        """What a body holds: with its texts only where every project in it allows that."""
        if project is not None:
            return decode_rows(body, json=json, content=self._content_allowed(project), project=project)
        received = decode_rows(body, json=json)
        if self.content and all(map(self._content_allowed, {each.get("project", _UNSAID) for each in received.rows})):
            return decode_rows(body, json=json, content=True)
        return received

    def _content_allowed(self, name: str) -> bool:
        """Whether texts of this project may be kept: the server does not refuse them, and the project allows them."""
        project = self.store.get(Project, {"project": name}) if self.content else None
        return isinstance(project, Project) and project.content_allowed

    def _prices(self) -> PriceBook:
        """The price book, with what projects have set themselves by now."""
        now = time.monotonic()
        if self._book is None or now - self._asked_at >= PRICES_S:
            overrides = overrides_of(self.store)
            if self._book is None or overrides != self._overrides or len(self._book.unpriced) > MOST_KNOWN:
                self._book, self._overrides = PriceBook(overrides), overrides
            self._asked_at = now
        return self._book


def _read(span: WireSpan, program: Program, request: Request, found: Decoded, book: PriceBook) -> None:
    refused = refused_why(span)
    row = None if refused else row_of(span, program, content=False)
    if refused:
        found.reasons[refused] += 1
    elif row is not None:
        _keep(_addressed(row, request), found, book)


def _addressed(row: Row, request: Request) -> Row:
    """The row, in the project and of the account that the sender's key says."""
    if request.project is None and row.get("project", _UNSAID) == _UNSAID:
        row["project"] = request.or_project
    if request.user_id is not None:
        row["user_id"] = request.user_id
    return row


def _keep(row: Row, found: Decoded, book: PriceBook) -> None:
    try:
        found.rows.append(to_values(Span, priced(row, book)))
    except BadRecord as error:
        found.reasons[str(error)] += 1


def priced(row: Row, book: PriceBook) -> Row:
    """The row, with its price in it."""
    price, inconsistent = price_row(row, book)
    row["cost_usd"], row["cost_status"], row["cost_source"] = price.cost_usd, price.cost_status, price.cost_source
    if inconsistent:
        flags = tuple(row.get("warning_flags") or ())
        row["warning_flags"] = flags if INCONSISTENT_USAGE in flags else (*flags, INCONSISTENT_USAGE)
    return row
