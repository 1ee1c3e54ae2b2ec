"""How much of what was called has a price."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SURVEYED_FROM = (
    *("model_provider", "model_name", "cost_status", "cost_source"),
    *("input_tokens", "output_tokens", "cost_usd"),
)
"""The columns of a span that a survey reads; the first four tell its rows apart."""

NOT_KNOWN = (None, "unpriced")
"""Cost statuses of rows whose tokens cost money nobody knows: not priced yet, and without a price."""


def survey(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    """Calls, tokens and cost (USD) of each provider, model, cost status and source; those without a price first.

    The batches have the columns SURVEYED_FROM. Work that calls no model is left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = SURVEYED_FROM[:4]
    summed: list[pa.Table] = []
    for batch in batches:
        tokens = pc.add(pc.fill_null(batch["input_tokens"], 0), pc.fill_null(batch["output_tokens"], 0))
        columns = {**{name: batch[name] for name in keys}, "tokens": tokens, "cost_usd": batch["cost_usd"]}
        columns["calls"] = pa.repeat(1, batch.num_rows)
        summed.append(_sums(pa.table(columns), keys))
    rows = _sums(pa.concat_tables(summed), keys).to_pylist() if summed else []
    seen = [each for each in rows if each["model_name"] or each["cost_status"] != "unmetered"]
    return sorted(
        seen, key=lambda each: (each["cost_status"] not in NOT_KNOWN, -each["tokens"], each["model_name"] or "")
    )


def _sums(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    names = ["calls", "tokens", "cost_usd"]
    summed = table.group_by(list(keys)).aggregate([(name, "sum") for name in names])
    return summed.rename_columns([*keys, *names])


def coverage(seen: Sequence[Mapping[str, Any]]) -> float | None:
    """How many percent of the tokens have a cost; None without tokens."""
    tokens = sum(each["tokens"] for each in seen)
    priced = sum(each["tokens"] for each in seen if each["cost_status"] not in NOT_KNOWN)
    return percent_down(priced / tokens) if tokens else None


def percent_down(share: float) -> float:
    """A share in percent with one decimal, rounded down, so that it is 100 only when the share is 1.

    >>> percent_down(0.99999), percent_down(0.5), percent_down(1.0)
    (99.9, 50.0, 100.0)
    """
    # What products of floats lose (0.289 * 1000 may be 288.99…) is far below a token in a million million.
    return math.floor(share * 1000 + 1e-10) / 10
