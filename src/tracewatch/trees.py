"""The spans of a trace as a tree: the order in which they are shown, and what determines how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tree:
    """Spans by their number, in the order of the tree. All lists have one entry a span, in that order."""

    numbers: Sequence[int]
    """Which span stands here."""
    depths: Sequence[int]
    parents: Sequence[int]
    """The place of the parent; -1 at the top."""
    ends: Sequence[int]
    """Where what is below a span ends: the place after its last descendant."""
    orphans: Sequence[int]
    """Places of spans that name a parent which is not there."""

    def children(self, place: int) -> Iterator[int]:
        """The places of the children of a span, in their order."""
        at = place + 1
        while at < self.ends[place]:
            yield at
            at = self.ends[at]


def tree_of(ids: Sequence[str], parents: Sequence[str | None], starts: Sequence[float]) -> Tree:
    """The tree: parents before children, siblings by start. Iterative, since traces can be deep.

    A span whose parent is missing stands at the top; so does the first of those that are their own ancestors.

    >>> tree_of(["b", "a", "c"], ["a", None, "gone"], [2.0, 1.0, 3.0]).numbers
    [1, 0, 2]
    """
    by_start = sorted(range(len(ids)), key=starts.__getitem__)
    known = set(ids)
    below: dict[str, list[int]] = {}
    tops = []
    for number in by_start:
        parent = parents[number]
        if parent is not None and parent in known:
            below.setdefault(parent, []).append(number)
        else:
            tops.append(number)
    numbers: list[int] = []
    depths: list[int] = []
    seen = bytearray(len(ids))
    # What no top leads to goes round in circles: each circle is entered at its earliest span.
    for top in (*tops, *by_start):
        if seen[top]:
            continue
        waiting, levels = [top], [0]
        while waiting:
            number, depth = waiting.pop(), levels.pop()
            if seen[number]:
                continue
            seen[number] = True
            numbers.append(number)
            depths.append(depth)
            if children := below.get(ids[number]):
                waiting += reversed(children)
                levels += [depth + 1] * len(children)
    places, ends = parents_of(depths)
    lost = [place for place, number in enumerate(numbers) if parents[number] is not None and depths[place] == 0]
    return Tree(numbers, depths, places, ends, lost)


def parents_of(depths: Sequence[int]) -> tuple[list[int], list[int]]:
    """For each place that of the parent (-1: none), and where what is below it ends."""
    parents, ends = [-1] * len(depths), [len(depths)] * len(depths)
    path: list[int] = []
    for place, depth in enumerate(depths):
        for closed in path[depth:]:
            ends[closed] = place
        del path[depth:]
        parents[place] = path[-1] if path else -1
        path.append(place)
    return parents, ends


def critical_path(
    tree: Tree, starts: Sequence[float], ends: Sequence[float], top: int = 0
) -> list[tuple[int, float, float]]:
    """What determined how long the span at a place took: pieces of time, each with the place that was at work then.

    Walked from the end backwards: what was still at work last determined the end, and so on to the beginning. The
    pieces together are exactly the time of that span.
    """
    pieces: list[tuple[int, float, float]] = []
    waiting = [(top, starts[top], ends[top])]
    while waiting:
        place, begin, until = waiting.pop()
        at = until
        below = [each for each in tree.children(place) if starts[each] < until and ends[each] > begin]
        for child in sorted(below, key=lambda each: -ends[each]):
            if starts[child] >= at:
                continue
            last, first = min(ends[child], at), max(starts[child], begin)
            if last <= first:
                continue
            if at > last:
                pieces.append((place, last, at))
            waiting.append((child, first, last))
            at = first
        if at > begin:
            pieces.append((place, begin, at))
    return sorted(pieces, key=lambda piece: piece[1])


def at_work(tree: Tree, place: int, starts: Sequence[float], ends: Sequence[float]) -> list[tuple[float, float]]:
    """When a span worked itself: its time without that of its children."""
    at, found = starts[place], []
    for child in tree.children(place):
        if starts[child] > at:
            found.append((at, min(starts[child], ends[place])))
        at = max(at, ends[child])
    if ends[place] > at:
        found.append((at, ends[place]))
    return [(begin, end) for begin, end in found if end > begin]
