"""Which attributes may say something else in every span without changing how it is read: ids, tokens, texts.

All others decide (what kind of work it was, which model answered), or say the same in many spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from tracewatch.otlp import own
from tracewatch.otlp.content import kind_of
from tracewatch.otlp.reading import FREE_OR_TAGS, PLACES, PREFIXED
from tracewatch.otlp.usage import TOKENS
from tracewatch.records import Span, column_of

_IDS = frozenset(("user_id", "session_id", "conversation_id", "message_id", "response_id"))

# What is asked for by its name somewhere in `otlp`, beside the attributes that have a place.
_ASKED = (
    *("http.", "rpc.", "db.", "exception.", "error.", "logfire.", "langfuse.", "mlflow.", "litellm.", "openlit."),
    *("retrieval.documents", "reranker.output_documents", "llm.invocation_parameters", "output.value"),
    *("response_data", "anthropic.", "tracewatch.", *PREFIXED),
)
_PRICED = ("service_tier", "1h_input_tokens", "cache_creation", "cache_hit", "processing", "speed")  # see pricing.notes


class Kind(Enum):
    """What a slot holds, and so what is asked of its values."""

    TEXT = auto()
    TOKENS = auto()
    SECONDS = auto()
    WHOLE = auto()
    REAL = auto()
    NOTHING = auto()
    """Text of people or models, which is not kept."""
    VARIOUS = auto()
    """An entry of metadata that differs from span to span."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """An attribute whose value is not part of a span's shape."""

    name: str
    kind: Kind
    column: str | None = None
    rank: int = 0
    """Among the attributes for its column: the lowest is taken."""


def _foreign() -> Iterator[Slot]:
    for name, place in PLACES.items():
        if place.column in _IDS and place.read is own.text_of:
            yield Slot(name, Kind.TEXT, place.column, place.rank)
        elif place.column in TOKENS and place.read is own.whole_of:
            yield Slot(name, Kind.TOKENS, place.column, place.rank)
        elif place.column == "ttft_ms" and place.rank >= 0 and place.read is not own.real_of:
            yield Slot(name, Kind.SECONDS, place.column, place.rank)


def _own() -> Iterator[Slot]:
    for name, column in own.COLUMN_OF.items():
        kind = column_of(Span)[column].kind
        if column in _IDS:
            yield Slot(name, Kind.TEXT, column)
        elif kind in ("integer", "real"):
            yield Slot(name, Kind.WHOLE if kind == "integer" else Kind.REAL, column)


FOREIGN: Mapping[bytes, Slot] = {each.name.encode(): each for each in _foreign()}
"""Slots in spans of other instrumentations, by the bytes of their names."""
OWN: Mapping[bytes, Slot] = {each.name.encode(): each for each in _own()}
"""Slots in spans of our own scope."""


def dropped(name: str) -> bool:
    """Whether nothing of an attribute of this name is ever looked at where content is not kept."""
    return name not in PLACES and not name.startswith(_ASKED) and kind_of(name) == "content"


def may_vary(name: str) -> bool:
    """Whether an attribute of this name goes into metadata as it is, and decides nothing."""
    if name in PLACES or name in FREE_OR_TAGS or name.startswith(_ASKED) or name.endswith(_PRICED):
        return False
    return kind_of(name) == "plain"
