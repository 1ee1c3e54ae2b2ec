"""The order in which a story is explained, and which of its causes is told first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tracewatch import words
from tracewatch.explaining import (
    acting,
    alongside,
    blamed,
    caching,
    changed,
    examples,
    failing,
    money,
    saying,
    sizes,
    telling,
    volume,
    waits,
    where,
)
from tracewatch.explaining.calls import UNIQUE, Calls, gather
from tracewatch.explaining.evidence import Findings, compared, document, find
from tracewatch.explaining.measures import MEASURES
from tracewatch.explaining.story import Cause, Explanation, Story
from tracewatch.explaining.usual import expected
from tracewatch.slices import Bools
from tracewatch.stores.base import Store

MOST_FACTORS = 6  # lines people read
WORTH = 0.12  # of 1: a cause that explains less is not told
MOSTLY = 0.9  # of the calls have this model, provider or operation: then actions may name it
NOISE = 3.0  # standard errors: a side effect on money or time within them is not told


def explain(store: Store, project: str, story: Story, now: float) -> Explanation:
    """Why a story happened, what it cost so far, and what to do; `now` in epoch seconds.

    Reads at most some 25,000 calls (evenly spread pieces where there are more, which `causes` says). Never fails
    because calls are gone: then it says so, and explains with what is left.
    """
    calls = gather(store, project, story, now)
    story = completed(calls)
    if not calls.since.any() and not calls.usual.any():
        return _without_calls(story, calls)
    found = find(store, project, calls)
    because = sorted(_causes(calls, found), key=lambda each: -each.weight)
    because = [each for each in because if each.weight >= WORTH][:MOST_FACTORS]
    facts = _facts(calls, found)
    because = [replace(each, names={**facts, **each.names}) for each in because]
    cost, waited = _effects(calls, found)
    touched = _touched(calls)
    to_do = _to_do(calls, because, facts)
    trace_ids = tuple(dict.fromkeys([*story.trace_ids, *(each.trace_id for each in found.shown.clearest)]))
    users, count = _users(calls, touched), round(calls.weight(touched))
    return Explanation(
        description=telling.describe(story, calls.measure, because),
        factors=tuple(each.text for each in because),
        actions=acting.actions(to_do),
        causes={
            **document(calls, story, found, because),
            "effect": {"cost_usd": cost, "time_s": waited, "calls": count, "users": users},
        },
        cost_effect_usd=cost,
        time_effect_s=waited,
        calls=count,
        users=users,
        trace_ids=trace_ids[: examples.MOST],
    )


SINGLE = frozenset({"longer_answers", "queue", "retries", "retrieval", "child", "version", "new_model"})
"""Causes of a single odd call about which something can be done; that it was slow alone is no reason to move house."""


def _to_do(calls: Calls, because: list[Cause], facts: dict[str, str]) -> list[Cause]:
    """The causes that actions follow from."""
    if calls.story.kind != "point":
        return because or [Cause(kind="unknown", weight=1.0, text="", names=facts)]
    upper = calls.story.upper
    limit = {} if upper is None else {"upper": words.amount(upper, calls.measure.unit)}
    slow = calls.measure.family == "time" and upper is not None
    own = Cause(kind="point" if slow else "odd_call", weight=1.0, text="", names={**facts, **limit})
    return [own, *(each for each in because if each.kind in SINGLE)]


def completed(calls: Calls) -> Story:
    """The story with what came and what was expected, measured on its calls where the detector does not say."""
    story = calls.story
    if story.observed is not None:
        return story
    if calls.measure.family == "volume":
        usual = None if story.slice.keys() & UNIQUE else calls.weight(calls.then)
        return replace(
            story, observed=calls.weight(calls.now), expected=usual if story.expected is None else story.expected
        )
    known = calls.now & np.isfinite(calls.values)
    if not known.any():
        return story
    like = expected(calls)[known]
    usual = float(np.mean(like)) if np.isfinite(like).all() else None
    return replace(
        story,
        observed=float(np.mean(calls.values[known])),
        expected=usual if story.expected is None else story.expected,
    )


def _causes(calls: Calls, found: Findings) -> Iterator[Cause]:
    """Everything that explains the story, by the family of its metric."""
    family = calls.measure.family
    changes = list(_once([*changed.causes(calls, found.changes), *changed.news(calls, found.slices)]))
    yield from changes
    told = {pair for each in changes for pair in each.names.items()}
    best = found.slices.best.slice if found.slices.best else {}
    if not (len(best) == 1 and set(best.items()) <= told):
        yield from where.causes(calls, found.slices)
    if family in ("failures", "volume", "time"):
        blames = found.primary if calls.measure.name in ("fallback_rate", "retry_rate") else None
        yield from _weaker(failing.causes(calls, found.failures, blames), 1.0 if family == "failures" else 0.4)
    if found.cost is not None and family in ("money", "tokens", "cache"):
        yield from _weaker(money.causes(calls, found.cost), {"money": 1.0, "cache": 0.7, "tokens": 0.3}[family])
    if found.latency is not None and family == "time":
        yield from waits.causes(calls, found.latency)
    if found.child is not None:
        yield from blamed.causes(found.child)
    if family == "volume":
        yield from volume.causes(calls, found.habit, found.burst, found.people)
    if family == "tokens":
        yield from sizes.causes(calls, found.sizes)
    if found.hits is not None:
        yield from caching.causes(found.hits)
    cut = any(each.piled_at is not None for each in found.sizes)
    yield from alongside.causes(calls, found.moved, cut)
    yield from _by_default(calls, found.moved)


_DEFAULTS = {
    "rag_relevance_score": ("relevance", "retrieval finds less relevant context for {subject}", ""),
    "retry_rate": ("retries", "{subject} are tried again inside the client", "; no failed attempt is recorded"),
    "fallback_rate": ("fallbacks", "{subject} went on with a substitute", "; no failed attempt is recorded"),
    "groundedness_score": (
        "quality",
        "answers of {subject} are less grounded",
        "; their context is as relevant as before",
    ),
    "hallucination_rate": ("quality", "answers of {subject} are worse", "; their context is as relevant as before"),
    "ungrounded_rate": ("quality", "answers of {subject} are worse", "; their context is as relevant as before"),
}
"""What is left to say of a metric when nothing explains it: the row of ACTIONS, the words, and what else is known."""


def _by_default(calls: Calls, moved: list[alongside.Moved]) -> Iterator[Cause]:
    """What the metric itself says about where to look; what could not be seen is not claimed."""
    if calls.measure.name not in _DEFAULTS:
        return
    kind, text, more = _DEFAULTS[calls.measure.name]
    if calls.measure.family == "quality":
        seen = np.isfinite(calls.numbers("rag_relevance_score"))
        fell = any(each.measure.name == "rag_relevance_score" for each in moved)
        known = not fell and bool((seen & calls.now).any() and (seen & calls.then).any())
    else:
        known = not (calls.now & (MEASURES["error_rate"].values(calls.rows) == 1)).any()
    subject = saying.calls_of(_mostly(calls, calls.now))
    yield Cause(kind=kind, weight=WORTH, text=text.format(subject=subject) + (more if known else ""))


def _once(changes: list[Cause]) -> Iterator[Cause]:
    """Of two causes that name the same new value the better one."""
    told: set[tuple[tuple[str, str], ...]] = set()
    for each in sorted(changes, key=lambda each: -each.weight):
        named = tuple(sorted((name, value) for name, value in each.names.items() if name in changed.VALUES))
        if not named or named not in told:
            yield each
        told.add(named)


def _weaker(causes: Iterator[Cause], by: float) -> Iterator[Cause]:
    for each in causes:
        yield replace(each, weight=each.weight * by)


def _facts(calls: Calls, found: Findings) -> dict[str, str]:
    """Names for actions: of the slice that holds it, else of the story's calls."""
    best = found.slices.best
    if best is None:
        return {name: str(value) for name, value in _mostly(calls, calls.now).items()}
    inside = _mostly(calls, calls.now & where.matching(calls, best.slice))
    return {name: str(value) for name, value in {**inside, **best.slice}.items()}


