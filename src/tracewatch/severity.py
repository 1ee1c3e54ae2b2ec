"""How bad an alert is for those who are served and those who pay."""

from __future__ import annotations

from tracewatch.detectors.adaptive import Alert
from tracewatch.detectors.adaptive.streaks import UNREPORTED
from tracewatch.metrics.table import ENGINE
from tracewatch.records import SEVERITIES

VOLUME = "call_count"
PERSONS = frozenset(("session_id", "conversation_id", "user_id"))
FAILURES = frozenset(("error_rate", "timeout_rate", "fallback_rate", "hallucination_rate"))
ANSWERED = frozenset(
    ("retry_rate", "truncation_rate", "ungrounded_rate", "batch_failure_rate", "unstreamed_rate")
)  # not lost for good
ROOTS_OF_SHARES = frozenset(("warning_flags", "finish_reason", "missing_child", "metadata_true"))
GOOD_UP = frozenset(("tokens_per_second", "cache_hit_rate", "rag_relevance_score", "groundedness_score"))
NEITHER = frozenset((VOLUME, "input_tokens", "output_tokens", "context_tokens", "total_tokens"))  # both ways may hurt
SHARES = frozenset(("cache_hit_rate", "rag_relevance_score", "groundedness_score"))

FAILING = (0.05, 0.2, 0.5)  # more of all calls: one in twenty is noticed, one in five complained about, half is down
RETRIED = (0.1, 0.4, 1.1)  # the same of calls that were answered after all: never critical
LOST = (0.1, 0.5, 1.1)  # of a share or score, relative to what was expected: answers still come
TIMES = (1.25, 2.0, 5.0)  # of a time or a price: below a quarter nobody notices, twice is felt, five times is unusable
WAITS_MS = (100.0, 1000.0, 10_000.0)  # more than usual, to be that bad: seen at all, a train of thought, attention lost
AMOUNTS = (1.25, 3.0, 20.0)  # of tokens or calls: they cost, they do not break
FEWER = (0.3, 0.8, 1.1)  # of the calls expected that did not come
GONE = 100.0  # calls that should have come while none did: critical
SINGLE = (10.0, 50.0, float("inf"))  # of one call: it is one call
FEW, DOUBTFUL = 10, 0.55  # calls, score: under both a step less
MANY = 500  # calls: a small effect is then felt by many


def severity_of(alert: Alert) -> str:
    """`low`, `medium`, `high` or `critical`, from the effect on people first and the certainty second.

    Failures are judged by how many more calls fail, as a call that fails is lost whatever was usual before; times and
    prices by the factor (times by what they add to a wait too: Nielsen 1993); quality and cache by the part that is
    lost; missing calls by the share that did not come. Moves in the good direction are low, single calls low or medium
    unless they are huge; what is new is medium, as nothing is broken by that alone, and so is a number
    that is no longer reported. An effect seen on a handful of
    calls and barely over the limit counts a step less; a small one on 500 calls or more is at least medium.
    """
    if _is_good(alert):
        return SEVERITIES[0]
    if alert.kind == "first_seen" or alert.metric.startswith(f"{UNREPORTED}."):
        return SEVERITIES[1]
    step = _step(alert)
    if alert.kind != "point":
        step -= alert.n < FEW and alert.score < DOUBTFUL and alert.observed > 0
        step += step == 0 and alert.n >= MANY
    return SEVERITIES[max(step, 0)]


def _is_good(alert: Alert) -> bool:
    if alert.metric in NEITHER or alert.metric not in ENGINE:
        return False  # of what is judged beside the engine only bad news is told
    return (alert.direction == "up") == (alert.metric in GOOD_UP)


def _step(alert: Alert) -> int:
    """How many of three bounds the effect reaches."""
    if alert.kind == "point":
        return _reached(_times(alert), SINGLE)
    if alert.metric in FAILURES:
        return _reached(alert.observed - alert.expected, FAILING)
    if alert.metric in ANSWERED or alert.metric.partition(".")[0] in ROOTS_OF_SHARES:
        return _reached(alert.observed - alert.expected, RETRIED)
    if alert.metric == VOLUME and alert.direction == "down":
        gone = alert.observed == 0 and alert.expected >= GONE
        return 3 if gone else _reached(_lost(alert), FEWER)
    if alert.metric in SHARES or alert.metric.startswith("quality."):
        return _reached(_lost(alert), LOST)
    if alert.metric == VOLUME and alert.slice.keys() & PERSONS:  # one of many: beside its limit, not its usual few
        return _reached(alert.observed / max(alert.upper, 1.0), (1.5, 5.0, 25.0))
    amount = alert.metric in NEITHER or alert.metric.startswith("metadata.") or alert.metric.endswith("_tokens")
    step = _reached(_times(alert), AMOUNTS if amount else TIMES)
    if alert.metric.endswith("_ms"):
        step = min(step, _reached(abs(alert.observed - alert.expected), WAITS_MS))
    return step


def _reached(value: float, bounds: tuple[float, ...]) -> int:
    return sum(value >= bound for bound in bounds)


def _lost(alert: Alert) -> float:
    return abs(alert.expected - alert.observed) / abs(alert.expected) if alert.expected else 0.0


def _times(alert: Alert) -> float:
    """By what factor it moved, either way."""
    low, high = sorted((abs(alert.observed), abs(alert.expected)))
    return high / low if low > 0 else float("inf")
