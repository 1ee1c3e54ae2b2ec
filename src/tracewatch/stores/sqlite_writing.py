"""Writing records into a SQLite file that other processes write and read as well (standard library only)."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from tracewatch.errors import LeaseLost, StoreBusy, StoreNotFound, StoreUnreadable, StoreUnwritable
from tracewatch.records import SCORE, Lease, Record, Span, columns, key_of
from tracewatch.stores.address import Durability
from tracewatch.stores.scores import settle
from tracewatch.stores.sqlite_schema import prepare
from tracewatch.stores.values import from_values, to_row, to_values

BUSY_S = 30  # a writer's turn comes within 2 s even under heavy contention (measured); 30 s is a process that hangs
EARLY_SCORES = 100  # that are tried again with every write; those before stay rows of their own
VACUUM_PAGES = 1_000  # that are given back in one transaction: 4 MB
STATEMENTS = 256  # that are remembered: of the spans of an app there are some ten, by the columns that they fill
LOG_LIMIT_BYTES = 64 * 2**20  # a log that a long reader or a large import made longer is cut back to this


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much memory a writer may use for pages, and how long the log may grow before it is written back."""

    cache_mib: int
    checkpoint_pages: int


GUEST = Room(cache_mib=16, checkpoint_pages=2_000)  # inside somebody else's program, which writes some rows at a time
# Keys are random, so a batch touches nearly every page of their indexes. With room for these a million rows are
# written in half the time (docs/storage.md, "Indexes"); it is taken only as far as it is used.
BULK = Room(cache_mib=128, checkpoint_pages=32_000)

Filled = Mapping[str, Any]
"""The columns of a row that are not empty, as a database holds them."""
Statement = Callable[[type[Record], tuple[str, ...]], str]
"""What inserts those columns of a record."""

_SYNCHRONOUS: dict[Durability, str] = {"normal": "NORMAL", "full": "FULL"}

# SQLite's primary result codes: https://sqlite.org/rescode.html
_BUSY = (5, 6)
_REASONS = {
    3: "permission was denied",
    8: "it is read-only for this user",
    10: "the disk reported an error",
    11: "the file is damaged; sqlite3 FILE .recover may save its rows",
    13: "the disk is full",
    14: "the file, or the -wal file beside it, cannot be opened",
    26: "it is not a SQLite database",
}


class Closed(Protocol):
    """What is known of spans that lie in files beside the database (see `sqlite_reopening`). A guest knows nothing."""

    def before(self, connection: sqlite3.Connection, rows: Iterable[Filled], *, replaces: bool) -> Iterator[Filled]:
        """The rows of spans that are to be written."""

    def reopen_traces(self, connection: sqlite3.Connection, scores: Iterable[Span]) -> None:
        """Puts back the spans of the traces that scores are about."""


class SqliteWriter:
    """One connection that writes, whole transactions only; threads take turns, processes wait for one another."""

    def __init__(
        self, path: str, *, create: bool = True, durability: Durability = "normal", room: Room = GUEST
    ) -> None:
        """Opens the file and makes or migrates our tables in it. Raises the Store… errors."""
        self.path = path
        self.connection = open_connection(path, create=create)
        self._turn = threading.RLock()
        self.lease: Lease | None = None
        """What every write is bound to, if anything."""
        self.closed: Closed | None = None
        self._early: Sequence[Span] = ()  # scores that are stored, and whose span has not come yet
        try:
            with told(path, StoreUnreadable):
                _set_up(self.connection, durability, room)
                prepare(self.connection, path, create=create)
        except BaseException:
            self.connection.close()
            raise

    def add(self, records: Iterable[Record]) -> int:
        """Stores those records of one type whose key is not there yet. Returns how many were new."""
        return self._write(records, add_sql, replaces=False)

    def put(self, records: Iterable[Record]) -> int:
        """Stores records of one type, replacing those with the same key. Returns how many were given."""
        return self._write(records, put_sql, replaces=True)

    def add_rows(self, record_type: type[Record], rows: Iterable[Mapping[str, Any]]) -> int:
        """Like `add`, from values by the names of columns."""
        return self.add_values(record_type, [to_values(record_type, each) for each in rows])

    def add_values(self, record_type: type[Record], rows: Sequence[Filled]) -> int:
        """Like `add_rows`, from rows as `to_values` gives them."""
        if not rows:
            return 0
        scores = [each for each in rows if each.get("operation_type") == SCORE] if record_type is Span else ()
        return self._execute(record_type, rows, [from_values(Span, each) for each in scores], add_sql, replaces=False)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is executed within is kept whole, or not at all. Raises StoreBusy, StoreUnwritable or LeaseLost."""
        with self._turn, told(self.path, StoreUnwritable):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                self._check_lease()
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def give_back(self, pause: Callable[[], None] = lambda: None) -> None:
        """Returns the pages of deleted rows to the file system, as far as nobody is reading; pauses between steps."""
        with self._turn, told(self.path, StoreUnwritable):
            # A script is run to its end; a statement without columns only to its first step, which frees one page.
            while self.connection.execute("PRAGMA freelist_count").fetchone()[0] and self._auto_vacuums():
                self.connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
                pause()
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _auto_vacuums(self) -> bool:
        """Whether the file was made so that pages can be given back; in an app's own one they are used again."""
        return bool(self.connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 2)

    def close(self) -> None:
        """Lets go of the file."""
        with self._turn:
            self.connection.close()

    def _check_lease(self) -> None:
        """Raises LeaseLost when somebody else has taken the lease since."""
        if self.lease is None:
            return
        sql = f"SELECT epoch, holder FROM {Lease.table} WHERE name = ?"
        epoch, holder = self.connection.execute(sql, (self.lease.name,)).fetchone() or (None, "")
        if epoch != self.lease.epoch:
            raise LeaseLost(path=self.path, holder=holder or "nobody")

    def _write(self, records: Iterable[Record], statement: Statement, *, replaces: bool) -> int:
        rest = iter(records)
        first = next(rest, None)
        if first is None:
            return 0
        scores: list[Span] = []
        rows = _rows(type(first), chain((first,), rest), scores)
        return self._execute(type(first), rows, scores, statement, replaces=replaces)

    def _execute(
        self,
        record_type: type[Record],
        rows: Iterable[Filled],
        scores: Sequence[Span],
        statement: Statement,
        *,
        replaces: bool,
    ) -> int:
        """Writes the rows, and puts the scores among them onto their spans. Returns how many rows were written."""
        with self.transaction() as connection:
            if self.closed is not None and record_type is Span:
                rows = self.closed.before(connection, rows, replaces=replaces)
            written = _insert(connection, record_type, rows, statement)
            waiting = [*self._early, *scores]
            if self.closed is not None and scores:
                self.closed.reopen_traces(connection, scores)
            early = settle(connection, waiting) if waiting else ()
        self._early = early[-EARLY_SCORES:]
        return written


