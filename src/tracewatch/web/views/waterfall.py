"""A trace over time: its spans in the order of their tree, whose turn it was, and which attempts failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from tracewatch.access import Caller
from tracewatch.records import STEPS, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.trees import Tree, critical_path, tree_of
from tracewatch.web.views.attempts import attempts_of
from tracewatch.web.views.folding import folded

READ = (
    *("span_id", "parent_span_id", "start_time", "end_time", "duration_ms", "ttft_ms", "status", "span_name"),
    *("usage_type", "operation_type", "model_name", "cost_usd", "cost_status", "error_type", "error_category"),
    "service_name",
)
SKEW_S = 0.005  # that a child may begin before its parent without a word
KEPT_S, MOST_KEPT = 30.0, 8

KINDS = {
    "chat": "--c1",
    "completion": "--c1",
    "text_completion": "--c1",
    "generate_content": "--c1",
    "embedding": "--c5",
    "embeddings": "--c5",
    "retrieval": "--c3",
    "rerank": "--c2",
    "tool": "--c4",
    "execute_tool": "--c4",
    "agent": "--c6",
}
"""The colour of a kind of work; every other call of a model is like a chat, and the rest is grey."""


def kind_of(operation: str | None, model: str | None) -> str:
    """The colour of a span, as the name of a token."""
    return KINDS.get(operation or "") or ("--c1" if model and operation not in STEPS else "--c6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """A trace, ready to be shown in windows."""

    trace_id: str
    columns: Mapping[str, Sequence[Any]]
    """The columns READ, in the order of the tree."""
    tree: Tree
    starts: Sequence[float]
    ends: Sequence[float]
    begin: float
    length_s: float
    pieces: Mapping[int, Sequence[tuple[float, float]]]
    """The critical path by place."""
    attempts: Mapping[int, tuple[int, int]]
    """Of spans that were tried again: which attempt of how many."""
    paused: Mapping[int, float]
    """When the attempt before ended."""
    instead: Mapping[int, str]
    """What a fallback stands in for."""
    shown: Sequence[tuple[int, int]]
    """The rows: a place, and how many siblings it stands for (0: itself alone)."""
    row_of: Mapping[int, int]
    """In which row a place is shown."""

    @property
    def spans(self) -> int:
        """How many spans there are."""
        return len(self.starts)

    @property
    def orphans(self) -> int:
        """Spans whose parent is not there."""
        return len(self.tree.orphans)

    @property
    def running(self) -> int:
        """Spans that have not ended, as far as is known."""
        ended, lasted = self.columns["end_time"], self.columns["duration_ms"]
        return sum(one is None and other is None for one, other in zip(ended, lasted, strict=True))

    @property
    def failed(self) -> int:
        """Spans that failed."""
        return sum(self.columns["status"].count(each) for each in ("error", "timeout"))

    @property
    def fallbacks(self) -> int:
        """Spans that are a substitute."""
        return self.columns["status"].count("fallback")

    def skews(self) -> tuple[tuple[str, float], ...]:
        """Services whose spans begin before their parents elsewhere, and by how many ms: their clocks differ.

        Within one service there is one clock: a step that was recorded before the call it belongs to began sooner.
        """
        worst: dict[str, float] = {}
        for place, parent in enumerate(self.tree.parents):
            if parent < 0 or self.starts[place] >= self.starts[parent] - SKEW_S:
                continue
            service, above = (self.columns["service_name"][each] or "unknown" for each in (place, parent))
            if service != above:
                worst[service] = max(worst.get(service, 0.0), (self.starts[parent] - self.starts[place]) * 1000)
        return tuple(worst.items())

    def name(self, place: int) -> str:
        """What a span is called."""
        for name in ("span_name", "usage_type", "operation_type", "model_name"):
            if self.columns[name][place]:
                return str(self.columns[name][place])
        return str(self.columns["span_id"][place])

    def share(self, at: float) -> float:
        """How far into the trace a moment is, 0 to 1."""
        return min(max((at - self.begin) / self.length_s, 0.0), 1.0)


_kept: dict[Any, tuple[float, Waterfall]] = {}
_lock = Lock()


def waterfall(
    store: Store, caller: Caller, trace_id: str, now: float, opened: frozenset[int] = frozenset()
) -> Waterfall | None:
    """The trace with its rows; None when there is none. `opened` are places of folded rows to be laid out.

    What was read is kept for some seconds, for the next window of the same trace.
    """
    key = (store.url, caller.project, caller.user_id, trace_id, opened)
    with _lock:
        found = _kept.get(key)
    if found is not None and 0 <= now - found[0] < KEPT_S:
        return found[1]
    made = _made(store, caller, trace_id, opened)
    if made is not None:
        with _lock:
            _kept[key] = (now, made)
            while len(_kept) > MOST_KEPT:
                del _kept[next(iter(_kept))]
    return made


def _made(store: Store, caller: Caller, trace_id: str, opened: frozenset[int]) -> Waterfall | None:
    read: dict[str, list[Any]] = {name: [] for name in READ}
    for batch in store.scan(Span, READ, [*caller.where, Filter("trace_id", "=", (trace_id,))]):
        for name in READ:
            read[name] += batch[name].to_pylist()
    if not read["span_id"]:
        return None
    tree = tree_of(read["span_id"], read["parent_span_id"], read["start_time"])
    columns = {name: [values[number] for number in tree.numbers] for name, values in read.items()}
    starts: list[float] = columns["start_time"]
    ends = [_end(*each) for each in zip(starts, columns["end_time"], columns["duration_ms"], strict=True)]
    begin, end = min(starts), max(ends)
    pieces: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for top in _in_turn(tree, starts, ends):
        for place, first, last in critical_path(tree, starts, ends, top):
            pieces[place].append((first, last))
    attempts, paused, instead = attempts_of(tree, columns, starts, ends)
    shown = folded(tree, columns, opened)
    return Waterfall(
        trace_id=trace_id, columns=columns, tree=tree, starts=starts, ends=ends, begin=begin,
        length_s=max(end - begin, 1e-6), pieces=pieces, attempts=attempts, paused=paused, instead=instead, shown=shown,
        row_of={place: row for row, (place, _) in enumerate(shown)},
    )  # fmt: skip


def _in_turn(tree: Tree, starts: Sequence[float], ends: Sequence[float]) -> Iterator[int]:
    """Of the spans with nothing above them the longest, and those that were over before it and before each other.

    A question of which every step was recorded by itself has one critical path all the same.
    """
    tops = [place for place, depth in enumerate(tree.depths) if depth == 0]
    longest = max(tops, key=lambda place: ends[place] - starts[place])
    yield longest
    begin = starts[longest]
    for place in sorted(tops, key=lambda place: -ends[place]):
        if place != longest and ends[place] <= begin + SKEW_S:
            yield place
            begin = starts[place]


def _end(start: float, end: float | None, duration_ms: float | None) -> float:
    if duration_ms is not None:
        return start + max(duration_ms, 0.0) / 1000
    return start if end is None else max(start, end)


def minimap(it: Waterfall, buckets: int = 200, levels: int = 6) -> list[tuple[float, float, int, str]]:
    """The whole trace in little: runs of time per level, from, how wide (shares), the level and the colour."""
    cells: dict[int, list[str]] = {level: [""] * buckets for level in range(levels)}
    begin, scale = it.begin, (buckets - 1) / it.length_s  # every span lies within the trace: nothing is to be cut off
    columns = (it.columns[name] for name in ("status", "operation_type", "model_name"))
    for depth, start, end, status, kind, model in zip(it.tree.depths, it.starts, it.ends, *columns, strict=True):
        if depth >= levels:
            continue
        row, first, last = cells[depth], int((start - begin) * scale), int((end - begin) * scale)
        colour = "--crit-mark" if status in ("error", "timeout") else kind_of(kind, model)
        for bucket in range(first, last + 1):
            if row[bucket] != "--crit-mark":
                row[bucket] = colour
    found = []
    for level, row in cells.items():
        left = 0
        for bucket in range(1, buckets + 1):
            if bucket == buckets or row[bucket] != row[left]:
                if row[left]:
                    found.append((left / buckets, (bucket - left) / buckets, level, row[left]))
                left = bucket
    return found[:400]
