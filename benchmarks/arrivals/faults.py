"""What goes wrong, by kind: where it strikes, for how long and how hard."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .calls import ROOT, Table
from .knobs import Mask
from .products import Product
from .streams import Floats

LEVELS = ("easy", "medium", "hard")


LATENCY = ("ttft_ms", "inference_time_ms", "duration_ms", "tokens_per_second")


@dataclass(slots=True, kw_only=True)
class Fault:
    """One incident of a case. `since` and `until` are seconds from the start."""

    id: str
    kind: str
    level: int
    since: float
    until: float
    model: int = -1
    site: int = -1
    step: int = -1
    tenant: int = -1
    boost: float = 1.0  # how much harder than planned, so that it can be told from nothing
    slice: dict[str, str] = field(default_factory=dict)
    effects: dict[str, tuple[float, float]] = field(default_factory=dict)
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A sort of fault. Of `hours` and `strength` the first is easy, the last hard."""

    place: (
        str  # what it strikes: model, local, site, cached, talking, search, embed, grounded, tool, tenant, cron, agent
    )
    hours: tuple[float, float, float]
    strength: tuple[float, float, float]
    roots: tuple[str, ...]
    down: tuple[str, ...] = ()  # of the roots those that fall; the others rise
    category: str | None = None
    release: bool = False  # it came with a version
    parents: bool = True  # the spans around are affected too
    regional: bool = False  # one of two regions alone is struck


KINDS = {
    "region_slow": Kind(place="model", hours=(3, 6, 10), strength=(2.6, 1.8, 1.4), roots=LATENCY, regional=True,
                        down=("tokens_per_second",)),
    "throttled": Kind(place="model", hours=(2, 4, 8), strength=(0.25, 0.5, 0.75),
                      roots=("error_rate", "retry_rate", "fallback_rate"), category="rate_limit"),
    "partial_outage": Kind(place="model", hours=(1.5, 3, 7), strength=(0.9, 0.45, 0.2),
                           roots=("error_rate", "retry_rate", "fallback_rate"), category="server_error"),
    "error_ramp": Kind(place="model", hours=(20, 28, 36), strength=(0.4, 0.22, 0.12),
                       roots=("error_rate", "retry_rate", "fallback_rate"), category="server_error"),
    "slow_ramp": Kind(place="model", hours=(24, 34, 42), strength=(2.6, 1.9, 1.45),
                      roots=("tokens_per_second", "inference_time_ms", "duration_ms"), down=("tokens_per_second",)),
    "snapshot_swap": Kind(place="model", hours=(10, 18, 26), strength=(1.8, 1.45, 1.22),
                          roots=("output_tokens", "tokens_per_second", "inference_time_ms", "duration_ms"),
                          down=("tokens_per_second",)),
    "tokenizer_change": Kind(place="model", hours=(12, 20, 30), strength=(1.6, 1.35, 1.18),
                             roots=("input_tokens", "output_tokens", "total_tokens", "context_tokens", "cost_usd")),
    "price_change": Kind(place="model", hours=(8, 16, 24), strength=(1.8, 1.35, 1.12), roots=("cost_usd",),
                         parents=False),
    "refusals": Kind(place="model", hours=(8, 14, 22), strength=(0.6, 0.35, 0.2), roots=("output_tokens",),
                     down=("output_tokens",), parents=False),
    "replica_gone": Kind(place="local", hours=(3, 6, 10), strength=(0.3, 0.45, 0.6),
                         roots=("queue_time_ms", "duration_ms")),
    "scaled_to_zero": Kind(place="local", hours=(8, 12, 18), strength=(30, 75, 150),
                           roots=("queue_time_ms", "duration_ms")),
    "cache_killed": Kind(place="cached", hours=(8, 14, 24), strength=(1.0, 0.75, 0.45), release=True,
                         roots=("cache_hit_rate", "cache_read_input_tokens"),
                         down=("cache_hit_rate", "cache_read_input_tokens"), parents=False),
    "context_leak": Kind(place="site", hours=(22, 32, 42), strength=(2.5, 1.4, 0.7), release=True, parents=False,
                         roots=("input_tokens", "context_tokens", "total_tokens")),
    "unreadable_answers": Kind(place="site", hours=(3, 7, 12), strength=(0.5, 0.28, 0.12), category="invalid_output",
                               roots=("error_rate", "retry_rate")),
    "streaming_off": Kind(place="talking", hours=(4, 8, 16), strength=(1.0, 0.6, 0.35), roots=("ttft_ms",),
                          release=True, parents=False),
    "timeout_lowered": Kind(place="site", hours=(3, 6, 10), strength=(0.5, 0.72, 0.86), release=True,
                            roots=("timeout_rate", "error_rate", "retry_rate"), category="timeout"),
    "answers_cut": Kind(place="site", hours=(8, 14, 24), strength=(0.25, 0.45, 0.6), roots=("output_tokens",),
                        down=("output_tokens",), parents=False),
    "wrong_routing": Kind(place="site", hours=(6, 12, 20), strength=(0.9, 0.55, 0.3), roots=("cost_usd", "call_count"),
                          parents=False),
    "site_silent": Kind(place="site", hours=(2, 4, 8), strength=(1.0, 0.85, 0.6), roots=("call_count",),
                        down=("call_count",)),
    "retry_storm": Kind(place="site", hours=(0.75, 1.5, 2.5), strength=(8, 4, 2), category="overloaded",
                        roots=("error_rate", "call_count", "retry_rate")),
    "looping_agents": Kind(place="agent", hours=(6, 10, 16), strength=(2.5, 1.3, 0.8), release=True,
                           roots=("call_count", "total_tokens", "cost_usd")),
    "empty_index": Kind(place="grounded", hours=(4, 10, 18), strength=(1.0, 0.6, 0.3), parents=False,
                        roots=("rag_chunks_used", "groundedness_score"),
                        down=("rag_chunks_used", "groundedness_score")),
    "language_worse": Kind(place="grounded", hours=(12, 20, 30), strength=(1.6, 1.0, 0.6), parents=False,
                           roots=("rag_relevance_score", "groundedness_score"),
                           down=("rag_relevance_score", "groundedness_score")),
    "dimension_mismatch": Kind(place="embed", hours=(2, 5, 9), strength=(0.95, 0.5, 0.2), category="invalid_request",
                               roots=("error_rate",)),
    "slow_search": Kind(place="search", hours=(3, 7, 12), strength=(6, 3, 1.8), roots=("retrieval_latency_ms",)),
    "tool_broken": Kind(place="tool", hours=(2, 5, 9), strength=(0.7, 0.35, 0.15), roots=("error_rate",),
                        category="tool_error"),
    "tenant_loop": Kind(place="tenant", hours=(1.5, 3, 5), strength=(4, 2, 1),
                        roots=("call_count", "total_tokens", "cost_usd")),
    "cron_stuck": Kind(place="cron", hours=(0, 0, 0), strength=(1.0, 1.0, 0.75), roots=("call_count",),
                       down=("call_count",)),
    "cron_doubled": Kind(place="cron", hours=(0, 0, 0), strength=(1.0, 1.0, 1.0), roots=("call_count",)),
    "lossy_network": Kind(place="region", hours=(2, 5, 9), strength=(6, 3, 1.9), roots=("network_time_ms",),
                          parents=False, regional=True),
}  # fmt: skip


