"""Where the time of calls went: the parts of their duration, and how each of them changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracewatch.bridges import Bridge, Part

Floats = NDArray[np.float64]

LATENCY_PARTS = (
    "queue",
    "network",
    "first token",
    "longer answers",
    "slower speed",
    "retrieval",
    "retries",
    "unexplained",
)
EVENTS = ("retrieval_latency_ms", "retry_count")
"""What happens to some calls only, so that a call without them had none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Time:
    """One part in one period: its mean over the calls that report it, and the share of calls that do."""

    mean: float
    reported: float


def latency_bridge(before: Mapping[str, Floats], after: Mapping[str, Floats], *, own_tokens: bool = False) -> Bridge:
    """The change of the mean duration of a call in ms, by what the calls spent it on.

    Columns, one entry a call, NaN for absent: `duration_ms`, and whichever there are of `queue_time_ms`,
    `network_time_ms`, `ttft_ms`, `inference_time_ms`, `output_tokens`, `tokens_per_second`, `retrieval_latency_ms`,
    `retry_count`. Calls without a duration do not count. `before` and `after` of a part are its mean ms per call; of
    "longer answers" tokens per answer, of "slower speed" tokens per second.

    Each call's time is given to its parts in this order, never more than is left of it, so overlapping reports count
    once: queue, network, generation (tokens ÷ speed; else the inference or the duration after the first token), first
    token (what of it is not queue), retrieval, and retries (of a call tried again, what is left beyond the median rest
    of calls that were not). Generation is tokens × time per token, and each of the two has its Shapley value:
    `(T1 - T0) · (v0 + v1) / 2` and `(v1 - v0) · (T0 + T1) / 2`. With `own_tokens` the speed is told of the answer that
    came, `(v1 - v0) · T1` and `(T1 - T0) · v0`: a single short answer gives back nothing that its speed never took.
    "unexplained" is the rest, so the rows add up.

    Retrieval and retries that a call does not report did not happen, if any call of either period reports them. Of the
    others, calls that do not report cannot be told apart
    from calls that did not wait: a part counts for the share of calls that report it in *both* periods (the smaller of
    the two shares), and one that a period never reports is no row; its time is in the rest. Our own.

    >>> before = {"duration_ms": np.array([1000.0]), "queue_time_ms": np.array([100.0]),
    ...           "output_tokens": np.array([90.0]), "tokens_per_second": np.array([100.0])}
    >>> after = {"duration_ms": np.array([4100.0]), "queue_time_ms": np.array([300.0]),
    ...          "output_tokens": np.array([180.0]), "tokens_per_second": np.array([50.0])}
    >>> [(part.name, part.change) for part in latency_bridge(before, after).parts]
    [('queue', 200.0), ('longer answers', 1350.0), ('slower speed', 1350.0), ('unexplained', 200.0)]
    """
    events = [name for name in EVENTS if any(np.isfinite(each[name]).any() for each in (before, after) if name in each)]
    spent = [_spent(columns, events) for columns in (before, after)]
    totals = [float(np.mean(times["duration"])) if len(times["duration"]) else 0.0 for times in spent]
    parts = []
    for name in ("queue", "network", "first token", "generation", "retrieval", "retries"):
        old, new = (_time(times[name]) for times in spent)
        shared = min(old.reported, new.reported)
        if name == "generation":
            parts += _generation(spent[0], spent[1], shared, own_tokens)
        elif shared > 0:
            parts.append(_part(name, old.mean * shared, new.mean * shared))
    known = [part.change for part in parts]
    parts.append(Part(name="unexplained", change=totals[1] - totals[0] - float(np.sum(known))))
    return Bridge(before=totals[0], after=totals[1], parts=tuple(parts))


def _part(name: str, old: float, new: float) -> Part:
    return Part(name=name, change=new - old, before=old, after=new)


