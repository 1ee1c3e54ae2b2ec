"""Writing records into ClickHouse: what holds of a key is its row with the highest version, what is gone is a row, too.

There are no transactions and no unique keys. Whoever adds looks first which keys are there; of two that add the same at
once the first row holds, and whatever was put over it since. So a write whose answer was lost may be sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.records import SCORE, Record, Span, column_of, columns, key_of
from tracewatch.stores.clickhouse_connecting import Connection, batch_number, order_number
from tracewatch.stores.clickhouse_queries import any_of_keys
from tracewatch.stores.clickhouse_schema import SPAN_KEYS, day_of, types_of
from tracewatch.stores.columns import arrow_schema, from_rows
from tracewatch.stores.queries import Condition, changes, of_key
from tracewatch.stores.scores import Early, as_stored, joined, target_sql, told_by, wanted_of
from tracewatch.stores.values import Row, defaults_of, from_values, to_row

EARLY_SCORES = 100  # that are tried again with every write; those before stay rows of their own
INSERT_ROWS = 50_000  # of one insert, so that the server makes one part of it for each day
INSERT_BYTES = 64 * 2**20
KEYS_ASKED = 20_000  # at once

ADDED, PUT = 2**62, 2**63
"""Versions of what was added lie below the one, the first highest; of what was put over the other, the last."""

_HIDDEN = pa.schema(
    [("row_seq", pa.int64()), ("row_batch", pa.uint64()), ("row_version", pa.uint64()), ("row_gone", pa.uint8())]
)
_EMPTY: Mapping[str, Any] = {
    "text": "", "integer": 0, "real": 0.0, "time": 0.0, "boolean": False, "json": "{}", "list": "[]", "bytes": b"",
}  # fmt: skip

Key = tuple[Any, ...]
Change = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The key of a record, and new values of some of its columns."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the table has of a key (at a start, for spans)."""

    version: int
    gone: bool


