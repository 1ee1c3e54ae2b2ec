"""The ClickHouse store on the real engine in this process, against a raw Arrow insert in the same run.

    python -m benchmarks clickhouse --rows=1000000

There is no network between, and one machine; what a cluster adds is not measured here.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence

import pyarrow as pa

from benchmarks.servers import Yardstick, measured
from tracewatch.stores import open_store
from tracewatch.stores.clickhouse_connecting import Connection

_TYPES = {
    pa.string(): "String",
    pa.float64(): "Float64",
    pa.int64(): "Int64",
    pa.bool_(): "Bool",
    pa.binary(): "String",
}


def run() -> Iterator[str]:
    """One line per measurement."""
    import chdb

    folder = tempfile.mkdtemp(prefix="tracewatch-clickhouse-")
    kept = chdb.connect(folder)  # the engine goes with the last connection
    url = f"chdb://{folder}?database=watch"
    try:
        with open_store(url, create=True) as store:
            connection = Connection(url)
            yield f"ClickHouse {connection.version}"
            yield from measured(store, _raw(connection), time.process_time)
            connection.close()
    finally:
        kept.close()
        shutil.rmtree(folder, ignore_errors=True)


def _raw(connection: Connection) -> Yardstick:
    def insert(batches: Sequence[pa.RecordBatch]) -> None:
        fields = ", ".join(f"{each.name} Nullable({_TYPES[each.type]})" for each in batches[0].schema)
        connection.execute(f"CREATE TABLE raw ({fields}) ENGINE = MergeTree ORDER BY tuple()")
        for batch in batches:
            connection._client.insert_arrow("raw", pa.Table.from_batches([batch]))

    def read(names: Sequence[str]) -> int:
        return int(connection._client.query_arrow(f"SELECT {', '.join(names)} FROM raw").num_rows)

    def size(table: str) -> int:
        sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = ?"
        return connection.number(sql, (table,))

    return Yardstick("raw Arrow", insert, read, size)
