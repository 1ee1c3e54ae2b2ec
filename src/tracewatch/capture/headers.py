"""What the headers of an answer tell: its id, how long the provider took, and how much of the rate limit is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_REQUEST_ID = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "x-generation-id")

# From the provider's own word to that of the proxy before it; milliseconds. For a stream: until it began.
_PROCESSING_MS = ("openai-processing-ms", "x-envoy-upstream-service-time", "x-kong-upstream-latency")
_UPSTREAM_MS = "x-envoy-upstream-service-time"

_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
_LIMITS = {
    name: (kind, f"ratelimit_{end}_{kind.replace('-', '_')}")
    for kind in _KINDS
    for end in ("limit", "remaining")
    for name in (f"x-ratelimit-{end}-{kind}", f"anthropic-ratelimit-{kind}-{end}")
}
_LIMIT = "ratelimit_limit_"


_WANTED = {name.encode(): name for name in (*_REQUEST_ID, *_PROCESSING_MS, *_LIMITS)}


def read_headers(headers: Any) -> dict[str, str]:
    """What is of use among the headers of a response of httpx (either generation of it), by name in lower case."""
    raw: Iterable[tuple[bytes, bytes]] = headers.raw
    found = ((_WANTED.get(name.lower()), value) for name, value in raw)
    return {name: value.decode("latin-1") for name, value in found if name is not None}


def header_fields(headers: Mapping[str, str]) -> dict[str, Any]:
    """Entries for `metadata`: the request's id and the room that the rate limits leave.

    >>> found = header_fields({"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "250"})
    >>> sorted(found.items())
    [('ratelimit_headroom', 0.25), ('ratelimit_limit_tokens', 1000), ('ratelimit_remaining_tokens', 250)]
    """
    fields: dict[str, Any] = {}
    for name in _REQUEST_ID:
        if name in headers:
            fields["request_id"] = headers[name]
            break
    limits: dict[str, float] = {}
    left: dict[str, float] = {}
    for name, value in headers.items():
        known = _LIMITS.get(name)
        if known is not None and (found := _number(value)) is not None:
            kind, field = known
            fields[field] = int(found)
            (limits if field.startswith(_LIMIT) else left)[kind] = found
    shares = [left[kind] / limit for kind, limit in limits.items() if limit and kind in left]
    if shares:
        fields["ratelimit_headroom"] = round(min(shares), 4)
    return fields


def processing_ms(headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    """How long the provider worked (until a stream began), and how long the call lay before that within its walls.

    The second is what its outer proxy measured beyond its own word; None where only one of them speaks.
    """
    name = next((each for each in _PROCESSING_MS if each in headers), None)
    working = _number(headers[name]) if name else None
    if working is None:
        return None, None
    whole = _number(headers.get(_UPSTREAM_MS)) if name != _UPSTREAM_MS else None
    return working, max(whole - working, 0.0) if whole is not None else None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