def _mostly(calls: Calls, which: Bools) -> dict[str, Any]:
    """The operation, model and provider of nearly all those calls, and the story's slice."""
    found = {}
    for name in ("operation_type", "model_name", "model_provider"):
        counts = Counter(each for each in calls.words(name, which) if each)
        value, count = counts.most_common(1)[0] if counts else ("", 0)
        if count >= MOSTLY * max(int(which.sum()), 1):
            found[name] = value
    return {**found, **calls.story.slice}


def _effects(calls: Calls, found: Findings) -> tuple[float | None, float | None]:
    """Dollars and seconds beyond the usual; of metrics about something else only what is beyond chance."""
    family = calls.measure.family
    cost = money.effect(calls, found.cost) if found.cost is not None else None
    if cost is not None and family not in ("money", "volume") and abs(cost) < _noise(calls, "cost_usd"):
        cost = None
    waited = waits.effect(calls, found.latency) if found.latency is not None else None
    if waited is not None and family != "time" and abs(waited) < _noise(calls, "duration_ms") / 1000:
        waited = None
    return cost, None if family == "volume" else waited


def _noise(calls: Calls, name: str) -> float:
    """What the sum over the story's calls may differ by chance."""
    values = calls.numbers(name)
    now, then = values[calls.now & np.isfinite(values)], values[calls.then & np.isfinite(values)]
    if min(len(now), len(then)) < 2:
        return float("inf")
    count = calls.weight(calls.now)
    return float(NOISE * count * np.sqrt(now.var(ddof=1) / len(now) + then.var(ddof=1) / len(then)))


def _touched(calls: Calls) -> Bools:
    """The calls of the story: of failures those that failed, else all that report the metric."""
    known = calls.now & np.isfinite(calls.values)
    return known & (calls.values > 0) if calls.measure.is_rate and calls.story.direction == "up" else known


def _users(calls: Calls, touched: Bools) -> int:
    codes, words = calls.rows.codes("user_id")
    return len({words[code] for code in np.unique(codes[touched]).tolist()} - {None})


def _without_calls(story: Story, calls: Calls) -> Explanation:
    """What can be said when the calls are gone."""
    gone = "The calls of that time are no longer in the database (retention), so nothing more can be told."
    return Explanation(
        description=f"{telling.describe(story, calls.measure, [])} {gone}",
        factors=(),
        actions=(),
        causes={"version": 1, "because": [], "gone": True, "compared": compared(calls)},
        trace_ids=story.trace_ids,
    )
