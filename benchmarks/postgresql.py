"""The PostgreSQL store against a raw COPY into a plain table in the same run, on a server that this starts.

python -m benchmarks postgresql --rows=1000000
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pyarrow as pa

from benchmarks.servers import Yardstick, measured
from tracewatch.stores import open_store

_TYPES = {
    pa.string(): "text",
    pa.float64(): "float8",
    pa.int64(): "bigint",
    pa.bool_(): "boolean",
    pa.binary(): "bytea",
}
_TICKS = os.sysconf("SC_CLK_TCK")


def run() -> Iterator[str]:
    """One line per measurement."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "stores"))
    from postgres_server import fresh_url, server

    url = fresh_url()
    with open_store(url, create=True) as store, psycopg.connect(url, autocommit=True) as connection:
        yield f"PostgreSQL {connection.info.server_version // 10_000}, without fsync"
        yield from measured(
            store, _raw(connection), _cpu(int((server().folder / "data/postmaster.pid").open().readline()))
        )


def _raw(connection: psycopg.Connection) -> Yardstick:
    def insert(batches: Sequence[pa.RecordBatch]) -> None:
        fields = ", ".join(f"{each.name} {_TYPES[each.type]}" for each in batches[0].schema)
        connection.execute(f"CREATE TABLE raw ({fields})")
        for batch in batches:
            with connection.cursor() as cursor, cursor.copy("COPY raw FROM STDIN") as copy:
                for row in zip(*(each.to_pylist() for each in batch.columns), strict=True):
                    copy.write_row(row)

    def read(names: Sequence[str]) -> int:
        with connection.cursor(binary=True) as cursor:
            return len(cursor.execute(f"SELECT {', '.join(names)} FROM raw").fetchall())

    def size(table: str) -> int:
        sql = """SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_partition_tree(%s::regclass)"""
        whole = connection.execute(sql, (table,)).fetchone()
        plain = connection.execute("SELECT pg_total_relation_size(%s::regclass)", (table,)).fetchone()
        return max(int(each[0]) for each in (whole, plain) if each)

    return Yardstick("raw COPY", insert, read, size)


def _cpu(postmaster: int) -> Callable[[], float]:
    """The seconds of this process and of the server with all its processes, those that have ended included."""

    def seconds() -> float:
        return time.process_time() + sum(_seconds(pid) for pid in (postmaster, *_children(postmaster)))

    return seconds


def _children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _seconds(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, words[11:15])) / _TICKS
