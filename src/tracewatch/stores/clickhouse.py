"""The ClickHouse store: one database, or a cluster of it, that many servers write and read, for billions of spans."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tracewatch.records import Lease, Record, Span, columns, key_of
from tracewatch.stores import clickhouse_rollups
from tracewatch.stores.base import Filter, Group, GroupOrder, Page, Progress, SpanKey, Store, checked_column
from tracewatch.stores.clickhouse_connecting import Connection
from tracewatch.stores.clickhouse_marks import Marks
from tracewatch.stores.clickhouse_queries import condition, decode_token, encode_token, groups_sql
from tracewatch.stores.clickhouse_schema import SPAN_KEYS, VERSION, prepare
from tracewatch.stores.clickhouse_turns import turn
from tracewatch.stores.clickhouse_writing import ClickHouseWriter, keyed, matching, of_span_key
from tracewatch.stores.columns import arrow_schema, conform, from_rows, stored_batch
from tracewatch.stores.measures import chosen_measures
from tracewatch.stores.queries import GROUPED, Condition, decode_cursor, encode_cursor, of_key
from tracewatch.stores.values import MOMENTS, from_row, to_row, to_values
from tracewatch.times import HOUR_S

FEW_ROWS = 200_000  # that are sorted in memory


class ClickHouseStore(Store):
    """Records in a ClickHouse database. May be used by several threads, processes and servers."""

    def __init__(self, url: str, *, create: bool = False, clock: Callable[[], float] = time.time) -> None:
        """Connects, and makes or completes our tables there. Raises the Store… errors or BadStoreAddress."""
        self.url = url
        self._clock = clock
        self._connection = Connection(url, create=create)
        try:
            prepare(self._connection, create=create)
        except BaseException:
            self._connection.close()
            raise
        self._marks = Marks(self._connection)
        self._writer = ClickHouseWriter(self._connection, self._marks.retained)

    def put(self, records: Iterable[Record]) -> int:
        return self._writer.put(records)

    def add(self, records: Iterable[Record]) -> int:
        return self._writer.add(records)

    def add_rows(self, record_type: type[Record], rows: Sequence[Mapping[str, Any]]) -> int:
        return self.add_values(record_type, [to_values(record_type, each) for each in rows])

    def add_values(self, record_type: type[Record], rows: Sequence[Mapping[str, Any]]) -> int:
        if record_type is not Span:
            return super().add_values(record_type, rows)
        if not rows:
            return 0
        there = set().union(*rows)
        names = [each.name for each in columns(Span) if each.name in there]
        batch = from_rows(arrow_schema(Span, names), [tuple(map(each.get, names)) for each in rows])
        return self._writer.add_spans(batch)

    def add_batch(self, record_type: type[Record], batch: pa.RecordBatch) -> int:
        stored = stored_batch(record_type, batch)
        if record_type is not Span:
            return super().add_values(record_type, stored.to_pylist())
        return self._writer.add_spans(conform(arrow_schema(Span, stored.schema.names), stored))

    def get(self, record_type: type[Record], key: Mapping[str, Any]) -> Record | None:
        met = of_key(record_type, key)
        found = self._records(record_type, of_span_key(met) if record_type is Span else met)
        return found[0] if found else None

    def annotate(self, record_type: type[Record], key: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
        return self.annotate_all(record_type, [(key, values)]) == 1

    def annotate_all(
        self, record_type: type[Record], changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> int:
        return self._writer.annotate_all(record_type, changes)

    def swap(
        self, record_type: type[Record], where: Sequence[Filter], records: Iterable[Record], *, expected: int
    ) -> bool:
        assert record_type is not Span, "spans go by retain(), which keeps their rollups"
        met = condition(record_type, where)
        new = keyed(record_type, map(to_row, records))
        with turn(self._connection, record_type.table) as only_if:
            self._connection.check_lease()
            old = matching(self._connection, record_type, met)
            if len(old) != expected:
                return False
            self._writer.replace(record_type, old, new, only_if=only_if)
            return True

    def fence(self, lease: Lease | None) -> None:
        self._connection.lease = lease

    def stamp(self) -> object:
        return self._marks.stamp()

    def page(
        self, record_type: type[Record], where: Sequence[Filter] = (), *, limit: int = 50, cursor: str | None = None
    ) -> Page:
        assert limit > 0, "a page has at least one record"
        newest = record_type.newest_by
        met = condition(record_type, where)
        if cursor is not None:
            last_time, last_seq = decode_cursor(record_type, cursor)
            beyond = f"{newest} <= ? AND ({newest} < ? OR row_seq < ?)"
            met = met.and_(Condition(beyond, (last_time, last_time, last_seq)))
        names = [each.name for each in columns(record_type)]
        schema = pa.schema([*arrow_schema(record_type), ("row_seq", pa.int64())])
        sql = (
            f"SELECT {', '.join(names)}, row_seq FROM {record_type.table} WHERE {met.sql} "
            f"ORDER BY {newest} DESC, row_seq DESC LIMIT {limit + 1}"
        )
        rows = _rows(self._connection.table(sql, met.values, schema))
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(
            tuple(from_row(record_type, row[:-1]) for row in rows[:limit]),
            encode_cursor(record_type, last[names.index(newest)], last[-1]) if last else None,
        )

    def trace(self, project: str, trace_id: str) -> tuple[Span, ...]:
        met = of_span_key(Condition("project = ? AND trace_id = ?", (project, trace_id)))
        return tuple(self._records(Span, met, " ORDER BY start_time, row_seq"))

    def scan(
        self,
        record_type: type[Record],
        names: Sequence[str],
        where: Sequence[Filter] = (),
        *,
        after: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        schema = arrow_schema(record_type, names)
        met = condition(record_type, where)  # says what is wrong with a filter before the first batch is asked for
        asked = f"SELECT {', '.join(schema.names) or 'NULL'} FROM"
        if after is not None:
            return self._scan_new(record_type, decode_token(after).after(), asked, met, schema)
        return self._connection.batches(f"{asked} {record_type.table} WHERE {met.sql}", met.values, schema)

    def tip(self) -> str:
        return encode_token(self._marks.tip())

    def extent(self, record_type: type[Record], where: Sequence[Filter] = ()) -> tuple[float, float] | None:
        met, newest = condition(record_type, where), record_type.newest_by
        sql = f"SELECT count(), min({newest}), max({newest}) FROM {record_type.table} WHERE {met.sql}"
        ((count, oldest, latest),) = self._connection.rows(sql, met.values)
        return (oldest, latest) if count else None

    def count(self, record_type: type[Record], where: Sequence[Filter] = ()) -> int:
        return self._number(record_type, where, "count()")

    def distinct(self, record_type: type[Record], name: str, where: Sequence[Filter] = ()) -> int:
        return self._number(record_type, where, f"uniqExact({checked_column(record_type, name).name})")

    def exists(self, record_type: type[Record], where: Sequence[Filter] = ()) -> bool:
        met = condition(record_type, where)
        return bool(self._connection.rows(f"SELECT 1 FROM {record_type.table} WHERE {met.sql} LIMIT 1", met.values))

    def groups(
        self, name: str, where: Sequence[Filter] = (), *, order: GroupOrder = "cost_usd", limit: int = 50, skip: int = 0
    ) -> tuple[Group, ...]:
        met = condition(Span, where)
        sql = groups_sql(checked_column(Span, name).name, met, order)
        rows = self._connection.rows(sql, (*met.values, limit, skip))
        return tuple(Group(**dict(zip(GROUPED, (_text(row[0]), *row[1:]), strict=True))) for row in rows)

    def remove(self, record_type: type[Record], where: Sequence[Filter]) -> int:
        assert record_type is not Span, "spans go by retain(), which keeps their rollups"
        met = condition(record_type, where)
        self._connection.check_lease()
        return self._writer.remove(record_type, met)

    def pending(self) -> int:
        return clickhouse_rollups.pending(self._connection, self._marks)

    def roll_up(self, progress: Progress | None = None) -> int:
        return self._roll_up(progress, self._marks.retained)

    def rollup(
        self,
        since: float,
        until: float,
        *,
        step_s: int = 3600,
        by: Sequence[str] = (),
        where: Sequence[Filter] = (),
        measures: Sequence[str] | None = None,
    ) -> pa.Table:
        chosen = chosen_measures(measures)
        return clickhouse_rollups.read(
            self._connection, self._marks, since, until, step_s=step_s, by=by, where=where, measures=chosen
        )

    def retain(self, before: float, spare: Sequence[SpanKey] = ()) -> int:
        hour = before // HOUR_S * HOUR_S
        self._take_none_before(hour)
        return clickhouse_rollups.delete_spans_before(self._connection, hour, spare)

    def retained(self) -> float | None:
        hour = self._marks.retained()
        return None if hour <= MOMENTS[0] else hour

    def keep_hours(self, hours: pa.Table, since: float, until: float) -> None:
        self._take_none_before(until)
        clickhouse_rollups.keep_hours(self._connection, hours, since, until)

    def describe(self) -> Mapping[str, str]:
        parts = "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = currentDatabase() AND active"
        cluster = self._connection.address.cluster
        return {
            "ClickHouse": self._connection.version,
            "at": self._connection.name,
            **({"cluster": cluster} if cluster else {}),
            "schema": str(VERSION),
            "size": f"{self._connection.number(parts) / 1e6:,.1f} MB",
        }

    def verify(self) -> str | None:
        spans = self._connection.number(f"SELECT count() FROM {Span.table}")
        keys = self._connection.number(f"SELECT uniqExact({', '.join(key_of(Span))}) FROM {SPAN_KEYS}")
        return None if spans == keys else f"{self._connection.name} holds {spans:,} spans and the keys of {keys:,}"

    def close(self) -> None:
        self._connection.close()

    def _take_none_before(self, hour: float) -> None:
        """From now on no span from before that hour is taken in: its hours could not be made again from the spans."""
        self._connection.check_lease()
        self.roll_up()
        least = self._marks.retained()
        if hour > least:
            self._marks.set_retained(hour)
            self._roll_up(None, lambda: least)  # what came between the two

    def _roll_up(self, progress: Progress | None, least: Callable[[], float]) -> int:
        return clickhouse_rollups.roll_up(self._connection, self._marks, self._clock(), progress, least=least)

    def _scan_new(
        self, record_type: type[Record], new: Condition, asked: str, met: Condition, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Of few new rows only these are looked at; which of many hold is told by all rows of their partitions."""
        table, values = record_type.table, (*new.values, *met.values)
        count = f"SELECT count() FROM {table} WHERE {new.sql} SETTINGS final = 0"
        if self._connection.number(count, new.values) > FEW_ROWS:
            sql = f"{asked} {table} WHERE {new.sql} AND {met.sql}"
        else:
            place = [*key_of(record_type), *(["start_time"] if record_type is Span else [])]
            last = f"ORDER BY row_version DESC LIMIT 1 BY {', '.join(place)}"
            latest = f"(SELECT * FROM {table} WHERE {new.sql} {last})"
            sql = f"{asked} {latest} WHERE row_gone = 0 AND {met.sql} SETTINGS final = 0"
        yield from self._connection.batches(sql, values, schema)

    def _number(self, record_type: type[Record], where: Sequence[Filter], number: str) -> int:
        met = condition(record_type, where)
        return self._connection.number(f"SELECT {number} FROM {record_type.table} WHERE {met.sql}", met.values)

    def _records(self, record_type: type[Record], met: Condition, order: str = "") -> list[Any]:
        names = ", ".join(each.name for each in columns(record_type))
        sql = f"SELECT {names} FROM {record_type.table} WHERE {met.sql}{order}"
        return [
            from_row(record_type, row)
            for row in _rows(self._connection.table(sql, met.values, arrow_schema(record_type)))
        ]


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
