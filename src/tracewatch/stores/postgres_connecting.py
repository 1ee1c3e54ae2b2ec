"""Connections to a PostgreSQL database: taken and given back, found again after it was restarted, told in our words."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import TextBinaryLoader, TextLoader

from tracewatch.errors import LeaseLost, StoreBusy, StoreUnreadable, StoreUnwritable
from tracewatch.records import Lease

BUSY_S = 30  # a lock that is held for longer is held by somebody who hangs
CONNECT_S = 10
IDLE = 8  # connections that are kept for the next question

REMEDIES = (
    (re.compile("Connection refused|No such file or directory"), "Start the server, or correct host and port"),
    (re.compile("could not translate host name|failed to resolve host", re.IGNORECASE), "Correct the host"),
    (re.compile('database ".*" does not exist'), "Make it with: createdb, or name another one"),
    (re.compile('role ".*" does not exist'), "Make it with: createuser, or name another user in the address"),
    (re.compile("authentication failed|no password supplied"), "Correct user and password, or set PGPASSWORD"),
)
"""What to do about what the server, or the way to it, says of a connection."""

_OPTIONS = f"-c lock_timeout={BUSY_S}s -c timezone=UTC"


class Connection:
    """One connection, which is asked with question marks for values."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.raw = connection

    def execute(self, sql: str, values: Sequence[Any] = (), /, *, binary: bool = False) -> psycopg.Cursor[Any]:
        """Runs one statement."""
        return self.raw.execute(sql.replace("?", "%s"), values, binary=binary)

    def number(self, sql: str, values: Sequence[Any] = ()) -> int:
        """The one number that a question is answered with; 0 for none."""
        row = self.execute(sql, values).fetchone()
        return int(row[0] or 0) if row else 0


class Connections:
    """The connections of one store. May be used by several threads: each has one of its own while it asks."""

    def __init__(self, url: str) -> None:
        """Connects once, to say at once what is wrong with the address. Raises StoreUnreadable."""
        self.url = url
        self.name = name_of(url)
        self.lease: Lease | None = None
        """What every write is bound to, if anything."""
        self._idle: list[psycopg.Connection[Any]] = []
        self._lock = threading.Lock()
        self._closed = False
        self._give_back(self._open())

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection on which all questions see the same rows."""
        with told(self.name, StoreUnreadable), self._taken("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as taken:
            yield Connection(taken)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All that is executed within is kept whole, or not at all. Raises StoreBusy, StoreUnwritable or LeaseLost."""
        with told(self.name, StoreUnwritable), self._taken("BEGIN") as taken:
            connection = Connection(taken)
            self._check_lease(connection)
            yield connection

    def close(self) -> None:
        """Lets go of the database."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    def _check_lease(self, connection: Connection) -> None:
        """Raises LeaseLost when somebody else has taken the lease since; nobody can take it before this write ends."""
        if self.lease is None:
            return
        sql = f"SELECT epoch, holder FROM {Lease.table} WHERE name = ? FOR SHARE"
        epoch, holder = connection.execute(sql, (self.lease.name,)).fetchone() or (None, "")
        if epoch != self.lease.epoch:
            raise LeaseLost(path=self.name, holder=holder or "nobody")

    @contextmanager
    def _taken(self, begin: str) -> Iterator[psycopg.Connection[Any]]:
        connection = self._begun(begin)
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            raise
        finally:
            self._give_back(connection)

    def _begun(self, begin: str) -> psycopg.Connection[Any]:
        """A connection in a transaction. Those that a restart of the database has cut are put away unseen."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                fresh = self._open()
                fresh.execute(begin)
                return fresh
            try:
                connection.execute(begin)
                return connection
            except psycopg.OperationalError:
                connection.close()

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            if not self._closed and not connection.closed and len(self._idle) < IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _open(self) -> psycopg.Connection[Any]:
        with told(self.name, StoreUnreadable):
            # Statements are not prepared: a pooler hands the next transaction to another session, which knows none.
            connection = psycopg.connect(
                self.url,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=CONNECT_S,
                options=_options(self.url),
                application_name="tracewatch",
            )
        for name in ("json", "numeric"):  # as texts: what is JSON is read where records are made
            connection.adapters.register_loader(name, TextLoader)
        connection.adapters.register_loader("json", TextBinaryLoader)
        return connection


@contextmanager
def told(name: str, error_type: type[StoreUnreadable | StoreUnwritable]) -> Iterator[None]:
    """Turns what PostgreSQL says into StoreBusy, or into one sentence of `error_type`."""
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise StoreBusy(path=name, seconds=BUSY_S) from error
    except psycopg.Error as error:
        raise error_type(path=name, why=_reason(error)) from error


def name_of(url: str) -> str:
    """The address without what is secret in it.

    >>> name_of("postgresql://ann:secret@db.example:6543/app?sslmode=require")
    'postgresql://ann@db.example:6543/app'
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return "postgresql://…"
    host, port = parts.get("host") or "localhost", parts.get("port")
    user, database = parts.get("user"), parts.get("dbname") or ""
    at = "" if str(host).startswith("/") else f"{host}{f':{port}' if port else ''}"
    return f"postgresql://{f'{user}@' if user else ''}{at}/{database}"


def _options(url: str) -> str:
    given = conninfo_to_dict(url).get("options")
    return f"{_OPTIONS} {given}" if given else _OPTIONS


def _reason(error: psycopg.Error) -> str:
    """What is wrong, in one line, without the address that libpq repeats."""
    lines = [each.strip() for each in str(error).splitlines() if each.strip()] or [type(error).__name__]
    failed = next((each.rpartition("failed: ")[2] for each in lines if "failed: " in each), lines[0])
    said = (error.diag.message_primary or failed).removeprefix("FATAL:").strip().rstrip(".")
    return said + next((f". {remedy}" for words, remedy in REMEDIES if words.search(said)), "")
