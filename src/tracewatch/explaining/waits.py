"""What time a story took, and through what: the latency bridge of its calls, like compared with like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from tracewatch import words
from tracewatch.bridges import Bridge, Part
from tracewatch.explaining import saying
from tracewatch.explaining.calls import Calls
from tracewatch.explaining.story import Cause
from tracewatch.slices import Bools, Floats
from tracewatch.waiting import LATENCY_PARTS, latency_bridge

COLUMNS = (
    *("duration_ms", "queue_time_ms", "network_time_ms", "ttft_ms", "inference_time_ms", "output_tokens"),
    *("tokens_per_second", "retrieval_latency_ms", "retry_count"),
)
FEWEST_ALIKE = 5  # usual calls of one kind; the mean of fewer is chance
TELLING = 0.2  # of the change: what is less explains nothing
_KINDS = {
    "queue": "queue",
    "network": "network",
    "first token": "first_token",
    "longer answers": "longer_answers",
    "slower speed": "slower_speed",
    "retrieval": "retrieval",
    "retries": "retries",
    "unexplained": "unexplained_time",
}
ONLY_WHOLE = "only the whole time of these calls is recorded, so it cannot be said which part of it grew"
PART_OF = {
    "ttft_ms": ("first token", "queue"),
    "queue_time_ms": ("queue",),
    "network_time_ms": ("network",),
    "retrieval_latency_ms": ("retrieval",),
    "tokens_per_second": ("slower speed",),
    "inference_time_ms": ("slower speed", "longer answers", "first token"),
}
"""The parts that a metric is, where it is not the whole duration; other parts explain it less."""
BESIDE = 0.5
_UNITS = {"longer answers": "tokens", "slower speed": "tokens/s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """The bridge of one kind of call, and its share of the calls."""

    share: float
    bridge: Bridge


def bridge_of(calls: Calls) -> Bridge | None:
    """From the usual mean duration of a call to that since the onset, in ms; None where either is not known.

    Each kind of call (operation and model) is compared with the usual calls of its kind, or of its operation where it
    is new; the bridge is their sum by the shares of the calls since the onset, so a change of the mix is not a change
    of the time, and it adds up like each of them. Our own, over `latency_bridge`.
    """
    timed = np.isfinite(calls.numbers("duration_ms"))
    now, then = calls.now & timed, calls.then & timed
    if not now.any() or then.sum() < FEWEST_ALIKE:
        return None
    kinds = [
        _Kind(
            share=float(mine.sum() / now.sum()),
            bridge=latency_bridge(
                _columns(calls, usual), _columns(calls, mine), own_tokens=calls.story.kind == "point"
            ),
        )
        for mine, usual in _kinds(calls, now, then)
    ]
    return _summed(kinds)


def effect(calls: Calls, bridge: Bridge) -> float:
    """Seconds of waiting added by all calls of the story."""
    timed = np.isfinite(calls.numbers("duration_ms"))
    return bridge.change / 1000 * calls.weight(calls.now & timed)


def causes(calls: Calls, bridge: Bridge) -> Iterator[Cause]:
    """Where the time went, a sentence each; the part that the metric itself is comes also where calls got no slower."""
    own = PART_OF.get(calls.measure.name, ())
    largest = max((part for part in bridge.parts if part.name in own), key=lambda part: part.change, default=None)
    recorded = any(part.before is not None for part in bridge.parts if part.name != "unexplained")
    for part in bridge.parts:
        held = part.change / bridge.change if bridge.change > 0 else 0.0
        if not recorded:
            yield Cause(kind="unrecorded_time", weight=0.3, text=ONLY_WHOLE, names=_names(calls))
            return
        if part.change <= 0 or (held < TELLING and part is not largest):
            continue
        each = "" if calls.story.kind == "point" else " a call"
        text = f"{_what(part)}: {saying.signed(part.change, 'ms')}{each}{saying.held(held, 'the extra time')}"
        weight = (0.3 if part.name == "unexplained" else 0.85) * min(held, 1.0)
        if own:
            weight = max(weight, 0.5) if part is largest else weight if part.name in own else weight * BESIDE
        yield Cause(kind=_KINDS[part.name], weight=weight, text=text, names=_names(calls))


def _names(calls: Calls) -> dict[str, str]:
    return {name: str(value) for name, value in calls.story.slice.items()}


def _what(part: Part) -> str:
    if part.before is None or part.after is None:
        return "time that no part of the calls explains" if part.name == "unexplained" else part.name
    unit = _UNITS.get(part.name, "ms")
    return f"{part.name} ({words.amount(part.after, unit)}, usually {words.amount(part.before, unit)})"


def _kinds(calls: Calls, now: Bools, then: Bools) -> Iterator[tuple[Bools, Bools]]:
    """The calls of each kind since the onset, and the usual ones they are compared with."""
    operations, models = calls.coded("operation_type")[0], calls.coded("model_name")[0]
    kinds = operations * (int(models.max(initial=0)) + 1) + models
    for kind in np.unique(kinds[now]).tolist():
        mine = now & (kinds == kind)
        of_operation = then & (operations == operations[np.argmax(mine)])
        for usual in (then & (kinds == kind), of_operation, then):
            if usual.sum() >= FEWEST_ALIKE:
                yield mine, usual
                break


def _columns(calls: Calls, which: Bools) -> dict[str, Floats]:
    return {name: calls.numbers(name)[which] for name in COLUMNS}


def _summed(kinds: Sequence[_Kind]) -> Bridge:
    """Bridges of shares of the calls as one of all of them."""
    parts = []
    for name in LATENCY_PARTS:
        found = [(each.share, part) for each in kinds for part in each.bridge.parts if part.name == name]
        if found:
            parts.append(
                Part(
                    name=name,
                    change=fsum(share * part.change for share, part in found),
                    before=_mean([(share, part.before) for share, part in found]),
                    after=_mean([(share, part.after) for share, part in found]),
                )
            )
    return Bridge(
        before=fsum(each.share * each.bridge.before for each in kinds),
        after=fsum(each.share * each.bridge.after for each in kinds),
        parts=tuple(parts),
    )


def _mean(quantities: Sequence[tuple[float, float | None]]) -> float | None:
    """The mean of the quantities that are known, by their shares."""
    known = [(share, value) for share, value in quantities if value is not None]
    total = fsum(share for share, _ in known)
    return fsum(share * value for share, value in known) / total if total else None
