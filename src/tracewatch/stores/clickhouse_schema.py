"""The tables of a ClickHouse store, read off the records, and the way from an older form of them to this one.

Each table keeps of rows with the same key the one with the highest version, and none where that is a deletion. Spans
lie in partitions of a day, in order of project and time; their keys lie beside them, in order of traces:
docs/decisions/0027-clickhouse.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tracewatch.errors import StoreOccupied, StoreTooNew, StoreUnreadable
from tracewatch.records import RECORDS, Column, Record, Span, columns, key_of
from tracewatch.stores.clickhouse_address import ClickHouseAddress
from tracewatch.stores.clickhouse_connecting import Connection
from tracewatch.stores.measures import KEYS, MEASURES, Measure
from tracewatch.stores.sqlite_schema import HOURS, META, MINUTES, VALUED
from tracewatch.stores.values import defaults_of, may_be_empty
from tracewatch.times import DAY_S

VERSION = 1
SPAN_KEYS = "tracewatch_span_keys"
SPAN_KEYS_VIEW = "tracewatch_span_keys_of_new"
TURNS = "tracewatch_turns"
PARTED = (946_684_800.0, 4_102_444_800.0)  # the years 2000 to 2099 have days of their own, all else lies together
OTHER_DAYS = 0

HIDDEN: Mapping[str, str] = {
    "row_seq": "Int64",
    "row_batch": "UInt64",
    "row_version": "UInt64",
    "row_gone": "UInt8",
}
"""What every row of a record says of itself: its order, the insert that brought it, and whether it holds."""

_TYPES = {
    "text": "String",
    "integer": "Int64",
    "real": "Float64",
    "time": "Float64",
    "boolean": "Bool",
    "json": "String",
    "list": "String",
    "bytes": "String",
}
_CODECS = {"Float64": "ZSTD(1)", "Int64": "T64, ZSTD(1)", "String": "ZSTD(3)"}
_WRITTEN = "Int64 DEFAULT toUnixTimestamp64Nano(now64(9)) CODEC(Delta(8), ZSTD(1))"
_MONTH_S = 30 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as it is made: columns by name, and what holds them together."""

    name: str
    columns: Mapping[str, str]
    order: str
    engine: str = "ReplacingMergeTree(row_version, row_gone)"
    partition: str = ""
    primary: str = ""
    ttl: str = ""
    indexes: tuple[str, ...] = ()
    settings: str = ""

    def sql(self, cluster: str = "") -> str:
        """The statement that makes it, if it is not there."""
        engine = f"Replicated{self.engine}" if cluster else self.engine
        parts = [f"ENGINE = {engine}"]
        parts += [f"PARTITION BY {self.partition}"] if self.partition else []
        parts += [f"PRIMARY KEY ({self.primary})"] if self.primary else []
        parts += [f"ORDER BY ({self.order})"]
        parts += [f"TTL {self.ttl}"] if self.ttl else []
        parts += [f"SETTINGS {self.settings}"] if self.settings else []
        lines = [f"{name} {kind}" for name, kind in self.columns.items()] + list(self.indexes)
        inner = ",\n  ".join(lines)
        return f"CREATE TABLE IF NOT EXISTS {self.name}{on(cluster)} (\n  {inner}\n)\n" + "\n".join(parts)


def on(cluster: str) -> str:
    """What makes a statement one for all servers of a cluster."""
    return f" ON CLUSTER '{cluster}'" if cluster else ""


def tables(address: ClickHouseAddress) -> Iterator[Table]:
    """All tables of a store."""
    yield Table(
        name=META, columns={"name": "String", "value": "String", "version": "UInt64"}, order="name",
        engine="ReplacingMergeTree(version)",
    )  # fmt: skip
    for record_type in RECORDS:
        yield _spans(address) if record_type is Span else _records(record_type)
    keys = dict.fromkeys(key_of(Span), "String")
    hidden = {name: HIDDEN[name] for name in ("row_version", "row_gone")}
    yield Table(
        name=SPAN_KEYS,
        columns={**keys, "start_time": "Float64", **hidden},
        partition=_part_of("start_time", _MONTH_S),
        primary=", ".join(keys),
        order=", ".join((*keys, "start_time")),
    )
    for name in (HOURS, MINUTES):
        yield _rollups(name)
    yield Table(
        name=TURNS,
        columns={"name": "String", "ticket": "UInt64", "row_written": _WRITTEN, **hidden},
        order="name, ticket",
        ttl="toDateTime(intDiv(row_written, 1000000000)) + toIntervalDay(1)",
    )


def types_of(record_type: type[Record]) -> Mapping[str, str]:
    """The type of each column of a record, and of what its rows say of themselves."""
    return {**{each.name: _type(record_type, each) for each in columns(record_type)}, **HIDDEN}


def rollup_types() -> Mapping[str, str]:
    """The type of each column of a table of rollups."""
    slices = {name: "LowCardinality(Nullable(String))" for name in KEYS if name != "project"}
    return {
        "project": "LowCardinality(String)",
        "hour": "Int64",
        "bucket": "Int64",
        "place": "LowCardinality(String)",
        "revision": "UInt64",
        **slices,
        **{each.name: _measure_type(each) for each in MEASURES},
    }


