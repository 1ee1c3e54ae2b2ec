"""Counts and sums per step of time: from the rollups, or for one user's rows from those rows themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.access import Caller
from tracewatch.overview import unpriced
from tracewatch.records import MESSAGES_SOURCE, STEPS, Span
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter, Store
from tracewatch.stores.measures import MEASURES
from tracewatch.stores.rollups import READ, roll

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
KEPT_S = 60.0  # hours that are over hardly change: what was read of them is used again for so long
MOST_KEPT = 64  # answers; each some 50 kB
SKETCHES = frozenset(each.name for each in MEASURES if each.kind == "sketch")

OTHERS, MESSAGES = Filter("source", "!=", (MESSAGES_SOURCE,)), Filter("source", "=", (MESSAGES_SOURCE,))

CALLS_ALONE = Filter("operation_type", "!=", STEPS)
"""Leaves out the steps around calls of a model."""

STEPS_ALONE = Filter("operation_type", "=", STEPS)

TOLD_APART = ("operation_type", "model_provider")
"""The columns that say of a row whether it is a call, and whether that costs something."""

PRICED = ("calls", "ok_calls", "fallback_calls", "unpriced_calls", "cost_usd_sum", "cost_usd_count")
"""The measures that say how many calls there are, what they cost, and of how many that is not known."""

Where = Sequence[Filter]
Made = TypeVar("Made")

_kept: dict[Any, tuple[float, Any]] = {}
_lock = Lock()


def rolled(
    store: Store,
    caller: Caller,
    since: float,
    until: float,
    *,
    step_s: int = HOUR_S,
    by: Sequence[str] = (),
    where: Where = (),
    measures: Sequence[str] = ("calls",),
) -> pa.Table:
    """The rollup of the rows that a caller may see: `bucket` (epoch s), the `by` columns and the measures.

    Rows of the messages source are left out where there are others: they are the old view of the same calls.
    """
    for wanted in (OTHERS, MESSAGES):
        if caller.user_id is None:
            own = [Filter("project", "=", (caller.project,)), wanted, *where]
            table = store.rollup(since, until, step_s=step_s, by=by, where=own, measures=measures)
        else:
            table = _of_user(store, [*caller.where, wanted, *where], (since, until), step_s, by, measures)
        if table.num_rows:
            break
    return table


def settled(
    store: Store,
    caller: Caller,
    since: float,
    until: float,
    now: float,
    *,
    by: Sequence[str] = (),
    where: Where = (),
    measures: Sequence[str] = ("calls",),
    step_s: int = HOUR_S,
) -> pa.Table:
    """Like `rolled`, for hours that are over: the answer of a minute ago will do."""
    key = (since, until, tuple(by), tuple(where), tuple(measures), step_s)
    return kept(
        store, caller, key, now,
        lambda: rolled(store, caller, since, until, step_s=step_s, by=by, where=where, measures=measures),
    )  # fmt: skip


def kept(store: Store, caller: Caller, key: tuple[Any, ...], now: float, make: Callable[[], Made]) -> Made:
    """What was made for the same question of the same caller within a minute, or is made now."""
    whole = (store.url, caller.project, caller.user_id, *key)
    with _lock:
        found = _kept.get(whole)
    if found is not None and 0 <= now - found[0] < KEPT_S:
        made: Made = found[1]
        return made
    made = make()
    with _lock:
        _kept[whole] = (now, made)
        while len(_kept) > MOST_KEPT:
            del _kept[next(iter(_kept))]
    return made


def forget() -> None:
    """Lets go of all that is kept: what is asked next is read."""
    with _lock:
        _kept.clear()


def between(
    store: Store, caller: Caller, since: float, until: float, *, by: Sequence[str] = (), where: Where = (),
    measures: Sequence[str] = ("calls",),
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows of exactly that time (whole minutes)."""
    return rows_of(exactly(store, caller, since, until, by=by, where=where, measures=measures, longest_s=DAY_S))


