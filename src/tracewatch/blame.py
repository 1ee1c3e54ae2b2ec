"""Which span of a trace made it slow: the time of its own, the path that set the pace, and whom to blame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

EXPLAINED = 0.5  # of what a span took too long: from there on its children are the better answer
SLOW_RATIO, SLOW_MS = 1.2, 1.0  # a span is slow beyond a fifth, and a millisecond, more than expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The spans of a trace as a forest, by position; one entry a span."""

    parents: Integers
    """The parent's position; -1 of a root."""
    order: Integers
    """Every position once, parents before their children, siblings by start."""
    starts_ms: Floats
    """From the earliest start of the trace."""
    ends_ms: Floats
    missing: Integers
    """Spans whose parent is not there; they are roots."""
    cyclic: Integers
    """Spans that were their own ancestors and became roots."""

    def children(self) -> list[list[int]]:
        """The positions of each span's children, by start."""
        found: list[list[int]] = [[] for _ in range(len(self.parents))]
        for child in self.order.tolist():
            if self.parents[child] >= 0:
                found[self.parents[child]].append(child)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """A slow span, and what made it so."""

    span: int
    """The slow span highest up; its ancestors are not slow."""
    excess_ms: float
    """What it took longer than expected."""
    by: int
    """The span to blame, the deepest one that its own children do not explain. It may be `span` itself."""
    alike: tuple[int, ...]
    """Siblings of the same name as `by`, itself included, that share the blame."""
    share: float
    """What `alike` account for of the excess, 0 to 1."""


def arrange(
    span_ids: Sequence[str], parent_ids: Sequence[str | None], start_time: Floats, duration_ms: Floats
) -> Family:
    """The forest that spans form, whatever their order; start in epoch seconds, duration in ms, one entry a span.

    A parent that is not among the spans makes a root, so does the earliest span of a cycle. Of spans with the same id
    the first is the parent. Durations that are negative or absent count as 0, an absent start as the earliest. No
    recursion, time `n log n`.

    >>> family = arrange(["b", "a", "c"], ["a", None, "gone"], np.array([1.1, 1.0, 1.0]), np.array([5.0, 20.0, 1.0]))
    >>> family.parents.tolist(), family.order.tolist(), family.missing.tolist()
    ([1, -1, -1], [1, 2, 0], [2])
    """
    known = np.isfinite(start_time)
    earliest = float(start_time[known].min()) if known.any() else 0.0
    starts = (np.where(known, start_time, earliest) - earliest) * 1000
    ends = starts + np.maximum(np.nan_to_num(duration_ms, posinf=0, neginf=0), 0)
    places: dict[str, int] = {}
    for place, span_id in enumerate(span_ids):
        places.setdefault(span_id, place)
    parents = [-1 if parent is None else places.get(parent, -1) for parent in parent_ids]
    missing = [place for place, parent in enumerate(parent_ids) if parent is not None and parents[place] < 0]
    cyclic = _cut_cycles(parents, starts)
    return Family(
        parents=np.array(parents, dtype=np.int64),
        order=_parents_first(parents, starts),
        starts_ms=starts,
        ends_ms=ends,
        missing=np.array(missing, dtype=np.int64),
        cyclic=np.array(cyclic, dtype=np.int64),
    )


def self_times(family: Family) -> Floats:
    """The time in ms in which each span ran and no child of its did: its duration minus the union of theirs.

    Children count as far as they lie inside the parent.

    >>> family = arrange(["a", "b", "c"], [None, "a", "a"], np.array([0, 0.01, 0.02]), np.array([100.0, 30, 30]))
    >>> self_times(family).round(6).tolist()
    [60.0, 30.0, 30.0]
    """
    starts, ends, parents = family.starts_ms.tolist(), family.ends_ms.tolist(), family.parents.tolist()
    covered = [0.0] * len(parents)
    reached = list(starts)
    for child in family.order.tolist():  # siblings come by start, so what is covered only ever moves on
        parent = parents[child]
        if parent >= 0:
            begin, end = max(starts[child], reached[parent]), min(ends[child], ends[parent])
            if end > begin:
                covered[parent] += end - begin
                reached[parent] = end
    own: Floats = np.maximum(family.ends_ms - family.starts_ms - np.array(covered), 0)
    return own


def critical_times(family: Family) -> Floats:
    """How many ms of the critical path each span itself holds; over a root and all below, they sum to its duration.

    Backwards from the end of a span: whichever child ended last was being waited for; before its start the next one,
    and between them the span itself. Children count inside their parent, and up to where the path has come. Source:
    Zhang et al., CRISP: Critical Path Analysis of Large-Scale Microservice Architectures, USENIX ATC (2022).

    >>> family = arrange(["a", "b", "c"], [None, "a", "a"], np.array([0, 0.01, 0.02]), np.array([100.0, 30, 70]))
    >>> critical_times(family).round(6).tolist()
    [20.0, 10.0, 70.0]
    """
    starts, ends = family.starts_ms.tolist(), family.ends_ms.tolist()
    children = family.children()
    critical = [0.0] * len(starts)
    waiting = [(place, starts[place], ends[place]) for place in np.flatnonzero(family.parents < 0).tolist()]
    while waiting:
        span, begin, now = waiting.pop()
        for child in sorted(children[span], key=lambda each: (-ends[each], starts[each])):
            first, last = max(starts[child], begin), min(ends[child], now)
            if last > first:
                critical[span] += now - last
                waiting.append((child, first, last))
                now = first
        critical[span] += now - begin
    return np.array(critical)


