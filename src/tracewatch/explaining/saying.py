"""Words for slices, sums and shares, as explanations use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracewatch import words
from tracewatch.records import Span, column_of

NOUNS = {
    "operation_type": "operation",
    "model_name": "model",
    "model_provider": "provider",
    "usage_type": "usage type",
    "user_id": "user",
    "session_id": "session",
    "conversation_id": "conversation",
    "app_version": "version",
    "service_name": "service",
    "rag_retrieval_method": "retrieval method",
    "error_category": "error category",
    "error_type": "error type",
    "input_tokens": "prompt",
    "output_tokens": "answer",
    "context_tokens": "context",
    "rag_chunks_used": "number of chunks",
}

SIGNED = {
    "longer answers": ("longer answers", "shorter answers"),
    "slower speed": ("slower speed", "faster speed"),
    "retries": ("more retries", "fewer retries"),
    "calls": ("more calls", "fewer calls"),
    "tokens per call": ("more tokens per call", "fewer tokens per call"),
    "model mix": ("dearer models", "cheaper models"),
    "price": ("higher price", "lower price"),
}
"""Parts of bridges that are called otherwise where they add and where they give back."""

MORE_THAN_ALL = 1.05  # of a change: beyond it another part worked against it, and no share can be told
ABOUT_S = 600.0  # detection knows an onset to about two of its steps of five minutes


def noun(column: str) -> str:
    """What a column is called in a sentence."""
    if column in NOUNS:
        return NOUNS[column]
    known = column_of(Span).get(column)
    return known.label.lower() if known else column


def named(slice: Mapping[str, Any]) -> str:
    """A slice by its columns.

    >>> named({"operation_type": "chat", "user_id": "u1"}), named({})
    ('operation chat, user u1', 'all calls')
    """
    return ", ".join(_value(name, value) for name, value in slice.items()) or "all calls"


def calls_of(slice: Mapping[str, Any]) -> str:
    """The calls of a slice, as the subject of a sentence.

    >>> calls_of({"operation_type": "chat", "model_name": "gpt-4o"}), calls_of({"model_provider": "openai"})
    ('calls of chat on gpt-4o', 'calls to openai')
    >>> calls_of({}), calls_of({"operation_type": "chat", "user_id": "u1"})
    ('calls', 'calls of chat of user u1')
    """
    rest = {name: value for name, value in slice.items() if name not in ("operation_type", "model_name")}
    operation, model = slice.get("operation_type"), slice.get("model_name")
    parts = ["calls"]
    if operation or model:
        parts.append(f"of {words.who(operation, model)}" if operation else f"of {model}")
    provider = rest.pop("model_provider", None)
    if provider and not model:
        parts.append(f"to {provider}")
    if rest:
        parts.append("of " + " and ".join(_value(name, value) for name, value in rest.items()))
    return " ".join(parts)


def signed(value: float, unit: str | None) -> str:
    """A change with its sign.

    >>> signed(1900.0, "ms"), signed(-2.5, "USD")
    ('+1.9 s', '-$2.50')
    """
    return ("-" if value < 0 else "+") + words.amount(abs(value), unit)


def effect(value: float, unit: str) -> str:
    """What something cost or saved, compared with the usual.

    >>> effect(1900.0, "ms"), effect(-2.5, "USD")
    ('+1.9 s beyond the usual', '$2.50 less than usual')
    """
    return f"{signed(value, unit)} beyond the usual" if value >= 0 else f"{words.amount(-value, unit)} less than usual"


def share(value: float) -> str:
    """A share, never beyond all.

    >>> share(0.966), share(1.3)
    ('97 %', 'all')
    """
    return "all" if value >= 0.995 else f"{max(value, 0.0) * 100:.0f} %"


def held(value: float, what: str) -> str:
    """The share of something, as the end of a sentence; nothing where it is none, or more than all there is.

    >>> held(0.966, "the extra time"), held(1.3, "the extra time")
    (', 97 % of the extra time', '')
    """
    return f", {share(value)} of {what}" if 0 < value <= MORE_THAN_ALL else ""


def part(name: str, change: float) -> str:
    """What a part of a bridge is called that added so much, or gave it back.

    >>> part("longer answers", -2600.0), part("longer answers", 1.0), part("queue", -5.0)
    ('shorter answers', 'longer answers', 'queue')
    """
    more, less = SIGNED.get(name, (name, name))
    return less if change < 0 else more


def crept(direction: str, ratio: float | None, before: str | None) -> str:
    """How far a level has crept, and from where; a ratio of None tells nothing of it.

    >>> crept("up", 1.34, "$2.10"), crept("down", 0.8, None), crept("up", None, "2 %")
    ('crept up 34 % from $2.10', 'crept down 20 %', 'crept up from 2 %')
    """
    part = "" if ratio is None else f" {abs(ratio - 1) * 100:.0f} %"
    return f"crept {direction}{part}{f' from {before}' if before else ''}"


def near(late_s: float) -> str:
    """How far a change is from the onset, which is only known to some minutes.

    >>> near(-240.0), near(120.0), near(7200.0)
    ('4 min before it began', 'as it began', '2 h 0 min after it began')
    """
    if -ABOUT_S / 3 < late_s <= ABOUT_S:
        return "as it began"
    return f"{lasting(abs(late_s))} {'before' if late_s < 0 else 'after'} it began"


def lasting(seconds: float) -> str:
    """A length of time.

    >>> lasting(40), lasting(5400), lasting(200000)
    ('40 s', '1 h 30 min', '2 days 7 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h"


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"{noun(name)} {'on' if value else 'off'}"
    return f"{noun(name)} {value}"
