"""One trace with what it is compared with: its sentence's numbers, its bridge against the typical trace, its span."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.access import Caller
from tracewatch.records import STEPS, Incident, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.trees import critical_path, tree_of
from tracewatch.web.views import incidents
from tracewatch.web.views.bars import Row, places_of, window
from tracewatch.web.views.incident import Bridge, Part
from tracewatch.web.views.summary import Summary, end_of, name_of, summary
from tracewatch.web.views.typical import Alike, Typical, alike, of_calls
from tracewatch.web.views.waterfall import Waterfall, waterfall

MOST_PARTS = 6
WHOLE = 2_000  # spans: of longer traces only the rows that are shown are read in full
WINDOW = 96  # rows on a page: with the frame around them 1,500 nodes at most
FEWEST_LETTERS = 6  # of an id that is given in part


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A trace and all that is told of it."""

    it: Waterfall
    summary: Summary
    root: Span
    selected: Span | None
    selected_usual: Typical | None
    rows: tuple[Row, ...]
    first: int
    alike: Alike
    bridge: Bridge | None
    incidents: tuple[Incident, ...]


def find(store: Store, caller: Caller, given: str) -> str | None:
    """The id of the trace that begins so; None when there is none, or more than one."""
    exact = [*caller.where, Filter("trace_id", "=", (given,))]
    if next(iter(store.scan(Span, ("span_id",), exact)), None) is not None:
        return given
    if len(given) < FEWEST_LETTERS:
        return None
    # U+10FFFF is the last character there is: everything that begins with the given text sorts before it.
    ends = [Filter("trace_id", ">=", (given,)), Filter("trace_id", "<", (given + "\U0010ffff",))]
    page = store.page(Span, [*caller.where, *ends], limit=50)
    ids = {each.trace_id for each in page.records if isinstance(each, Span)}
    return ids.pop() if len(ids) == 1 else None


def trace(
    store: Store, caller: Caller, trace_id: str, now: float, *, first: int = 0, span_id: str | None = None,
    opened: frozenset[int] = frozenset(),
) -> Trace | None:  # fmt: skip
    """The trace of that id; None when a caller may see none."""
    it = waterfall(store, caller, trace_id, now, opened)
    if it is None:
        return None
    root = _span(store, caller, trace_id, str(it.columns["span_id"][0]))
    if root is None:
        return None
    like = alike(store, caller, root)
    usual = usual_of(store, caller, it, like, places_of(it, first, WINDOW), now)
    rows = window(it, first, WINDOW, usual)
    chosen = span_id if span_id in it.columns["span_id"] else _worst(it, rows)
    spans = _spans(store, caller, it)
    place = it.columns["span_id"].index(chosen) if chosen else 0
    return Trace(
        it=it,
        summary=summary(spans) if spans else _summary(it, root),
        root=root,
        selected=_span(store, caller, trace_id, chosen) if chosen else None,
        selected_usual=usual.get(place),
        rows=tuple(rows),
        first=first,
        alike=like,
        bridge=bridge(spans, like.medoid) if spans and like.medoid else None,
        incidents=incidents.of_trace(store, caller, trace_id, it.begin),
    )


def usual_of(
    store: Store, caller: Caller, it: Waterfall, like: Alike, places: Sequence[int], now: float
) -> Mapping[int, Typical]:
    """What is usual of some spans: of calls by their operation and model, of the rest by their name."""
    kinds = {place: (it.columns["operation_type"][place], it.columns["model_name"][place]) for place in places}
    calls = {kind for kind in kinds.values() if kind[1] is not None}
    by_kind = of_calls(store, caller, sorted(calls, key=str), it.begin, now)
    by_name = like.durations()
    found: dict[int, Typical] = {}
    for place, kind in kinds.items():
        usual = by_kind.get(kind) if kind[1] is not None else None
        usual = usual or by_name.get(it.name(place))
        if usual is not None:
            found[place] = usual
    return found