class ClickHouseWriter:
    """Writes records. Several threads, processes and servers may do so at once."""

    def __init__(self, connection: Connection, retained: Callable[[], float]) -> None:
        """`retained` says before which time spans are not kept any more."""
        self._connection, self._retained = connection, retained
        self._early = Early(EARLY_SCORES)

    def add(self, records: Iterable[Record]) -> int:
        """Stores those records of one type whose key is not there yet. Returns how many were new."""
        record_type, rows = rows_of(records)
        if record_type is None:
            return 0
        if record_type is Span:
            return self.add_spans(from_rows(arrow_schema(Span), rows))
        first = keyed(record_type, rows)
        held = held_of(self._connection, record_type, list(first))
        new = {key: row for key, row in first.items() if key not in held or held[key].gone}
        self._put(record_type, new, held)
        return len(new)

    def put(self, records: Iterable[Record]) -> int:
        """Stores records of one type, replacing those with the same key. Returns how many were given."""
        record_type, rows = rows_of(records)
        if record_type is None:
            return 0
        last = {_key(record_type, row): row for row in rows}
        if record_type is Span:
            self._put_spans(last)
            self._settle(_scores(from_rows(arrow_schema(Span), rows)))
        else:
            self._put(record_type, last, held_of(self._connection, record_type, list(last)))
        return len(rows)

    def add_spans(self, spans: pa.RecordBatch) -> int:
        """Adds spans given by some of their columns, of which `start_time` and the key are some.

        What has been told to be too old is left out: it may have been counted before it was deleted.
        """
        recent = spans.filter(pc.greater_equal(spans["start_time"], self._retained()))
        new = self._new_ones(recent)
        for part in _parts(new):
            version = ADDED - order_number() // 2
            insert(self._connection, Span, part, versions=[version] * part.num_rows)
        self._settle(_scores(recent))
        return int(new.num_rows)

    def annotate_all(self, record_type: type[Record], changed: Iterable[Change]) -> int:
        """Changes some columns of records. Returns how many of them were there."""
        wanted = [
            (of_key(record_type, key).values, dict(zip(news, given.values, strict=True)))
            for key, news in changed
            for given in (changes(record_type, news),)
        ]
        stored = stored_rows(self._connection, record_type, [key for key, _ in wanted])
        there = 0
        rows = dict(stored.rows)
        for key, news in wanted:
            if key in rows:
                rows[key] = rows[key] | news
                there += 1
        if record_type is Span:
            self._put_spans({key: tuple(row.values()) for key, row in rows.items()}, seqs=stored.seqs)
        elif rows:
            self._put(record_type, {key: tuple(row.values()) for key, row in rows.items()}, stored.held, stored.seqs)
        return there

    def remove(self, record_type: type[Record], met: Condition) -> int:
        """Deletes the records that match. Returns how many there were."""
        held = matching(self._connection, record_type, met)
        self.replace(record_type, held, {})
        return len(held)

    def replace(
        self, record_type: type[Record], old: Mapping[Key, Held], new: Mapping[Key, Row], *, only_if: str = ""
    ) -> None:
        """Puts rows in place of others, in one insert: all of it is seen, or nothing."""
        held = {**held_of(self._connection, record_type, list(new)), **old}
        gone = {key: _gone(record_type, key) for key in old if key not in new}
        self._put(record_type, {**new, **gone}, held, gone=frozenset(gone), only_if=only_if)

    def _put(
        self,
        record_type: type[Record],
        rows: Mapping[Key, Row],
        held: Mapping[Key, Held],
        seqs: Sequence[int] | None = None,
        *,
        gone: frozenset[Key] = frozenset(),
        only_if: str = "",
    ) -> None:
        if rows:
            put = PUT + order_number()
            insert(
                self._connection,
                record_type,
                from_rows(arrow_schema(record_type), list(rows.values())),
                versions=[max(put, held[key].version + 1) if key in held else put for key in rows],
                seqs=seqs,
                gone=[key in gone for key in rows],
                only_if=only_if,
            )

    def _put_spans(self, rows: Mapping[Key, Row], seqs: Sequence[int] | None = None) -> None:
        """A span that begins at another time than the one that is there lies elsewhere: that one is gone."""
        time = [each.name for each in columns(Span)].index("start_time")
        places = span_places(self._connection, list(rows))
        order, retained = order_number(), self._retained()
        numbers = seqs or range(order, order + len(rows))
        written: list[tuple[Row, int, int, bool]] = []
        for (key, row), seq in zip(rows.items(), numbers, strict=True):
            there = places.get(key, {})
            for start, held in there.items():
                if start != row[time] and not held.gone:
                    written.append((_gone(Span, key, start), seq, max(PUT + order, held.version + 1), True))
            if row[time] >= retained:
                held_here = there.get(row[time])
                version = max(PUT + order, held_here.version + 1) if held_here else PUT + order
                written.append((row, seq, version, False))
        for at in range(0, len(written), INSERT_ROWS):
            given, given_seqs, versions, gone = zip(*written[at : at + INSERT_ROWS], strict=True)
            batch = from_rows(arrow_schema(Span), given)
            insert(self._connection, Span, batch, versions=versions, seqs=given_seqs, gone=gone)

    def _new_ones(self, spans: pa.RecordBatch) -> pa.RecordBatch:
        """The first span of each key that is not there yet."""
        first: dict[Key, int] = {}
        for at, key in enumerate(zip(*(spans[name].to_pylist() for name in key_of(Span)), strict=True)):
            first.setdefault(key, at)
        traces = list(dict.fromkeys((project, trace) for project, trace, _ in first))
        for asked in _slices(traces):
            met = any_of_keys(("project", "trace_id"), asked)
            sql = f"SELECT {', '.join(key_of(Span))} FROM {SPAN_KEYS} WHERE {met.sql}"
            for key in self._connection.rows(sql, met.values):
                first.pop(tuple(part.decode() for part in key), None)
        return spans if len(first) == spans.num_rows else spans.take(pa.array(list(first.values()), pa.int64()))

    def _settle(self, scores: Iterable[Span]) -> None:
        """Puts scores that have just been written, and those that wait, onto their spans."""
        with self._early.tried(scores) as waiting:
            waiting[:] = [each for each in map(as_stored, waiting) if not self._applied(each)]

    def _applied(self, score: Span) -> bool:
        here = of_span_key(Condition("project = ? AND trace_id = ?", (score.project, score.trace_id)))
        spans = f"(SELECT * FROM {Span.table} WHERE {here.sql})"
        found = self._connection.rows(target_sql(spans), (*here.values, *wanted_of(score)))
        if not found:
            return False
        key = (score.project, score.trace_id, found[0][0].decode())
        if given := told_by(score):
            (row,) = stored_rows(self._connection, Span, [key]).rows.values()
            together = joined(given, [row[name] for name in given])
            self._put_spans({key: tuple({**row, **together}.values())})
        own = (score.project, score.trace_id, score.span_id)
        for start, held in span_places(self._connection, [own]).get(own, {}).items():
            batch = from_rows(arrow_schema(Span), [_gone(Span, own, start)])
            insert(self._connection, Span, batch, versions=[max(PUT + order_number(), held.version + 1)], gone=[True])
        return True


