"""Rollups in ClickHouse: an hour in which something was written is measured again from its spans, and replaced whole.

So nothing counts twice, whoever rolls up, how many at once, and wherever one is killed (decision 27). The new measures
of an hour are one insert into one partition, with a revision, and the latest revision holds. Sketches are merged here,
for the database has no function that could.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.records import Span, key_of
from tracewatch.stores.base import Filter, Progress, SpanKey
from tracewatch.stores.clickhouse_connecting import Connection
from tracewatch.stores.clickhouse_marks import Marks
from tracewatch.stores.clickhouse_queries import Token, condition
from tracewatch.stores.clickhouse_schema import OTHER_DAYS, SPAN_KEYS, day_of, rollup_types
from tracewatch.stores.columns import arrow_schema
from tracewatch.stores.measures import KEYS, MEASURES, Measure
from tracewatch.stores.merging import Merged
from tracewatch.stores.queries import Condition
from tracewatch.stores.rollups import MINUTE_S, MINUTES_KEPT_S, READ, asked_buckets, measure_schema, roll
from tracewatch.stores.sqlite_schema import HOURS, MINUTES
from tracewatch.times import HOUR_S

CHUNK_ROWS = 200_000  # spans whose hours are measured at once: some 60 MB of columns
CHUNK_HOURS = 500

_SCHEMA = arrow_schema(Span, READ)
_SECOND = "toInt64(floor(start_time))"
_HOUR = f"{_SECOND} - positiveModulo({_SECOND}, {HOUR_S})"
_NO_PLACE = ""
"""The place of the row that says of an hour which revision it has, also where it has no span any more."""

Hour = tuple[str, int]
"""A project, and when an hour begins."""


def pending(connection: Connection, marks: Marks) -> int:
    """How many spans have been written since the rollups were brought up to date."""
    new = marks.rolled().after()
    sql = f"SELECT uniqExact({', '.join(key_of(Span))}) FROM {Span.table} WHERE {new.sql} SETTINGS final = 0"
    return connection.number(sql, new.values)


def roll_up(
    connection: Connection,
    marks: Marks,
    now: float,
    progress: Progress | None = None,
    *,
    least: Callable[[], float],
) -> int:
    """Measures the hours again in which something was written, from `least` on. Returns how many spans were read."""
    connection.check_lease()
    before, tip = marks.rolled(), marks.tip()
    stale = _stale(connection, before, least())
    if not stale:
        return 0
    _keep_minutes_from(connection, marks, now)
    done = 0
    for hours in _chunks(connection, stale):
        read = _measure(connection, marks, hours, least)
        done += read
        if progress is not None:
            progress(read)
    marks.set_rolled(tip)
    return done


def delete_spans_before(connection: Connection, hour: float, spare: Sequence[SpanKey] = ()) -> int:
    """Deletes spans that began before that hour: whole days at once. Returns how many there were."""
    old, spared_days = Condition("start_time < ?", (float(hour),)), set[int]()
    if spare:
        keys = ", ".join("(?, ?, ?)" for _ in spare)
        one_of = Condition(f"({', '.join(key_of(Span))}) IN ({keys})", tuple(chain.from_iterable(spare)))
        times = connection.rows(f"SELECT DISTINCT start_time FROM {Span.table} WHERE {one_of.sql}", one_of.values)
        spared_days = {day_of(time) for (time,) in times}
        old = old.and_(Condition(f"NOT {one_of.sql}", one_of.values))
    gone = connection.number(f"SELECT count() FROM {Span.table} WHERE {old.sql}", old.values)
    sql = (
        "SELECT DISTINCT partition FROM system.parts "
        f"WHERE database = currentDatabase() AND table = '{Span.table}' AND active"
    )
    for day in sorted(int(partition) for (partition,) in connection.rows(sql)):
        if day != OTHER_DAYS and day < day_of(hour) and day not in spared_days:
            connection.execute(f"ALTER TABLE {Span.table} DROP PARTITION {day}")
    for table in (Span.table, SPAN_KEYS):
        if connection.rows(f"SELECT 1 FROM {table} WHERE {old.sql} LIMIT 1 SETTINGS final = 0", old.values):
            connection.execute(f"DELETE FROM {table} WHERE {old.sql}", old.values)
    return gone


def read(
    connection: Connection,
    marks: Marks,
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
    table = HOURS if step_s % HOUR_S == 0 else MINUTES
    latest = f"SELECT project, hour, max(revision) FROM {table} WHERE place = '' AND hour > ? AND hour < ?"
    names = ["start", *by, *(each.name for each in measures)]
    keys = ", ".join((f"bucket - positiveModulo(bucket, {step_s}) AS start", *by))
    sums = ", ".join(_total(each) for each in measures) or "NULL"
    sql = (
        f"SELECT {keys}, {sums} FROM {table} WHERE place <> '' AND bucket >= ? AND bucket < ? AND {met.sql} "
        f"AND (project, hour, revision) IN ({latest} GROUP BY project, hour) GROUP BY {', '.join(('start', *by))}"
    )
    schema = pa.schema(
        [("start", pa.int64()), *((name, pa.string()) for name in by), *(_total_type(each) for each in measures)]
    )
    merged = Merged(by, measures)
    values = (begin, end, *met.values, begin - int(HOUR_S), end)
    found = connection.table(sql, values, schema if measures else schema.append(pa.field("nothing", pa.null())))
    merged.add(zip(*(column.to_pylist() for column in found.columns[: len(names)]), strict=True))
    minutes_from = marks.minutes_from()
    if table == MINUTES and begin < minutes_from:
        here = met.and_(Condition("start_time >= ? AND start_time < ?", (float(begin), float(min(end, minutes_from)))))
        for spans in _spans(connection, here):
            merged.add_spans(spans, step_s)
    return merged.table()


def keep_hours(connection: Connection, hours: pa.Table, since: float, until: float) -> None:
    """Puts these rollups in place of those from one hour to another, of which no spans are to come."""
    sql = f"SELECT DISTINCT project, hour FROM {HOURS} WHERE hour >= ? AND hour < ?"
    there = {(project.decode(), hour) for project, hour in connection.rows(sql, (int(since), int(until)))}
    given = zip(hours["project"].to_pylist(), hours["bucket"].to_pylist(), strict=True)
    _replace(connection, HOURS, sorted(there.union(given)), hours, _revision(connection))


def _revision(connection: Connection) -> int:
    """What is measured later has seen all that was measured earlier. No two have the same one, by chance."""
    return connection.now_ns() // 1024 * 1024 + secrets.randbits(10)


def _stale(connection: Connection, before: Token, least: float) -> list[Hour]:
    """The hours of which something was written since, oldest first."""
    new = before.after().and_(Condition("start_time >= ?", (least,)))
    sql = f"SELECT DISTINCT project, {_HOUR} AS hour FROM {Span.table} WHERE {new.sql} SETTINGS final = 0"
    return sorted((project.decode(), hour) for project, hour in connection.rows(sql, new.values))


def _chunks(connection: Connection, stale: Sequence[Hour]) -> Iterator[list[Hour]]:
    """Hours of so many spans as are measured at once."""
    begin, end = min(hour for _, hour in stale), max(hour for _, hour in stale) + HOUR_S
    sql = (
        f"SELECT project, {_HOUR} AS hour, count() FROM {Span.table} WHERE start_time >= ? AND start_time < ? "
        "GROUP BY project, hour SETTINGS final = 0"
    )
    counted = connection.rows(sql, (float(begin), float(end)))
    counts = {(project.decode(), hour): count for project, hour, count in counted}
    chunk: list[Hour] = []
    rows = 0
    for hour in stale:
        if chunk and (rows + counts.get(hour, 0) > CHUNK_ROWS or len(chunk) == CHUNK_HOURS):
            yield chunk
            chunk, rows = [], 0
        chunk.append(hour)
        rows += counts.get(hour, 0)
    yield chunk


def _measure(connection: Connection, marks: Marks, hours: Sequence[Hour], least: Callable[[], float]) -> int:
    """Replaces what these hours come to. Returns how many spans were read."""
    revision = _revision(connection)
    batches = list(_spans(connection, _within(hours)))
    spans = pa.Table.from_batches(batches, _SCHEMA).combine_chunks()
    oldest = least()
    kept = [hour for hour in hours if hour[1] >= oldest]  # of others the spans may have been gone while we read
    spans = spans.filter(pc.greater_equal(spans["start_time"], float(oldest)))
    whole = spans.to_batches()[0] if spans.num_rows else pa.RecordBatch.from_pylist([], _SCHEMA)
    minutes_from = marks.minutes_from()
    recent = whole.filter(pc.greater_equal(whole["start_time"], float(minutes_from)))
    _replace(connection, HOURS, kept, roll(whole, int(HOUR_S)), revision)
    _replace(connection, MINUTES, [each for each in kept if each[1] >= minutes_from], roll(recent, MINUTE_S), revision)
    return int(spans.num_rows)


def _replace(connection: Connection, table: str, hours: Sequence[Hour], measured: pa.Table, revision: int) -> None:
    if not hours:
        return
    count = measured.num_rows
    bucket = measured["bucket"]
    places = zip(*(measured[name].to_pylist() for name in KEYS), strict=True)
    hour = [each - each % int(HOUR_S) for each in bucket.to_pylist()]
    rows = {
        "project": measured["project"],
        "hour": pa.array(hour, pa.int64()),
        "bucket": bucket,
        "place": pa.array([json.dumps(each) for each in places], pa.string()),
        "revision": pa.array([revision] * count, pa.uint64()),
        **{name: measured[name] for name in (*KEYS, *(each.name for each in MEASURES)) if name != "project"},
    }
    schema = pa.schema(
        [
            ("project", pa.string()), ("hour", pa.int64()), ("bucket", pa.int64()), ("place", pa.string()),
            ("revision", pa.uint64()), *((name, pa.string()) for name in KEYS if name != "project"), *measure_schema(),
        ]
    )  # fmt: skip
    zeros = {each.name: None if each.kind == "sketch" else 0 for each in MEASURES}
    said = [
        {"project": project, "hour": hour, "bucket": hour, "place": _NO_PLACE, "revision": revision, **zeros}
        for project, hour in hours
    ]
    table_rows = pa.concat_tables([pa.table(rows, schema=schema), pa.Table.from_pylist(said, schema)])
    types = rollup_types()
    connection.insert(table, table_rows.combine_chunks(), [types[name] for name in schema.names])


def _within(hours: Iterable[Hour]) -> Condition:
    """The spans of those hours."""
    ranges: list[tuple[str, int, int]] = []
    for project, hour in sorted(hours):
        if ranges and ranges[-1][0] == project and ranges[-1][2] == hour:
            ranges[-1] = (project, ranges[-1][1], hour + int(HOUR_S))
        else:
            ranges.append((project, hour, hour + int(HOUR_S)))
    any_of = " OR ".join(["project = ? AND start_time >= ? AND start_time < ?"] * len(ranges))
    return Condition(
        f"({any_of})", tuple(value for project, begin, end in ranges for value in (project, float(begin), float(end)))
    )


def _spans(connection: Connection, met: Condition) -> Iterator[pa.RecordBatch]:
    """The columns READ of those spans."""
    return connection.batches(f"SELECT {', '.join(READ)} FROM {Span.table} WHERE {met.sql}", met.values, _SCHEMA)


def _keep_minutes_from(connection: Connection, marks: Marks, now: float) -> None:
    """Forgets the minutes that have become too old. They never come back: older ones are made from the spans."""
    begin = int((now - MINUTES_KEPT_S) // HOUR_S * HOUR_S)
    if begin > marks.minutes_from():
        marks.set_minutes_from(begin)
        if connection.rows(f"SELECT 1 FROM {MINUTES} WHERE hour < {begin} LIMIT 1 SETTINGS final = 0"):
            connection.execute(f"DELETE FROM {MINUTES} WHERE hour < {begin}")


def _total(measure: Measure) -> str:
    return f"groupArray({measure.name})" if measure.kind == "sketch" else f"sum({measure.name})"


def _total_type(measure: Measure) -> pa.Field:
    kinds = {"integer": pa.int64(), "real": pa.float64(), "sketch": pa.list_(pa.binary())}
    return pa.field(measure.name, kinds[measure.kind])
