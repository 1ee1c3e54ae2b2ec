"""What a story cost, and through what: the cost bridge of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tracewatch import words
from tracewatch.bridges import COST_PARTS, TOKENS, Bridge, Column, Part, cost_bridge
from tracewatch.explaining import saying
from tracewatch.explaining.calls import Calls
from tracewatch.explaining.story import Cause
from tracewatch.slices import Bools

FEWEST_CALLS = 5  # priced calls on either side: a mean of fewer is chance
TELLING = 0.2  # of the change: what is less explains nothing
_KINDS = {
    "calls": "more_calls",
    "tokens per call": "tokens",
    "model mix": "model_mix",
    "cache share": "cache",
    "price": "price",
    "unexplained": "unpriced",
}
_OF_FAMILY = {"cache": ("cache share",), "tokens": ("tokens per call",)}
"""The parts that explain stories about something else than money."""
_UNITS = {"tokens per call": "tokens", "cache share": "share"}


def bridge_of(calls: Calls) -> Bridge | None:
    """From the usual cost of so long a time to the cost of the story's calls, in dollars; None without prices."""
    now, then = calls.now, calls.then
    priced = np.isfinite(calls.numbers("cost_usd"))
    if min((now & priced).sum(), (then & priced).sum()) < FEWEST_CALLS:
        return None
    each, usual = calls.weight(now) / now.sum(), calls.weight(then) / then.sum()
    found = cost_bridge(_columns(calls, then), _columns(calls, now), ratio=usual / each)
    return scaled(found, each)


def scaled(bridge: Bridge, by: float) -> Bridge:
    """The bridge of so many times the calls."""
    parts = [
        replace(
            part,
            change=part.change * by,
            before=_times(part, part.before, by),
            after=_times(part, part.after, by),
        )
        for part in bridge.parts
    ]
    return Bridge(before=bridge.before * by, after=bridge.after * by, parts=tuple(parts))


def effect(calls: Calls, bridge: Bridge) -> float:
    """Dollars beyond the usual: of as many calls as came, or of volumes with what the calls too many cost."""
    if calls.measure.family == "volume":
        return bridge.change
    return bridge.change - sum(part.change for part in bridge.parts if part.name == "calls")


def causes(calls: Calls, bridge: Bridge) -> Iterator[Cause]:
    """What the money went into, a sentence each."""
    change = effect(calls, bridge)
    up = 1.0 if change > 0 else -1.0
    for part in bridge.parts:
        if part.name == "calls" and calls.measure.family != "volume":
            continue
        if part.name not in _OF_FAMILY.get(calls.measure.family, COST_PARTS):
            continue
        held = part.change / change if change else 0.0
        if held < TELLING:
            continue
        what = _dearer(part, bridge) if part.name == "price" else _what(part)
        text = f"{what}: {saying.signed(part.change, 'USD')}{saying.held(held, f'the {_extra(up)} cost')}"
        yield Cause(kind=_KINDS[part.name], weight=0.85 * min(held, 1.0), text=text, names=_names(calls))


def _dearer(part: Part, bridge: Bridge) -> str:
    """What the same calls would have cost at the former prices."""
    former = bridge.after - part.change
    return f"price, {words.times(bridge.after / former)} for the same tokens" if former > 0 else "price"


def _what(part: Part) -> str:
    """The part with the quantity behind it."""
    if part.before is None or part.after is None:
        return part.name
    unit = _UNITS.get(part.name)
    return f"{part.name} {words.amount(part.after, unit)}, usually {words.amount(part.before, unit)}"


def _extra(up: float) -> str:
    return "extra" if up > 0 else "saved"


def _names(calls: Calls) -> dict[str, str]:
    return {name: str(value) for name, value in calls.story.slice.items()}


def _columns(calls: Calls, which: Bools) -> dict[str, Column]:
    columns: dict[str, Column] = {name: calls.numbers(name)[which] for name in (*TOKENS, "cost_usd")}
    return {"model_name": calls.words("model_name", which), **columns}


def _times(part: Part, quantity: float | None, by: float) -> float | None:
    """Only the number of calls grows with the calls."""
    return quantity * by if quantity is not None and part.name == "calls" else quantity
