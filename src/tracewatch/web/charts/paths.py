"""Lines and areas as lists of points for SVG: with gaps where there is nothing, in two where they are marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tracewatch.web.charts.series import Numbers, Range


def runs(values: Sequence[object | None]) -> Iterator[tuple[int, int]]:
    """Stretches without gaps: from, to (not included)."""
    begin = None
    for index, value in enumerate(values):
        if value is None:
            if begin is not None:
                yield begin, index
            begin = None
        elif begin is None:
            begin = index
    if begin is not None:
        yield begin, len(values)


def gaps(values: Sequence[object | None]) -> Iterator[tuple[int, int]]:
    yield from runs([None if each is not None else 0 for each in values])


def pieces(values: Sequence[object | None], seams: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stretches without gaps and without a seam within."""
    for begin, end in runs(values):
        cuts = [begin, *(each for each in seams if begin < each < end), end]
        yield from pairwise(cuts)


def line(
    run: tuple[int, int], values: Numbers, x: Callable[[float], float], place: Callable[[float], float],
    seams: Sequence[int] = (),
) -> str:  # fmt: skip
    return " ".join(
        _at(at, place(value)) for at, index in _along(run, x, seams) if (value := values[index]) is not None
    )


def area(
    run: tuple[int, int], ranges: Sequence[Range | None], x: Callable[[float], float], place: Callable[[float], float],
    seams: Sequence[int] = (),
) -> str:  # fmt: skip
    alone = run if run[1] - run[0] == 1 else ()  # a single step has no width of its own
    there = [(at, pair) for at, index in _along(run, x, (*seams, *alone)) if (pair := ranges[index]) is not None]
    top = [_at(at, place(high)) for at, (_, high) in there]
    bottom = [_at(at, place(low)) for at, (low, _) in reversed(there)]
    return " ".join((*top, *bottom))


def _along(run: tuple[int, int], x: Callable[[float], float], seams: Sequence[int]) -> list[tuple[float, int]]:
    """Where each step of a run is drawn: in its middle, and where the run ends at a seam also at its edge."""
    begin, end = run
    at = [(x(index), index) for index in range(begin, end)]
    if begin in seams:
        at.insert(0, (x(begin - 0.5), begin))
    if end in seams:
        at.append((x(end - 0.5), end - 1))
    return at


def split(
    values: Numbers, x: Callable[[float], float], place: Callable[[float], float], inside: Callable[[int], bool]
) -> tuple[list[str], list[str]]:
    """The line outside and inside the window; they meet in the point before the window begins."""
    lines: list[str] = []
    bad: list[str] = []
    for begin, end in runs(values):
        start = begin
        for index in range(begin + 1, end + 1):
            if index == end or inside(index) != inside(start):
                first = start - 1 if inside(start) and start > begin else start
                last = index + 1 if index < end and inside(start) and not inside(index) else index
                if last - first > 1:
                    (bad if inside(start) else lines).append(line((first, last), values, x, place))
                start = index
    return lines, bad


def outside(
    values: Numbers, expected: Sequence[Range | None], x: Callable[[float], float], place: Callable[[float], float],
    inside: Callable[[int], bool], worse: str,
) -> Iterator[str]:  # fmt: skip
    """Areas between the line and the edge of its range, one for each stretch that lies beyond it."""
    beyond: list[tuple[float, float] | None] = []
    for index, (value, pair) in enumerate(zip(values, expected, strict=True)):
        if value is None or pair is None or not (inside(index) or inside(index + 1)):
            beyond.append(None)
            continue
        edge = pair[0] if worse == "down" else pair[1]
        out = value < edge if worse == "down" else value > edge
        beyond.append((value if out else edge, edge))
    for begin, end in runs(beyond):
        there = [(index, pair) for index in range(begin, end) if (pair := beyond[index]) is not None]
        if len(there) > 1:
            line = [_at(x(index), place(value)) for index, (value, _) in there]
            back = [_at(x(index), place(edge)) for index, (_, edge) in reversed(there)]
            yield " ".join((*line, *back))


def points(places: Sequence[tuple[float, float]]) -> str:
    """Points as one path: pieces of no length, which round ends make dots of, however the picture is stretched."""
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)


def open_end(values: Numbers, x: Callable[[float], float], place: Callable[[float], float]) -> str:
    """The last piece of the line, whose step is not over."""
    if len(values) < 2 or values[-1] is None or values[-2] is None:
        return ""
    return line((len(values) - 2, len(values)), values, x, place)


def _at(x: float, y: float) -> str:
    return f"{x:.1f},{y:.1f}"
