"""The address of a ClickHouse store: where it is, who asks, and how its tables are made there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tracewatch.errors import BadStoreAddress

PASSWORD = "CLICKHOUSE_PASSWORD"  # noqa: S105 (the variable in which ClickHouse's own client looks for it, too)
_OPTIONS = ("secure", "verify", "ca_cert", "cluster", "ttl_days", "async_insert", "database")
_CLUSTER = re.compile(r"[\w{}-]*", re.ASCII)
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickHouseAddress:
    """What clickhouse://USER:PASSWORD@HOST:PORT/DATABASE?… says, or chdb:///FOLDER?database=… for this process."""

    name: str
    """The address without what is secret in it."""
    database: str
    folder: str = ""
    """Where the engine of this process keeps its data; empty for a server."""
    host: str = ""
    port: int | None = None
    user: str = ""
    password: str = ""
    secure: bool = False
    verify: bool = True
    ca_cert: str = ""
    cluster: str = ""
    """Tables are made on all servers of this cluster, and replicated; empty for one server."""
    ttl_days: int = 0
    """After so many days the database itself deletes spans; 0: it does not."""
    async_insert: bool = False
    """Whether the server gathers the inserts of many clients before it writes them (it is waited for)."""

    def client_arguments(self) -> dict[str, Any]:
        """What `clickhouse_connect.get_client` is given, but for the database."""
        if self.folder:
            return {"interface": "chdb", "path": self.folder}
        arguments: dict[str, Any] = {"host": self.host, "username": self.user or "default", "password": self.password}
        if self.port:
            arguments["port"] = self.port
        if self.secure:
            arguments |= {"secure": True, "verify": self.verify}
        if self.ca_cert:
            arguments["ca_cert"] = self.ca_cert
        return arguments


def parse_clickhouse(url: str) -> ClickHouseAddress:
    """What an address says. Raises BadStoreAddress.

    >>> parse_clickhouse("clickhouse://ann:secret@db.example:8123/watch?cluster=main").name
    'clickhouse://ann@db.example:8123/watch'
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadStoreAddress(name="clickhouse://…", why="its host and port are not written as HOST:PORT") from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "chdb":
        database = options.get("database") or "default"
        name = f"chdb://{unquote(parts.path)}?database={database}"
        given: dict[str, Any] = {"folder": unquote(parts.path), "database": database}
        if parts.netloc or not parts.path.strip("/"):
            raise BadStoreAddress(name=name, why="a folder is written like chdb:///var/lib/watch?database=watch")
    else:
        database = unquote(parts.path.strip("/")) or "default"
        user = unquote(parts.username or "")
        at = f"{parts.hostname or 'localhost'}{f':{port}' if port else ''}"
        name = f"clickhouse://{f'{user}@' if user else ''}{at}/{database}"
        password = unquote(parts.password or "") or os.environ.get(PASSWORD, "")
        given = {"host": parts.hostname or "localhost", "port": port, "user": user, "password": password}
        given["database"] = database
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise BadStoreAddress(name=name, why=f"it has no option {unknown[0]}; there are {', '.join(_OPTIONS)}")
    return ClickHouseAddress(name=name, **given, **_chosen(name, options))


def _chosen(name: str, options: dict[str, str]) -> dict[str, Any]:
    chosen: dict[str, Any] = {each: options[each] for each in ("cluster", "ca_cert") if each in options}
    if not _CLUSTER.fullmatch(chosen.get("cluster", "")):
        raise BadStoreAddress(name=name, why="a cluster is named in letters, digits, _, - and {}")
    for each in ("secure", "verify", "async_insert"):
        if each in options:
            if options[each].lower() not in _TRUTH:
                raise BadStoreAddress(name=name, why=f"{each} is 1 or 0, and not '{options[each]}'")
            chosen[each] = _TRUTH[options[each].lower()]
    if "ttl_days" in options:
        if not options["ttl_days"].isdecimal():
            raise BadStoreAddress(name=name, why=f"ttl_days is a number of days, and not '{options['ttl_days']}'")
        chosen["ttl_days"] = int(options["ttl_days"])
    return chosen
