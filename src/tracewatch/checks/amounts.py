"""What each hour came to, in money or tokens, by the values of a column: read once, and the last hours again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tracewatch.records import Span
from tracewatch.stores.base import Filter, Store
from tracewatch.stores.measures import SLICES
from tracewatch.times import HOUR_S

AGAIN_S = 2 * HOUR_S  # rows come late, and are priced later
MOST_VALUES = 500  # of a column, those that spent the most
MEASURES = {"usd": ("cost_usd",), "tokens": ("input_tokens", "output_tokens")}
ALL = ""
"""The value that stands for everything where nothing is told apart."""

Hours = Mapping[float, float]


class Amounts:
    """The hours of one budget."""

    def __init__(self, store: Store, unit: str, by: str | None, where: Sequence[Filter]) -> None:
        """`unit` is `usd` or `tokens`; `by` the column whose values are told apart."""
        self.store, self.columns, self.by, self.where = store, MEASURES[unit], by, tuple(where)
        self._hours: dict[float, dict[str, float]] = {}
        self._read_until: float | None = None

    def hours(self, since: float, now: float) -> Mapping[str, Hours]:
        """By value what each hour since then came to."""
        first = since // HOUR_S * HOUR_S
        if self._read_until is not None and min(self._hours, default=first) <= first:
            first = max(first, (self._read_until - AGAIN_S) // HOUR_S * HOUR_S)
        for hour in [each for each in self._hours if each >= first or each < since - HOUR_S]:
            del self._hours[hour]
        self._hours |= self._read(first, now)
        self._hours.setdefault(since // HOUR_S * HOUR_S, {})  # so that the beginning is known to be read
        self._read_until = now
        return self._by_value()

    def _by_value(self) -> Mapping[str, Hours]:
        sums: dict[str, float] = defaultdict(float)
        found: dict[str, dict[float, float]] = defaultdict(dict)
        for hour, values in self._hours.items():
            for value, amount in values.items():
                sums[value] += amount
                found[value][hour] = amount
        most = sorted(sums, key=sums.__getitem__, reverse=True)[:MOST_VALUES]
        return {value: found[value] for value in most}

    def _read(self, since: float, now: float) -> dict[float, dict[str, float]]:
        asked = {each.name for each in self.where} | ({self.by} if self.by else set())
        if asked <= {"project", *SLICES}:
            return self._from_rollups(since, now)
        return self._from_spans(since, now)

    def _from_rollups(self, since: float, now: float) -> dict[float, dict[str, float]]:
        sums = [f"{name}_sum" for name in self.columns]
        by = (self.by,) if self.by else ()
        table = self.store.rollup(since, now, by=by, where=self.where, measures=sums)
        found: dict[float, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for row in table.to_pylist():
            value = row[self.by] if self.by else ALL
            if value is not None:
                found[float(row["bucket"])][value] += sum(row[name] or 0.0 for name in sums)
        return dict(found)

    def _from_spans(self, since: float, now: float) -> dict[float, dict[str, float]]:
        names = ("start_time", *self.columns, *((self.by,) if self.by else ()))
        where = [*self.where, Filter("start_time", ">=", (since,)), Filter("start_time", "<", (now,))]
        found: dict[float, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for batch in self.store.scan(Span, names, where):
            for row in batch.to_pylist():
                value = row[self.by] if self.by else ALL
                if value is not None:
                    hour = row["start_time"] // HOUR_S * HOUR_S
                    found[hour][str(value)] += sum(row[name] or 0.0 for name in self.columns)
        return dict(found)
