"""The calls that were reported lately: by them a second report of the same call is known, whenever it comes."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tracewatch.otlp.combining import combined, duplicate_of, streamed_s
from tracewatch.otlp.conventions import MODEL_CALLS
from tracewatch.otlp.lone import LoneCalls
from tracewatch.otlp.received import Row
from tracewatch.records import Duplicate, Span, columns

CALLS = 20_000  # how many calls are remembered: two instrumentations report one within seconds
TOLERANCE_S = 30.0  # how far apart two reports with one response id may lie: a proxy may be among them
OVERLAP = 0.8  # how much of the shorter report has to lie within the longer where no id tells
_LOOK_S = 2.0  # calls are looked for by when they began, in steps of this
_CROWD = 64  # how many calls that look the same are kept apart
SLACK_S = 0.005  # clocks of one process, read at slightly different places
STREAM_S = 120.0  # how long before the record of a stream's end its request may have ended
_NAMES = tuple(each.name for each in columns(Span))

Key = tuple[str, str, str]
"""project, trace id and span id."""
Fetch = Callable[[Key], Span | None]
"""Gives the stored span of that key."""
SpanOf = Callable[[Row], Span]
"""Makes the span of a row."""


@dataclass(slots=True)
class _Call:
    """What is remembered of a call that is counted."""

    key: Key
    begun: float
    ended: float
    response_id: str | None
    model: str
    tokens: tuple[int | None, int | None]
    failed: bool
    service: str | None
    parent: str | None
    by: str | None
    others: frozenset[str] = frozenset()
    """The instrumentations whose reports have been merged into it."""
    streamed_s: float | None = None
    """Of the record of a stream's end: how long the stream took."""
    open: bool = False
    """A stream's request whose end is still to be told (Logfire)."""
    places: tuple[tuple[Any, ...], ...] = ()
    """Where it stands in the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What is to be stored of some spans."""

    spans: tuple[Span, ...]
    """Those that came and count: without the second reports, and with what these add."""
    changed: tuple[Span, ...]
    """Spans that were stored before, with what a second report among those that came adds to them."""
    duplicates: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedRows:
    """What is to be stored of some rows."""

    rows: tuple[Row | Span, ...]
    """Those that came and count; one to which a second report adds something is a span."""
    changed: tuple[Span, ...]
    """Spans that were stored before, with what a second report among those that came adds to them."""
    duplicates: tuple[Duplicate, ...]


