"""Pricing stored calls anew: what changes, what is written, and what money that moves."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
class Money:
    """What some calls cost: the sum of what is known, and how many are not known."""

    usd: float = 0.0
    known: int = 0
    """Calls that have a cost."""
    unknown: int = 0
    """Calls that cost something nobody knows: not priced yet, or without a price."""

    @property
    def sum_usd(self) -> float | None:
        """The sum; None where not one cost is known, for that is not the same as 0."""
        return self.usd if self.known else None

    def add(self, other: Money) -> None:
        """Counts those calls in."""
        self.usd += other.usd
        self.known += other.known
        self.unknown += other.unknown


@dataclass(slots=True)
class Difference:
    """What pricing anew did to one model's calls."""

    calls: int = 0
    changed: int = 0
    before: Money = field(default_factory=Money)
    after: Money = field(default_factory=Money)

    def add(self, other: Difference) -> None:
        """Counts those calls in."""
        self.calls += other.calls
        self.changed += other.changed
        self.before.add(other.before)
        self.after.add(other.after)

    def as_row(self) -> dict[str, Any]:
        """For people and programs; an amount of which nothing is known is None."""
        return {
            "calls": self.calls,
            "changed": self.changed,
            "before_usd": self.before.sum_usd,
            "before_unknown_calls": self.before.unknown,
            "after_usd": self.after.sum_usd,
            "after_unknown_calls": self.after.unknown,
        }


@dataclass(frozen=True, slots=True)
class Repricing:
    """Prices calls anew and keeps count of what that changes, by the model's name."""

    book: PriceBook
    models: dict[str, Difference] = field(default_factory=dict)

    def changes(self, batch: pa.RecordBatch) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The calls of the batch whose price changes: the key of each, and what is to be written to it.

        The batch has the columns REPRICED_FROM.
        """
        priced = price_batch(batch, self.book)
        changed = _differs(batch, priced)
        self._tally(batch, priced, changed)
        return _written(batch.filter(changed), priced.filter(changed))

    @property
    def whole(self) -> Difference:
        """All models together."""
        whole = Difference()
        for each in self.models.values():
            whole.add(each)
        return whole

    def _tally(self, before: pa.RecordBatch, after: pa.RecordBatch, changed: pa.Array) -> None:
        import pyarrow as pa

        columns = {"model": before["model_name"].fill_null(""), "changed": changed.cast(pa.int64())}
        for side, batch in (("before", before), ("after", after)):
            columns[f"{side}_usd"] = batch["cost_usd"]
            columns[f"{side}_unknown"] = _unknown(batch).cast(pa.int64())
        sums: list[Any] = [([], "count_all"), *((name, "sum") for name in columns if name != "model")]
        sums += [(f"{side}_usd", "count") for side in ("before", "after")]
        for row in pa.table(columns).group_by("model").aggregate(sums).to_pylist():
            change = Difference(row["count_all"], row["changed_sum"], _money(row, "before"), _money(row, "after"))
            self.models.setdefault(row["model"], Difference()).add(change)


def _unknown(batch: pa.RecordBatch) -> pa.Array:
    """Where a cost is not known though there is one: it has not been looked up, or there is no price for it."""
    import pyarrow.compute as pc

    status = batch["cost_status"]
    looked_for = pc.or_(pc.is_null(status), pc.fill_null(pc.equal(status, "unpriced"), False))
    return pc.and_(pc.is_null(batch["cost_usd"]), looked_for)


def _money(row: Mapping[str, Any], side: str) -> Money:
    return Money(row[f"{side}_usd_sum"] or 0.0, row[f"{side}_usd_count"], row[f"{side}_unknown_sum"])


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
