"""Traces that show a story best, and one from before for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracewatch.explaining.calls import Calls
from tracewatch.explaining.usual import excess
from tracewatch.records import iso
from tracewatch.slices import Bools, Floats, Integers

MOST = 5  # traces; nobody opens more
BLAMED = 12  # traces that blame looks at
FAR = 0.9  # quantile of the excess at which a call shows the story; beyond it calls are odd in other ways too


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A call to look at."""

    trace_id: str
    span_id: str | None
    time_s: float
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Calls of the story, the clearest first, and an ordinary one of their kind from before."""

    clearest: tuple[Example, ...]
    usual: Example | None


def examples(calls: Calls, narrowed: Bools) -> Examples:
    """Calls that show the story; `narrowed` are those of the slice found to hold it."""
    which = calls.now & narrowed
    which = which if which.any() else calls.now
    if not which.any():
        return Examples(clearest=tuple(_distinct(calls, _latest(calls), MOST)), usual=None)
    amounts = _amounts(calls)
    order = _clearest(amounts, np.flatnonzero(which & np.isfinite(amounts)))
    found = list(_distinct(calls, order, BLAMED))
    first = order[0] if len(order) else None
    return Examples(clearest=tuple(found), usual=_usual(calls, first) if first is not None else None)


def document(found: Examples) -> dict[str, Any]:
    """The examples, ready for JSON."""
    return {
        "clearest": [_told(each) for each in found.clearest[:MOST]],
        "usual": _told(found.usual) if found.usual else None,
    }


def _latest(calls: Calls) -> Integers:
    """The last calls before those that did not come."""
    before = np.flatnonzero(calls.inside & ~calls.since)
    return before[np.argsort(-calls.numbers("start_time")[before], kind="stable")]


def _amounts(calls: Calls) -> Floats:
    """How clearly each call shows the story."""
    if calls.measure.family == "volume":
        cost, sent = (np.nan_to_num(calls.numbers(name)) for name in ("cost_usd", "input_tokens"))
        return cost + 1e-9 * sent
    return excess(calls)


def _clearest(amounts: Floats, which: Integers) -> Integers:
    """Those at the far end, from its beginning outwards; then the rest inwards.

    >>> _clearest(np.array([0.0, 1.0, *[0.0] * 20, 1.0]), np.arange(23))[:2]
    array([ 1, 22])
    """
    if not len(which):
        return which
    edge = float(np.quantile(amounts[which], FAR))
    if edge <= 0 < amounts[which].max():  # fewer than that show it at all: of failures, say, those that failed
        edge = float(amounts[which][amounts[which] > 0].min())
    far = which[amounts[which] >= edge]
    far = far[np.argsort(amounts[far], kind="stable")]
    rest = which[amounts[which] < edge]
    return np.concatenate([far, rest[np.argsort(-amounts[rest], kind="stable")]])


def _distinct(calls: Calls, order: Integers, most: int) -> Iterator[Example]:
    """One call a trace."""
    seen = set()
    for place in order.tolist():
        example = _example(calls, place)
        if example.trace_id not in seen:
            seen.add(example.trace_id)
            yield example
        if len(seen) == most:
            return


def _usual(calls: Calls, first: int) -> Example | None:
    """The usual call of the same operation and model whose value is the median of them."""
    operations, models = calls.coded("operation_type")[0], calls.coded("model_name")[0]
    known = calls.then & np.isfinite(calls.values)
    alike = known & (operations == operations[first]) & (models == models[first])
    which = np.flatnonzero(alike if alike.any() else known)
    if not len(which):
        return None
    middle = float(np.median(calls.values[which]))
    return _example(calls, int(which[np.argmin(np.abs(calls.values[which] - middle))]))


def _example(calls: Calls, place: int) -> Example:
    at = np.array([place])
    value = float(calls.values[place])
    return Example(
        trace_id=calls.rows.texts("trace_id", at)[0] or "",
        span_id=calls.rows.texts("span_id", at)[0],
        time_s=float(calls.numbers("start_time")[place]),
        value=value if np.isfinite(value) and calls.measure.family != "volume" else None,
    )


def _told(each: Example) -> dict[str, Any]:
    return {"trace_id": each.trace_id, "span_id": each.span_id, "at": iso(each.time_s), "value": each.value}