class RecentCalls:
    """The calls of the last minutes, in bounded memory.

    `merge` gives the same answer for spans that come a second time, so a batch whose writing failed may be sent again.
    Not safe for several threads at once: the one who writes asks.
    """

    def __init__(self, calls: int = CALLS) -> None:
        self._limit = calls
        self._calls: OrderedDict[Key, _Call] = OrderedDict()
        self._index: dict[tuple[Any, ...], list[_Call]] = {}
        self._indexed: set[str] = set()  # the projects whose calls stand in it
        self._reporters: dict[str, Counter[str | None]] = {}
        # The third of the one and the first of the other are how many calls had been looked at by then.
        self._merged: OrderedDict[Key, tuple[Key, str, int]] = OrderedDict()
        self._tries: OrderedDict[Key, tuple[int, dict[str, str | None]]] = OrderedDict()
        self._looked_at = 0
        self._lone = LoneCalls(calls)

    def remember(self, spans: Iterable[Span]) -> None:
        """Takes in calls that are stored already: those of the last hour, when a server starts."""
        for span in spans:
            if _is_call(span):
                self._add(_call(span))

    def merge(self, spans: Sequence[Span], fetch: Fetch) -> Merged:
        """What to store of these: a second report of a call becomes a Duplicate, and what it adds goes into the first.

        `fetch` is asked for stored spans to which such a report adds something.
        """
        merged = self.merge_rows([_row(each) for each in spans], fetch, _span)
        whole = tuple(each if isinstance(each, Span) else _span(each) for each in merged.rows)
        return Merged(spans=whole, changed=merged.changed, duplicates=merged.duplicates)

    def merge_rows(self, rows: Sequence[Row], fetch: Fetch, span_of: SpanOf) -> MergedRows:
        """Like `merge`, from rows; `span_of` makes a span of one that has to do with a second report.

        Objects and lists in a row may be in any form that `span_of` understands.
        """
        self._let_go()
        if self._let_pass(rows):
            return MergedRows(rows=tuple(rows), changed=(), duplicates=())
        for batch in self._lone.drain():
            for each in sorted(batch, key=_outermost_first):
                self._add(_call_of(_key_of(each), each, span_of))
        kept: dict[Key, Row | Span] = {}
        changed: dict[Key, Row | Span] = {}
        duplicates: dict[Key, Duplicate] = {}
        for row in rows:
            if row.get("operation_type") == "http":
                self._note_try(row)
        for row in sorted(rows, key=_outermost_first):  # children end, and come, before their parents
            key = _key_of(row)
            if row.get("operation_type") not in MODEL_CALLS:
                kept[key] = row
                continue
            self._looked_at += 1
            row = self._retried(key, row)
            call = _call_of(key, row, span_of)
            held = self._calls.get(key)
            if held is not None and held.others and fetch(key) is not None:
                continue  # it came before, and has been merged with another report since
            found, how = self._match(call)
            held_by = kept if found is not None and found.key in kept else changed
            first = None if found is None else held_by.get(found.key) or fetch(found.key)
            if found is None or first is None:
                if found is not None:
                    self._forget(found)  # it is not there any more
                kept[key] = row
                self._add(call)
                continue
            first = first if isinstance(first, Span) else span_of(first)
            second = span_of(row)
            duplicates[key] = duplicate_of(second, found.key[1:], how)
            self._join(found, call, how)
            together = combined(first, second, how)
            if together != first:
                held_by[found.key] = together
        return MergedRows(
            rows=tuple(self._reparented(kept)),
            changed=tuple(each for each in self._reparented(changed) if isinstance(each, Span)),
            duplicates=tuple(duplicates.values()),
        )

    def _let_go(self) -> None:
        """Forgets what was merged and tried when only calls before the last ones had to do with it.

        So a project that has had two reports of a call once is let pass again after as many calls as are remembered.
        """
        long_ago = self._looked_at - self._limit
        while self._tries and next(iter(self._tries.values()))[0] <= long_ago:
            self._tries.popitem(last=False)
        while self._merged:
            first, _, since = next(iter(self._merged.values()))
            if since > long_ago or first in self._calls:
                return
            self._merged.popitem(last=False)

    def _let_pass(self, rows: Sequence[Row]) -> bool:
        """Whether none of these can have to do with another report; they are remembered then."""
        if self._tries or self._merged or not self._lone.take(rows, self._calls, self._reporters):
            return False
        if self._lone.full and self._calls:
            for each in list(self._calls.values()):
                self._forget(each)
        return True

    def _match(self, call: _Call) -> tuple[_Call | None, str]:
        """The remembered call that this is a second report of, and how that is known."""
        merged = self._merged.get(call.key)
        if merged is not None:
            found = self._calls.get(merged[0])
            if found is not None:
                return found, merged[1]
        if call.key in self._calls:  # the same span once more
            self._forget(self._calls[call.key])
            return None, ""
        if not self._may_come_twice(call):
            return None, ""
        if call.response_id:
            same = [each for each in self._index.get(_id(call), ()) if _other(each, call)]
            if same:
                near = min(same, key=lambda each: abs(each.begun - call.begun))
                if _apart(near, call) <= TOLERANCE_S:
                    return near, "response_id"
        stream = self._stream_of(call)
        if stream is not None:
            return stream, "stream"
        around = [each for look in _looks(call) for each in self._index.get(look, ())]
        alike = [each for each in around if _other(each, call) and _alike(each, call)]
        return min(alike, key=lambda each: abs(each.begun - call.begun)) if alike else None, "time_and_tokens"

    def _may_come_twice(self, call: _Call) -> bool:
        """Whether a project has calls of more than one instrumentation, or told in halves; they are indexed then.

        Most projects have one alone, and nothing has to be looked for in them.
        """
        project = call.key[0]
        if project in self._indexed:
            return True
        reporters = self._reporters.get(project, {}).keys()
        if reporters <= {call.by} and not _is_half(call):
            return False
        self._indexed.add(project)
        for each in self._calls.values():
            if each.key[0] == project:
                self._place(each)
        return True

    def _stream_of(self, call: _Call) -> _Call | None:
        """The request of a stream for the record of its end, or the other way round."""
        if not _is_half(call):
            return None
        near: tuple[float, _Call | None] = (STREAM_S, None)
        for each in (each for look in _streams(call) for each in self._index.get(look, ())):
            end, request = (call, each) if call.streamed_s is not None else (each, call)
            if end.streamed_s is None or not request.open or end.parent != request.parent:
                continue
            if request.parent is not None and end.key[1] != request.key[1]:
                continue
            wait = end.begun - end.streamed_s - request.ended
            if -SLACK_S - 0.05 <= wait < near[0]:
                near = (max(wait, 0.0), each)
        return near[1]

    def _join(self, found: _Call, call: _Call, how: str) -> None:
        self._merged[call.key] = (found.key, how, self._looked_at)
        if len(self._merged) > self._limit:
            self._merged.popitem(last=False)
        if call.by:
            found.others |= {call.by}
        if how == "stream":
            self._forget(found)
            found.open, found.streamed_s = False, None
            found.begun, found.ended = min(found.begun, call.begun), max(found.ended, call.ended)
            found.tokens = found.tokens if any(each is not None for each in found.tokens) else call.tokens
        if (found.response_id is None and call.response_id) or how == "stream":
            self._forget(found)
            found.response_id = found.response_id or call.response_id
            self._add(found)

    def _add(self, call: _Call) -> None:
        if call.key in self._calls:
            self._forget(self._calls[call.key])
        project = call.key[0]
        reporters = self._reporters.get(project)
        if reporters is None:
            reporters = self._reporters[project] = Counter()
        if project in self._indexed or (_is_half(call) and self._may_come_twice(call)):
            self._place(call)
        reporters[call.by] += 1
        self._calls[call.key] = call
        while len(self._calls) > self._limit:
            self._forget(next(iter(self._calls.values())))

    def _place(self, call: _Call) -> None:
        """Puts a call where reports of the same one would be looked for."""
        call.places = _places(call)
        for place in call.places:
            held = self._index.setdefault(place, [])
            held.append(call)
            if len(held) > _CROWD:
                del held[0]

    def _forget(self, call: _Call) -> None:
        if self._calls.pop(call.key, None) is not None:
            self._count_out(call)
        for place in call.places:
            held = [each for each in self._index.get(place, ()) if each is not call]
            if held:
                self._index[place] = held
            else:
                self._index.pop(place, None)

    def _count_out(self, call: _Call) -> None:
        project = call.key[0]
        reporters = self._reporters[project]
        reporters[call.by] -= 1
        if not reporters[call.by]:
            del reporters[call.by]
        if not reporters:
            del self._reporters[project]
            self._indexed.discard(project)

    def _note_try(self, row: Row) -> None:
        """Counts a request over HTTP for the call above it."""
        above = row.get("parent_span_id")
        if not above:
            return
        parent = (row["project"], row["trace_id"], above)
        failed = row.get("status", "ok") != "ok"
        _, tries = self._tries.setdefault(parent, (self._looked_at, {}))
        tries[row["span_id"]] = row.get("error_category") if failed else None
        if len(self._tries) > self._limit:
            self._tries.popitem(last=False)

    def _retried(self, key: Key, row: Row) -> Row:
        """The call with its retries, where the requests below it tell of several and itself of none."""
        _, tries = self._tries.get(key, (0, None))
        if not tries or len(tries) < 2 or row.get("retry_count") is not None:
            return row
        reason = row.get("retry_reason") or next((each for each in tries.values() if each), None)
        return {**row, "retry_count": len(tries) - 1, **({"retry_reason": reason} if reason else {})}

    def _reparented(self, kept: dict[Key, Row | Span]) -> Iterator[Row | Span]:
        """What is kept, with what hung on a duplicate hung on the span that is kept in its place."""
        if not self._merged:
            yield from kept.values()
            return
        for key, each in kept.items():
            above = each.parent_span_id if isinstance(each, Span) else each.get("parent_span_id")
            merged = self._merged.get((key[0], key[1], above)) if above else None
            if merged is None or merged[0] == key or merged[0][1] != key[1]:
                yield each
            elif isinstance(each, Span):
                yield dataclasses.replace(each, parent_span_id=merged[0][2])
            else:
                yield {**each, "parent_span_id": merged[0][2]}


