"""The one place for sentences about findings, and for numbers as people read them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from math import inf, isfinite

from tracewatch.detectors.spec import Verdict
from tracewatch.metrics import TYPE_OF, AnomalyType, Unit
from tracewatch.records import SEVERITIES

RULE_LABELS = {
    "cost_spike": "Cost Spike",
    "call_spike": "Call Spike",
    "high_error_rate": "High Error Rate",
    "high_fallback_rate": "High Fallback Rate",
}

# What a call did, by metric; {value} is the number with its unit.
_VERBS = {
    "duration": "took {value}",
    "latency": "took {value}",
    "ttft": "took {value} to its first token",
    "throughput": "answered at {value}",
    "tokens": "used {value}",
    "cache_miss": "found {value} of its input in the cache",
    "cost": "cost {value}",
    "rag_latency": "waited {value} for retrieval",
    "rag_relevance": "was given context of relevance {value}",
    "context_bloat": "carried {value} of context",
    "queue_time": "was kept waiting {value} by the provider",
}

_STATS_SEVERITY = dict(zip(SEVERITIES, ("info", "warning", "warning", "critical"), strict=True))


def label_of(anomaly_type: str) -> str:
    """What a type of finding is called on screen.

    >>> label_of("ttft")
    'First Token Delay'
    """
    metric = TYPE_OF.get(anomaly_type)
    return metric.label if metric else RULE_LABELS.get(anomaly_type, anomaly_type)


def stats_severity(severity: str) -> str:
    """The word of the statistics page and API for a severity: critical, warning or info."""
    return _STATS_SEVERITY[severity]


def amount(value: float, unit: Unit | str | None) -> str:
    """A number with its unit, in as many digits as help.

    >>> amount(12300, "ms"), amount(850, "ms"), amount(125000, "ms")
    ('12.3 s', '850 ms', '2 min 5 s')
    >>> amount(0.00123, "USD"), amount(12.3, "USD"), amount(0.034, "share"), amount(1234.0, "tokens")
    ('$0.0012', '$12.30', '3.4 %', '1,234 tokens')
    """
    match unit:
        case "ms":
            return _time(value)
        case "USD":
            return _money(value)
        case "share":
            return f"{_digits(value * 100)} %"
        case "tokens":
            return f"{value:,.0f} tokens"
        case "score":
            return f"{value:.2f}"
        case None:
            return _digits(value)
    return f"{_digits(value)} {unit}"


@lru_cache(maxsize=1024)
def usually(metric: AnomalyType, lower: float, upper: float) -> str:
    """The expected range after the word 'usually'; a side at the metric's natural bound is left out.

    >>> usually(TYPE_OF["duration"], 800.0, 3100.0)
    '0.8–3.1 s'
    >>> usually(TYPE_OF["duration"], 0.0, 3100.0), usually(TYPE_OF["cache_miss"], 0.62, 1.0)
    ('up to 3.1 s', 'at least 62 %')
    """
    if lower <= metric.lowest:
        return f"up to {amount(upper, metric.unit)}"
    if upper >= metric.highest:
        return f"at least {amount(lower, metric.unit)}"
    return between(lower, upper, metric.unit)


@lru_cache(maxsize=4096)
def known_amount(value: float, unit: Unit | str | None) -> str:
    """`amount` of a number that is said often, such as a median."""
    return amount(value, unit)


def between(lower: float, upper: float, unit: Unit | str | None) -> str:
    """A range with its unit said once, where both ends have the same."""
    low, high = amount(lower, unit), amount(upper, unit)
    if unit == "ms" and 1000 <= upper < 60_000:
        low = f"{_digits(lower / 1000)} s"
    number, space, word = low.rpartition(" ")
    shared = space and high.endswith(f" {word}") and " " not in number
    return f"{number}–{high}" if shared else f"{low}–{high}"


def times(ratio: float) -> str:
    """How many times as much.

    >>> times(3.14), times(0.05), times(12.0)
    ('3.1×', '0.05×', '12×')
    """
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def below(ratio: float, less: str) -> str:
    """How far below the usual a number is, from its share of it; `less` says what being below it means.

    >>> below(0.047, "slower"), below(0.0, "less")
    ('21 times slower than', 'nothing of')
    """
    if ratio <= 0:
        return "nothing of"
    return f"{_digits(1 / ratio) if ratio > 0.1 else f'{1 / ratio:,.0f}'} times {less} than"


def who(operation: str | None, model: str | None) -> str:
    """A kind of call.

    >>> who("chat", "gpt-4o"), who(None, "gpt-4o"), who(None, None)
    ('chat on gpt-4o', 'a call of gpt-4o', 'a call')
    """
    if operation and model:
        return f"{operation} on {model}"
    return operation or (f"a call of {model}" if model else "a call")


def moment(time_s: float) -> str:
    """A moment, to the second.

    >>> moment(1772460120.7)
    '2026-03-02 14:02:00 UTC'
    """
    minute, second = divmod(int(time_s // 1), 60)
    return f"{_minute(minute)}:{second:02} UTC"


def day(time_s: float) -> str:
    """The day (UTC) of a moment.

    >>> day(1772460120)
    '2026-03-02'
    """
    return _minute(int(time_s // 60))[:10]


@lru_cache(maxsize=2048)  # minutes: more than a day has
def _minute(number: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(number * 60))


def describe(metric: AnomalyType, value: float, expected: str, subject: str, time_s: float) -> str:
    """A finding in one sentence, from `usually` and `who`.

    >>> describe(TYPE_OF["duration"], 12300, "0.8–3.1 s", "chat on gpt-4o", 1772460120)
    'chat on gpt-4o took 12.3 s at 2026-03-02 14:02:00 UTC, usually 0.8–3.1 s'
    """
    verb = _VERBS[metric.key].format(value=amount(value, metric.unit))
    return f"{subject} {verb} at {moment(time_s)}, usually {expected}"


def describe_rule(rule: str, verdict: Verdict, day_or_hour: str, usage_type: str | None = None) -> str:
    """What a rule found, in one sentence."""
    ratio = times(verdict.value / verdict.expected)
    match rule:
        case "cost_spike":
            return (
                f"calls have cost {amount(verdict.value, 'USD')} {day_or_hour}, {ratio} the daily average of "
                f"{amount(verdict.expected, 'USD')} over {verdict.n} days"
            )
        case "call_spike":
            subject = f"calls of {usage_type}" if usage_type else "calls without a usage type"
            return (
                f"{subject} came to {verdict.value:,.0f} {day_or_hour}, {ratio} the daily average of "
                f"{_digits(verdict.expected)} over {verdict.n} days"
            )
        case "high_error_rate":
            return f"{amount(verdict.value, 'share')} of {verdict.n:,} calls failed {day_or_hour}; 20 % is the limit"
        case "high_fallback_rate":
            return (
                f"{amount(verdict.value, 'share')} of {verdict.n:,} rerank calls fell back {day_or_hour}; "
                "50 % is the limit"
            )
    raise AssertionError(f"no sentence for the rule {rule}")


def limit_of(rule: str, limit: float, expected: float, unit: Unit | str | None) -> str:
    """What a rule lets pass.

    >>> limit_of("high_fallback_rate", 0.5, 0.5, "share"), limit_of("cost_spike", 3.0, 1.0, "USD")
    ('at most 50 %', 'at most $3.00, 3× the daily average of $1.00')
    """
    most = f"at most {amount(limit, unit)}"
    if rule not in ("cost_spike", "call_spike"):
        return most
    return f"{most}, {times(limit / expected)} the daily average of {amount(expected, unit)}"


def calls(count: int) -> str:
    """So many calls.

    >>> calls(1), calls(1200)
    ('1 call', '1,200 calls')
    """
    return f"{count:,} call" if count == 1 else f"{count:,} calls"


def sentence(text: str) -> str:
    """The text with a capital in front and a full stop behind."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def values_of(statistics: Mapping[str, object]) -> tuple[float, float]:
    """The expected range in a finding's statistics; an open end is infinite."""
    given = statistics.get("expectedRange")
    ends = given if isinstance(given, Mapping) else {}
    lower, upper = ends.get("lower"), ends.get("upper")
    return (-inf if lower is None else float(lower)), (inf if upper is None else float(upper))


def _time(value: float) -> str:
    if abs(value) < 1000:
        return f"{_digits(value)} ms"
    if abs(value) < 60_000:
        return f"{_digits(value / 1000)} s"
    minutes, seconds = divmod(round(value / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _money(value: float) -> str:
    if abs(value) >= 1000:
        return f"${value:,.0f}"
    if abs(value) >= 0.095 or value == 0:  # two digits that count are then within the cents
        return f"${value:.2f}"
    return f"${_short(value)}"


def _digits(value: float) -> str:
    """Two or three digits that count."""
    if not isfinite(value):
        return str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:.1f}".removesuffix(".0")
    return _short(value)


def _short(value: float) -> str:
    """A number below 1 with the two digits that count, never as a power of ten."""
    return f"{float(f'{value:.2g}'):.10f}".rstrip("0").removesuffix(".") or "0"
