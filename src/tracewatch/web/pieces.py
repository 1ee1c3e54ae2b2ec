"""Large OTLP/protobuf bodies cut into small ones, so that no body can unfold into many times its size in memory.

Parsed, an empty span takes 80 times the two bytes it is written with. So a body is parsed a piece at a time; what
belongs to all spans of a program (resource, scope) stands in every piece.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracewatch.errors import BadOtlp

PIECE_BYTES = 2**20
_SPANS, _RESOURCE_SPANS, _SCOPE_SPANS = 2, 1, 2  # field numbers in opentelemetry/proto/trace/v1/trace.proto
_FIXED = {1: 8, 5: 4}


def pieces(body: bytes, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Bodies of about `size` bytes that together hold what this one holds. Raises BadOtlp."""
    if len(body) <= size:
        yield body
        return
    for number, begin, end, _ in _fields(body, 0, len(body)):
        if number == _RESOURCE_SPANS:
            yield from _program(body, begin, end, size)


def _program(body: bytes, begin: int, end: int, size: int) -> Iterator[bytes]:
    shared = b"".join(
        body[start:stop] for number, _, stop, start in _fields(body, begin, end) if number != _SCOPE_SPANS
    )
    for number, inner, stop, _ in _fields(body, begin, end):
        if number == _SCOPE_SPANS:
            for part in _scope(body, inner, stop, size):
                yield _message(_RESOURCE_SPANS, shared + _message(_SCOPE_SPANS, part))


def _scope(body: bytes, begin: int, end: int, size: int) -> Iterator[bytes]:
    shared = b"".join(body[start:stop] for number, _, stop, start in _fields(body, begin, end) if number != _SPANS)
    held: list[bytes] = []
    room = size
    for number, _, stop, start in _fields(body, begin, end):
        if number == _SPANS:
            held.append(body[start:stop])
            room -= stop - start
            if room <= 0:
                yield shared + b"".join(held)
                held, room = [], size
    if held:
        yield shared + b"".join(held)


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
