"""Where a story is: the slices of up to three attributes that hold its excess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tracewatch import words
from tracewatch.attribution import NOTHING, Attribution, Share, attribute
from tracewatch.explaining import saying
from tracewatch.explaining.calls import ATTRIBUTES, UNIQUE, Calls
from tracewatch.explaining.story import Cause
from tracewatch.explaining.usual import departures, excess, sign
from tracewatch.slices import Bools, Coded, Floats, Value

IN_COMMON = 0.5  # of the found slice's excess in the story's slice: else it is another incident of the same hours
NEARLY = 0.85  # of the excess: below, others have it too and the slice is not the reason
LEAST = 0.005  # of an excess: less reads as 0 %
SMALLEST = 1e-9  # of an excess: so that there is one
SAME = 0.95  # of the calls of either slice in the other: the same calls by another name


def attributed(calls: Calls) -> Attribution:
    """The slices that hold the excess of all calls since the onset; of the story's own calls if that is elsewhere."""
    which, amounts = _amounts(calls)
    found = attribute(_columns(calls, which), amounts[which], calls.weights[which])
    if found.best is not None and _in_common(calls, which, amounts, found.best) < IN_COMMON:
        own = which & calls.inside
        found = attribute(_columns(calls, own), amounts[own], calls.weights[own]) if own.any() else NOTHING
    return replace(found, explaining=_held(calls, found.explaining), others=_held(calls, found.others))


def document(calls: Calls, found: Attribution) -> dict[str, Any]:
    """The shares, ready for JSON; without an excess there is none to share."""
    listed = _mean_excess(calls) > 0
    return {
        "best": _shared(found.best) if found.best else None,
        "explaining": [_shared(each) for each in found.explaining if listed],
        "others": [_shared(each) for each in found.others if listed],
    }


def causes(calls: Calls, found: Attribution) -> Iterator[Cause]:
    """The best slice, where it says more than the story's own."""
    best, volume = found.best, calls.measure.family == "volume"
    if best is None or _same(calls, best.slice) or (volume and calls.story.direction == "down"):
        return
    if calls.story.slice.keys() & UNIQUE:
        return  # what one session has in common says nothing about others
    what = "the extra calls" if volume else "it"
    text = (
        f"{saying.named(best.slice)}: {saying.share(best.of_excess)} of {what}, "
        f"with {saying.share(best.of_calls)} of the calls{_own_figure(calls, best)}"
    )
    names = {name: str(value) for name, value in best.slice.items()} | {"slice": saying.named(best.slice)}
    kind = "user" if "user_id" in best.slice else "slice"
    yield Cause(kind=kind, weight=(0.7 if best.of_excess >= NEARLY else 0.35) * best.of_excess, text=text, names=names)


def _own_figure(calls: Calls, best: Share) -> str:
    """What came in a part that alone is the reason: the story's own figures are those of all its calls."""
    if calls.measure.family == "volume" or best.of_excess < NEARLY:
        return ""
    which = calls.now & matching(calls, best.slice) & np.isfinite(calls.values)
    if not which.any() or which.sum() == calls.now.sum():
        return ""
    return f": {words.amount(_mean(calls, which, calls.values), calls.measure.unit)} there"


def matching(calls: Calls, slice: Mapping[str, Any]) -> Bools:
    """Which calls belong to a slice of ATTRIBUTES."""
    found = np.ones(len(calls.rows), dtype=np.bool_)
    for name, value in slice.items():
        codes, words = calls.coded(name)
        found &= np.array([word == value for word in words], dtype=np.bool_)[codes]
    return found


def seen_before(calls: Calls, slice: Mapping[str, Any]) -> dict[str, Any]:
    """What of a slice there were calls of on other days: the rest of it is a change, not a place."""
    return {name: value for name, value in slice.items() if (calls.usual & matching(calls, {name: value})).any()}


def _amounts(calls: Calls) -> tuple[Bools, Floats]:
    """Which calls count and what each adds: its excess; of volumes a call more, or one that is usual and came not."""
    if calls.measure.family == "volume":  # other kinds of calls come and go for reasons of their own
        counted = (calls.since | calls.usual) & (calls.weights > 0) & calls.inside
        return counted, sign(calls) * np.where(calls.since, 1.0, -1.0)
    amounts = departures(calls, [calls.coded(name) for name in ATTRIBUTES])
    counted = calls.since & np.isfinite(amounts)
    mean = _mean(calls, counted, amounts)
    # Where calls are on the whole no worse than usual, those that are worse stand out against the others of the time.
    return counted, amounts if mean > 0 else amounts - mean + SMALLEST


def _mean_excess(calls: Calls) -> float:
    """How far the story's own calls are on the whole beyond the usual; of volumes how many there are beyond it."""
    if calls.measure.family == "volume":
        return sign(calls) * (calls.weight(calls.now) - calls.weight(calls.then))
    amounts = excess(calls)
    return _mean(calls, calls.now & np.isfinite(amounts), amounts)


def _mean(calls: Calls, which: Bools, amounts: Floats) -> float:
    return float(np.average(amounts[which], weights=calls.weights[which])) if which.any() else 0.0


def _columns(calls: Calls, which: Bools) -> dict[str, Coded]:
    """The attributes in which those calls differ."""
    found: dict[str, Coded] = {}
    answering = calls.measure.name == "fallback_rate"  # its rows carry the substitute's model, which is not to blame
    for name in ATTRIBUTES:
        if answering and name in ("model_name", "model_provider"):
            continue
        if calls.measure.family == "volume" and name == "app_version":
            continue  # every release is a surge of its version
        codes, words = calls.coded(name)
        used = np.unique(codes[which])
        if len(used) > 1:
            found[name] = (codes[which], words)
    return found


def _in_common(calls: Calls, which: Bools, amounts: Floats, best: Share) -> float:
    """The share of the best slice's excess that the story's own calls hold."""
    inside = which & matching(calls, best.slice)
    total = float((amounts * calls.weights)[inside].sum())
    return float((amounts * calls.weights)[inside & calls.inside].sum()) / total if total > 0 else 0.0


def _held(calls: Calls, shares: Sequence[Share]) -> tuple[Share, ...]:
    """Those that hold something of the excess and have calls of the story's own."""
    return tuple(each for each in shares if each.of_excess >= LEAST and (calls.now & matching(calls, each.slice)).any())


def _same(calls: Calls, slice: Mapping[str, Value]) -> bool:
    """Whether a slice has the calls of the story's own."""
    if dict(slice) == dict(calls.story.slice):
        return True
    theirs, mine = calls.since & matching(calls, slice), calls.now
    both = float((theirs & mine).sum())
    return both >= SAME * max(float(theirs.sum()), float(mine.sum()), 1.0)


def _shared(each: Share) -> dict[str, Any]:
    return {"slice": dict(each.slice), "of_excess": each.of_excess, "of_calls": each.of_calls}