def bridge(spans: Sequence[Span], typical: Sequence[Span]) -> Bridge | None:
    """From the time of a typical trace to that of this one, by whose turn it was on the critical path of each."""
    mine, theirs = _turns(spans), _turns(typical)
    before, after = sum(theirs.values()), sum(mine.values())
    if before <= 0 or after <= 0 or before == after:
        return None
    changes = {name: mine.get(name, 0.0) - theirs.get(name, 0.0) for name in {**theirs, **mine}}
    ordered = sorted(changes, key=lambda name: -abs(changes[name]))
    counted = {name: sum(name_of(each) == name for each in spans) for name in ordered}
    failed = {
        name: sum(name_of(each) == name and each.status in ("error", "timeout") for each in spans) for name in ordered
    }
    parts = [
        Part(name=name, note=_note(counted[name], failed[name], theirs.get(name, 0.0)), change=changes[name])
        for name in ordered[:MOST_PARTS]
    ]
    rest = sum(changes[name] for name in ordered[MOST_PARTS:])
    parts += [Part(name="everything else", note="", change=rest)] if len(ordered) > MOST_PARTS else []
    return Bridge(unit="ms", before=before, after=after, parts=tuple(parts))


def _note(count: int, failed: int, before_ms: float) -> str:
    if failed:
        return f"{failed} failed {'attempt' if failed == 1 else 'attempts'}"
    if not before_ms:
        return "not in the typical one"
    return "" if count else "missing here"


BETWEEN = "between spans"
_ALL = "\x00"  # the id of a span around all others; no span of anybody is called so


def _turns(spans: Sequence[Span]) -> dict[str, float]:
    """Milliseconds on the critical path by the name of the span whose turn it was: together the time of the trace."""
    known = {each.span_id for each in spans}
    ids = [_ALL, *(each.span_id for each in spans)]
    parents = [None, *(each.parent_span_id if each.parent_span_id in known else _ALL for each in spans)]
    begin, end = min(each.start_time for each in spans), max(map(end_of, spans))
    tree = tree_of(ids, parents, [begin - 1e-9, *(each.start_time for each in spans)])
    ordered = [None if number == 0 else spans[number - 1] for number in tree.numbers]
    starts = [begin if each is None else each.start_time for each in ordered]
    ends = [end if each is None else end_of(each) for each in ordered]
    found: dict[str, float] = defaultdict(float)
    for place, first, last in critical_path(tree, starts, ends, ordered.index(None)):
        span = ordered[place]
        found[BETWEEN if span is None else name_of(span)] += (last - first) * 1000
    return found


def _worst(it: Waterfall, rows: Sequence[Row]) -> str | None:
    """The span to look at first: the longest of those that are unusual, or the longest call."""
    odd = [each for each in rows if each.tone and each.folded <= 0 and not each.is_parent]
    calls = odd or [each for each in rows if each.wait is not None] or list(rows)
    return max(calls, key=lambda each: each.width).span_id if calls else None


def _spans(store: Store, caller: Caller, it: Waterfall) -> list[Span]:
    """All spans in full, where they are not too many."""
    if it.spans > WHOLE:
        return []
    return [each for each in store.trace(caller.project, it.trace_id) if caller.user_id in (None, each.user_id)]


def _span(store: Store, caller: Caller, trace_id: str, span_id: str) -> Span | None:
    found = store.get(Span, {"project": caller.project, "trace_id": trace_id, "span_id": span_id})
    return found if isinstance(found, Span) and caller.user_id in (None, found.user_id) else None