def _outermost_first(row: Row) -> tuple[float, float]:
    start = row["start_time"]
    return start, -(row.get("end_time") or start)


def _row(span: Span) -> Row:
    given = ((name, getattr(span, name)) for name in _NAMES)
    return {name: value for name, value in given if value is not None}


def _span(row: Row) -> Span:
    return Span(**row)


def _is_call(span: Span) -> bool:
    return span.operation_type in MODEL_CALLS


def _key(span: Span) -> Key:
    return (span.project, span.trace_id, span.span_id)


def _key_of(row: Row) -> Key:
    return (row["project"], row["trace_id"], row["span_id"])


def _call_of(key: Key, row: Row, span_of: SpanOf) -> _Call:
    get = row.get
    if get("convention") == "logfire" or get("also_reported_by") is not None:
        return _call(span_of(row))
    begun = row["start_time"]
    return _Call(
        key,
        begun,
        get("end_time") or begun,
        get("response_id"),
        _family(get("model_name")),
        (get("input_tokens"), get("output_tokens")),
        get("status") in ("error", "timeout"),
        get("service_name"),
        get("parent_span_id"),
        get("instrumentation"),
    )


def _call(span: Span) -> _Call:
    counted = (span.input_tokens, span.output_tokens)
    waiting = span.convention == "logfire" and counted == (None, None) and span.status == "ok"
    return _Call(
        key=_key(span),
        begun=span.start_time,
        ended=span.end_time or span.start_time,
        response_id=span.response_id,
        model=_family(span.model_name),
        tokens=counted,
        failed=span.status in ("error", "timeout"),
        service=span.service_name,
        parent=span.parent_span_id,
        by=span.instrumentation,
        others=frozenset(span.also_reported_by or ()),
        streamed_s=None if span.also_reported_by else streamed_s(span),
        open=waiting and streamed_s(span) is None,
    )


