"""What a check is: one thing that was looked at, what it came to, and whether that is bad news."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracewatch.records import CHECKED

SELF, RULES = CHECKED
"""Who checks, as `Anomaly.detector` and `Incident.detector` have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. Times are UTC epoch seconds."""

    detector: str
    metric: str
    """Its key in METRICS."""
    bad: bool | None
    """Whether it is beyond its limit; None where too little is known to say: then all stays as it is."""
    observed: float = 0.0
    limit: float = 0.0
    """Beyond which it is bad."""
    expected: float | None = None
    """What is usual, where that is known; a limit that somebody set says nothing of it."""
    direction: str = "up"
    severity: str = "medium"
    confidence: float = 1.0
    kind: str = "rate"
    title: str = ""
    """What is wrong, in one sentence."""
    since: float = 0.0
    """When that began, as far as can be told."""
    rule: str = ""
    """The rule that asked for it; empty when none did."""
    slice: Mapping[str, Any] = field(default_factory=dict)
    factors: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()
    calls: int | None = None
    cost_effect_usd: float | None = None

    @property
    def identity(self) -> str:
        """What stays the same as long as it is about the same thing."""
        return identity_of(self.metric, self.rule, self.slice)


def identity_of(metric: str, rule: str | None, slice: Mapping[str, Any] | None) -> str:
    """What tells checks of one detector from one another.

    >>> identity_of("orphan_rate", None, {"service_name": "shop"})
    '["orphan_rate", "", {"service_name": "shop"}]'
    """
    return json.dumps([metric, rule or "", dict(slice or {})], sort_keys=True, ensure_ascii=False)
