"""A trace as rows over time: whose time it was, what was usual, which attempts failed, and what was decisive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from tracewatch.access import Caller
from tracewatch.records import Span
from tracewatch.stores.base import Filter, Store
from tracewatch.trees import Tree, at_work, critical_path, tree_of
from tracewatch.web.views.typical import Typical

READ = (
    *("span_id", "parent_span_id", "start_time", "end_time", "duration_ms", "ttft_ms", "status", "span_name"),
    *("usage_type", "operation_type", "model_name", "cost_usd", "cost_status", "error_type", "error_category"),
    "service_name",
)
WHOLE = 200  # rows: up to here every span has its own
FOLDED_FROM = 6  # siblings of one name in a row
SHOWN_FAILED = 3  # of the failed spans of a folded row that still have their own
SLOW = 1.5  # times the usual p95
SKEW_S = 0.005  # that a child may begin before its parent without a word
LEAST = 0.025  # of the whole: shorter pieces are not seen
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
"""The colour of a kind of work; the rest is grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of time on a row, as shares of the whole trace."""

    left: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the waterfall: a span, or a run of siblings of one name. Times are ms, places shares of the trace."""

    place: int
    span_id: str
    depth: int
    name: str
    note: str
    status: str
    kind: str
    """The colour, as the name of a token."""
    start: float
    width: float
    wait: float | None
    """Up to its first token, as a share of the trace."""
    duration_ms: float | None
    usual: Typical | None
    box: Piece | None
    """Where such a span usually ends, from the median to p95."""
    over: Piece | None
    """What lies beyond its p95."""
    works: tuple[Piece, ...]
    """When a parent itself was at work."""
    critical: tuple[Piece, ...]
    gap: Piece | None
    """The pause before an attempt."""
    tone: str
    """hot, warm or nothing: how unusual it is."""
    said: str
    """The last but one column: 2.4×, error, new."""
    cost_usd: float | None
    cost_status: str | None
    children: int
    is_parent: bool
    folded: int = 0
    """How many spans this row stands for; 0 for one of its own."""
    failed: int = 0
    slow: int = 0
    middle_ms: float | None = None
    total: int = 0
    """How many rows of its own parent: for screen readers."""
    index: int = 0


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
        return sum(each in ("error", "timeout") for each in self.columns["status"])

    @property
    def fallbacks(self) -> int:
        """Spans that are a substitute."""
        return sum(each == "fallback" for each in self.columns["status"])

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
    tops = [place for place, depth in enumerate(tree.depths) if depth == 0]
    longest = max(tops, key=lambda place: ends[place] - starts[place])
    for place, first, last in critical_path(tree, starts, ends, longest):
        pieces[place].append((first, last))
    attempts, paused, instead = _attempts(tree, columns, starts, ends)
    shown = _rows(tree, columns, pieces, opened)
    return Waterfall(
        trace_id=trace_id, columns=columns, tree=tree, starts=starts, ends=ends, begin=begin,
        length_s=max(end - begin, 1e-6), pieces=pieces, attempts=attempts, paused=paused, instead=instead, shown=shown,
        row_of={place: row for row, (place, _) in enumerate(shown)},
    )  # fmt: skip


def _end(start: float, end: float | None, duration_ms: float | None) -> float:
    if duration_ms is not None:
        return start + max(duration_ms, 0.0) / 1000
    return start if end is None else max(start, end)


def _attempts(
    tree: Tree, columns: Mapping[str, Sequence[Any]], starts: Sequence[float], ends: Sequence[float]
) -> tuple[dict[int, tuple[int, int]], dict[int, float], dict[int, str]]:
    """Siblings of one name, of which one begins after the one before had failed, are attempts at the same."""
    attempts: dict[int, tuple[int, int]] = {}
    paused: dict[int, float] = {}
    instead: dict[int, str] = {}
    last_of: dict[tuple[int, str], list[int]] = {}
    statuses = columns["status"]
    failed_before: dict[int, int] = {}
    for place, parent in enumerate(tree.parents):
        name = columns["span_name"][place] or columns["usage_type"][place] or columns["operation_type"][place] or ""
        chain = last_of.get((parent, name))
        failed = statuses[place] in ("error", "timeout")
        if chain and statuses[chain[-1]] in ("error", "timeout") and starts[place] >= ends[chain[-1]] - 0.001:
            paused[place] = ends[chain[-1]]
            if statuses[place] == "fallback":
                instead[place] = name
            else:
                chain.append(place)
        else:
            last_of[parent, name] = chain = [place]
            if statuses[place] == "fallback" and parent in failed_before:
                before = failed_before[parent]
                instead[place] = str(columns["span_name"][before] or columns["model_name"][before] or "")
        if failed:
            failed_before[parent] = place
        if len(chain) > 1:
            attempts.update((each, (number + 1, len(chain))) for number, each in enumerate(chain))
    return attempts, paused, instead


