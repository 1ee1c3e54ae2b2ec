"""Large OTLP/protobuf bodies cut into small ones, so that no body can unfold into many times its size in memory.

Parsed, an empty span takes 80 times the two bytes it is written with. So a body is parsed a piece at a time; what
belongs to all spans of a program (resource, scope) stands in every piece.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from tracewatch.errors import BadOtlp, TooManySpans

PIECE_BYTES = 2**20
MOST_SPANS = 200_000  # of one request; the largest batch of any exporter we know is 8 192
MOST_PARTS = 10_000  # attributes, events and links of one span; OpenTelemetry's own limits are 128 each
_TOO_MANY = f"a span has more than {MOST_PARTS:,} attributes, events and links"
_SPANS, _RESOURCE_SPANS, _SCOPE_SPANS = 2, 1, 2  # field numbers in opentelemetry/proto/trace/v1/trace.proto
_FIXED = {1: 8, 5: 4}


def pieces(body: bytes, rejected: Counter[str], size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Bodies of about `size` bytes that together hold what this one holds. Raises BadOtlp or TooManySpans.

    A span of more than MOST_PARTS parts, which nobody needs, is left out and counted in `rejected`.
    """
    if len(body) <= size:
        yield body
        return
    left = MOST_SPANS
    for number, begin, end, _ in _fields(body, 0, len(body)):
        if number == _RESOURCE_SPANS:
            for piece, spans in _program(body, begin, end, size, rejected):
                left -= spans
                if left < 0:
                    raise TooManySpans(most=MOST_SPANS)
                yield piece


def _program(body: bytes, begin: int, end: int, size: int, rejected: Counter[str]) -> Iterator[tuple[bytes, int]]:
    """The pieces of one program's spans, and how many spans are in each."""
    shared = _beside(body, begin, end, _SCOPE_SPANS)
    for number, inner, stop, _ in _fields(body, begin, end):
        if number == _SCOPE_SPANS:
            for part, spans in _scope(body, inner, stop, size, rejected):
                yield _message(_RESOURCE_SPANS, shared + _message(_SCOPE_SPANS, part)), spans


def _scope(body: bytes, begin: int, end: int, size: int, rejected: Counter[str]) -> Iterator[tuple[bytes, int]]:
    shared = _beside(body, begin, end, _SPANS)
    held: list[bytes] = []
    room = size
    for number, inner, stop, start in _fields(body, begin, end):
        if number == _SPANS:
            if stop - inner > MOST_PARTS and next(islice(_fields(body, inner, stop), MOST_PARTS, None), None):
                rejected[_TOO_MANY] += 1
                continue
            held.append(body[start:stop])
            room -= stop - start
            if room <= 0:
                yield shared + b"".join(held), len(held)
                held, room = [], size
    if held:
        yield shared + b"".join(held), len(held)


def _beside(body: bytes, begin: int, end: int, inner: int) -> bytes:
    """The fields of a message other than those of that number. Raises TooManySpans when there are too many of those."""
    others, count = [], 0
    for number, _, stop, start in _fields(body, begin, end):
        if number == inner:
            count += 1
            if count > MOST_SPANS:
                raise TooManySpans(most=MOST_SPANS)
        else:
            others.append(body[start:stop])
    return b"".join(others)


def _fields(body: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: number, where the content begins and ends, and where the field itself begins."""
    at = begin
    while at < end:
        start = at
        tag, at = _varint(body, at, end)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(body, at, end)
            stop = at + length
        elif kind == 0:
            _, stop = _varint(body, at, end)
        elif kind in _FIXED:
            stop = at + _FIXED[kind]
        else:
            raise BadOtlp(form="protobuf", why=f"there is a field of the unknown kind {kind}")
        if stop > end:
            raise BadOtlp(form="protobuf", why="it is cut off")
        yield tag >> 3, at, stop, start
        at = stop


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        octet = body[at]
        at += 1
        value |= (octet & 127) << shift
        if octet < 128:
            return value, at
        shift += 7
    raise BadOtlp(form="protobuf", why="it is cut off")


def _message(number: int, content: bytes) -> bytes:
    length, head = len(content), bytearray([number << 3 | 2])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + content
