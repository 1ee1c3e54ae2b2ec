"""Pricing stored calls anew: what changes, what is written, and what money that moves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracewatch.pricing.batches import COLUMNS_READ, COLUMNS_WRITTEN, price_batch
from tracewatch.pricing.book import PriceBook
from tracewatch.records import Span, key_of

if TYPE_CHECKING:
    import pyarrow as pa

REPRICED_FROM = tuple(dict.fromkeys((*key_of(Span), *COLUMNS_READ)))
"""The columns of a span that are needed to price it anew and to find it again."""

REPORTED_KEY = "reported_cost_usd"
"""The entry of `metadata` in which a reported cost is kept when a price of ours replaces it."""

# Costs are sums of products of floats: what differs by less is the same price added up in another order.
_SAME = 1e-12


@dataclass(slots=True)
class Change:
    """What pricing anew did to one model's calls."""

    calls: int = 0
    changed: int = 0
    before_usd: float = 0.0
    after_usd: float = 0.0

    def as_row(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            "calls": self.calls,
            "changed": self.changed,
            "before_usd": self.before_usd,
            "after_usd": self.after_usd,
        }


@dataclass(frozen=True, slots=True)
class Repricing:
    """Prices calls anew and keeps count of what that changes, by the model's name."""

    book: PriceBook
    models: dict[str, Change] = field(default_factory=dict)

    def changes(self, batch: pa.RecordBatch) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The calls of the batch whose price changes: the key of each, and what is to be written to it.

        The batch has the columns REPRICED_FROM.
        """
        priced = price_batch(batch, self.book)
        changed = _differs(batch, priced)
        self._tally(batch, priced, changed)
        return _written(batch.filter(changed), priced.filter(changed))

    @property
    def whole(self) -> Change:
        """All models together."""
        each = self.models.values()
        return Change(
            calls=sum(one.calls for one in each),
            changed=sum(one.changed for one in each),
            before_usd=sum(one.before_usd for one in each),
            after_usd=sum(one.after_usd for one in each),
        )

    def _tally(self, before: pa.RecordBatch, after: pa.RecordBatch, changed: pa.Array) -> None:
        import pyarrow as pa

        columns = {
            "model": before["model_name"].fill_null(""),
            "changed": changed.cast(pa.int64()),
            "before": before["cost_usd"].fill_null(0.0),
            "after": after["cost_usd"].fill_null(0.0),
        }
        sums = [("changed", "count"), *((name, "sum") for name in ("changed", "before", "after"))]
        for row in pa.table(columns).group_by("model").aggregate(sums).to_pylist():
            change = self.models.setdefault(row["model"], Change())
            change.calls += row["changed_count"]
            change.changed += row["changed_sum"]
            change.before_usd += row["before_sum"]
            change.after_usd += row["after_sum"]


def _differs(before: pa.RecordBatch, after: pa.RecordBatch) -> pa.Array:
    """Where cost, status or warnings are not the same. The source alone does not count: the old one is still true."""
    import pyarrow.compute as pc

    old, new = before["cost_usd"], after["cost_usd"]
    apart = pc.greater(pc.abs(pc.subtract(old, new)), pc.multiply(_SAME, pc.max_element_wise(pc.abs(old), pc.abs(new))))
    differs = pc.or_(pc.fill_null(apart, False), pc.xor(pc.is_null(old), pc.is_null(new)))
    for name in ("cost_status", "warning_flags"):
        differs = pc.or_(differs, pc.not_equal(pc.fill_null(before[name], ""), pc.fill_null(after[name], "")))
    return differs


def _written(before: pa.RecordBatch, after: pa.RecordBatch) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The keys of these calls, and what is to be written to each."""
    import pyarrow.compute as pc

    keys = before.select(list(key_of(Span))).to_pylist()
    values = after.select(list(COLUMNS_WRITTEN)).to_pylist()
    old_flags, new_flags = (each["warning_flags"].to_pylist() for each in (before, after))
    for row, (old, new) in enumerate(zip(old_flags, new_flags, strict=True)):
        if new != old:
            values[row]["warning_flags"] = json.loads(new)
    reported, kept = (pc.fill_null(pc.equal(each["cost_status"], "reported"), False) for each in (before, after))
    replaced = pc.and_(pc.is_valid(before["cost_usd"]), pc.and_not(reported, kept))
    for row in pc.indices_nonzero(replaced).to_pylist():
        # What a caller told us once cannot be computed again, so it is not thrown away.
        metadata = json.loads(before["metadata"][row].as_py() or "{}")
        values[row]["metadata"] = {**metadata, REPORTED_KEY: before["cost_usd"][row].as_py()}
    return list(zip(keys, values, strict=True))
