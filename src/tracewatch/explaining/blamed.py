"""Which span of slow traces is to blame: a parent is slow because of a child, and the child is told once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from tracewatch import words
from tracewatch.blame import arrange, blame
from tracewatch.explaining import saying
from tracewatch.explaining.calls import Calls
from tracewatch.explaining.story import Cause
from tracewatch.explaining.usual import FEWEST_ALIKE
from tracewatch.records import Span
from tracewatch.slices import Floats
from tracewatch.stores.base import Store

MOST_TRACES = 12  # looked at, the slowest first; each is one question to the store
MOST_SPANS = 2_000  # of a trace; what has more is not one request
SHARE = 0.5  # of the traces in which the same child is to blame: else there is no one child

Kind = tuple[str | None, str | None, str | None]
"""Operation, model and name of a span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A kind of span that made another kind slow."""

    slow: str
    by: str
    traces: int
    """In so many of `of` slow traces."""
    of: int
    share: float
    """Of what the slow span took too long, at the median."""
    extra_ms: float
    """What the child took longer than usual, at the median."""


def child(store: Store, project: str, calls: Calls, clearest: Sequence[str]) -> Child | None:
    """The kind of child that holds most of the time in most of these traces; None when spans are slow by themselves."""
    parents, _ = calls.rows.codes("parent_span_id")
    if not (calls.since & (parents < parents.max(initial=0))).any():
        return None
    usual = _usual(calls)
    mine = calls.story.slice.get("operation_type")
    found = [
        each
        for trace_id in clearest[:MOST_TRACES]
        for each in _of_trace(store.trace(project, trace_id)[:MOST_SPANS], usual)
    ]
    inner = [each for each in found if each.parent is not None and each.operation != mine]
    if not inner:
        return None
    by, count = Counter(each.by for each in inner).most_common(1)[0]
    if count < SHARE * len(found):
        return None
    blamed = [each for each in inner if each.by == by]
    return Child(
        slow=Counter(str(each.parent) for each in blamed).most_common(1)[0][0],
        by=by,
        traces=count,
        of=len(found),
        share=median(each.share for each in blamed),
        extra_ms=median(each.extra_ms for each in blamed),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blamed:
    """What is to blame in one slow trace."""

    by: str
    operation: str | None
    parent: str | None
    """The span it is inside of; None of a root."""
    share: float
    """Of what that span took too long, 0 to 1."""
    extra_ms: float


def document(found: Child) -> dict[str, Any]:
    """The child, ready for JSON."""
    return {
        "slow": found.slow,
        "by": found.by,
        "traces": found.traces,
        "of": found.of,
        "share": found.share,
        "extra_ms": found.extra_ms,
    }


def causes(found: Child) -> Iterator[Cause]:
    """One sentence about the child."""
    extra = words.amount(found.extra_ms, "ms")
    text = (
        f"{found.by} inside {found.slow} took {extra} too long: {saying.share(found.share)} of the extra time "
        f"in {found.traces} of {found.of} slow traces"
    )
    yield Cause(kind="child", weight=0.95 * found.share, text=text, names={"by": found.by, "slow": found.slow})


def _usual(calls: Calls) -> dict[Kind, float]:
    """The mean duration of the usual spans of each kind."""
    which = calls.usual & np.isfinite(calls.numbers("duration_ms"))
    durations = calls.numbers("duration_ms")[which].tolist()
    held: dict[Kind, list[float]] = {}
    columns = (calls.words(name, which) for name in ("operation_type", "model_name", "span_name"))
    for *kind, duration in zip(*columns, durations, strict=True):
        held.setdefault((kind[0], kind[1], kind[2]), []).append(duration)
    return {kind: sum(some) / len(some) for kind, some in held.items() if len(some) >= FEWEST_ALIKE}


def _of_trace(spans: Sequence[Span], usual: dict[Kind, float]) -> Iterator[_Blamed]:
    """What is to blame for each slow span that is highest up in a trace."""
    if not any(each.parent_span_id for each in spans):
        return
    expected = np.array([usual.get((each.operation_type, each.model_name, each.span_name), np.nan) for each in spans])
    took: Floats = np.array([each.duration_ms if each.duration_ms is not None else np.nan for each in spans])
    family = arrange(
        [each.span_id for each in spans],
        [each.parent_span_id for each in spans],
        np.array([each.start_time for each in spans]),
        took,
    )
    names = [_name(each) for each in spans]
    too_long = np.nan_to_num(np.maximum(took - expected, 0))
    for each in blame(family, names, expected):
        parent, extra = int(family.parents[each.by]), float(too_long[list(each.alike)].sum())
        whole = max(float(too_long[parent]), extra) if parent >= 0 else extra
        yield _Blamed(
            by=names[each.by],
            operation=spans[each.by].operation_type,
            parent=names[parent] if parent >= 0 else None,
            share=extra / whole if whole else 0.0,
            extra_ms=extra,
        )


def _name(span: Span) -> str:
    return span.span_name or span.operation_type or "a span"