def _rows(
    tree: Tree, columns: Mapping[str, Sequence[Any]], pieces: Mapping[int, Any], opened: frozenset[int]
) -> list[tuple[int, int]]:
    """Which rows there are: of a long trace, runs of siblings of one name share one."""
    count = len(tree.depths)
    if count <= WHOLE:
        return [(place, 0) for place in range(count)]
    runs = _runs(tree, columns)
    rows: list[tuple[int, int]] = []
    at = 0
    while at < count:
        run = runs.get(at)
        if run is None or at in opened:
            rows.append((at, 0 if run is None else -len(run)))
            at += 1
            continue
        rows.append((at, len(run)))
        rows += [(each, 0) for each in run if columns["status"][each] != "ok"][:SHOWN_FAILED]
        at = tree.ends[run[-1]]
    return rows


def _runs(tree: Tree, columns: Mapping[str, Sequence[Any]]) -> dict[int, list[int]]:
    """Runs of siblings that follow each other, are called the same and have nothing below them, by their first."""
    last: dict[int, list[int]] = {}
    found: dict[int, list[int]] = {}
    for place, parent in enumerate(tree.parents):
        leaf = tree.ends[place] == place + 1
        run = last.get(parent)
        name = (columns["span_name"][place], columns["operation_type"][place], columns["model_name"][place])
        same = run and name == (
            columns["span_name"][run[0]],
            columns["operation_type"][run[0]],
            columns["model_name"][run[0]],
        )
        if leaf and run and same and run[-1] == place - 1:
            run.append(place)
            if len(run) == FOLDED_FROM:
                found[run[0]] = run
        else:
            last[parent] = [place] if leaf else []
    return found


def window(
    it: Waterfall, first: int, count: int, usual: Mapping[int, Typical], hot: frozenset[int] = frozenset()
) -> list[Row]:
    """The rows from `first` on; `usual` tells what is usual by place."""
    shown = it.shown[first : first + count]
    return [_row(it, place, folded, first + number, usual) for number, (place, folded) in enumerate(shown)]


def places_of(it: Waterfall, first: int, count: int) -> list[int]:
    """The places that are shown in some rows."""
    return [place for place, _ in it.shown[first : first + count]]


