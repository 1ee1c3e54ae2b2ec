"""Every setting: its name, its default and one sentence; read once, at start, into a frozen object."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Any

from tracewatch.errors import BadSetting, UnsetVariable

PREFIX = "TRACEWATCH_"
DURABILITIES = ("normal", "full")
CONTENT = ("refuse", "allow")
LOCAL = "127.0.0.1"
PORTS = range(65_536)
SWITCH = ("true", "false")


def setting(help: str, default: str | int, choices: tuple[str, ...] = (), within: range | None = None) -> Any:
    """A field of `Settings` that says what it is for and what it may be: one of the choices, or a number within."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "within": within})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user may set; each field is also an environment variable, TRACEWATCH_ and its name in capitals."""

    db: str = setting("The database: a file path or a sqlite:/// address.", "tracewatch.db")
    project: str = setting("The project whose rows are read and written.", "default")
    durability: str = setting(
        "What a power loss may cost: 'normal' the last moments of writing, 'full' nothing (slower).",
        "normal",
        DURABILITIES,
    )
    compact_after: int = setting(
        "After how many days spans of a database file go into compressed files beside it, where there are many; 0 is "
        "never.",
        3,  # late spans and scores have come by then, see docs/decisions/0028
        within=range(3_651),
    )
    keep_spans: int = setting(
        "How many spans are kept at most, of all projects together: the oldest hours go first, sums by the hour stay; "
        "0 is no limit.",
        0,
        within=range(10**12),
    )
    keep_gb: int = setting(
        "How many GB the database and the files beside it take at most: the oldest spans go first, as above; "
        "0 is no limit.",
        0,
        within=range(1_000_001),
    )
    disk_reserve_mb: int = setting(
        "How many MB of the disk that holds a database file stay free: with less, senders are asked to come back "
        "later; 0 is 200, or a twentieth of a small disk.",
        0,
        within=range(10**9 + 1),
    )
    metrics: str = setting(
        "Numbers of your own to watch, with the direction that is bad: 'metadata.judge_score:down, quality.tone'.", ""
    )
    host: str = setting("The address `tracewatch serve` listens on; any but this machine's own needs API keys.", LOCAL)
    port: int = setting("The port of its pages, API and OTLP.", 4319, within=PORTS)
    otlp_port: int = setting(
        "A second port for OTLP over HTTP, where exporters send by default; 0 is none.", 4318, within=PORTS
    )
    content: str = setting(
        "Whether texts of prompts and answers may be stored: 'refuse', or 'allow' for the projects that say so.",
        "refuse",
        CONTENT,
    )
    max_body_mb: int = setting(
        "The largest request that is taken, in MiB, before and after it is unpacked.", 64, within=range(1, 1025)
    )
    queue_mb: int = setting(
        "How many MiB of requests may wait to be stored; beyond that senders are asked to come back later.",
        256,
        within=range(1, 65_537),
    )
    max_projects: int = setting(
        "How many projects senders without a key may fill; spans of further ones are rejected.",
        200,  # as many as are watched, see live.rounds
        within=range(1, 1_000_001),
    )
    alert_channels: str = setting(
        "Addresses that incidents of high and critical severity are told to, apart by blanks or commas: a webhook "
        "(https://…), slack://…, mailto://… and whatever else Apprise knows.",
        "",
    )
    channel_network: str = setting(
        "Whether channels that a project keeps may lead into private networks: 'allow', 'refuse', or 'auto', which "
        "allows it while the server listens on this machine alone. Those of TRACEWATCH_ALERT_CHANNELS always may.",
        "auto",
        ("auto", "allow", "refuse"),
    )
    channel_variables: str = setting(
        "Further variables of the server's environment that an address given on pages or through the API may name, "
        "apart by commas; those that begin with TRACEWATCH_CHANNEL_ always may be named.",
        "",
    )
    public_url: str = setting(
        "Under which address people reach the pages, such as https://watch.example.com: messages link to it.", ""
    )
    follow: str = setting(
        "A mapping file: rows of a table of your own in PostgreSQL are read as they come (docs/following.md).", ""
    )
    follow_db: str = setting(
        "The address of the database with that table; TRACEWATCH_DB where that is a PostgreSQL database.", ""
    )
    url: str = setting(
        "Where a program records to: a file like TRACEWATCH_DB, or a tracewatch server such as http://127.0.0.1:4319.",
        "",
    )
    api_key: str = setting("The key with which a program sends to a server.", "")
    service: str = setting("The name of the program that records; OTEL_SERVICE_NAME does the same.", "")
    environment: str = setting("Where that program runs: production, staging and so on.", "")
    version: str = setting("The version of that program.", "")
    capture_content: str = setting("Whether a program records texts of prompts and answers.", "false", SWITCH)
    enabled: str = setting("Whether a program records anything.", "true", SWITCH)
    queue_rows: int = setting(
        "How many rows of a program wait at most while its store cannot take them; more are dropped and counted.",
        10_000,
        within=range(1, 10_000_001),
    )
    exit_seconds: int = setting(
        "How long the end of a program waits for rows that are not stored yet.", 5, within=range(601)
    )

    @property
    def private_channels(self) -> bool:
        """Whether channels that a project keeps may lead into private networks."""
        return self.channel_network == "allow" or (self.channel_network == "auto" and is_loopback(self.host))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on that host.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this environment. Raises BadSetting."""
    given: dict[str, str | int] = {}
    for field in dataclasses.fields(Settings):
        name = PREFIX + field.name.upper()
        value = environ.get(name, "")
        if not value:
            continue
        choices = field.metadata["choices"]
        if choices and value not in choices:
            raise BadSetting(name=name, given=value, why=f"it must be one of {', '.join(choices)}")
        within = field.metadata["within"]
        given[field.name] = value if within is None else _number(name, value, within)
    return Settings(**given)  # type: ignore[arg-type]


def _number(name: str, value: str, within: range) -> int:
    if not (value.isascii() and value.isdigit() and int(value) in within):
        raise BadSetting(
            name=name, given=value, why=f"it must be a whole number from {within.start} to {within.stop - 1}"
        )
    return int(value)


_REFERENCE = re.compile(r"\$\{(\w+)\}")


def filled(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """A text with the environment variables it names as ${NAME}: secrets need not be written. Raises UnsetVariable.

    >>> filled("slack://${TOKEN}/", {"TOKEN": "s3cret"})
    'slack://s3cret/'
    """
    for name in _REFERENCE.findall(text):
        if not environ.get(name):
            raise UnsetVariable(name=name)
    return _REFERENCE.sub(lambda found: environ[found[1]], text)