WHOLE = ("site_silent", "retry_storm", "tenant_loop", "cron_stuck", "cron_doubled")  # every step of their traces


def placed(product: Product, table: Table, fault: Fault) -> Mask:
    """The steps that a fault strikes while it lasts."""
    mask = (table["t"] >= fault.since) & (table["t"] < fault.until) & (table["step"] != ROOT)
    if fault.model >= 0:
        mask &= table["model"] == fault.model
    if fault.site >= 0:
        mask &= table["site"] == fault.site
    if fault.step >= 0 and fault.kind not in WHOLE:
        mask &= table["step"] == fault.step
    if fault.kind == "lossy_network":
        mask &= ~np.array([*(model.local for model in product.models), True])[table["model"]]
    if KINDS[fault.kind].regional:  # the region that most of these calls come from
        far = table["tenant"] % 2 == 1
        mask &= far == (2 * (mask & far).sum() > mask.sum())
    if fault.kind == "language_worse":
        mask &= speakers(product, fault)[table["tenant"]]
    if fault.tenant >= 0:
        mask &= table["tenant"] == fault.tenant
    return mask


def speakers(product: Product, fault: Fault) -> Mask:
    """Customers of the country that speaks the language which got worse: that of the fault's number."""
    countries = sorted({tenant.country for tenant in product.tenants})
    country = countries[int(fault.id[1:]) % len(countries)]
    return np.array([*(tenant.country == country for tenant in product.tenants), *(False for _ in product.sites)])


def strength_of(fault: Fault) -> float:
    return KINDS[fault.kind].strength[fault.level]


def share(fault: Fault) -> float:
    """A strength that is a share, with its boost."""
    return float(min(1.0, strength_of(fault) * fault.boost))


def factor(fault: Fault) -> float:
    """A strength that is a factor above one, with its boost."""
    return float(strength_of(fault) ** fault.boost)


def ramp(fault: Fault, t: Floats) -> Floats:
    """From nothing at the beginning to all of it at three quarters of the time."""
    return np.clip((t - fault.since) / (0.75 * (fault.until - fault.since)), 0, 1)


def dearest(product: Product, fault: Fault) -> int:
    """The model that costs most, of those the site does not use."""
    used = product.sites[fault.site].steps[fault.step].models
    prices = [model.price[1] if i not in used else -1.0 for i, model in enumerate(product.models)]
    return int(np.argmax(prices))