def _row(it: Waterfall, place: int, folded: int, index: int, usual_of: Mapping[int, Typical]) -> Row:
    columns, status = it.columns, str(it.columns["status"][place])
    start, end = it.starts[place], it.ends[place]
    known_end = columns["duration_ms"][place] is not None or columns["end_time"][place] is not None
    members = range(place, place + folded) if folded > 0 else range(place, place + 1)
    if folded > 0:
        end = max(it.ends[each] for each in members)
    left, width = it.share(start), it.share(end) - it.share(start)
    usual = usual_of.get(place) if status in ("ok", "fallback") else None
    duration = (end - start) * 1000 if known_end else None
    is_parent = it.tree.ends[place] > place + 1
    tone, said = _tone(status, duration, usual) if folded <= 0 else ("", "")
    durations = sorted((it.ends[each] - it.starts[each]) * 1000 for each in members) if folded > 0 else []
    slow = sum(each > usual.high * SLOW for each in durations) if usual and folded > 0 else 0
    ttft = columns["ttft_ms"][place]
    waits = ttft is not None and duration is not None and 0 < ttft < duration and folded <= 0
    failed = sum(columns["status"][each] in ("error", "timeout") for each in members) if folded > 0 else 0
    costs = [columns["cost_usd"][each] for each in members if columns["cost_usd"][each] is not None]
    attempt = it.attempts.get(place)
    return Row(
        place=place,
        span_id=str(columns["span_id"][place]),
        depth=it.tree.depths[place],
        name=it.name(place) + (f" {attempt[0]}/{attempt[1]}" if attempt and folded <= 0 else ""),
        note=_note(it, place),
        status="error" if failed else status if folded <= 0 else "ok",
        kind=KINDS.get(columns["operation_type"][place] or "", "--c6"),
        start=left,
        width=width,
        wait=ttft / 1000 / it.length_s if waits else None,
        duration_ms=duration if folded <= 0 else None,
        usual=usual if folded <= 0 else None,
        box=_box(it, start, usual) if folded <= 0 else None,
        over=_over(it, start, end, usual) if folded <= 0 and tone else None,
        works=tuple(_pieces(it, at_work(it.tree, place, it.starts, it.ends))) if is_parent else (),
        critical=tuple(_pieces(it, it.pieces.get(place, ()))) if folded <= 0 else (),
        gap=_gap(it, place),
        tone="hot" if failed else tone,
        said=f"{failed} failed" if failed else said,
        cost_usd=sum(costs) if costs else None,
        cost_status=columns["cost_status"][place],
        children=sum(1 for _ in it.tree.children(place)) if is_parent and it.tree.ends[place] - place < 1000 else 0,
        is_parent=is_parent,
        folded=folded,
        failed=failed,
        slow=slow,
        middle_ms=durations[len(durations) // 2] if durations else None,
        index=index,
    )


def _note(it: Waterfall, place: int) -> str:
    """What stands beside the name: the error, what it replaced, or the model."""
    columns, status = it.columns, it.columns["status"][place]
    if status in ("error", "timeout"):
        return str(columns["error_category"][place] or columns["error_type"][place] or status)
    if status == "fallback":
        return f"instead of {it.instead[place]}" if it.instead.get(place) else "fallback"
    model = columns["model_name"][place]
    return (
        str(model)
        if model and model != it.name(place)
        else str(columns["operation_type"][place] or "")
        if not model
        else ""
    )


def _tone(status: str, duration_ms: float | None, usual: Typical | None) -> tuple[str, str]:
    """How unusual a span is, and what is said of it."""
    if status in ("error", "timeout"):
        return "hot", status
    if status == "fallback":
        return "warm", "fallback"
    if duration_ms is None:
        return "", "running"
    if usual is None:
        return "", "new"
    ratio = duration_ms / usual.middle if usual.middle > 0 else 0.0
    from tracewatch.formats import ratio as times

    if duration_ms > usual.high * SLOW:
        return "hot", times(ratio)
    return ("warm" if duration_ms > usual.high else ""), times(ratio)


def _box(it: Waterfall, start: float, usual: Typical | None) -> Piece | None:
    if usual is None:
        return None
    left, right = it.share(start + usual.middle / 1000), it.share(start + usual.high / 1000)
    return Piece(left=left, width=max(right - left, 0.002)) if left < 1 else None


def _over(it: Waterfall, start: float, end: float, usual: Typical | None) -> Piece | None:
    if usual is None or end <= start + usual.high / 1000:
        return None
    left = it.share(start + usual.high / 1000)
    return Piece(left=left, width=max(it.share(end) - left, 0.002))


def _gap(it: Waterfall, place: int) -> Piece | None:
    before = it.paused.get(place)
    if before is None or it.starts[place] - before < 0.01:
        return None
    return Piece(left=it.share(before), width=it.share(it.starts[place]) - it.share(before))


def _pieces(it: Waterfall, times: Sequence[tuple[float, float]]) -> list[Piece]:
    """Stretches as shares; those that touch are one, those that cannot be seen are left out."""
    joined: list[list[float]] = []
    for begin, end in times:
        left, right = it.share(begin), it.share(end)
        if joined and left - joined[-1][1] < 0.003:
            joined[-1][1] = right
        else:
            joined.append([left, right])
    return [Piece(left=left, width=right - left) for left, right in joined if right - left > 0.001][:60]


def minimap(it: Waterfall, buckets: int = 200, levels: int = 6) -> list[tuple[float, float, int, str]]:
    """The whole trace in little: runs of time per level, from, how wide (shares), the level and the colour."""
    cells: dict[int, list[str]] = {level: [""] * buckets for level in range(levels)}
    for place, depth in enumerate(it.tree.depths):
        if depth >= levels:
            continue
        first = int(it.share(it.starts[place]) * (buckets - 1))
        last = int(it.share(it.ends[place]) * (buckets - 1))
        failed = it.columns["status"][place] in ("error", "timeout")
        colour = "--crit-mark" if failed else KINDS.get(it.columns["operation_type"][place] or "", "--c6")
        row = cells[depth]
        for bucket in range(first, last + 1):
            if row[bucket] != "--crit-mark":
                row[bucket] = colour
    found = []
    for level, row in cells.items():
        begin = 0
        for bucket in range(1, buckets + 1):
            if bucket == buckets or row[bucket] != row[begin]:
                if row[begin]:
                    found.append((begin / buckets, (bucket - begin) / buckets, level, row[begin]))
                begin = bucket
    return found[:400]