def exactly(
    store: Store, caller: Caller, since: float, until: float, *, by: Sequence[str] = (), where: Where = (),
    measures: Sequence[str] = ("calls",), longest_s: int = HOUR_S,
) -> pa.Table:  # fmt: skip
    """Like `rolled`, of exactly that time: steps of `longest_s` (an hour or a day), and shorter ones at both ends."""
    since, until = since // MINUTE_S * MINUTE_S, -(-until // MINUTE_S) * MINUTE_S
    steps_s = [each for each in (DAY_S, HOUR_S, MINUTE_S) if each <= longest_s]
    parts = list(_in_steps(since, until, steps_s)) or [(since, since, MINUTE_S)]
    return pa.concat_tables(
        rolled(store, caller, begin, end, step_s=step_s, by=by, where=where, measures=measures)
        for begin, end, step_s in parts
    )


def _in_steps(since: float, until: float, steps_s: Sequence[int]) -> Iterator[tuple[float, float, int]]:
    """A time as whole steps of the longest kind, and its ends in those that are shorter."""
    step_s, *shorter = steps_s
    first, last = -(-since // step_s) * step_s, until // step_s * step_s
    if first >= last:
        if shorter and since < until:
            yield from _in_steps(since, until, shorter)
        return
    if since < first:
        yield from _in_steps(since, first, shorter)
    yield first, last, step_s
    if last < until:
        yield from _in_steps(last, until, shorter)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def counting_calls(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows by `operation_type` in which only calls of a model are counted and timed: steps keep their money alone."""
    return [
        {name: None if row["operation_type"] in STEPS and _of_calls(name) else value for name, value in row.items()}
        for row in rows
    ]


def with_unpriced(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows by `operation_type` and `model_provider` in which all calls whose cost is not known count as unpriced."""
    return [{**row, "unpriced_calls": unpriced(row)} for row in rows]


def calls_of(slice: Mapping[str, Any], measures: Sequence[str]) -> tuple[Filter, ...]:
    """The condition for figures of calls: steps count where a slice names their operation, and nowhere else."""
    return () if "operation_type" in slice or not any(map(_of_calls, measures)) else (CALLS_ALONE,)


def of_money(measures: Sequence[str]) -> tuple[str, ...]:
    """Those of the measures that steps have as well as calls: money and tokens."""
    return tuple(name for name in measures if not _of_calls(name))


def _of_calls(measure: str) -> bool:
    return measure == "calls" or measure.endswith("_calls") or measure.startswith("duration_ms_")


def _of_user(
    store: Store, where: Where, time: tuple[float, float], step_s: int, by: Sequence[str], measures: Sequence[str]
) -> pa.Table:
    """A user's rows are few: they are read, and rolled up here."""
    begin, end = time[0] // step_s * step_s, -(-time[1] // step_s) * step_s
    within = [*where, Filter("start_time", ">=", (begin,)), Filter("start_time", "<", (end,))]
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for batch in store.scan(Span, READ, within):
        for row in roll(batch, MINUTE_S).to_pylist():
            key = (row["bucket"] // step_s * step_s, *(row[name] for name in by))
            _add(groups.setdefault(key, dict.fromkeys(measures)), row)
    names = ("bucket", *by)
    columns: dict[str, list[Any]] = {
        name: [key[place] for key in sorted(groups, key=str)] for place, name in enumerate(names)
    }
    columns |= {name: [groups[key][name] for key in sorted(groups, key=str)] for name in measures}
    kinds = {each.name: each.kind for each in MEASURES}
    types = {"integer": pa.int64(), "real": pa.float64(), "sketch": pa.binary()}
    schema = pa.schema([
        pa.field("bucket", pa.int64()),
        *(pa.field(name, pa.string()) for name in by),
        *(pa.field(name, types[kinds[name]]) for name in measures),
    ])  # fmt: skip
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)


def _add(group: dict[str, Any], row: Mapping[str, Any]) -> None:
    for name, before in group.items():
        if name in SKETCHES:
            group[name] = sketch.merge((before, row[name]))
        else:
            group[name] = (before or 0) + (row[name] or 0)


def summed(table: pa.Table, name: str) -> float:
    """The sum of a column; 0 where there are no rows."""
    return float(pc.sum(table[name]).as_py() or 0.0)
