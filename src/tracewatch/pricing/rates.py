"""What tokens cost: USD per token of each kind, in bands of input size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

_TOKEN_KINDS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "output_reasoning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """USD per token of each kind (the kinds do not overlap), and USD per request."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    cache_write_1h: float
    reasoning: float
    request: float = 0.0


@dataclass(frozen=True, slots=True)
class Band:
    """Rates which hold for every token of a call with more input than `above` tokens (cached ones counted)."""

    above: float
    rates: Rates


def bands_of(price: ModelPrice) -> tuple[Band, ...]:
    """The price as rates per band of input size, the smallest first; nothing without a price per token."""
    per_token = {kind: getattr(price, f"{kind}_mtok") for kind in _TOKEN_KINDS}
    if per_token["input"] is None and per_token["output"] is None:
        return ()
    tiers = (tier.start for each in per_token.values() if each is not None for tier in getattr(each, "tiers", ()))
    request = _at(price.requests_kcount, 0.0, per=1_000)
    return tuple(
        Band(above, _rates({kind: _at(each, above + 1) for kind, each in per_token.items()}, request or 0.0))
        for above in (-1.0, *sorted({float(start) for start in tiers}))
    )


def _rates(usd: Mapping[str, float | None], request: float) -> Rates:
    """Rates from prices of which some are missing: a kind without a price costs what the kind it is part of costs."""
    fresh, output, write = usd["input"] or 0.0, usd["output"] or 0.0, usd["cache_write"]
    write = fresh if write is None else write
    read, hour, reasoning = usd["cache_read"], usd["cache_write_1h"], usd["output_reasoning"]
    return Rates(
        input=fresh,
        output=output,
        cache_read=fresh if read is None else read,
        cache_write=write,
        cache_write_1h=write if hour is None else hour,
        reasoning=output if reasoning is None else reasoning,
        request=request,
    )


def _at(price: Any, input_tokens: float, per: int = 1_000_000) -> float | None:
    """USD for one unit in a call with so many input tokens."""
    if price is None:
        return None
    for tier in reversed(getattr(price, "tiers", ())):
        if input_tokens > tier.start:
            return float(tier.price) / per
    return float(getattr(price, "base", price)) / per