@lru_cache(maxsize=1024)
def _family(model: str | None) -> str:
    """The model without its date, for one report may name what was asked for and the other what answered."""
    words = (model or "").lower().rpartition("/")[2].split("-")
    return "-".join(each for each in words if not (each.isdecimal() and len(each) in (2, 4, 8)))


def _id(call: _Call) -> tuple[Any, ...]:
    return ("id", call.key[0], call.response_id)


def _looks(call: _Call) -> list[tuple[Any, ...]]:
    """Where reports of the same call without a common id would be: its own place first, then the times around it."""
    return [_look(call, 0), _look(call, -1), _look(call, 1)]


def _look(call: _Call, step: int) -> tuple[Any, ...]:
    tokens = None if call.failed else call.tokens
    return "look", call.key[0], call.service, call.model, tokens, int(call.begun // _LOOK_S) + step


def _is_half(call: _Call) -> bool:
    """Whether a call is the request of a stream, or the record of its end (Logfire)."""
    return call.open or call.streamed_s is not None


def _streams(call: _Call) -> list[tuple[Any, ...]]:
    """Where the other half of a stream would be; its own place first, nowhere for what is no half of one."""
    if not _is_half(call):
        return []
    at = int((call.ended if call.open else call.begun - (call.streamed_s or 0.0)) // STREAM_S)
    return [("stream", call.key[0], call.service, call.model, call.by, at + step) for step in (0, -1, 1)]


def _places(call: _Call) -> tuple[tuple[Any, ...], ...]:
    """Where a call is to be found in the index."""
    return (*((_id(call),) if call.response_id else ()), _look(call, 0), *_streams(call)[:1])


def _other(one: _Call, other: _Call) -> bool:
    """Whether the reports can be of one call: of different instrumentations, each of which reports a call once."""
    return one.by != other.by and other.by not in one.others and one.key[0] == other.key[0]


def _apart(one: _Call, other: _Call) -> float:
    """Seconds between the two; 0 where they overlap."""
    return max(one.begun - other.ended, other.begun - one.ended, 0.0)


def _alike(one: _Call, other: _Call) -> bool:
    """Whether two reports without a common id are of one call: at the same time, with the same tokens or no tokens."""
    if one.response_id and other.response_id and one.response_id != other.response_id:
        return False
    if one.tokens != other.tokens and not (one.failed and other.failed):
        return False
    if one.tokens == (None, None) and not one.failed and not _nested(one, other):
        return False
    shared = min(one.ended, other.ended) - max(one.begun, other.begun)
    shorter = min(one.ended - one.begun, other.ended - other.begun)
    return shared + SLACK_S >= OVERLAP * shorter and shared > -SLACK_S


def _nested(one: _Call, other: _Call) -> bool:
    return one.key[1] == other.key[1] and (one.parent == other.key[2] or other.parent == one.key[2])
