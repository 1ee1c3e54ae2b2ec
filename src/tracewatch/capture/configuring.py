"""`init`: where spans go and what holds for all of them, by arguments, then the environment, then defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tracewatch.capture import noting, sending

if TYPE_CHECKING:
    from tracewatch.capture.courier import Courier
    from tracewatch.capture.sinks import Sink
    from tracewatch.records import Span
    from tracewatch.settings import Settings
    from tracewatch.stores.address import Address

# SQLite keeps for each process what it has locked in a file. A child of a process that has the file open would believe
# itself to hold locks that only the parent has, so the file is closed before a fork. A write takes some 10 ms.
FORK_WAIT_FILE_S = 2.0
FORK_WAIT_SERVER_S = 0.25  # a request under way does no harm to the child

_LAST: list[dict[str, Any]] = []


def init(
    url: str | None = None,
    *,
    project: str | None = None,
    service: str | None = None,
    environment: str | None = None,
    version: str | None = None,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    capture_content: bool | None = None,
    enabled: bool | None = None,
    queue_rows: int | None = None,
    exit_timeout: float | None = None,
) -> None:
    """Begins recording; call it once, when the program starts. It never raises, and opens nothing yet.

    `url` is a SQLite file (a path or sqlite:///PATH) or a tracewatch server (http://host:4319, https://…); by default
    TRACEWATCH_URL, TRACEWATCH_DB, the endpoint of OpenTelemetry (OTEL_EXPORTER_OTLP_ENDPOINT), or tracewatch.db. What
    else is not given is taken from the environment (docs/settings.md). `headers` go with every request to a server.

    `capture_content` allows that texts of prompts and answers are kept. `queue_rows` is how many rows wait at most when
    the store cannot take them; `exit_timeout` for how many seconds the end of the program waits for them.

    Called again with the same arguments it does nothing; with others, what waits is brought to the former place first.
    Something that cannot be used is said in the log, and nothing is recorded.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    if _LAST and _LAST[-1] == given and sending.recording():
        return
    _LAST[:] = [given]
    with sending.beginning():
        try:
            former = _begin(given)
        except Exception as error:
            noting.warn(f"tracewatch records nothing: {error}")
            former = sending.install(None, content=False, exit_timeout=0.0)
    if former is not None:
        noting.quietly(lambda: former.close(sending.FLUSH_S))


def begin_by_environment() -> bool:
    """Begins without `init` where TRACEWATCH_URL or TRACEWATCH_DB says where to. Returns whether it did."""
    if not (os.environ.get("TRACEWATCH_URL") or os.environ.get("TRACEWATCH_DB")):
        return False
    init()
    return True


def _begin(given: Mapping[str, Any]) -> Courier | None:
    """Installs the courier for these arguments, and returns the former one. Raises what is wrong with them."""
    from tracewatch import settings
    from tracewatch.capture.courier import Courier
    from tracewatch.capture.losses import loss_of
    from tracewatch.capture.rows import row_of

    found = settings.load({name: value for name, value in os.environ.items() if name in _VARIABLES})
    if not given.get("enabled", found.enabled == "true"):
        return sending.install(None, content=False, exit_timeout=0.0)
    content = bool(given.get("capture_content", found.capture_content == "true"))
    defaults = _defaults(given, found)
    exit_timeout = float(given.get("exit_timeout", found.exit_seconds))

    def row(fields: Mapping[str, Any]) -> Span:
        return row_of(fields, defaults, content=content)

    open_sink, fork_wait_s = _sink(given, found)
    courier = Courier(
        open_sink,
        limit=int(given.get("queue_rows", found.queue_rows)),
        row_of=row,
        loss_of=lambda losses: row(loss_of(losses)),
        fork_wait_s=fork_wait_s,
    )
    return sending.install(courier, content=content, exit_timeout=exit_timeout)


_VARIABLES = tuple(
    f"TRACEWATCH_{name.upper()}"
    for name in (
        *("url", "db", "project", "service", "environment", "version", "api_key", "durability"),
        *("capture_content", "enabled", "queue_rows", "exit_seconds"),
    )
)
"""What of the settings is the guest's: a mistake in a setting of the server's must not end recording."""


def _defaults(given: Mapping[str, Any], found: Settings) -> dict[str, Any]:
    """The columns that every row has unless it says otherwise."""
    resource = _resource()
    return {
        name: value
        for name, value in {
            "project": given.get("project", found.project),
            "service_name": given.get("service") or found.service or resource.get("service.name"),
            "environment": given.get("environment")
            or found.environment
            or resource.get("deployment.environment.name")
            or resource.get("deployment.environment"),
            "app_version": given.get("version") or found.version or resource.get("service.version"),
        }.items()
        if value
    }


def _sink(given: Mapping[str, Any], found: Settings) -> tuple[Callable[[Courier], Sink], float]:
    """How to open the place where rows go, and how long a fork waits for it. Raises UnknownStore."""
    url, headers = given.get("url") or found.url, dict(given.get("headers", {}))
    key = given.get("api_key") or found.api_key
    if not url and not os.environ.get("TRACEWATCH_DB") and (url := _otlp_endpoint()):
        headers = {**_otlp_headers(), **headers}
    url = str(url or found.db)
    if url.startswith(("http://", "https://")):
        if key:
            headers.setdefault("Authorization", f"Bearer {key}")
        return lambda courier: _server(url, headers), FORK_WAIT_SERVER_S
    from tracewatch.stores.address import parse_address

    address = parse_address(url, durability=found.durability)
    return lambda courier: _file(address, courier), FORK_WAIT_FILE_S


def _server(url: str, headers: Mapping[str, str]) -> Sink:
    from tracewatch.capture.posting import ServerSink

    return ServerSink(url, headers=headers)


def _file(address: Address, courier: Courier) -> Sink:
    from tracewatch.capture.filing import FileSink

    return FileSink(address, leaving=lambda: courier.leaving)


def _otlp_endpoint() -> str | None:
    """Where OpenTelemetry's exporters send traces, if that is OTLP over HTTP."""
    whole, base = (os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("TRACES_", ""))
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    endpoint = whole or base or ""
    if protocol == "grpc" or ":4317" in endpoint or not endpoint.startswith(("http://", "https://")):
        return None
    return endpoint


def _otlp_headers() -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS: name=value, name=value, with values written as in an address."""
    return {**_pairs("OTEL_EXPORTER_OTLP_HEADERS"), **_pairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS")}


def _resource() -> dict[str, str]:
    """What OpenTelemetry's variables say of this program."""
    named = os.environ.get("OTEL_SERVICE_NAME")
    return {**_pairs("OTEL_RESOURCE_ATTRIBUTES"), **({"service.name": named} if named else {})}


def _pairs(variable: str) -> dict[str, str]:
    from urllib.parse import unquote  # not at the top: a tenth of what importing us costs

    pairs = (each.partition("=") for each in os.environ.get(variable, "").split(","))
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs if name.strip()}


sending.begin_with(begin_by_environment)
