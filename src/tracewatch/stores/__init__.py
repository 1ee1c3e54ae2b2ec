"""Where records are kept; `open_store(url)` gives the store for an address."""

from __future__ import annotations

from tracewatch.errors import MissingExtra
from tracewatch.stores.address import Address, file_of, is_database, parse_address
from tracewatch.stores.base import Filter, Group, Page, Progress, Store, parse_filter

__all__ = [
    "Address",
    "Filter",
    "Group",
    "Page",
    "Progress",
    "Store",
    "file_of",
    "open_store",
    "parse_address",
    "parse_filter",
]


def open_store(url: str, *, create: bool = False, durability: str = "normal") -> Store:
    """The store at an address: a file path, sqlite:///PATH, postgresql://… or clickhouse://USER@HOST/DATABASE.

    `durability` is that of a file; sqlite:///PATH?durability=full outweighs it. Raises UnknownStore, StoreNotFound
    (unless `create`), StoreUnreadable, StoreOccupied, StoreTooNew, StoreBusy or MissingExtra.
    """
    if is_database(url):
        kind = url.partition("://")[0]
        return (_clickhouse if kind in ("clickhouse", "chdb") else _postgres)(url, create=create)
    address = parse_address(url, durability=durability)
    try:
        from tracewatch.stores.sqlite import SqliteStore
    except ModuleNotFoundError as error:
        raise _missing(error, ("pyarrow", "adbc_driver_sqlite"), "Reading a store", "server") from error
    return SqliteStore(address.path, create=create, durability=address.durability)


def _postgres(url: str, *, create: bool) -> Store:
    try:
        from tracewatch.stores.postgres import PostgresStore
    except ModuleNotFoundError as error:
        raise _missing(error, ("psycopg", "pyarrow"), "A store in PostgreSQL", "postgres") from error
    return PostgresStore(url, create=create)


def _clickhouse(url: str, *, create: bool) -> Store:
    try:
        from tracewatch.stores.clickhouse import ClickHouseStore
    except ModuleNotFoundError as error:
        packages = ("clickhouse_connect", "pyarrow")
        raise _missing(error, packages, "A store in ClickHouse", "clickhouse") from error
    return ClickHouseStore(url, create=create)


def _missing(error: ModuleNotFoundError, ours: tuple[str, ...], what: str, extra: str) -> Exception:
    """What to install, where it is one of the packages that stores need; the error itself otherwise."""
    return MissingExtra(what=what, package=error.name, extra=extra) if error.name in ours else error
