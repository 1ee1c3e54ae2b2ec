"""Calls by the value of a column: by sessions, users, models and whatever else tells them apart."""

from __future__ import annotations

from typing import Any

from tracewatch.access import Caller
from tracewatch.stores.base import Group, Store
from tracewatch.stores.measures import KEYS
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import PRICED, TOLD_APART, between, counting_calls, with_unpriced
from tracewatch.web.views.spending import spans_by

SUMS = (*PRICED, "error_calls", "timeout_calls", "input_tokens_sum", "output_tokens_sum")

Summed = dict[str, Any]
"""What the calls of one value come to: value, calls, failed, unpriced_calls, cost_usd, input_tokens, output_tokens.

Of a column that rollups do not tell apart also `first` and `last`, when these calls began (epoch s).
"""


def grouped(store: Store, caller: Caller, period: Period, name: str, limit: int) -> list[Summed]:
    """The groups of a period by a column, `limit` of them at most, those of the most money first."""
    if name not in KEYS:
        return [_summed(each) for each in spans_by(store, caller, name, period, limit=limit)]
    found = _rolled(store, caller, period, name)
    return sorted(found, key=lambda each: (-each["cost_usd"], -each["calls"], str(each["value"])))[:limit]


def _rolled(store: Store, caller: Caller, period: Period, name: str) -> list[Summed]:
    groups: dict[Any, dict[str, float]] = {}
    by = tuple(dict.fromkeys((name, *TOLD_APART)))
    rows = between(store, caller, period.since, period.until, by=by, measures=SUMS)
    for row in counting_calls(with_unpriced(rows)):
        sums = groups.setdefault(row[name], dict.fromkeys(SUMS, 0.0))
        for each in SUMS:
            sums[each] += row[each] or 0
    return [
        {
            "value": value,
            "calls": int(sums["calls"]),
            "failed": int(sums["error_calls"] + sums["timeout_calls"]),
            "unpriced_calls": int(sums["unpriced_calls"]),
            "cost_usd": float(sums["cost_usd_sum"]),
            "input_tokens": round(sums["input_tokens_sum"]),
            "output_tokens": round(sums["output_tokens_sum"]),
        }
        for value, sums in groups.items()
    ]


def _summed(group: Group) -> Summed:
    return {
        "value": group.value,
        "calls": group.calls,
        "failed": group.failed,
        "unpriced_calls": group.unpriced,
        "cost_usd": group.cost_usd or 0.0,
        "input_tokens": group.input_tokens,
        "output_tokens": group.output_tokens,
        "first": group.first,
        "last": group.last,
    }