@dataclass(frozen=True, slots=True)
class Stored:
    """Rows as they are stored, by key: their columns by name, their order, and what is held of them."""

    rows: Mapping[Key, dict[str, Any]]
    seqs: Sequence[int]
    held: Mapping[Key, Held]


def stored_rows(connection: Connection, record_type: type[Record], keys: Sequence[Key]) -> Stored:
    """The records with those keys, as far as they are there."""
    names = [each.name for each in columns(record_type)]
    schema = pa.schema([*arrow_schema(record_type), _HIDDEN.field("row_seq"), _HIDDEN.field("row_version")])
    rows: dict[Key, dict[str, Any]] = {}
    seqs: list[int] = []
    held: dict[Key, Held] = {}
    for asked in _slices(list(dict.fromkeys(keys))):
        met = any_of_keys(key_of(record_type), asked)
        if record_type is Span:
            met = of_span_key(met)
        sql = f"SELECT {', '.join(schema.names)} FROM {record_type.table} WHERE {met.sql}"
        for row in connection.table(sql, met.values, schema).to_pylist():
            key = tuple(row[name] for name in key_of(record_type))
            seqs.append(row["row_seq"])
            held[key] = Held(row["row_version"], gone=False)
            rows[key] = {name: row[name] for name in names}
    return Stored(rows, seqs, held)


def held_of(connection: Connection, record_type: type[Record], keys: Sequence[Key]) -> dict[Key, Held]:
    """What the table of a record has of those keys."""
    assert record_type is not Span, "spans lie by their time, too"
    names = ", ".join(key_of(record_type))
    schema = pa.schema(
        [*arrow_schema(record_type, key_of(record_type)), _HIDDEN.field("row_version"), ("gone", pa.bool_())]
    )
    held: dict[Key, Held] = {}
    for asked in _slices(keys):
        met = any_of_keys(key_of(record_type), asked)
        sql = (
            f"SELECT {names}, max(row_version), argMax(row_gone, row_version) FROM {record_type.table} "
            f"WHERE {met.sql} GROUP BY {names} SETTINGS final = 0"
        )
        for row in connection.table(sql, met.values, schema).to_pylist():
            *key, version, gone = row.values()
            held[tuple(key)] = Held(version, gone)
    return held


def matching(connection: Connection, record_type: type[Record], met: Condition) -> dict[Key, Held]:
    """The records that meet a condition."""
    names = key_of(record_type)
    schema = pa.schema([*arrow_schema(record_type, names), _HIDDEN.field("row_version")])
    sql = f"SELECT {', '.join(schema.names)} FROM {record_type.table} WHERE {met.sql}"
    rows = (tuple(row.values()) for row in connection.table(sql, met.values, schema).to_pylist())
    return {row[:-1]: Held(row[-1], gone=False) for row in rows}


