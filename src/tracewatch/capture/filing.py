"""The sink that is a SQLite file: rows in one transaction, beside other processes that write and read it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from tracewatch.capture.sinks import Refused, Unavailable
from tracewatch.errors import BadRecord, StoreBusy, TracewatchError
from tracewatch.records import Span
from tracewatch.stores.address import Address
from tracewatch.stores.sqlite_writing import SqliteWriter

BUSY_S = 2.0  # for so long another writer is waited for before it is said
LOOK_MS = 50  # so often, meanwhile, it is looked whether we are to leave


class FileSink:
    """Rows into a SQLite file, which is opened with the first of them, and again when it is replaced by another."""

    def __init__(self, address: Address, *, leaving: Callable[[], bool]) -> None:
        """`leaving` says that nobody should be waited for any more."""
        self.name = address.path
        self._address = address
        self._leaving = leaving
        self._writer: SqliteWriter | None = None
        self._file: tuple[int, int] | None = None

    def write(self, rows: Sequence[Span]) -> int:
        """Keeps the rows, or raises Unavailable (locked, full, not to be opened) or Refused (no row of ours)."""
        until = time.monotonic() + BUSY_S
        while True:
            try:
                self._opened().add(rows)
                return 0
            except StoreBusy as error:
                if self._leaving() or time.monotonic() > until:
                    raise Unavailable("it is locked by another process") from error
            except BadRecord as error:
                raise Refused(str(error)) from error
            except TracewatchError as error:
                self.close()
                raise Unavailable(str(error)) from error

    def close(self) -> None:
        """Lets go of the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _opened(self) -> SqliteWriter:
        if self._writer is not None and self._file != _identity(self.name):
            self.close()  # removed or replaced: what is written to the old one nobody would ever read
        if self._writer is None:
            self._writer = SqliteWriter(self.name, durability=self._address.durability)
            self._writer.connection.execute(f"PRAGMA busy_timeout = {LOOK_MS}")
            self._file = _identity(self.name)
        return self._writer


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