def prepare(connection: Connection, *, create: bool) -> None:
    """Makes or completes our tables; does not write when nothing is missing. Several may do so at once.

    Raises StoreTooNew, StoreOccupied (with nothing changed) or StoreUnreadable.
    """
    there = _columns_there(connection)
    found = version_of(connection) if META in there else None
    if found is not None and found > VERSION:
        raise StoreTooNew(path=connection.name, found=found, known=VERSION)
    if found is None and META not in there:
        _claim(connection, there, create=create)
    wanted = list(tables(connection.address))
    if found == VERSION and not any(_missing(wanted, there, connection.address.cluster)):
        return
    for statement in _missing(wanted, there, connection.address.cluster):
        connection.execute(statement)
    connection.execute(_view_sql(connection.address.cluster))
    if found != VERSION:
        connection.execute(f"INSERT INTO {META} (name, value, version) VALUES ('schema', ?, 1)", (str(VERSION),))


def version_of(connection: Connection) -> int | None:
    """The schema that is there; None when there is none of ours."""
    found = connection.rows(f"SELECT value FROM {META} WHERE name = 'schema'")
    return int(found[0][0]) if found else None


def day_of(time_s: float) -> int:
    """The day (since 1970) in whose partition a time lies; OTHER_DAYS where it lies with all those out of the way."""
    return int(time_s // DAY_S) if PARTED[0] <= time_s < PARTED[1] else OTHER_DAYS


def _columns_there(connection: Connection) -> dict[str, set[str]]:
    there: dict[str, set[str]] = {}
    sql = "SELECT table, name FROM system.columns WHERE database = currentDatabase()"
    for table, name in connection.rows(sql):
        there.setdefault(table.decode(), set()).add(name.decode())
    return there


def _claim(connection: Connection, there: Iterable[str], *, create: bool) -> None:
    """Looks whether a database that has none of our tables may be given them."""
    for record_type in RECORDS:
        if record_type.table in there:
            raise StoreOccupied(path=connection.name, table=record_type.table)
    if not create:
        raise StoreUnreadable(path=connection.name, why="it has no tables of tracewatch; tracewatch import makes them")


def _missing(wanted: Iterable[Table], there: Mapping[str, set[str]], cluster: str) -> Iterator[str]:
    """Statements for tables and columns that are declared and not there."""
    for table in wanted:
        has = there.get(table.name)
        if has is None:
            yield table.sql(cluster)
            continue
        for name, kind in table.columns.items():
            if name not in has:
                yield f"ALTER TABLE {table.name}{on(cluster)} ADD COLUMN IF NOT EXISTS {name} {kind}"


def _records(record_type: type[Record]) -> Table:
    return Table(name=record_type.table, columns=_columns(record_type), order=", ".join(key_of(record_type)))


def _spans(address: ClickHouseAddress) -> Table:
    ttl = ""
    if address.ttl_days:
        moment = f"toDateTime(toUInt32(greatest(0, least(start_time, {int(PARTED[1])}))))"
        ttl = f"{moment} + toIntervalDay({address.ttl_days})"
    return Table(
        name=Span.table,
        columns=_columns(Span),
        partition=_part_of("start_time", DAY_S),
        primary="project, start_time",
        order="project, start_time, trace_id, span_id",
        ttl=ttl,
        indexes=(
            "INDEX by_written row_written TYPE minmax GRANULARITY 1",
            *(f"INDEX by_{name} {name} TYPE bloom_filter(0.01) GRANULARITY 1" for name in VALUED),
        ),
        settings="ttl_only_drop_parts = 1" if ttl else "",
    )


def _part_of(time: str, length_s: int) -> str:
    """The number of the day, or of another length of time, that a time lies in; 0 for all that is out of the way."""
    begin, end = (int(each) for each in PARTED)
    return (
        f"if({time} >= {begin} AND {time} < {end}, toInt32(intDiv(toInt64(floor({time})), {length_s})), {OTHER_DAYS})"
    )


def _rollups(name: str) -> Table:
    return Table(
        name=name,
        columns=rollup_types(),
        engine="ReplacingMergeTree(revision)",
        partition=_part_of("hour", _MONTH_S),
        order="project, hour, bucket, place",
    )


def _view_sql(cluster: str) -> str:
    """What writes down the key of each span that is inserted, in the same statement."""
    names = ", ".join((*key_of(Span), "start_time", "row_version", "row_gone"))
    return (
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {SPAN_KEYS_VIEW}{on(cluster)} TO {SPAN_KEYS} "
        f"AS SELECT {names} FROM {Span.table} SETTINGS final = 0"
    )


def _columns(record_type: type[Record]) -> dict[str, str]:
    made = {each.name: _column(record_type, each) for each in columns(record_type)}
    codecs = {"row_seq": " CODEC(Delta(8), ZSTD(1))", "row_batch": " CODEC(ZSTD(1))", "row_version": " CODEC(ZSTD(1))"}
    hidden = {name: kind + codecs.get(name, "") for name, kind in HIDDEN.items()}
    return {**made, **hidden, "row_written": _WRITTEN}


def _column(record_type: type[Record], column: Column) -> str:
    kind = _type(record_type, column)
    default = defaults_of(record_type).get(column.name)
    words = [kind]
    if default is not None:
        words.append(f"DEFAULT {_literal(default)}")
    if codec := _CODECS.get(kind.removeprefix("Nullable(").removesuffix(")")):
        words.append(f"CODEC({codec})")
    return " ".join(words)


def _type(record_type: type[Record], column: Column) -> str:
    kind = _TYPES[column.kind]
    empty = may_be_empty(record_type, column)
    kind = f"Nullable({kind})" if empty else kind
    few = column.kind == "text" and (column.choices or column.rolled == "slice" or column.name == "project")
    return f"LowCardinality({kind})" if few else kind


def _measure_type(measure: Measure) -> str:
    if measure.kind == "sketch":
        return "Nullable(String)"
    return "Int64" if measure.kind == "integer" else "Float64"


def _literal(value: str | float) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" if isinstance(value, str) else repr(value)
