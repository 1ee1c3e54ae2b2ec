"""The address of a store, as users write it (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from tracewatch.errors import UnknownStore

Durability = Literal["normal", "full"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a SQLite store is, and what a power loss may cost it."""

    path: str
    durability: Durability


def parse_address(url: str, *, durability: str = "normal") -> Address:
    """The address that a path or sqlite:///PATH?durability=full stands for. Raises UnknownStore.

    Three slashes come before a relative path, four before an absolute one, as in other tools.

    >>> parse_address("sqlite:////var/lib/watch.db?durability=full")
    Address(path='/var/lib/watch.db', durability='full')
    >>> parse_address("watch.db").path
    'watch.db'
    """
    path = url
    if "://" in url:
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True)
        if parts.scheme != "sqlite" or parts.netloc or parts.fragment or set(options) - {"durability"}:
            raise UnknownStore(url=url)
        path = unquote(parts.path.removeprefix("/"))
        durability = options.get("durability", [durability])[-1]
    if not path or path == ":memory:":
        raise UnknownStore(url=url)
    for known in get_args(Durability):
        if durability == known:
            return Address(path, known)
    raise UnknownStore(url=f"{url}?durability={durability}" if "?" not in url else url)
