"""Rollups in SQLite: kept up with the spans exactly once, recomputed where spans were replaced, merged on reading.

Every change is one transaction together with the sequence number up to which spans have been rolled up, so it does
not matter who calls, how many call at once, or where one of them is killed. See docs/decisions/0003-rollups.md.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.records import Span
from tracewatch.stores import closed, sketch
from tracewatch.stores.base import Filter, SpanKey
from tracewatch.stores.columns import arrow_schema, from_rows
from tracewatch.stores.measures import KEYS, MEASURES, Measure
from tracewatch.stores.queries import Condition, condition
from tracewatch.stores.rollups import MINUTE_S, MINUTES_KEPT_S, READ, asked_buckets, measure_schema, roll
from tracewatch.stores.sqlite_days import Asked, KnownDays, Row
from tracewatch.stores.sqlite_hours import rolled
from tracewatch.stores.sqlite_plans import all_projects, ends_of
from tracewatch.stores.sqlite_reopening import settle_arrivals
from tracewatch.stores.sqlite_schema import (
    BY_TIME,
    CLOSED_HOURS,
    DIRTY,
    HOURS,
    META,
    MINUTES,
    SEGMENTS,
    SLICE_TABLE,
    TOO_OLD,
    rollup_sql,
)
from tracewatch.stores.sqlite_segments import have_moved, held, put_away
from tracewatch.stores.sqlite_value_days import Summed, add_values, forget_values, mark_stale, put_values
from tracewatch.stores.values import MOMENTS
from tracewatch.times import HOUR_S

DELETE_ROWS = 10_000  # spans deleted in one transaction: half a second in which other writers wait
CHUNK_ROWS = 5_000  # spans that are read, measured and added in one transaction: 70 ms in which other writers wait

_SPARED = "spared"
_SCHEMA = arrow_schema(Span, READ)
_NAMES = ", ".join(READ)
_MEASURE_NAMES = tuple(each.name for each in MEASURES)


def teach(connection: sqlite3.Connection) -> None:
    """Gives the connection the functions that merge sketches."""
    connection.create_function("sketches_merged", 2, lambda one, other: sketch.merge((one, other)), deterministic=True)
    connection.create_function("sketch_largest", 1, _largest, deterministic=True)
    # typeshed wants a narrower protocol than sqlite3 does
    connection.create_aggregate("sketch_total", 1, _Total)  # type: ignore[arg-type]


def pending(connection: sqlite3.Connection) -> int:
    """How many spans the rollups lack, or must be made from again."""
    new = _number(connection, f"SELECT count(*) FROM {Span.table} WHERE seq > ?", (rolled(connection),))
    hour = f"start_time >= hour AND start_time < hour + {HOUR_S} AND {Span.table}.project = {DIRTY}.project"
    again = f"SELECT count(*) FROM {DIRTY} CROSS JOIN {Span.table} INDEXED BY {BY_TIME.name} ON {hour}"
    of_closed = f"SELECT coalesce(sum(spans), 0) FROM {DIRTY} CROSS JOIN {CLOSED_HOURS} USING (project, hour)"
    old = _number(connection, f"{again} WHERE seq <= ?", (rolled(connection),))
    return new + old + _number(connection, of_closed, ())


def add_rolled(connection: sqlite3.Connection, spans: pa.RecordBatch, upto: int, now: float) -> None:
    """Adds spans to the rollups and notes that all up to that sequence number are in them."""
    keep_minutes_from(connection, now)
    _add(connection, spans)
    _have_rolled(connection, upto)


def add_measured(connection: sqlite3.Connection, hours: pa.Table, minutes: pa.Table, values: Summed, upto: int) -> None:
    """Like `add_rolled`, for spans measured before: `roll` by the hour and by the minute, `sum_values` by the day."""
    _merge(connection, HOURS, hours)
    recent = minutes.filter(pc.greater_equal(minutes["bucket"], int(_meta(connection, "minutes_from"))))
    if recent.num_rows:
        _merge(connection, MINUTES, recent)
    if recent.num_rows < minutes.num_rows:
        change_past(connection)
    put_values(connection, values)
    _set_meta(connection, "rolled", upto)


def roll_next(connection: sqlite3.Connection, now: float) -> int | None:
    """Rolls up the next spans. Returns how many, 0 where all of them were there already; None when none is left."""
    keep_minutes_from(connection, now)
    after = rolled(connection)
    upto = last_of_next(connection, after, CHUNK_ROWS)
    if upto == after:
        return None
    settle_arrivals(connection, after, upto)
    spans = spans_between(connection, after, upto)
    if spans.num_rows:
        _add(connection, spans)
    _have_rolled(connection, upto)
    return int(spans.num_rows)


def last_of_next(connection: sqlite3.Connection, after: int, most: int) -> int:
    """The number of the last of the next spans behind a number, `most` of them; that number where there are none."""
    behind = f"SELECT seq FROM {Span.table} WHERE seq > ? ORDER BY seq LIMIT ?"
    (last,) = connection.execute(f"SELECT max(seq) FROM ({behind})", (after, most)).fetchone()
    return after if last is None else int(last)


def spans_between(connection: sqlite3.Connection, after: int, upto: int) -> pa.RecordBatch:
    """The columns READ of the spans behind a sequence number, up to another.

    Never more than were settled: a limit on rows would reach further where some of them turned out to be there already.
    """
    sql = f"SELECT {_NAMES} FROM {Span.table} WHERE seq > ? AND seq <= ? ORDER BY seq"
    rows = connection.execute(sql, (after, upto)).fetchall()
    return from_rows(_SCHEMA, rows) if rows else pa.RecordBatch.from_pylist([], schema=_SCHEMA)


def redo_next(connection: sqlite3.Connection) -> int | None:
    """Makes one hour in which spans were replaced again from its spans. Returns how many; None when none is left."""
    dirty = connection.execute(f"SELECT project, hour FROM {DIRTY} LIMIT 1").fetchone()
    if dirty is None:
        return None
    project, hour = dirty
    slices = f"slice IN (SELECT id FROM {SLICE_TABLE} WHERE project = ?)"
    for table in (HOURS, MINUTES):
        within = f"bucket >= ? AND bucket < ? AND {slices}"
        connection.execute(f"DELETE FROM {table} WHERE {within}", (hour, hour + HOUR_S, project))
    connection.execute(f"DELETE FROM {DIRTY} WHERE project = ? AND hour = ?", (project, hour))
    change_past(connection)
    mark_stale(connection, project, hour)
    done = 0
    for spans in rolled_spans(connection, of_hour(project, hour)):
        _add(connection, spans)
        done += spans.num_rows
    return done


def keep_minutes_from(connection: sqlite3.Connection, now: float) -> None:
    """Forgets the minutes that have become too old; older ones are made from the spans.

    Those of the two days up to the newest span stay, once `recover_minutes` has made them, however old it becomes.
    """
    kept_from = int(_meta(connection, "minutes_from"))
    begin = _first_minute(now)
    if begin <= kept_from:
        return
    newest = _newest(connection) if kept_from > 0 else None
    if newest is not None:
        begin = min(begin, _first_minute(newest))
    if begin > kept_from:
        slices = f"slice IN (SELECT id FROM {SLICE_TABLE})"
        connection.execute(f"DELETE FROM {MINUTES} WHERE {slices} AND bucket < ?", (begin,))
        _set_meta(connection, "minutes_from", begin)


def lacks_minutes(connection: sqlite3.Connection) -> bool:
    """Whether minutes of the two days up to the newest span are not kept.

    So it is after an import of last year's calls: screens show the time up to the newest call, and would make its
    minutes from the spans each time.
    """
    newest = _newest(connection)
    return newest is not None and _first_minute(newest) < _meta(connection, "minutes_from")


def recover_minutes(connection: sqlite3.Connection) -> None:
    """Makes the minutes of one more hour of the two days up to the newest span, if any is lacking."""
    newest, kept_from = _newest(connection), int(_meta(connection, "minutes_from"))
    if newest is None or _first_minute(newest) >= kept_from:
        return
    hour = min(kept_from, int(newest // HOUR_S * HOUR_S) + HOUR_S) - HOUR_S
    for project in all_projects(connection):
        for spans in rolled_spans(connection, of_hour(project, hour)):
            _merge(connection, MINUTES, roll(spans, MINUTE_S))
    _set_meta(connection, "minutes_from", hour)
    change_past(connection)  # hours from here on are no past any more, and may change without a word


def change_past(connection: sqlite3.Connection) -> None:
    """Notes that hours from before the minutes that are kept are not what they were (see sqlite_days.py)."""
    connection.execute(
        f"INSERT INTO {META} (name, value) VALUES ('past', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
    )


def _first_minute(newest: float) -> int:
    return int((newest - MINUTES_KEPT_S) // HOUR_S * HOUR_S)


def _newest(connection: sqlite3.Connection) -> float | None:
    """When the newest span of all projects began."""
    ends = [ends_of(connection, project) for project in all_projects(connection)]
    return max((each[1] for each in ends if each), default=None)


def forget_spans_before(connection: sqlite3.Connection, hour: float) -> None:
    """From now on no span from before that hour is taken in: its hours could not be made again from the spans."""
    if hour <= _meta(connection, "retained"):
        return
    while redo_next(connection) is not None:  # what was marked since the last roll_up
        pass
    _set_meta(connection, "retained", hour)
    forget_values(connection, hour)
    for sql in TOO_OLD:
        connection.execute(sql)


def retained(connection: sqlite3.Connection) -> float | None:
    """The hour before which spans were deleted; None when all were kept."""
    hour = _meta(connection, "retained")
    return None if hour <= MOMENTS[0] else hour


def keep_hours(connection: sqlite3.Connection, hours: pa.Table, since: float, until: float) -> None:
    """Puts these rollups in place of those from one hour to another, of which no spans are to come."""
    forget_spans_before(connection, until)
    slices = f"slice IN (SELECT id FROM {SLICE_TABLE})"
    connection.execute(f"DELETE FROM {HOURS} WHERE {slices} AND bucket >= ? AND bucket < ?", (since, until))
    _merge(connection, HOURS, hours)
    change_past(connection)


def forget_closed_before(connection: sqlite3.Connection, hour: float, now: float) -> int:
    """Has the closed spans from before that hour count no more. Returns how many there were."""
    gone = 0
    for segment in held(connection):
        begun = closed.first_row_from(segment, hour)
        if begun == segment.begun:
            continue
        stays = sum(row >= begun for row in segment.reopened)
        gone += begun - segment.begun - (len(segment.reopened) - stays)
        connection.execute(f"UPDATE {SEGMENTS} SET begun = ? WHERE id = ?", (begun, segment.id))
        connection.execute(f"DELETE FROM {CLOSED_HOURS} WHERE segment = ? AND hour < ?", (segment.id, hour))
        if begun == segment.rows:
            put_away(connection, segment.id, now)
    if gone:
        have_moved(connection)
    return gone


def spare(connection: sqlite3.Connection, keys: Iterable[SpanKey]) -> None:
    """Keeps those spans of the table from being deleted by `delete_spans_before` on this connection."""
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {_SPARED} (seq INTEGER PRIMARY KEY)")
    connection.execute(f"DELETE FROM temp.{_SPARED}")
    of_key = f"SELECT seq FROM {Span.table} WHERE project = ? AND trace_id = ? AND span_id = ?"
    connection.executemany(f"INSERT OR IGNORE INTO temp.{_SPARED} {of_key}", keys)


def delete_spans_before(connection: sqlite3.Connection, hour: float) -> int:
    """Deletes the next spans before that hour which are in the rollups, but for those to `spare`. Returns how many."""
    old = (
        f"SELECT seq FROM {Span.table} WHERE project = ? AND start_time < ? AND seq <= ? "
        f"AND seq NOT IN (SELECT seq FROM temp.{_SPARED}) LIMIT {DELETE_ROWS}"
    )
    gone = 0
    for project in all_projects(connection):
        values = (project, hour, rolled(connection))
        gone = connection.execute(f"DELETE FROM {Span.table} WHERE seq IN ({old})", values).rowcount
        if gone:
            break
    return gone


def of_hour(project: str, hour: float) -> tuple[Filter, ...]:
    """The spans of a project that began in an hour."""
    since, until = Filter("start_time", ">=", (hour,)), Filter("start_time", "<", (hour + HOUR_S,))
    return Filter("project", "=", (project,)), since, until


def rolled_spans(connection: sqlite3.Connection, where: Sequence[Filter]) -> Iterator[pa.RecordBatch]:
    """The columns READ of those spans, as far as they are in the rollups; closed ones always are."""
    yield from closed.scan(held(connection), _SCHEMA, where)
    here = condition(Span, where).and_(Condition("seq <= ?", (rolled(connection),)))
    cursor = connection.execute(
        f"SELECT {_NAMES} FROM {Span.table} INDEXED BY {BY_TIME.name} WHERE {here.sql}", here.values
    )
    while rows := cursor.fetchmany(CHUNK_ROWS):
        yield from_rows(_SCHEMA, rows)


def read(
    connection: sqlite3.Connection,
    since: float,
    until: float,
    *,
    step_s: int,
    by: Sequence[str],
    where: Sequence[Filter],
    measures: Sequence[Measure],
    days: KnownDays,
) -> pa.Table:
    """The rollups of these buckets, merged over all columns that are not in `by`. Raises UnknownColumn, BadStep."""
    begin, end = asked_buckets(since, until, step_s, by, where)
    asked = Asked(step_s=step_s, by=tuple(by), where=tuple(where), measures=tuple(measures))
    rows = [row for part in days.parts(connection, begin, end, asked, _rows) for row in part]
    fields = [pa.field("bucket", pa.int64()), *(pa.field(name, pa.string()) for name in by), *measure_schema(measures)]
    width = len(fields)
    columns = zip(*(row[:width] for row in rows), strict=True) if rows else ((),) * width
    arrays = [pa.array(values, field.type) for field, values in zip(fields, columns, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _rows(connection: sqlite3.Connection, begin: int, end: int, asked: Asked) -> list[Row]:
    """The merged rows of whole buckets, in order of time."""
    step_s, met = asked.step_s, condition(Span, asked.where)
    source = _source(connection, begin, end, step_s, asked.where)
    bucket = f"bucket - ((bucket % {step_s} + {step_s}) % {step_s})"
    keys = ", ".join((bucket, *asked.by))
    sums = ", ".join(_total(each) for each in asked.measures) or "NULL"
    sql = (
        f"SELECT {keys}, {sums} FROM {SLICE_TABLE} CROSS JOIN {source} ON slice = id "
        f"WHERE bucket >= ? AND bucket < ? AND {met.sql} GROUP BY {keys} ORDER BY {keys}"
    )
    return connection.execute(sql, (begin, end, *met.values)).fetchall()


def _source(connection: sqlite3.Connection, begin: int, end: int, step_s: int, where: Sequence[Filter]) -> str:
    """The table to read: hours, minutes, or minutes and those made just now from spans that are too old for them."""
    if step_s % HOUR_S == 0:
        return HOURS
    minutes_from = int(_meta(connection, "minutes_from"))
    if begin >= minutes_from:
        return MINUTES
    connection.execute("DROP TABLE IF EXISTS temp.older_minutes")
    connection.execute(rollup_sql("temp.older_minutes"))
    until = Filter("start_time", "<", (min(end, minutes_from),))
    for spans in rolled_spans(connection, (*where, Filter("start_time", ">=", (begin,)), until)):
        _merge(connection, "temp.older_minutes", roll(spans, MINUTE_S))
    names = ", ".join(("slice", "bucket", *_MEASURE_NAMES))
    return f"(SELECT {names} FROM temp.older_minutes UNION ALL SELECT {names} FROM {MINUTES})"


def _total(measure: Measure) -> str:
    return f"sketch_total({measure.name})" if measure.kind == "sketch" else f"sum({measure.name})"


def _add(connection: sqlite3.Connection, spans: pa.RecordBatch) -> None:
    _merge(connection, HOURS, roll(spans, HOUR_S))
    minutes_from = float(_meta(connection, "minutes_from"))
    recent = spans.filter(pc.greater_equal(spans["start_time"], minutes_from))
    if recent.num_rows:
        _merge(connection, MINUTES, roll(recent, MINUTE_S))
    if recent.num_rows < spans.num_rows:
        change_past(connection)


def _merge(connection: sqlite3.Connection, table: str, measured: pa.Table) -> None:
    """Adds rolled spans to what the table already holds for the same bucket and slice."""
    slices = _slice_ids(connection, measured)
    values = [measured["bucket"].to_pylist(), slices, *(measured[name].to_pylist() for name in _MEASURE_NAMES)]
    connection.executemany(_merge_sql(table), zip(*values, strict=True))


def _merge_sql(table: str) -> str:
    news = ", ".join(f"{each.name} = {_merged(each)}" for each in MEASURES)
    marks = ", ".join("?" * (len(MEASURES) + 2))
    names = ", ".join(("bucket", "slice", *_MEASURE_NAMES))
    return f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT (slice, bucket) DO UPDATE SET {news}"


def _merged(measure: Measure) -> str:
    name = measure.name
    if measure.kind != "sketch":
        return f"{name} + excluded.{name}"
    new = f"excluded.{name}"
    both = f"sketches_merged({name}, {new})"  # called only where there are two: a call into Python takes 1 µs
    return f"CASE WHEN {new} IS NULL THEN {name} WHEN {name} IS NULL THEN {new} ELSE {both} END"


def _slice_ids(connection: sqlite3.Connection, measured: pa.Table) -> list[int]:
    known: dict[tuple[Any, ...], int] = {}
    ids = []
    for values in zip(*(measured[name].to_pylist() for name in KEYS), strict=True):
        if values not in known:
            known[values] = _slice_id(connection, values)
        ids.append(known[values])
    return ids


def _slice_id(connection: sqlite3.Connection, values: tuple[Any, ...]) -> int:
    same = " AND ".join(f"{name} IS ?" for name in KEYS)  # IS, not =: an empty value is a value here
    row = connection.execute(f"SELECT id FROM {SLICE_TABLE} WHERE {same}", values).fetchone()
    if row:
        return int(row[0])
    marks = ", ".join("?" * len(KEYS))
    made = connection.execute(f"INSERT INTO {SLICE_TABLE} ({', '.join(KEYS)}) VALUES ({marks})", values)
    assert made.lastrowid is not None
    return made.lastrowid


def _have_rolled(connection: sqlite3.Connection, upto: int) -> None:
    """All spans up to that sequence number are in the rollups; and now in what is kept by user and session as well."""
    add_values(connection, upto)
    _set_meta(connection, "rolled", upto)


def _meta(connection: sqlite3.Connection, name: str) -> float:
    row: tuple[float] = connection.execute(f"SELECT value FROM {META} WHERE name = ?", (name,)).fetchone()
    return row[0]


def _set_meta(connection: sqlite3.Connection, name: str, value: float) -> None:
    connection.execute(f"UPDATE {META} SET value = ? WHERE name = ?", (value, name))


def _number(connection: sqlite3.Connection, sql: str, values: Sequence[Any]) -> int:
    return int(connection.execute(sql, values).fetchone()[0])


def _largest(one: bytes | None) -> int | None:
    return None if one is None else sketch.largest(one)


class _Total:
    """The aggregate that merges the sketches of a group."""

    def __init__(self) -> None:
        self.sketches: list[bytes] = []

    def step(self, one: bytes | None) -> None:
        if one is not None:
            self.sketches.append(one)

    def finalize(self) -> bytes | None:
        return sketch.merge(self.sketches)
