"""Large reads: a child process asks SQLite through ADBC and streams Arrow back over a pipe.

A process of its own, because ADBC brings its own copy of SQLite. Two copies in one process on one file break POSIX
locks (https://sqlite.org/howtocorrupt.html, section 2.2.1): the one that closes the file drops the other's locks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracewatch.errors import StoreUnreadable
from tracewatch.stores.columns import conform

BATCH_ROWS = 32_768  # 14 numeric columns are then 4 MB a batch: the pipe stays busy, the memory small

_TYPED = {pa.float64(): "0.5", pa.int64(): "0", pa.bool_(): "0", pa.string(): "''", pa.binary(): "x''"}


def stream(
    path: str,
    schema: pa.Schema,
    sql: str,
    values: Sequence[Any],
    beside: str = "",
    told: Callable[[list[list[Any]]], None] = lambda rows: None,
) -> Iterator[pa.RecordBatch]:
    """Rows of one SELECT as batches of `schema`, from one consistent view. Raises StoreUnreadable.

    The rows of another SELECT, `beside`, are told from the same view before the first batch comes. Memory is a few
    batches. An iterator that is dropped half way takes its child with it.
    """
    child = subprocess.Popen(
        # -P: or else a json.py in the current directory would be run in place of Python's own
        [sys.executable, "-P", "-m", "tracewatch.stores.sqlite_stream"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with child:  # closes the pipes and waits, so that no zombie stays
        try:
            question = {"path": path, "sql": _typed(schema, sql), "values": list(values), "beside": beside}
            yield from _batches(child, path, schema, question, told)
        finally:
            child.kill()


def main() -> None:
    """The child: reads one question from standard input, writes an Arrow stream to standard output."""
    import adbc_driver_manager
    import adbc_driver_sqlite
    from adbc_driver_sqlite import dbapi

    question = json.load(sys.stdin)
    address = f"{Path(question['path']).absolute().as_uri()}?mode=ro"
    rows = adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value
    try:
        with (
            dbapi.connect(address) as connection,
            connection.cursor(adbc_stmt_kwargs={rows: str(BATCH_ROWS)}) as cursor,
        ):
            # The first of the two begins the transaction, and so settles what both of them see.
            if question["beside"]:
                cursor.execute(question["beside"])
                sys.stdout.write(json.dumps(cursor.fetchall()) + "\n")
                sys.stdout.flush()
            cursor.execute(question["sql"], question["values"] or None)
            _send(cursor.fetch_record_batch())
    except adbc_driver_manager.Error as error:
        sys.exit(str(error).splitlines()[0])


def _typed(schema: pa.Schema, sql: str) -> str:
    """The SELECT behind one row of typed values: ADBC takes a column's type from the first rows it sees."""
    first = ", ".join(f"{_TYPED[field.type]} AS {field.name}" for field in schema)
    return f"SELECT {first} UNION ALL {sql}"


def _send(reader: pa.RecordBatchReader) -> None:
    with pa.ipc.new_stream(sys.stdout.buffer, reader.schema) as stream_out:
        skip = 1  # the row of types
        for batch in reader:
            stream_out.write_batch(batch.slice(skip))
            skip = 0


def _batches(
    child: subprocess.Popen[bytes],
    path: str,
    schema: pa.Schema,
    question: dict[str, Any],
    told: Callable[[list[list[Any]]], None],
) -> Iterator[pa.RecordBatch]:
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        child.stdin.write(json.dumps(question).encode())
        child.stdin.close()
        if question["beside"] and (line := child.stdout.readline()).endswith(b"\n"):
            told(json.loads(line))
        for batch in pa.ipc.open_stream(child.stdout):
            if batch.num_rows:
                yield conform(schema, batch)
    except (OSError, pa.ArrowInvalid):
        pass  # the child died in the middle: what it said, or its exit code, tells why
    else:
        if child.wait() == 0:  # a stream cut off between two batches looks like a complete one
            return
    said = child.stderr.read().decode(errors="replace").strip().splitlines()
    why = said[-1] if said else f"the process that reads its columns ended with {child.wait()}"
    raise StoreUnreadable(path=path, why=why)


if __name__ == "__main__":
    main()
