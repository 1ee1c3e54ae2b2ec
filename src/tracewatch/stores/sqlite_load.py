"""Large writes: a child process inserts Arrow batches through ADBC while this one prepares the next.

Binding from Arrow takes half the time of binding Python objects. A process of its own for the reason that
sqlite_stream.py gives. Each batch is one transaction; it is acknowledged when it is committed.

Over the pipe go, for each batch, the statement as one line of JSON and the rows as one Arrow stream. Both ends read
buffered, so a read waits for all it asks for, and Arrow takes no byte beyond the end of its stream.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracewatch.errors import StoreBusy, StoreUnwritable
from tracewatch.stores.sqlite_writing import BULK, settings_sql

# ADBC hands on what SQLite says as text alone, behind words of its own: "IO: Failed to step query: disk I/O error".
_ADBC_SAYS = re.compile(r"^[A-Z_ ]+: (Failed to [^:]+: )?")
_LOCKED = "database is locked"
_REASONS = {"database or disk is full": "the disk is full", "disk I/O error": "the disk reported an error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of one batch: how many rows were new, and the sequence numbers before and after it."""

    added: int
    before: int
    after: int
    version: int
    """SQLite's number for the state of the file; another one later on means that somebody else has written."""


class Loader:
    """The child and the pipes to it. One batch is under way at a time."""

    def __init__(self, path: str, *, table: str, durability: str, busy_ms: int) -> None:
        """Starts the child, which waits so many milliseconds for a lock of others. Raises StoreUnwritable."""
        self.path = path
        self._busy_ms = busy_ms
        self.moved = 0
        """How often spans had been closed or reopened when the last batch was looked through for closed ones."""
        setting = json.dumps({"path": path, "table": table, "durability": durability, "busy_ms": busy_ms})
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path)}
        try:
            with ExitStack() as opened:
                # A file, as nobody reads this while a batch is under way: a pipe that is full would stop the child.
                self._said = opened.enter_context(tempfile.TemporaryFile())
                self._child = subprocess.Popen(
                    # -P: what lies in the directory the user stands in is nothing for us to import.
                    [sys.executable, "-P", "-m", "tracewatch.stores.sqlite_load", setting],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._said,
                    env=environment,
                )
                opened.pop_all()
        except OSError as error:
            why = f"the process that writes its rows could not be started ({error.strerror})"
            raise StoreUnwritable(path=path, why=why) from error

    def send(self, sql: str, batch: pa.RecordBatch) -> None:
        """Hands over one batch for an INSERT with a mark per column. Raises StoreBusy or StoreUnwritable."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(sql).encode() + b"\n")
            with pa.ipc.new_stream(self._child.stdin, batch.schema) as stream:
                stream.write_batch(batch)
            self._child.stdin.flush()
        except OSError:  # the child has gone; what it said tells why
            self._answer()
            self._fail("")

    def result(self) -> Loaded:
        """Waits until the batch is committed. Raises StoreBusy or StoreUnwritable; then nothing of it was kept."""
        return Loaded(**self._answer())

    def version(self) -> int:
        """The number for the state of the file now. Raises StoreBusy or StoreUnwritable."""
        assert self._child.stdin is not None
        with suppress(OSError):
            self._child.stdin.write(b"null\n")
            self._child.stdin.flush()
        return int(self._answer()["version"])

    def close(self) -> None:
        """Ends the child; a batch under way is given up."""
        assert self._child.stdin is not None
        self._said.close()
        with self._child:  # closes the pipes and waits, so that no zombie stays
            self._child.kill()
            with suppress(OSError):  # what could not be sent is still in the buffer
                self._child.stdin.close()

    def _answer(self) -> dict[str, int]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"error": ""}
        if "error" in answer:
            self._fail(answer["error"])
        return answer

    def _fail(self, said: str) -> None:
        text = _ADBC_SAYS.sub("", said)
        if text.startswith(_LOCKED):
            raise StoreBusy(path=self.path, seconds=f"{self._busy_ms / 1000:g}")
        if not text:
            self._child.kill()
            code = self._child.wait()
            self._said.seek(0)
            lines = self._said.read().decode(errors="replace").strip().splitlines()
            text = lines[-1] if lines else f"the process that writes its rows ended with {code}"
        raise StoreUnwritable(path=self.path, why=_REASONS.get(text, text))


def main() -> None:
    """The child: reads batches from standard input, answers one line for each."""
    import adbc_driver_manager
    from adbc_driver_sqlite import dbapi

    setting = json.loads(sys.argv[1])
    try:
        address = f"{Path(setting['path']).absolute().as_uri()}?mode=rw"
        with dbapi.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
            busy = f"PRAGMA busy_timeout = {setting['busy_ms']}"
            for sql in (busy, *settings_sql(setting["durability"], BULK)):
                cursor.execute(sql)
                cursor.fetchall()
            while line := sys.stdin.buffer.readline():
                sql = json.loads(line)
                _say({"version": _version(cursor)} if sql is None else _insert(cursor, setting["table"], sql))
    except pa.ArrowInvalid:
        sys.exit("the process that sends its rows has gone")
    except adbc_driver_manager.Error as error:
        _say({"error": str(error).splitlines()[0]})
        sys.exit(1)


def _insert(cursor: Any, table: str, sql: str) -> dict[str, int]:
    """One batch in one transaction; an error leaves it to be rolled back when the connection closes."""
    rows = pa.ipc.open_stream(sys.stdin.buffer).read_all()  # whole, before the lock is taken
    cursor.execute("BEGIN IMMEDIATE")
    before, changes = _last_seq(cursor, table), _number(cursor, "SELECT total_changes()")
    for batch in rows.to_batches():
        cursor.executemany(sql, batch)
    added, after = _number(cursor, "SELECT total_changes()") - changes, _last_seq(cursor, table)
    version = _version(cursor)  # while nobody else can write; our own commit does not change it
    cursor.execute("COMMIT")
    return {"added": added, "before": before, "after": after, "version": version}


def _last_seq(cursor: Any, table: str) -> int:
    return _number(cursor, f"SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '{table}'")


def _version(cursor: Any) -> int:
    return _number(cursor, "PRAGMA data_version")


def _number(cursor: Any, sql: str) -> int:
    cursor.execute(sql)
    return int(cursor.fetchone()[0])


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
