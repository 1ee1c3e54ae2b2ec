"""The bars of a waterfall as they are drawn: places, tones and words of each span, a window of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracewatch import formats
from tracewatch.trees import at_work
from tracewatch.web.views.typical import Typical
from tracewatch.web.views.waterfall import Waterfall, kind_of

SLOW = 1.5  # times the usual p95


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
    index: int = 0


def window(it: Waterfall, first: int, count: int, usual: Mapping[int, Typical]) -> list[Row]:
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
        kind=kind_of(columns["operation_type"][place], columns["model_name"][place]),
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
    if not model:
        return str(columns["operation_type"][place] or "")
    return str(model) if model != it.name(place) else ""


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
    if duration_ms > usual.high * SLOW:
        return "hot", formats.ratio(ratio)
    return ("warm" if duration_ms > usual.high else ""), formats.ratio(ratio)


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
    near = 0.003 * it.length_s
    for begin, end in times:
        if joined and begin - joined[-1][1] < near:
            joined[-1][1] = end
        else:
            joined.append([begin, end])
    shares = [(it.share(begin), it.share(end)) for begin, end in joined]
    return [Piece(left=left, width=right - left) for left, right in shares if right - left > 0.001][:60]
