"""The distribution of some numbers in a few bytes: quantiles within 1 %, merged by addition (standard library only).

Our own, after the log-histogram of DDSketch (Masson, Rim, Lee 2019, https://arxiv.org/abs/1908.10693): a bucket holds
the numbers between one power of GROWTH and the next, so its middle is within ACCURACY of each of them. Sketches of the
same numbers are the same bytes in whatever order and in however many parts the numbers came.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise

from tracewatch.errors import BadSketch

FORMAT = 1
WIDTH = (
    0.0198  # of a bucket, in natural logarithms: the error is tanh(WIDTH / 2) = 0.99 %, which leaves room for rounding
)
ACCURACY = 0.01
ZERO = 0
# Codes stand in the order of the numbers: bucket i of positive ones is i + OFFSET, of negative ones -(i + OFFSET).
# Logarithms of floats lie between -745 and 710, so i lies between -37 627 and 35 849: no code is 0 but zero's.
OFFSET = 40_000

_MIDDLE = math.log(2 / (1 + math.exp(WIDTH)))  # from a bucket's upper edge to the value with the same error both ways
_BEYOND = 128  # a byte of a varint carries seven bits

Counts = Mapping[int, int]
"""How many numbers each bucket holds, by its code."""


def code(number: float) -> int:
    """The bucket of a number. Raises BadSketch for NaN and infinities.

    >>> [code(each) for each in (-1.0, 0.0, 1.0, 1.03)]
    [-40000, 0, 40000, 40002]
    """
    if not math.isfinite(number):
        raise BadSketch(why=f"it cannot hold {number}")
    if number == 0:
        return ZERO
    bucket = math.ceil(math.log(abs(number)) / WIDTH) + OFFSET
    return bucket if number > 0 else -bucket


def value(code: int) -> float:
    """The number that stands for all numbers of a bucket: none of them is further than ACCURACY from it."""
    if code == ZERO:
        return 0.0
    exponent = (abs(code) - OFFSET) * WIDTH + _MIDDLE
    return math.copysign(math.exp(min(exponent, 709.78)), code)  # e ** 709.78 is the largest float, within the error


def of(numbers: Iterable[float]) -> bytes:
    """The sketch of these numbers. Raises BadSketch for NaN and infinities.

    >>> round(quantile(of(range(1, 1001)), 0.5))  # of 500, within 1 %
    496
    """
    return from_counts(Counter(map(code, numbers)))


def merge(sketches: Iterable[bytes | None]) -> bytes | None:
    """The sketch of all their numbers together; None when there are none. Raises BadSketch."""
    present = [each for each in sketches if each is not None]
    if len(present) < 2:
        return present[0] if present else None
    total: dict[int, int] = {}
    for each in present:
        for key, number in pairs(each):
            total[key] = total.get(key, 0) + number
    return from_counts(total)


def count(sketch: bytes | None) -> int:
    """How many numbers it holds."""
    return 0 if sketch is None else sum(_parts(sketch)[2])


def largest(sketch: bytes) -> int | None:
    """The code of the largest number; None for an empty sketch. Raises BadSketch for bytes that are no sketch.

    >>> largest(of([0.5, 2.0, 1.0])) == code(2.0)
    True
    """
    first, steps, counts = _parts(sketch)
    return first + sum(steps) if counts else None


def quantile(sketch: bytes | None, share: float) -> float | None:
    """The number below which that share of the numbers lies (0.95 is p95); None for an empty sketch.

    It is within ACCURACY, relatively, of the smallest number that at least that share of the numbers do not exceed:
    of few numbers p95 is the largest.
    """
    assert 0 <= share <= 1, "a quantile is asked for by a share between 0 and 1"
    first, steps, counts = (0, (), ()) if sketch is None else _parts(sketch)
    reached = list(accumulate(counts))
    if not reached or not reached[-1]:
        return None
    rank = max(math.ceil(share * reached[-1]) - 1, 0)
    return value(first + sum(steps[: bisect_right(reached, rank)]))


def share_above(sketch: bytes | None, limit: float) -> float | None:
    """The share of the numbers that lie above the limit, but for those in its very bucket; None when it is empty."""
    held = list(pairs(sketch)) if sketch is not None else []
    total = sum(number for _, number in held)
    border = code(limit)
    return sum(number for key, number in held if key > border) / total if total else None


def from_counts(counts: Counts) -> bytes:
    """The sketch with these counts by code."""
    codes = sorted(counts)
    return encode(codes, [counts[each] for each in codes])


def encode(codes: Sequence[int], counts: Sequence[int]) -> bytes:
    """The bytes of a sketch from its codes, ascending, and their counts.

    FORMAT, then varints: the first code (zigzag) and its count, then for every further code the distance and the count.
    """
    if not codes:
        return bytes((FORMAT,))
    steps = [later - earlier for earlier, later in pairwise(codes)]
    head = bytes((FORMAT,)) + _as_varints([(codes[0] << 1) ^ (codes[0] >> 63)])
    if max(counts) < _BEYOND and max(steps, default=0) < _BEYOND:  # as in nearly all: six times as fast
        body = bytearray(2 * len(counts) - 1)
        body[0::2], body[1::2] = bytes(counts), bytes(steps)
        return head + body
    return head + _as_varints([counts[0], *chain.from_iterable(zip(steps, counts[1:], strict=True))])


def _as_varints(numbers: Iterable[int]) -> bytes:
    out = bytearray()
    for part in numbers:
        while part >= _BEYOND:
            out.append(part & 127 | _BEYOND)
            part >>= 7
        out.append(part)
    return bytes(out)


def pairs(sketch: bytes) -> Iterable[tuple[int, int]]:
    """The codes, ascending, and their counts. Raises BadSketch for bytes that are no sketch."""
    first, steps, counts = _parts(sketch)
    return zip(accumulate(steps, initial=first), counts, strict=True) if counts else ()


def _parts(sketch: bytes) -> tuple[int, Sequence[int], Sequence[int]]:
    """The first code, the distance from each code to the next one, and the counts of all."""
    if not sketch or sketch[0] != FORMAT:
        raise BadSketch(why=f"it is written in form {sketch[:1].hex() or 'none'}, and only form {FORMAT} is known")
    first, at = _varint(sketch, 1) if len(sketch) > 1 else (0, 1)
    body = sketch[at:]
    steps: Sequence[int]
    counts: Sequence[int]
    if body.isascii():  # every varint is one byte, as nearly all are: then slicing is decoding
        counts, steps = body[0::2], body[1::2]
    else:
        numbers = list(_varints(body))
        counts, steps = numbers[0::2], numbers[1::2]
    if not counts:
        return 0, (), ()
    if len(counts) != len(steps) + 1:
        raise BadSketch(why="it is cut off")
    return (first >> 1) ^ -(first & 1), steps, counts


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < _BEYOND:
            return number, at
        shift += 7
    raise BadSketch(why="it is cut off")


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = _varint(data, at)
        yield number
