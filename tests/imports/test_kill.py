"""An import that is killed: what was reported as stored is there, and the next import completes it."""

import os
import signal
import sqlite3
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from tracewatch.imports import import_file
from tracewatch.records import Span
from tracewatch.stores import open_store

ROWS = 12_000
KILLED_AFTER = 2  # chunks of 1 000 rows: well before the end

IMPORTING = """
import sys
from tracewatch.imports import import_file, parquet
from tracewatch.stores import open_store
parquet.CHUNK_ROWS = 1_000
store = open_store(sys.argv[2], create=True)
import_file(sys.argv[1], store, progress=lambda step: print(step.stored, flush=True))
"""


def test_a_killed_import_keeps_what_it_reported_and_can_be_repeated(tmp_path):
    path, db = tmp_path / "rows.parquet", tmp_path / "watch.db"
    times = [1_772_445_600_000 + row for row in range(ROWS)]
    pq.write_table(pa.table({"timestamp": times, "input_tokens": range(ROWS)}), path)

    child = subprocess.Popen([sys.executable, "-c", IMPORTING, str(path), str(db)], stdout=subprocess.PIPE, text=True)
    with child:
        reported = [int(child.stdout.readline()) for _ in range(KILLED_AFTER)][-1]
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert 0 < reported < ROWS

    with open_store(str(db)) as store:
        there = store.count(Span)
        assert reported <= there < ROWS
        imported = import_file(path, store)
        assert (imported.stored, imported.already_there) == (ROWS - there, there)
        assert store.count(Span) == ROWS
    with sqlite3.connect(db) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
