"""The address of a store, as users write it (standard library only)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from tracewatch.errors import NotAFile, ServerNoStore, UnknownStore

Durability = Literal["normal", "full"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a SQLite store is, and what a power loss may cost it."""

    path: str
    durability: Durability


DATABASES = ("postgresql", "postgres", "clickhouse", "chdb")
"""How addresses of database servers begin."""


_PASSWORD = re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]*@")
_GIVEN_PASSWORD = re.compile(r"\b(password=)[^&\s'\"]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """A text in which addresses of databases have no password any more.

    >>> without_secrets("see postgresql://ann:secret@db/app?password=secret")
    'see postgresql://ann@db/app?password=…'
    """
    return _GIVEN_PASSWORD.sub(r"\1…", _PASSWORD.sub(r"\1@", text))


def is_database(url: str) -> bool:
    """Whether this is the address of a database server, and not of a file."""
    return url.partition("://")[0] in DATABASES and "://" in url


def file_of(url: str) -> str | None:
    """The file of a store; None for one on a database server. Raises UnknownStore."""
    return None if is_database(url) else parse_address(url).path


def parse_address(url: str, *, durability: str = "normal") -> Address:
    """The address that a path or sqlite:///PATH?durability=full stands for. Raises UnknownStore or NotAFile.

    Three slashes come before a relative path, four before an absolute one, as in other tools.

    >>> parse_address("sqlite:////var/lib/watch.db?durability=full")
    Address(path='/var/lib/watch.db', durability='full')
    >>> parse_address("watch.db").path
    'watch.db'
    """
    if is_database(url):
        raise NotAFile(name=url.rpartition("@")[2])
    path = url
    if "://" in url:
        if url.partition("://")[0].lower() in ("http", "https"):
            raise ServerNoStore(url=without_secrets(url))
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