def _insert(
    connection: sqlite3.Connection, record_type: type[Record], rows: Iterable[Filled], statement: Statement
) -> int:
    """Inserts each row with a statement of the columns that it has. Returns how many were written.

    Of the 77 columns of a span 20 are filled. Binding None costs up to five times what binding a number does, since
    Python looks for an adapter each time; and rows in the order in which they came touch the pages of their indexes
    one after another. So one statement for each row is faster than one for all, or for all that fill the same columns.
    """
    cursor, written = connection.cursor(), 0
    known: dict[tuple[str, ...], str] = {}
    for row in rows:
        names = tuple(row)
        sql = known.get(names)
        if sql is None:
            if len(known) >= STATEMENTS:
                known.clear()
            sql = known[names] = statement(record_type, names)
        written += cursor.execute(sql, tuple(row.values())).rowcount
    return written


def add_sql(record_type: type[Record], names: tuple[str, ...]) -> str:
    """The statement that inserts those columns of a record unless its key is there."""
    # Not INSERT OR IGNORE: that would also swallow rows whose required columns are empty.
    return f"INSERT INTO {_values_sql(record_type, names)} ON CONFLICT ({', '.join(key_of(record_type))}) DO NOTHING"


def put_sql(record_type: type[Record], names: tuple[str, ...]) -> str:
    """The statement that inserts those columns of a record, under a new sequence number if its key is there."""
    return f"INSERT OR REPLACE INTO {_values_sql(record_type, names)}"


def open_connection(path: str, *, create: bool) -> sqlite3.Connection:
    """A connection that may be passed between threads, and that takes no lock yet. Raises the Store… errors."""
    _look(path, create=create)
    mode = "rwc" if create else "rw"
    with told(path, StoreUnreadable):
        return sqlite3.connect(
            f"{Path(path).absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,  # transactions begin and end where we say
            check_same_thread=False,
            cached_statements=STATEMENTS,
        )


@contextmanager
def told(path: str, error_type: type[StoreUnreadable | StoreUnwritable]) -> Iterator[None]:
    """Turns what SQLite says into StoreBusy, or into one sentence of `error_type`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _BUSY:
            raise StoreBusy(path=path, seconds=BUSY_S) from error
        raise error_type(path=path, why=_REASONS.get(code, str(error))) from error


def _look(path: str, *, create: bool) -> None:
    """Says what is wrong with the path where SQLite would only say that it cannot open it."""
    file = Path(path)
    try:
        if file.is_dir():
            raise StoreUnreadable(path=path, why="it is a directory")
        if file.exists() and not file.is_file():
            raise StoreUnreadable(path=path, why="it is not a regular file")
        if not file.exists():
            if not create:
                raise StoreNotFound(path=path)
            if not file.absolute().parent.is_dir():
                raise StoreUnreadable(path=path, why=f"the directory {file.absolute().parent} does not exist")
    except PermissionError as error:
        raise StoreUnreadable(path=path, why="permission was denied") from error
    except (OSError, ValueError) as error:
        raise StoreUnreadable(path=path, why=f"it is no path a file can have ({error})") from error


def _set_up(connection: sqlite3.Connection, durability: Durability, room: Room) -> None:
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        # Lets `retain` give pages back without rewriting the file. Later it would do nothing but take the write lock.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _enter_wal(connection)
    for sql in settings_sql(durability, room):
        connection.execute(sql)


def settings_sql(durability: Durability, room: Room) -> tuple[str, ...]:
    """What every connection that writes is told first."""
    return (
        f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}",
        "PRAGMA recursive_triggers = ON",  # a row replaced is a row deleted: its triggers must run
        f"PRAGMA cache_size = -{room.cache_mib * 1024}",
        f"PRAGMA wal_autocheckpoint = {room.checkpoint_pages}",
        f"PRAGMA journal_size_limit = {LOG_LIMIT_BYTES}",
    )


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Two processes that make a new file at once: SQLite does not let the second wait, so it asks again."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _values_sql(record_type: type[Record], names: tuple[str, ...]) -> str:
    return f"{record_type.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _rows(record_type: type[Record], records: Iterable[Record], scores: list[Span]) -> Iterator[Filled]:
    """The rows of these records; those that are scores are added to `scores`."""
    names = tuple(each.name for each in columns(record_type))
    for record in records:
        assert type(record) is record_type, f"records of one type at a time: {record_type.__name__}"
        if isinstance(record, Span) and record.operation_type == SCORE:
            scores.append(record)
        yield {name: value for name, value in zip(names, to_row(record), strict=True) if value is not None}