def blame(family: Family, names: Sequence[str | None], expected_ms: Floats) -> list[Blame]:
    """Each slow span that is highest up, and the span below it that made it slow, each blamed once.

    `expected_ms` is what a span of its kind usually takes, one a span; NaN where that is not known (never slow), 0
    where such a span is usually not there at all (an attempt again). A span is slow when it took over 1.2 × and 1 ms
    more than expected.

    Children explain their parent by what they took too long, but never by more than the time of the critical path in
    and below them: who was waited for in parallel with someone slower is not to blame. Siblings of one name count
    together (412 searches, each a little slow). Where children hold at least half of a span's excess, blame goes down
    to the name that holds most, and so on. Our own.

    >>> ids, parents = ["a", "b", "c"], [None, "a", "a"]
    >>> family = arrange(ids, parents, np.array([0, 0.01, 0.11]), np.array([1000.0, 100, 880]))
    >>> blame(family, ["ask", "retrieve", "answer"], np.array([300.0, 90, 200]))
    [Blame(span=0, excess_ms=700.0, by=2, alike=(2,), share=0.9714285714285714)]
    """
    took = family.ends_ms - family.starts_ms
    excess = np.nan_to_num(took - expected_ms)
    slow = (excess > 0) & (took > SLOW_RATIO * np.nan_to_num(expected_ms)) & (excess > SLOW_MS)
    held = np.clip(excess, 0, _with_descendants(family, critical_times(family)))
    children = family.children()
    found, told = [], np.zeros(len(took), dtype=np.bool_)
    for span in family.order.tolist():
        parent = family.parents[span]
        told[span] = slow[span] or (parent >= 0 and told[parent])
        if slow[span] and (parent < 0 or not told[parent]):
            found.append(_followed(span, float(excess[span]), children, names, held, slow))
    return found


def _followed(
    top: int,
    excess: float,
    children: list[list[int]],
    names: Sequence[str | None],
    held: Floats,
    slow: NDArray[np.bool_],
) -> Blame:
    """Down from a slow span, as long as children explain it."""
    span, left = top, excess
    alike: tuple[int, ...] = (top,)
    while True:
        kinds: dict[str | None, list[int]] = {}
        for child in children[span]:
            kinds.setdefault(names[child], []).append(child)
        held_by = {name: float(held[some].sum()) for name, some in kinds.items()}
        if not held_by or sum(held_by.values()) < EXPLAINED * left:
            return _blame(top, excess, alike, held)
        name = max(held_by, key=lambda each: held_by[each])
        alike = tuple(child for child in kinds[name] if held[child] > 0)
        span = max(alike, key=lambda each: float(held[each]))
        left = float(held[span])
        # Many of a kind that are each a little slow are to blame together; no single one leads further down.
        if not slow[span] or left < EXPLAINED * held_by[name]:
            return _blame(top, excess, alike, held)


def _blame(top: int, excess: float, alike: tuple[int, ...], held: Floats) -> Blame:
    by = max(alike, key=lambda each: float(held[each]))
    share = 1.0 if alike == (top,) else min(1.0, float(held[list(alike)].sum()) / excess)
    return Blame(span=top, excess_ms=excess, by=by, alike=alike, share=share)


def _with_descendants(family: Family, values: Floats) -> Floats:
    """Each span's value and those of all below it, summed."""
    sums = values.tolist()
    for span in reversed(family.order.tolist()):
        parent = family.parents[span]
        if parent >= 0:
            sums[parent] += sums[span]
    return np.array(sums)


def _cut_cycles(parents: list[int], starts: Floats) -> list[int]:
    """Make the earliest span of each cycle a root, in place; which these are."""
    cut = []
    walk = [0] * len(parents)  # the number of the walk that came by, 0 for none
    for number, place in enumerate(range(len(parents)), start=1):
        here = place
        while here >= 0 and walk[here] == 0:
            walk[here] = number
            here = parents[here]
        if here >= 0 and walk[here] == number:
            cycle = [here]
            while parents[cycle[-1]] != here:
                cycle.append(parents[cycle[-1]])
            root = min(cycle, key=lambda each: (float(starts[each]), each))
            parents[root] = -1
            cut.append(root)
    return cut


def _parents_first(parents: Sequence[int], starts: Floats) -> Integers:
    """By depth, then by start."""
    depths = [-1] * len(parents)
    for place in range(len(parents)):
        path, here = [], place
        while here >= 0 and depths[here] < 0:
            path.append(here)
            here = parents[here]
        depth = depths[here] if here >= 0 else -1
        for each in reversed(path):
            depth += 1
            depths[each] = depth
    return np.lexsort((np.arange(len(parents)), starts, np.array(depths, dtype=np.int64))).astype(np.int64)
