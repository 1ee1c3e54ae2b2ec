"""The rows of a store as they are to be judged: each once, in order of their start, a bounded number at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import inf, isfinite

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracewatch.findings import Scope
from tracewatch.judge import NEEDS, Columns, chosen, coded
from tracewatch.live.state import Keys, Reading
from tracewatch.records import Span
from tracewatch.stores.base import Filter, Store
from tracewatch.times import HOUR_S

CHUNK_ROWS = 50_000  # some 60 MB as columns; a day or two of a busy product
LEARNED_FROM_S = 60 * 86_400.0  # what is older than a month before a silence is forgotten, so twice as much is plenty
LATE_S = 3600.0  # after its end; a row that comes later tells of the past, and would be a surge if it counted as now
FINE_S = 1.0  # an hour of more rows than a chunk takes is read in parts that end with a second
SKEW_S = 300.0  # by how much a client's clock may be ahead of ours

_READ = ("trace_id", "span_id", "end_time", "duration_ms")
"""Columns that are read besides those that are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows, in order of their start."""

    columns: Columns
    """As the engine takes them; empty when there are none."""
    rows: int
    until: float
    """Of what is being read, nothing that began before this moment is still to come."""

    @property
    def times(self) -> NDArray[np.float64]:
        """When each of them began."""
        return np.asarray(self.columns.get("start_time", ()), float)


def waiting(store: Store, project: str, reading: Reading, now: float) -> Counter[float]:
    """How many rows are to be read, by the hour in which they began, or the second where an hour has many.

    Those whose time has not come are left out. Begins a new round of reading unless one was broken off.
    """
    if reading.target is None:
        reading.target, reading.through = store.tip(), -inf
    began = _counted(store, _where(project, reading.through, inf), reading, now, HOUR_S)
    if reading.cursor is None and began:
        oldest = max(began) - LEARNED_FROM_S
        began = Counter({hour: rows for hour, rows in began.items() if hour >= oldest})
    for hour in [hour for hour, rows in began.items() if rows > CHUNK_ROWS]:
        del began[hour]
        where = _where(project, max(hour, reading.through), hour + HOUR_S)
        began += _counted(store, where, reading, now, FINE_S)
    return began


def arrivals(
    store: Store,
    project: str,
    reading: Reading,
    began: Counter[float],
    now: float,
    needs: Sequence[str] = NEEDS,
) -> Iterator[Chunk]:
    """The rows that are to be read. `reading` stands behind each chunk as soon as the next one is asked for."""
    names = tuple(dict.fromkeys((*needs, *_READ)))
    yield from _come_due(store, project, reading, now, names)
    for since, until in _stretches(began, now + SKEW_S):
        rows = _read(store, project, since, until, reading.cursor, names)
        chunk = _admitted(rows, reading, until)
        reading.through = until
        yield chunk
    reading.cursor, reading.target, reading.through = reading.target, None, -inf


def _where(project: str, since: float, until: float) -> list[Filter]:
    where = Scope(project=project, source="traces", since=since, until=until, now=until).rows()
    if isfinite(since):
        where.append(Filter("start_time", ">=", (since,)))
    if isfinite(until):
        where.append(Filter("start_time", "<", (until,)))
    return where


def _counted(store: Store, where: list[Filter], reading: Reading, now: float, step_s: float) -> Counter[float]:
    """How many rows of these began in each step; those whose time has not come are noted and left out."""
    began: Counter[float] = Counter()
    for batch in store.scan(Span, ["start_time"], where, after=reading.cursor):
        times = batch["start_time"].to_numpy()
        _set_aside(reading, times[times >= now + SKEW_S], now)
        found, counts = np.unique(times[times < now + SKEW_S] // step_s * step_s, return_counts=True)
        began.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    return began


def _set_aside(reading: Reading, times: NDArray[np.float64], now: float) -> None:
    """Notes that there are rows whose time has not come."""
    if len(times):
        reading.ahead_from = min(reading.ahead_from, now + SKEW_S)
        reading.ahead_until = max(reading.ahead_until, float(times.max()))


def _come_due(store: Store, project: str, reading: Reading, now: float, names: Sequence[str]) -> Iterator[Chunk]:
    """Rows that were set aside, and whose time has come."""
    latest = now + SKEW_S
    if not reading.ahead_from < latest:
        return
    rows = _read(store, project, reading.ahead_from, latest, None, names)
    reading.ahead_from = latest if reading.ahead_until >= latest else inf
    yield _admitted(rows, reading, -inf)


def _stretches(began: Counter[float], latest: float) -> Iterator[tuple[float, float]]:
    """Times from one moment to another that hold up to CHUNK_ROWS rows, or one step; together they hold all."""
    since, held = min(began, default=latest), 0
    for step in sorted(began):
        if held and held + began[step] > CHUNK_ROWS:
            yield since, step
            since, held = step, 0
        held += began[step]
    if held:
        yield since, latest


def _read(
    store: Store, project: str, since: float, until: float, after: str | None, names: Sequence[str]
) -> pa.Table | None:
    """Rows that began in a time, in order of their start; of the same moment, in order of their keys."""
    batches = [chosen(each, names) for each in store.scan(Span, names, _where(project, since, until), after=after)]
    if not batches:
        return None
    table = pa.Table.from_batches(batches)
    return table.sort_by([(name, "ascending") for name in ("start_time", "trace_id", "span_id")])


def _admitted(rows: pa.Table | None, reading: Reading, until: float) -> Chunk:
    """The rows that are neither repeated nor too late."""
    if rows is None:
        return Chunk(columns={}, rows=0, until=until)
    starts, ended = rows["start_time"].to_numpy(), _ends(rows)
    new = _new(rows, ended, reading.keys)
    late = new & (starts < reading.judged) & (ended < reading.judged - LATE_S)
    admitted = new & ~late
    reading.late += int(late.sum())
    reading.rows += int(admitted.sum())
    if admitted.any():
        reading.newest = max(reading.newest, float(starts[admitted].max()))
    return Chunk(columns=coded(rows.filter(pa.array(admitted))), rows=len(rows), until=until)


def _ends(rows: pa.Table) -> NDArray[np.float64]:
    """When each call ended, as far as it says so: only then can its row have come."""
    starts, ends = rows["start_time"].to_numpy(), rows["end_time"].to_numpy()
    lasted = np.nan_to_num(rows["duration_ms"].to_numpy(), nan=0.0).clip(0.0) / 1000
    ended: NDArray[np.float64] = np.fmax(np.where(np.isnan(ends), starts + lasted, ends), starts)
    return ended


def _new(rows: pa.Table, ended: NDArray[np.float64], keys: Keys) -> NDArray[np.bool_]:
    """Which rows have not been handed over before; they are remembered."""
    names = zip(rows["trace_id"].to_pylist(), rows["span_id"].to_pylist(), strict=True)
    digests = b"".join(blake2b(f"{trace}\x1f{span}".encode(), digest_size=8).digest() for trace, span in names)
    return keys.new(np.frombuffer(digests, "<i8"), ended)