def span_places(connection: Connection, keys: Sequence[Key]) -> dict[Key, dict[float, Held]]:
    """Where spans lie or have lain, by their start."""
    names = ", ".join(key_of(Span))
    places: dict[Key, dict[float, Held]] = {}
    for asked in _slices(keys):
        met = any_of_keys(key_of(Span), asked)
        sql = (
            f"SELECT {names}, start_time, max(row_version), argMax(row_gone, row_version) FROM {SPAN_KEYS} "
            f"WHERE {met.sql} GROUP BY {names}, start_time SETTINGS final = 0"
        )
        for *key, start, version, gone in connection.rows(sql, met.values):
            places.setdefault(tuple(part.decode() for part in key), {})[start] = Held(version, bool(gone))
    return places


def of_span_key(met: Condition) -> Condition:
    """The spans with those keys, by the times at which they began: so only where they lie is read."""
    times = f"SELECT start_time FROM {SPAN_KEYS} WHERE {met.sql}"
    return Condition(f"start_time IN ({times}) AND {met.sql}", (*met.values, *met.values))


def insert(
    connection: Connection,
    record_type: type[Record],
    rows: pa.RecordBatch,
    *,
    versions: Sequence[int],
    seqs: Sequence[int] | None = None,
    gone: Sequence[bool] | None = None,
    only_if: str = "",
) -> None:
    """Inserts rows, given by some of their columns, with what they say of themselves."""
    number, order, count = batch_number(), order_number(), rows.num_rows
    # What lies in one partition is seen at once; whoever reads on must not take it for all of the insert.
    days = map(day_of, rows["start_time"].to_pylist()) if record_type is Span else [0] * count
    hidden = {
        "row_seq": seqs or range(order, order + count),
        "row_batch": [(number + day) % 2**63 for day in days],
        "row_version": versions,
        "row_gone": [int(each) for each in gone] if gone else [0] * count,
    }
    arrays = [pa.array(list(hidden[field.name]), field.type) for field in _HIDDEN]
    table = pa.Table.from_arrays([*rows.columns, *arrays], schema=pa.schema([*rows.schema, *_HIDDEN]))
    types = types_of(record_type)
    connection.insert(record_type.table, table, [types[name] for name in table.schema.names], only_if=only_if)


def rows_of(records: Iterable[Record]) -> tuple[type[Record] | None, list[Row]]:
    """The type of some records and their rows; None where there are none. Raises BadRecord."""
    rest: Iterator[Record] = iter(records)
    first = next(rest, None)
    if first is None:
        return None, []
    record_type = type(first)
    rows = []
    for each in chain((first,), rest):
        assert type(each) is record_type, f"records of one type at a time: {record_type.__name__}"
        rows.append(to_row(each))
    return record_type, rows


def keyed(record_type: type[Record], rows: Iterable[Row]) -> dict[Key, Row]:
    """Rows by their key, the first of each."""
    found: dict[Key, Row] = {}
    for row in rows:
        found.setdefault(_key(record_type, row), row)
    return found


def _key(record_type: type[Record], row: Row) -> Key:
    return tuple(value for each, value in zip(columns(record_type), row, strict=True) if each.key)


def _gone(record_type: type[Record], key: Key, start_time: float | None = None) -> Row:
    """The row that says that a key is gone."""
    parts = iter(key)
    row = []
    for each in columns(record_type):
        if each.key:
            row.append(next(parts))
        elif start_time is not None and each.name == "start_time":
            row.append(start_time)
        else:
            default = defaults_of(record_type).get(each.name)
            row.append(_EMPTY[each.kind] if each.required else default)
    return tuple(row)


def _parts(spans: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Spans in pieces of which each is one insert."""
    size = max(1, min(INSERT_ROWS, INSERT_BYTES * spans.num_rows // max(1, spans.nbytes)))
    for at in range(0, spans.num_rows, size):
        yield spans.slice(at, size)


def _slices(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for at in range(0, len(keys), KEYS_ASKED):
        yield keys[at : at + KEYS_ASKED]


def _scores(spans: pa.RecordBatch) -> list[Span]:
    """The scores among these spans."""
    if "operation_type" not in spans.schema.names:
        return []
    scores = spans.filter(pc.fill_null(pc.equal(spans["operation_type"], SCORE), False)).to_pylist()
    known = column_of(Span)
    return [
        from_values(Span, {name: value for name, value in row.items() if value is not None and name in known})
        for row in scores
    ]
