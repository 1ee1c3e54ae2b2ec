"""Rollups in PostgreSQL: kept up with the spans exactly once, recomputed where spans were replaced, merged on reading.

As in SQLite (docs/decisions/0003-rollups.md), with two differences. Transactions become visible out of the order in
which their rows were numbered, so spans are taken in by the transaction that wrote them, up to one before which nobody
writes any more. And sketches are merged here, for the database has no function that could.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.records import Span, key_of
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter, SpanKey
from tracewatch.stores.columns import arrow_schema, from_rows
from tracewatch.stores.measures import KEYS, MEASURES, Measure
from tracewatch.stores.merging import Merged
from tracewatch.stores.postgres_connecting import Connection
from tracewatch.stores.postgres_queries import condition
from tracewatch.stores.postgres_schema import ROLL_LOCK, SPAN_KEYS, day_of, days_of, partition_name
from tracewatch.stores.queries import Condition
from tracewatch.stores.rollups import MINUTE_S, MINUTES_KEPT_S, READ, asked_buckets, roll
from tracewatch.stores.sqlite_schema import DIRTY, HOURS, META, MINUTES, SLICE_TABLE
from tracewatch.stores.values import MOMENTS
from tracewatch.times import DAY_S, HOUR_S

CHUNK_ROWS = 20_000  # spans rolled up in one transaction; writers do not wait for it

_SCHEMA = arrow_schema(Span, READ)
_NAMES = ", ".join(READ)
_MEASURE_NAMES = tuple(each.name for each in MEASURES)
_ROLLED = (
    f"(written, seq) <= ((SELECT value FROM {META} WHERE name = 'rolled')::text::xid8, "
    f"(SELECT value FROM {META} WHERE name = 'rolled_seq')::bigint)"
)
_IS_ROLLED = Condition(_ROLLED)


def one_at_a_time(connection: Connection) -> None:
    """Until this transaction ends nobody else rolls up, and nobody changes spans that have been rolled up."""
    connection.execute(f"SELECT pg_advisory_xact_lock({ROLL_LOCK})")


def pending(connection: Connection) -> int:
    """How many spans the rollups lack, or must be made from again."""
    new = connection.number(f"SELECT count(*) FROM {Span.table} WHERE NOT {_ROLLED}")
    of_hour = f"start_time >= hour AND start_time < hour + {HOUR_S} AND {Span.table}.project = {DIRTY}.project"
    return new + connection.number(f"SELECT count(*) FROM {DIRTY} JOIN {Span.table} ON {of_hour} WHERE {_ROLLED}")


def roll_next(connection: Connection, before: int, now: float) -> int:
    """Rolls up the next spans that were written by transactions before that one, if there are any. Returns how many."""
    one_at_a_time(connection)
    _keep_minutes_from(connection, now)
    sql = (
        f"SELECT written::text, seq, {_NAMES} FROM {Span.table} WHERE NOT {_ROLLED} AND written < ?::text::xid8 "
        f"ORDER BY written, seq LIMIT {CHUNK_ROWS}"
    )
    rows = connection.execute(sql, (str(before),)).fetchall()
    if rows:
        _add(connection, from_rows(_SCHEMA, [row[2:] for row in rows]))
        _set_meta(connection, "rolled", rows[-1][0])
        _set_meta(connection, "rolled_seq", rows[-1][1])
    return len(rows)


def redo_next(connection: Connection) -> int | None:
    """Makes one hour in which spans were replaced again from its spans. Returns how many; None when none is left."""
    one_at_a_time(connection)
    dirty = connection.execute(f"SELECT project, hour FROM {DIRTY} LIMIT 1").fetchone()
    if dirty is None:
        return None
    project, hour = dirty
    for table in (HOURS, MINUTES):
        connection.execute(
            f"DELETE FROM {table} USING {SLICE_TABLE} WHERE slice = id AND project = ? AND bucket >= ? AND bucket < ?",
            (project, hour, hour + int(HOUR_S)),
        )
    connection.execute(f"DELETE FROM {DIRTY} WHERE project = ? AND hour = ?", (project, hour))
    done = 0
    here = Condition("project = ? AND start_time >= ? AND start_time < ?", (project, hour, hour + HOUR_S))
    for spans in _rolled_spans(connection, here):
        _add(connection, spans)
        done += spans.num_rows
    return done


def retained(connection: Connection) -> float | None:
    """The hour before which spans were deleted; None when all were kept."""
    hour = _meta(connection, "retained")
    return None if hour <= MOMENTS[0] else hour


def keep_hours(connection: Connection, hours: pa.Table, since: float, until: float) -> None:
    """Puts these rollups in place of those from one hour to another, of which no spans are to come."""
    one_at_a_time(connection)
    _take_none_before(connection, until)
    connection.execute(f"DELETE FROM {HOURS} WHERE bucket >= ? AND bucket < ?", (int(since), int(until)))
    _merge(connection, HOURS, hours)


def _take_none_before(connection: Connection, hour: float) -> None:
    """From now on no span from before that hour is taken in: its hours could not be made again from the spans."""
    while redo_next(connection) is not None:  # what was marked since the last roll_up
        pass
    if hour > _meta(connection, "retained"):
        _set_meta(connection, "retained", hour)


def delete_spans_before(connection: Connection, hour: float, spare: Sequence[SpanKey] = ()) -> int:
    """Deletes the spans before that hour which are in the rollups: whole days at once. Returns how many."""
    _take_none_before(connection, hour)
    gone, spared_days = 0, _spare(connection, spare)
    for day in sorted(each for each in days_of(connection.raw) if (each + 1) * DAY_S <= hour):
        if day not in spared_days:
            gone += _drop_day(connection, day)
    spared = f"SELECT 1 FROM spared WHERE {_same_key('spared', Span.table)}"
    some = f"DELETE FROM {Span.table} WHERE start_time < ? AND {_ROLLED} AND NOT EXISTS ({spared})"
    gone += connection.execute(some, (hour,)).rowcount
    kept = f"SELECT 1 FROM {Span.table} WHERE {Span.table}.start_time < ?"
    same = f"{Span.table}.trace_id = {SPAN_KEYS}.trace_id AND {Span.table}.span_id = {SPAN_KEYS}.span_id"
    connection.execute(f"DELETE FROM {SPAN_KEYS} WHERE start_time < ? AND NOT EXISTS ({kept} AND {same})", (hour, hour))
    return gone


def _spare(connection: Connection, keys: Sequence[SpanKey]) -> set[int]:
    """Puts keys into a table for the rest of the transaction. Returns the days of these spans."""
    names = ", ".join(key_of(Span))
    connection.execute(f"CREATE TEMP TABLE spared ON COMMIT DROP AS SELECT {names} FROM {Span.table} WHERE false")
    with connection.raw.cursor() as cursor, cursor.copy(f"COPY spared ({names}) FROM STDIN") as copy:
        for key in keys:
            copy.write_row(key)
    same = _same_key("spared", SPAN_KEYS)
    times = connection.execute(f"SELECT {SPAN_KEYS}.start_time FROM {SPAN_KEYS} JOIN spared ON {same}").fetchall()
    return {day for (time,) in times if (day := day_of(time)) is not None}


def _same_key(one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in key_of(Span))


def _drop_day(connection: Connection, day: int) -> int:
    """Drops the partition of a day whose spans are all in the rollups. Returns how many there were."""
    table = partition_name(day)
    if connection.number(f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE NOT {_ROLLED} LIMIT 1) AS new"):
        return 0
    rows = connection.number(f"SELECT count(*) FROM {table}")
    connection.execute(f"DROP TABLE {table}")
    return rows


def read(
    connection: Connection,
    since: float,
    until: float,
    *,
    step_s: int,
    by: Sequence[str],
    where: Sequence[Filter],
    measures: Sequence[Measure],
) -> pa.Table:
    """The rollups of these buckets, merged over all columns that are not in `by`. Raises UnknownColumn, BadStep."""
    begin, end = asked_buckets(since, until, step_s, by, where)
    met = condition(Span, where)
    bucket = f"(bucket - mod(mod(bucket, {step_s}) + {step_s}, {step_s}))"
    keys = ", ".join((f"{bucket} AS start", *by))
    sums = ", ".join(_total(each) for each in measures) or "NULL"
    order = ", ".join(str(place + 1) for place in range(len(by) + 1))
    table = HOURS if step_s % HOUR_S == 0 else MINUTES
    sql = (
        f"SELECT {keys}, {sums} FROM {SLICE_TABLE} JOIN {table} ON slice = id "
        f"WHERE bucket >= ? AND bucket < ? AND {met.sql} GROUP BY {order} ORDER BY {order}"
    )
    merged = Merged(by, measures)
    merged.add(connection.execute(sql, (begin, end, *met.values), binary=True))
    if table == MINUTES:
        _join_older_minutes(connection, merged, begin, end, step_s=step_s, met=met)
    return merged.table()


def _total(measure: Measure) -> str:
    if measure.kind == "sketch":
        return f"array_agg({measure.name}) FILTER (WHERE {measure.name} IS NOT NULL)"
    return f"sum({measure.name})::{'bigint' if measure.kind == 'integer' else 'float8'}"


def _join_older_minutes(
    connection: Connection, merged: Merged, begin: int, end: int, *, step_s: int, met: Condition
) -> None:
    """Adds what is too old for the table of minutes, made just now from the spans."""
    minutes_from = int(_meta(connection, "minutes_from"))
    if begin >= minutes_from:
        return
    here = met.and_(Condition("start_time >= ? AND start_time < ?", (begin, min(end, minutes_from))))
    for spans in _rolled_spans(connection, here):
        merged.add_spans(spans, step_s)


def _add(connection: Connection, spans: pa.RecordBatch) -> None:
    _merge(connection, HOURS, roll(spans, int(HOUR_S)))
    minutes_from = float(_meta(connection, "minutes_from"))
    recent = spans.filter(pc.greater_equal(spans["start_time"], minutes_from))
    if recent.num_rows:
        _merge(connection, MINUTES, roll(recent, MINUTE_S))


def _merge(connection: Connection, table: str, measured: pa.Table) -> None:
    """Adds rolled spans to what the table already holds for the same bucket and slice."""
    slices = _slice_ids(connection, measured)
    rows = list(zip(slices, *(measured[name].to_pylist() for name in ("bucket", *_MEASURE_NAMES)), strict=True))
    names = ", ".join(("slice", "bucket", *_MEASURE_NAMES))
    there = _sketches_there(connection, table, rows)
    merged = [_with_sketches(row, there.get((row[0], row[1]))) for row in rows]
    marks = ", ".join(["%s"] * (len(MEASURES) + 2))
    news = ", ".join(
        f"{each.name} = excluded.{each.name}"
        if each.kind == "sketch"
        else f"{each.name} = {table}.{each.name} + excluded.{each.name}"
        for each in MEASURES
    )
    sql = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT (slice, bucket) DO UPDATE SET {news}"
    with connection.raw.cursor() as cursor:
        cursor.executemany(sql, merged)


_SKETCHES = tuple(each.name for each in MEASURES if each.kind == "sketch")
_SKETCH_PLACES = tuple(2 + at for at, each in enumerate(MEASURES) if each.kind == "sketch")


def _sketches_there(
    connection: Connection, table: str, rows: Sequence[tuple[Any, ...]]
) -> dict[tuple[int, int], tuple[bytes | None, ...]]:
    """The sketches that the table holds for these rows, by slice and bucket."""
    sql = (
        f"SELECT slice, bucket, {', '.join(_SKETCHES)} FROM {table} "
        "JOIN unnest(?::bigint[], ?::bigint[]) AS wanted(s, b) ON slice = s AND bucket = b"
    )
    found = connection.execute(sql, ([row[0] for row in rows], [row[1] for row in rows]), binary=True)
    return {(slice_id, bucket): tuple(sketches) for slice_id, bucket, *sketches in found}


def _with_sketches(row: tuple[Any, ...], there: Sequence[bytes | None] | None) -> tuple[Any, ...]:
    if there is None:
        return row
    values = list(row)
    for place, old in zip(_SKETCH_PLACES, there, strict=True):
        values[place] = sketch.merge((old, values[place]))
    return tuple(values)


def _slice_ids(connection: Connection, measured: pa.Table) -> list[int]:
    """The number of each row's slice; new slices get one."""
    places = list(zip(*(measured[name].to_pylist() for name in KEYS), strict=True))
    named = {json.dumps(each): each for each in dict.fromkeys(places)}
    known = _known_slices(connection, list(named))
    new = [(name, *values) for name, values in named.items() if name not in known]
    if new:
        marks = ", ".join(["%s"] * (len(KEYS) + 1))
        sql = f"INSERT INTO {SLICE_TABLE} (place, {', '.join(KEYS)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        with connection.raw.cursor() as cursor:
            cursor.executemany(sql, new)
        known = _known_slices(connection, list(named))
    numbers = {values: known[name] for name, values in named.items()}
    return [numbers[each] for each in places]


