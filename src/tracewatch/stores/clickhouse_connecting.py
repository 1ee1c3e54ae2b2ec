"""A client of ClickHouse: asked and answered in Arrow, bound to a lease where there is one, told in our words."""

from __future__ import annotations

import base64
import io
import logging
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tracewatch.errors import LeaseLost, StoreUnreadable, StoreUnwritable
from tracewatch.records import Lease
from tracewatch.stores.clickhouse_address import ClickHouseAddress, parse_clickhouse
from tracewatch.stores.clickhouse_queries import literal, written
from tracewatch.stores.values import Row

OLDEST = (25, 3)  # the long-term release before the one that is tested
CONNECT_S = 10
ANSWER_S = 60  # without a byte of an answer

_UNKNOWN_DATABASE = 81
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what is wrong is raised, and told in our words
_SETTINGS = {
    "final": 1,  # every question sees of each key the row that holds
    "do_not_merge_across_partitions_select_final": 1,  # the key of a span holds its day
    "output_format_arrow_string_as_string": 0,  # texts may hold bytes; they are read as text where they are
    "max_query_size": 2**30,
    "max_partitions_per_insert_block": 0,  # an import brings more days than 100
    "cast_keep_nullable": 1,
    "mutations_sync": 1,
}


class Connection:
    """Asks one database. May be used by several threads."""

    def __init__(self, url: str, *, create: bool = False) -> None:
        """Connects, to say at once what is wrong; `create` makes a database that is not there.

        Raises StoreUnreadable or BadStoreAddress.
        """
        self.address = parse_clickhouse(url)
        self.name = self.address.name
        self.lease: Lease | None = None
        """What every write is bound to, if anything."""
        with told(self.name, StoreUnreadable):
            self._client = _client(self.address, create=create)
        self.version = str(self._client.server_version)
        if tuple(int(part) for part in self.version.split(".")[:2]) < OLDEST:
            self.close()
            oldest = ".".join(map(str, OLDEST))
            raise StoreUnreadable(path=self.name, why=f"it is ClickHouse {self.version}, and {oldest} is the oldest")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of an answer; texts are bytes."""
        table = self._answer(sql, values)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def table(self, sql: str, values: Sequence[Any], schema: pa.Schema) -> pa.Table:
        """The columns of an answer, in those types."""
        return _typed(self._answer(sql, values), schema)

    def number(self, sql: str, values: Sequence[Any] = ()) -> int:
        """The one number that a question is answered with; 0 for none."""
        found = self.rows(sql, values)
        return int(found[0][0] or 0) if found else 0

    def batches(self, sql: str, values: Sequence[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The columns of an answer, in those types, as they come. One question is one view of the data."""
        with told(self.name, StoreUnreadable):
            stream = self._client.raw_stream(written(sql, values), fmt="ArrowStream")
            with stream, pa.ipc.open_stream(stream) as reader:
                for batch in reader:
                    if batch.num_rows:
                        yield _typed(pa.Table.from_batches([batch]), schema).combine_chunks().to_batches()[0]

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Runs one statement that answers nothing."""
        with told(self.name, StoreUnwritable):
            self._client.command(written(sql, values))

    def insert(self, table: str, rows: pa.Table, types: Sequence[str], *, only_if: str = "") -> None:
        """Inserts rows: those of one partition are all seen at once, or never.

        Bound to a lease, and with a condition, it is the statement itself that looks, at the server: whoever was
        stopped before it was sent can write nothing over what others have written since. Raises LeaseLost.
        """
        conditions = [each for each in (only_if, self._lease_holds()) if each]
        with told(self.name, StoreUnwritable):
            if not conditions:
                gathered = {"async_insert": int(self.address.async_insert)}
                self._client.raw_insert(table, rows.schema.names, _stream(rows), gathered, "ArrowStream")
                return
            names = ", ".join(rows.schema.names)
            structure = ", ".join(f"{name} {kind}" for name, kind in zip(rows.schema.names, types, strict=True))
            data = base64.b64encode(_stream(rows)).decode()
            self._client.command(
                f"INSERT INTO {table} ({names}) SELECT {names} "
                f"FROM format('ArrowStream', {literal(structure)}, base64Decode('{data}')) "
                f"WHERE {' AND '.join(conditions)}"
            )
        self.check_lease()

    def check_lease(self) -> None:
        """Raises LeaseLost when somebody else has taken the lease."""
        if self.lease is None:
            return
        sql = f"SELECT epoch, holder FROM {Lease.table} WHERE name = ?"
        epoch, holder = next(iter(self.rows(sql, (self.lease.name,))), (None, b""))
        if epoch != self.lease.epoch:
            raise LeaseLost(path=self.name, holder=holder.decode() or "nobody")

    def now_ns(self) -> int:
        """The server's clock."""
        return self.number("SELECT toUnixTimestamp64Nano(now64(9))")

    def close(self) -> None:
        """Lets go of the server."""
        self._client.close()

    def _answer(self, sql: str, values: Sequence[Any]) -> pa.Table:
        with told(self.name, StoreUnreadable):
            answer = self._client.raw_query(written(sql, values), fmt="ArrowStream")
            return pa.ipc.open_stream(answer).read_all()

    def _lease_holds(self) -> str:
        if self.lease is None:
            return ""
        epoch = written(f"SELECT max(epoch) FROM {Lease.table} WHERE name = ?", (self.lease.name,))
        return f"({epoch}) = {self.lease.epoch}"


