"""Whether two alerts can have one cause, and which of them is nearer to it.

Three questions decide: are they about the same calls, does one metric drive the other, did they begin together? The
less the slices have in common, the more the other two must say. Our own.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, log

from tracewatch.detectors.adaptive import Alert
from tracewatch.records import SEVERITIES
from tracewatch.severity import PERSONS, VOLUME, severity_of

HOUR = 3600.0
SOON = HOUR  # s between two beginnings that are one, told by windows of a quarter of an hour to hours
TOGETHER = HOUR / 2  # the same where the slices have no call in common
SAME_DAY = 24 * HOUR  # a symptom on the same calls may take so long to become plain: a leak, a creeping failure
UNKNOWN = HOUR  # before its alert a session may have begun: nothing tells when
ALIKE = 0.15  # of the larger of two log moves: a changed price moves every operation by the same factor
LOG_OF_NOTHING = 5.0  # of a value that fell to nothing, or came from it

SAME_CALLS, COMMON_CALLS, OTHER_CALLS, ONE_CALL = 4, 3, 2, 1  # how sure a kinship is
MIX = frozenset(
    ("call_count", "input_tokens", "output_tokens", "cache_hit_rate", "cost_usd")
)  # one person may shift it
STAYING = frozenset(("input_tokens", "context_tokens", "total_tokens", "output_tokens", "cache_hit_rate", "cost_usd"))
FAMILIES = (
    frozenset(("queue_time_ms", "ttft_ms", "tokens_per_second", "inference_time_ms", "duration_ms")),
    frozenset(("error_rate", "timeout_rate", "retry_rate", "fallback_rate")),
    frozenset(("rag_relevance_score", "groundedness_score", "hallucination_rate")),
    frozenset(("input_tokens", "context_tokens", "total_tokens")),
)
"""Metrics that are parts of one thing: what moves one moves the next."""

LATENCIES = {"ttft_ms": 1, "inference_time_ms": 1, "duration_ms": 1, "timeout_rate": 1}
DRIVES: dict[str, dict[str, int]] = {
    VOLUME: {**LATENCIES, "queue_time_ms": 1, "tokens_per_second": -1, "error_rate": 1, "fallback_rate": 1,
             "retry_rate": 1, "input_tokens": 0, "output_tokens": 0, "cache_hit_rate": 0, "cost_usd": 0},
    "network_time_ms": {"ttft_ms": 1, "duration_ms": 1, "timeout_rate": 1},
    "queue_time_ms": LATENCIES,
    "retrieval_latency_ms": {"duration_ms": 1, "timeout_rate": 1},
    "tokens_per_second": {"inference_time_ms": -1, "duration_ms": -1, "timeout_rate": -1, "queue_time_ms": -1},
    "unstreamed_rate": {"ttft_ms": 1},
    "ttft_ms": {"inference_time_ms": 1, "duration_ms": 1, "timeout_rate": 1},
    "inference_time_ms": {"duration_ms": 1, "timeout_rate": 1, "queue_time_ms": 1},
    "duration_ms": {"timeout_rate": 1},
    "timeout_rate": {"error_rate": 1, "retry_rate": 1, "fallback_rate": 1, VOLUME: -1},
    "error_rate": {"retry_rate": 1, "fallback_rate": 1, "duration_ms": 1, VOLUME: -1},
    "retry_rate": {"duration_ms": 1, "inference_time_ms": 1, "cost_usd": 1, "fallback_rate": 1},
    "fallback_rate": dict.fromkeys(("duration_ms", "inference_time_ms", "ttft_ms", "tokens_per_second", "cost_usd",
                                    "output_tokens", "groundedness_score", "hallucination_rate"), 0),
    "input_tokens": {**LATENCIES, "cost_usd": 1, "cache_hit_rate": 0},
    "output_tokens": {"inference_time_ms": 1, "duration_ms": 1, "timeout_rate": 1, "cost_usd": 1},
    "cache_hit_rate": {**dict.fromkeys(LATENCIES, -1), "cost_usd": -1},
    "rag_relevance_score": {"groundedness_score": 1, "hallucination_rate": -1, "output_tokens": 0},
    "groundedness_score": {"hallucination_rate": -1},
}  # fmt: skip
"""Cause -> effect: 1 the same way, -1 the other way, 0 either. What is not here drives nothing that is watched."""


Calls = frozenset[tuple[str, object]]
"""A slice as the set of its columns with their values."""


def calls_of(alert: Alert) -> Calls:
    """The slice of an alert as a set."""
    return frozenset(alert.slice.items())


def nested(one: Calls, other: Calls) -> bool:
    """Whether all calls of one slice are calls of the other."""
    return one <= other or other <= one


@lru_cache(maxsize=10_000)
def may_relate(metric: str, direction: str, other: str, other_direction: str) -> bool:
    """Whether two movements can have one cause, as far as their metrics say."""
    if metric == other:
        return direction == other_direction
    ways = DRIVES.get(metric, {}).get(other), DRIVES.get(other, {}).get(metric)
    same = direction == other_direction
    driven = any(way is not None and (way == 0 or same == (way > 0)) for way in ways)
    return driven or any(metric in each and other in each for each in FAMILIES)


def drives(cause: Alert, effect: Alert) -> bool:
    """Whether one movement can be the effect of another, by the table."""
    way = DRIVES.get(cause.metric, {}).get(effect.metric)
    return way is not None and (way == 0 or (cause.direction == effect.direction) == (way > 0))


def causes(cause: Alert, effect: Alert) -> bool:
    """Whether it drives the other and had begun when that was plain; beginnings told by long windows are vague."""
    return drives(cause, effect) and first_possible(cause) <= effect.detected_at


def related(one: Alert, other: Alert) -> bool:
    """Whether their metrics can have one cause: the same one, parts of one thing, or one drives the other."""
    if one.metric == other.metric:
        return one.direction == other.direction
    if not may_relate(one.metric, one.direction, other.metric, other.direction):
        return False
    family = any(one.metric in each and other.metric in each for each in FAMILIES)
    return family or causes(one, other) or causes(other, one)


def contains(wide: dict[str, object], narrow: dict[str, object]) -> bool:
    """Whether all calls of a slice are calls of the other.

    >>> contains({"model_name": "m"}, {"model_name": "m", "operation_type": "ask"}), contains({"a": 1}, {"a": 2})
    (True, False)
    """
    return wide.items() <= narrow.items()


def apart(one: dict[str, object], other: dict[str, object]) -> bool:
    """Whether two slices have no call in common: a column has another value."""
    return any(key in other and other[key] != value for key, value in one.items())


def began(alert: Alert) -> float:
    """When it began, as far as is known."""
    return alert.detected_at if alert.since is None else alert.since


def first_possible(alert: Alert) -> float:
    """The earliest moment at which it may have begun."""
    return alert.detected_at - UNKNOWN if alert.since is None else alert.since


def gap(one: Alert, other: Alert) -> float:
    """Seconds between their beginnings: those told, or those at which they were plain, whichever agree better."""
    told = abs(began(one) - began(other)) if one.since is not None and other.since is not None else inf
    slack = UNKNOWN if one.since is None or other.since is None else 0.0
    return min(told, max(abs(one.detected_at - other.detected_at) - slack, 0.0))


def move(alert: Alert) -> float:
    """Size of the movement as a log ratio, of 5 at most."""
    low, high = sorted((abs(alert.observed), abs(alert.expected)))
    return min(log(high / low), LOG_OF_NOTHING) if low > 0 else LOG_OF_NOTHING * (high > 0)


def alike(one: Alert, other: Alert) -> bool:
    """Whether the same metric moved the same way by the same factor."""
    if one.metric == VOLUME or (one.metric, one.direction) != (other.metric, other.direction):
        return False
    return abs(move(one) - move(other)) <= ALIKE * max(move(one), move(other))


def kinship(old: Alert, new: Alert) -> int:
    """How sure it is that two alerts have one cause: SAME_CALLS to ONE_CALL; 0 when nothing says so."""
    if "point" in (old.kind, new.kind):
        return _of_call(old, new)
    if (old.kind == "drift") != (new.kind == "drift"):
        return 0  # what creeps for weeks is not what began within the hour in which that became plain
    near = gap(old, new)
    if old.kind == new.kind == "silence" and nested(calls_of(old), calls_of(new)):
        return SAME_CALLS * (near <= SAME_DAY)  # nothing comes at all any more: the part fell silent with the rest
    if old.slice and new.slice and (contains(old.slice, new.slice) or contains(new.slice, old.slice)):
        return SAME_CALLS * (near <= SOON or (related(old, new) and near <= SAME_DAY))
    if not (related(old, new) and _meet(old, new)):
        return 0
    if apart(old.slice, new.slice):
        siblings = any(each in new.slice.items() for each in old.slice.items())  # two models of one operation
        return OTHER_CALLS * (near <= (SOON if siblings else TOGETHER) or (near <= SAME_DAY and alike(old, new)))
    return COMMON_CALLS * (near <= SOON)


def _of_call(old: Alert, new: Alert) -> int:
    """A call belongs to what goes on with its kind of call; otherwise calls are told together where they are alike."""
    if not related(old, new):
        return 0
    if old.kind != "point":
        return SAME_CALLS * contains(old.slice, new.slice)
    near = new.kind == "point" or gap(old, new) <= TOGETHER
    return ONE_CALL * (near and contains(new.slice, old.slice))


def _meet(one: Alert, other: Alert) -> bool:
    """Whether what is told of one slice says something of another that is not within it.

    What a provider does to times and failures shows in every slice that calls it. What prompts are like, what they
    cost and how many come stays with their calls; but one person's surge is in the mix of everything he calls.
    """
    metrics = {one.metric, other.metric}
    if VOLUME in metrics:
        persons = all(each.slice.keys() & PERSONS for each in (one, other) if each.metric == VOLUME)
        return persons and metrics <= MIX
    return len(metrics) == 1 or not metrics & STAYING


def leads(new: Alert, root: Alert, early: bool) -> bool:
    """Whether a new alert should stand in front: as the cause on the same calls, or early on as what hurts more."""
    if new.kind == "point":
        return False
    if root.kind == "point":
        return True
    if not apart(new.slice, root.slice) and drives(root, new) != drives(new, root):
        return drives(new, root) and first_possible(new) <= began(root) + SOON
    return early and _weight(new) > _weight(root)


def _weight(alert: Alert) -> tuple[int, float, float]:
    """How much it hurts, then how far it moved. A score would not do: prices are known so well that a cent scores."""
    return SEVERITIES.index(severity_of(alert)), move(alert), alert.score
