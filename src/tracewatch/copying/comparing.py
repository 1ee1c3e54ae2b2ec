"""Some records of one store into another: only those that are not there as they are, and read back afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from tracewatch.copying.digests import Digest, Numbers, digest, numbers_of
from tracewatch.records import Record, Span, columns
from tracewatch.stores.base import Filter, Progress, Store
from tracewatch.stores.measures import KEYS
from tracewatch.stores.values import from_row
from tracewatch.times import DAY_S, HOUR_S

PUT_ROWS = 5_000  # records made and written at a time

_NONE: Numbers = np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What became of some records."""

    source: Digest = field(default_factory=Digest)
    target: Digest = field(default_factory=Digest)
    """Of the same records, read back."""
    copied: int = 0
    more: int = 0
    """How many others the target has."""

    def __add__(self, other: Compared) -> Compared:
        return Compared(
            source=self.source + other.source,
            target=self.target + other.target,
            copied=self.copied + other.copied,
            more=self.more + other.more,
        )


class Scanned(Protocol):
    """What is copied from: a store, or an archive of one."""

    def scan(
        self, record_type: type[Record], names: Sequence[str], where: Sequence[Filter] = ()
    ) -> Iterator[pa.RecordBatch]:
        """As `Store.scan`."""


def carried_over(
    source: Scanned,
    target: Store,
    record_type: type[Record],
    where: Sequence[Filter] = (),
    progress: Progress | None = None,
) -> Compared:
    """Copies the matching records that the target has not, or not as they are. `progress` counts those looked at."""
    there = _numbers(target, record_type, where) if target.exists(record_type, where) else _NONE
    looked_at: list[Numbers] = []
    given: deque[pa.RecordBatch] = deque()  # a store may ask for the next one before it has told of the last

    def lacking() -> Iterator[pa.RecordBatch]:
        for batch in _scan(source, record_type, where):
            numbers = numbers_of(batch)
            looked_at.append(numbers)
            rows = batch.filter(pa.array(~np.isin(numbers, there)))
            if rows.num_rows:
                given.append(rows)
                yield rows
            if progress is not None:
                progress(batch.num_rows)

    copied, changed = 0, []
    for added in target.load(record_type, lacking()):
        rows = given.popleft()
        copied += rows.num_rows
        if added < rows.num_rows:  # some are there, and not as they are here
            changed.append(rows)
    for rows in changed:
        _put(target, record_type, rows)
    return _proven(looked_at, _numbers(target, record_type, where) if copied else there, copied)


def into_hours(days: Iterable[tuple[float, float, pa.Table]], target: Store) -> Compared:
    """Copies the hourly figures of days, each between two moments."""
    compared = Compared()
    for since, until, hours in days:
        there = _hours(target, since, until)
        looked_at, found = _numbers_of(hours.to_batches()), _numbers_of(there.to_batches())
        missing = int(np.count_nonzero(~np.isin(looked_at, found)))
        if missing:
            target.keep_hours(_with_others(hours, there), since, until)
            found = _numbers_of(_hours(target, since, until).to_batches())
        compared += _proven([looked_at], found, missing)
    return compared


def end_of_hours(retained: float | None, target: Store) -> float | None:
    """Before when figures are copied without their calls: the source keeps these no more, and the target has none."""
    own = target.extent(Span)
    if own is None or retained is None:
        return retained
    # What retention has spared there is older than what it has all calls of.
    begin = max(own[0], target.retained() or own[0])
    return min(retained, begin // HOUR_S * HOUR_S)


def hours_alone(source: Store, end: float | None) -> Iterator[tuple[float, float, pa.Table]]:
    """The hourly figures of each day, or part of one, before a moment."""
    if end is None or end <= 0:
        return
    days = source.rollup(0.0, end, step_s=int(DAY_S), measures=("calls",))["bucket"].to_pylist()
    for day in days:
        if day < end:
            until = min(day + DAY_S, end)
            yield float(day), until, _hours(source, float(day), until)


def _hours(store: Store, since: float, until: float) -> pa.Table:
    return store.rollup(since, until, step_s=int(HOUR_S), by=KEYS)


def _with_others(hours: pa.Table, there: pa.Table) -> pa.Table:
    """The hours and, of what is there, those of other slices and projects, which stay."""
    places = set(_places(hours))
    others = pa.array([place not in places for place in _places(there)], pa.bool_())
    return pa.concat_tables([hours, there.filter(others).cast(hours.schema)])


def _places(hours: pa.Table) -> Iterator[tuple[object, ...]]:
    return zip(*(hours[name].to_pylist() for name in ("bucket", *KEYS)), strict=True)


def _proven(looked_at: Sequence[Numbers], found: Numbers, copied: int) -> Compared:
    wanted = np.concatenate((_NONE, *looked_at))
    same = np.isin(found, wanted)
    more = int(np.count_nonzero(~same))
    return Compared(source=digest(wanted), target=digest(found[same]), copied=copied, more=more)


def _scan(store: Scanned, record_type: type[Record], where: Sequence[Filter]) -> Iterator[pa.RecordBatch]:
    return store.scan(record_type, [each.name for each in columns(record_type)], where)


def _numbers(store: Scanned, record_type: type[Record], where: Sequence[Filter]) -> Numbers:
    return _numbers_of(_scan(store, record_type, where))


def _numbers_of(batches: Iterable[pa.RecordBatch]) -> Numbers:
    return np.concatenate((_NONE, *(numbers_of(each) for each in batches)))


def _put(store: Store, record_type: type[Record], rows: pa.RecordBatch) -> None:
    """Puts rows in place of those with the same keys."""
    for begin in range(0, rows.num_rows, PUT_ROWS):
        part = rows.slice(begin, PUT_ROWS)
        values = zip(*(each.to_pylist() for each in part.columns), strict=True)
        store.put([from_row(record_type, row) for row in values])