@contextmanager
def told(name: str, error_type: type[StoreUnreadable | StoreUnwritable]) -> Iterator[None]:
    """Turns what the client or the server says into one sentence of `error_type`."""
    try:
        yield
    except (ClickHouseError, pa.ArrowInvalid, OSError) as error:
        raise error_type(path=name, why=_reason(error)) from error


def order_number() -> int:
    """A number that later rows have a larger one than: nanoseconds since 1970, but for what the clock does."""
    return time.time_ns()


def batch_number() -> int:
    """A number that no other insert has."""
    return secrets.randbits(63)


def _client(address: ClickHouseAddress, *, create: bool) -> Client:
    arguments = {**address.client_arguments(), "settings": _SETTINGS}
    if not address.folder:
        arguments |= {
            "autogenerate_session_id": False,  # threads ask at the same time
            "connect_timeout": CONNECT_S,
            "send_receive_timeout": ANSWER_S,
            "client_name": "tracewatch",
            "compress": False,  # Arrow is compressed
        }
    try:
        return get_client(**arguments, database=address.database)
    except ClickHouseError as error:
        if not create or getattr(error, "code", None) != _UNKNOWN_DATABASE:
            raise
    client = get_client(**arguments, database="default")
    on_cluster = f" ON CLUSTER '{address.cluster}'" if address.cluster else ""
    client.command(f"CREATE DATABASE IF NOT EXISTS `{address.database.replace('`', '')}`{on_cluster}")
    client.close()
    return get_client(**arguments, database=address.database)


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [column.cast(field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _stream(rows: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, rows.schema) as writer:
        writer.write_table(rows)
    return out.getvalue()


_SAID = re.compile(r"DB::\w*Exception: (.*)", re.DOTALL)
_AWAY = re.compile(r"\[Errno \d+\] ([^')\"]+)|(timed out)|(Name or service not known)", re.IGNORECASE)


def _reason(error: Exception) -> str:
    """What is wrong, in one line, without the statement that ClickHouse repeats."""
    text = str(error)
    if said := _SAID.search(text):
        line = said[1].split("\n")[0]
        line = re.split(r": (?:While|In scope|while) |\. \(|\(version ", line)[0]
        return line.strip().rstrip(".")[:300]
    if away := _AWAY.search(text):
        return next(each for each in away.groups() if each).strip()
    return text.splitlines()[0][:300].rstrip(".") if text else type(error).__name__
