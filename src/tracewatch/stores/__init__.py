"""Where records are kept; `open_store(url)` gives the store for an address."""

from __future__ import annotations

from tracewatch.errors import MissingExtra
from tracewatch.stores.address import Address, parse_address
from tracewatch.stores.base import Filter, Group, Page, Progress, Store, parse_filter

__all__ = ["Address", "Filter", "Group", "Page", "Progress", "Store", "open_store", "parse_address", "parse_filter"]


def open_store(url: str, *, create: bool = False, durability: str = "normal") -> Store:
    """The store at a file path, sqlite:///PATH or sqlite:///PATH?durability=full (which outweighs `durability`).

    Raises UnknownStore, StoreNotFound (unless `create`), StoreUnreadable, StoreOccupied, StoreTooNew or StoreBusy.
    """
    address = parse_address(url, durability=durability)
    try:
        from tracewatch.stores.sqlite import SqliteStore
    except ModuleNotFoundError as error:
        if error.name not in ("pyarrow", "adbc_driver_sqlite"):
            raise
        raise MissingExtra(what="Reading a store", package=error.name, extra="server") from error
    return SqliteStore(address.path, create=create, durability=address.durability)