def _time(times: Floats) -> _Time:
    reported = ~np.isnan(times)
    return _Time(
        mean=float(times[reported].mean()) if reported.any() else 0.0,
        reported=float(reported.mean()) if len(times) else 0.0,
    )


def _generation(old: Mapping[str, Floats], new: Mapping[str, Floats], shared: float, own_tokens: bool) -> list[Part]:
    """The parts of longer answers and of slower speed, of the share of calls that report them in both periods."""
    answers = [_time(np.where(np.isnan(times["generation"]), np.nan, times["tokens"])).mean for times in (old, new)]
    spent = [_time(times["generation"]).mean for times in (old, new)]
    if shared == 0 or max(answers) <= 0:
        return []
    per_token = [time / tokens if tokens > 0 else np.nan for time, tokens in zip(spent, answers, strict=True)]
    slow = [own if own == own else other for own, other in zip(per_token, reversed(per_token), strict=True)]
    at, of = (slow[0], answers[1]) if own_tokens else (sum(slow) / 2, sum(answers) / 2)
    longer = (answers[1] - answers[0]) * at * shared
    slower = (slow[1] - slow[0]) * of * shared
    speeds = [1000 / each if each > 0 else None for each in slow]
    return [
        Part(name="longer answers", change=longer, before=answers[0], after=answers[1]),
        Part(name="slower speed", change=slower, before=speeds[0], after=speeds[1]),
    ]


def _spent(columns: Mapping[str, Floats], events: Sequence[str]) -> dict[str, Floats]:
    """Each call's parts in ms, NaN where it does not report one; together never more than its duration.

    Of the columns in `events` absent means 0.
    """
    timed = np.isfinite(columns["duration_ms"]) & (columns["duration_ms"] >= 0)
    absent = np.full(int(timed.sum()), np.nan)

    def column(name: str) -> Floats:
        values = columns.get(name)
        given = absent if values is None else np.where(values[timed] >= 0, values[timed], np.nan)
        return np.nan_to_num(given) if name in events else given

    duration, queue, first, tokens = (
        column(name) for name in ("duration_ms", "queue_time_ms", "ttft_ms", "output_tokens")
    )
    first_alone = np.maximum(first - np.nan_to_num(queue), 0)
    wanted = {
        "queue": queue,
        "network": column("network_time_ms"),
        "generation": _generating(duration, first, first_alone, tokens, column),
        "first token": first_alone,
        "retrieval": column("retrieval_latency_ms"),
    }
    left, parts = duration.copy(), {"duration": duration, "tokens": tokens}
    for name, times in wanted.items():
        parts[name] = np.minimum(times, left)
        left -= np.nan_to_num(parts[name])
    parts["retries"] = _retrying(left, column("retry_count"))
    return parts


def _generating(
    duration: Floats, first: Floats, first_alone: Floats, tokens: Floats, column: Callable[[str], Floats]
) -> Floats:
    """Time from the first token to the last: by speed, else by inference, else by duration."""
    speed, inference = column("tokens_per_second"), column("inference_time_ms")
    by_speed: Floats = np.divide(tokens * 1000, speed, out=np.full(len(tokens), np.nan), where=speed > 0)
    by_inference = np.maximum(inference - np.nan_to_num(first_alone), 0)
    by_duration = np.maximum(duration - first, 0)
    found = np.where(np.isnan(by_speed), np.where(np.isnan(by_inference), by_duration, by_inference), by_speed)
    # An answer of no tokens took no time to write; one of unknown length has no speed.
    return np.where(tokens > 0, found, np.where(tokens == 0, 0.0, np.nan))


def _retrying(left: Floats, retries: Floats) -> Floats:
    """Of calls tried again, the time left over beyond what calls answered at once leave."""
    if np.isnan(retries).any():
        return retries
    at_once = left[retries == 0]
    usual = float(np.median(at_once)) if len(at_once) else 0.0
    return np.where(retries > 0, np.maximum(left - usual, 0), 0.0)