def _known_slices(connection: Connection, names: list[str]) -> Mapping[str, int]:
    sql = f"SELECT place, id FROM {SLICE_TABLE} WHERE place = ANY(?)"
    return dict(connection.execute(sql, (names,)).fetchall())


def _keep_minutes_from(connection: Connection, now: float) -> None:
    """Forgets the minutes that have become too old. They never come back: older ones are made from the spans."""
    begin = int((now - MINUTES_KEPT_S) // HOUR_S * HOUR_S)
    if begin > int(_meta(connection, "minutes_from")):
        connection.execute(f"DELETE FROM {MINUTES} WHERE bucket < ?", (begin,))
        _set_meta(connection, "minutes_from", begin)


def _rolled_spans(connection: Connection, met: Condition) -> Iterator[pa.RecordBatch]:
    """The columns READ of those spans, as far as they are in the rollups."""
    here = met.and_(_IS_ROLLED)
    cursor = connection.execute(f"SELECT {_NAMES} FROM {Span.table} WHERE {here.sql}", here.values, binary=True)
    while rows := cursor.fetchmany(CHUNK_ROWS):
        yield from_rows(_SCHEMA, rows)


def _meta(connection: Connection, name: str) -> float:
    row = connection.execute(f"SELECT value::float8 FROM {META} WHERE name = ?", (name,)).fetchone()
    assert row is not None, "prepare() has put it there"
    return float(row[0])


def _set_meta(connection: Connection, name: str, value: float | str) -> None:
    connection.execute(f"UPDATE {META} SET value = ?::text::numeric WHERE name = ?", (str(value), name))
