"""What the metadata of a call says about its price: its tier, its cache, and who answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Where callers keep what decides the price: the answer's word stands before the request's.
_TIER_KEYS = (
    "service_tier",
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
)
_HOUR_KEYS = (
    "cache_creation_1h_input_tokens",
    "ephemeral_1h_input_tokens",
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
)
_NOTED = r'"(?:cache_hit|processing|speed|[\w.]*service_tier|[\w.]*1h_input_tokens)"'
_PAIRS = re.compile(_NOTED + r"\s*:\s*[^,}]*")

_KEYS = frozenset((*_TIER_KEYS, *_HOUR_KEYS, "cache_creation", "cache_hit", "processing", "speed"))

Noted = tuple[tuple[tuple[str, str], ...], bool, float]
NOTHING: Noted = (), False, 0.0


@dataclass(frozen=True, slots=True)
class Notes:
    """What the metadata of the rows says about their price."""

    kind: pa.Array  # per row an index into `kinds`
    kinds: tuple[tuple[tuple[tuple[str, str], ...], bool], ...]  # (context, answered by the client's cache)
    hour_tokens: pa.Array


def read_notes(metadata: pa.Array) -> Notes:
    """What each row's metadata (JSON text or null) says; texts that are no object say nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds: dict[Any, int] = {((), False): 0}
    rows = len(metadata)
    noted = pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(metadata, _NOTED), False))
    if not len(noted):
        return Notes(pa.repeat(0, rows), tuple(kinds), pa.repeat(0.0, rows))
    kind, hour_tokens = [0] * rows, [0.0] * rows
    read: dict[Any, tuple[int, float]] = {}
    for row, text in zip(noted.to_pylist(), metadata.take(noted).to_pylist(), strict=True):
        # In a flat object these pairs are all that counts, and few differ: to read each text takes 4 times as long.
        pairs = tuple(_PAIRS.findall(text)) if text.count("{") == 1 else text
        if pairs not in read:
            context, cached, tokens = _noted(text)
            read[pairs] = kinds.setdefault((context, cached), len(kinds)), tokens
        kind[row], hour_tokens[row] = read[pairs]
    return Notes(pa.array(kind, pa.int64()), tuple(kinds), pa.array(hour_tokens, pa.float64()))


def _noted(text: str) -> Noted:
    """What the metadata says, from its JSON text."""
    try:
        metadata = json.loads(text)
    except ValueError:
        return NOTHING
    return noted(metadata) if isinstance(metadata, dict) else NOTHING


def noted(metadata: Mapping[str, Any]) -> Noted:
    """The request's context, whether the client's cache answered, and the tokens cached for an hour."""
    if _KEYS.isdisjoint(metadata):
        return NOTHING
    nested = metadata.get("cache_creation")
    found = {**nested, **metadata} if isinstance(nested, dict) else metadata
    tier = next((found[key] for key in _TIER_KEYS if isinstance(found.get(key), str)), None)
    context = {"processing": found.get("processing"), "service_tier": tier, "speed": found.get("speed")}
    if tier == "batch":
        context |= {"processing": "batch", "service_tier": None}
    hour = next((found[key] for key in _HOUR_KEYS if isinstance(found.get(key), int | float)), 0.0)
    kept = tuple((key, value.lower()) for key, value in context.items() if isinstance(value, str))
    return kept, found.get("cache_hit") is True, max(float(hour), 0.0)