def _summary(it: Waterfall, root: Span) -> Summary:
    """What a long trace comes to, from the columns that were read."""
    costs = [each for each in it.columns["cost_usd"] if each is not None]
    return Summary(
        trace_id=it.trace_id, name=name_of(root), start=it.begin, spans=it.spans, duration_ms=it.length_s * 1000,
        cost_usd=sum(costs) if costs else None,
        unpriced=sum(each == "unpriced" for each in it.columns["cost_status"]), input_tokens=None, output_tokens=None,
        cached_tokens=None, first_token_ms=None, failed=it.failed, fallbacks=it.fallbacks,
        calls=sum(each not in STEPS for each in it.columns["operation_type"]),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A span here, the one like it there, or only one of them."""

    name: str
    depth: int
    here: Span | None
    there: Span | None
    here_at: tuple[float, float] | None
    """Where it begins and how wide it is, as shares of the longer trace."""
    there_at: tuple[float, float] | None
    change_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two traces side by side."""

    here: Summary
    there: Summary
    pairs: tuple[Pair, ...]
    fields: tuple[tuple[str, str, str], ...]
    """Columns whose values differ: the column, here, there."""


COMPARED = (
    "app_version", "model_name", "model_provider", "operation_type", "usage_type", "environment", "service_name",
    "streaming_enabled", "rag_retrieval_method", "finish_reason", "status", "error_type", "user_id", "session_id",
)  # fmt: skip


def compare(store: Store, caller: Caller, one: str, other: str) -> Comparison | None:
    """Two traces, their spans matched by path and turn; None when a caller may not see both."""
    sides = [
        [each for each in store.trace(caller.project, given) if caller.user_id in (None, each.user_id)]
        for given in (one, other)
    ]
    if not all(sides):
        return None
    here, there = (_by_path(side) for side in sides)
    begins = [min(each.start_time for each in side) for side in sides]
    length = max(max(map(end_of, side)) - begin for side, begin in zip(sides, begins, strict=True)) or 1e-6
    pairs = [
        _pair(path, here.get(path), there.get(path), begins, length)
        for path in sorted({**here, **there}, key=lambda path: _order(path, here, there))
    ]
    fields = []
    for name in COMPARED:
        values = [_values(side, name) for side in sides]
        if values[0] != values[1]:
            fields.append((name, values[0], values[1]))
    return Comparison(here=summary(sides[0]), there=summary(sides[1]), pairs=tuple(pairs), fields=tuple(fields))


Path = tuple[tuple[str, int], ...]


def _by_path(spans: Sequence[Span]) -> dict[Path, Span]:
    """Each span by the names above it, and which of that name it is there."""
    tree = tree_of(
        [each.span_id for each in spans], [each.parent_span_id for each in spans], [each.start_time for each in spans]
    )
    paths: list[Path] = []
    turns: dict[tuple[Path, str], int] = defaultdict(int)
    found: dict[Path, Span] = {}
    for place, number in enumerate(tree.numbers):
        above: Path = paths[tree.parents[place]] if tree.parents[place] >= 0 else ()
        name = name_of(spans[number])
        path = (*above, (name, turns[above, name]))
        turns[above, name] += 1
        paths.append(path)
        found[path] = spans[number]
    return found


def _order(path: Path, here: Mapping[Path, Span], there: Mapping[Path, Span]) -> tuple[Any, ...]:
    """Parents before children, and siblings as they begin, wherever they are."""
    found: list[Any] = []
    for depth in range(1, len(path) + 1):
        part = path[:depth]
        spans = [side[part] for side in (here, there) if part in side]
        roots = [side[path[:1]].start_time for side in (here, there) if part in side and path[:1] in side]
        starts = [each.start_time - root for each, root in zip(spans, roots, strict=False)]
        found += [min(starts, default=0.0), part[-1]]
    return tuple(found)


def _pair(path: Path, here: Span | None, there: Span | None, begins: Sequence[float], length: float) -> Pair:
    places = [
        None
        if each is None
        else ((each.start_time - begin) / length, max(end_of(each) - each.start_time, 0.0) / length)
        for each, begin in zip((here, there), begins, strict=True)
    ]
    both = here is not None and there is not None
    change = None
    if (
        both
        and here is not None
        and there is not None
        and here.duration_ms is not None
        and there.duration_ms is not None
    ):
        change = here.duration_ms - there.duration_ms
    return Pair(
        name=path[-1][0], depth=len(path) - 1, here=here, there=there, here_at=places[0], there_at=places[1],
        change_ms=change,
    )  # fmt: skip


def _values(spans: Sequence[Span], name: str) -> str:
    told = [getattr(each, name) for each in spans if getattr(each, name) is not None]
    values = list(dict.fromkeys(("on" if each else "off") if isinstance(each, bool) else str(each) for each in told))
    return ", ".join(values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
