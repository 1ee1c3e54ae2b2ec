"""`tracewatch serve`: pages, API and OTLP ingest of one database, on this machine unless told otherwise."""

from __future__ import annotations

import dataclasses
import logging
import signal
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import click

from tracewatch import settings
from tracewatch.cli.output import WholeNumber, open_db, say, store_options
from tracewatch.errors import AddressNeedsKeys, AddressTaken

if TYPE_CHECKING:
    import socket

    from tracewatch.settings import Settings

STOP_S = 20  # what is on its way when the server is told to stop has so long to arrive; senders wait 10 s by default
TURN_S = 0.001  # for which a thread keeps Python's lock while others want it: pages wait for whoever stores
_GIVEN = settings.load()


@click.command(
    epilog="""
\b
Examples:
  tracewatch serve                                  on this machine, at http://127.0.0.1:4319
  tracewatch serve --db /var/lib/watch.db --port 80
  tracewatch keys create && tracewatch serve --host 0.0.0.0
"""
)
@store_options
@click.option(
    "--host",
    default=_GIVEN.host,
    show_default=True,
    help="The address to listen on; any but this machine's own needs API keys (TRACEWATCH_HOST).",
)
@click.option(
    "--port",
    type=WholeNumber(0, 65_535),
    default=_GIVEN.port,
    show_default=True,
    help="The port of pages, API and OTLP; 0 is any free one (TRACEWATCH_PORT).",
)
@click.option(
    "--otlp-port",
    type=WholeNumber(0, 65_535),
    default=_GIVEN.otlp_port,
    show_default=True,
    help="A second port for OTLP over HTTP; 0 is none (TRACEWATCH_OTLP_PORT).",
)
@click.option("--detection/--no-detection", default=True, show_default=True, help="Judge what comes, as it comes.")
def serve(db: str, project: str, host: str, port: int, otlp_port: int, detection: bool) -> None:
    """Serve pages, API and OTLP ingest of one database.

    Calls are taken as OpenTelemetry sends them (OTLP over HTTP) and are on disk before they are acknowledged.
    """
    given = dataclasses.replace(settings.load(), db=db, project=project, host=host, port=port, otlp_port=otlp_port)
    keys = _check_access(given)
    with ExitStack() as open_sockets:
        sockets = _listen(given, open_sockets)
        _tell(given, sockets, keys=keys)
        run(given, sockets, detection=detection)


def _check_access(given: Settings) -> bool:
    """Opens the database once, so that what is wrong with it is said in a sentence. Returns whether keys are needed."""
    from tracewatch.access import keys_needed
    from tracewatch.settings import is_loopback

    with open_db(given.db, create=True) as store:
        keys = keys_needed(store)
    if not keys and not is_loopback(given.host):
        raise AddressNeedsKeys(host=given.host or "every address", db=given.db)
    return keys


def _listen(given: Settings, open_sockets: ExitStack) -> list[socket.socket]:
    from tracewatch.web.addresses import listen

    sockets = [open_sockets.enter_context(listen(given.host, given.port))]
    if given.otlp_port and given.otlp_port != given.port:
        try:
            sockets.append(open_sockets.enter_context(listen(given.host, given.otlp_port)))
        except AddressTaken as error:
            say(f"Port {given.otlp_port} is not ours ({error.given['why']}), so OTLP comes to the main port alone.")
    return sockets


def _tell(given: Settings, sockets: list[socket.socket], *, keys: bool) -> None:
    host, port = sockets[0].getsockname()[:2]
    shown = f"http://{f'[{host}]' if ':' in host else host}"
    say(f"tracewatch serves {given.db} at {shown}:{port}")
    for each in sockets[::-1]:
        say(f"  OTLP over HTTP: {shown}:{each.getsockname()[1]}/v1/traces")
    if keys:
        say("  API keys are needed; see them with: tracewatch keys list")
    else:
        say("  No API key is needed on this machine, and no other machine gets in.")
    say("  Stop with Ctrl+C.")


def run(given: Settings, sockets: list[socket.socket], *, detection: bool) -> None:
    """Serves until it is told to stop."""
    import uvicorn

    from tracewatch.receiving import keep_what_is_there
    from tracewatch.settings import is_loopback
    from tracewatch.web import make_app

    app = make_app(given, open_without_keys=is_loopback(given.host), detection=detection)

    class Server(uvicorn.Server):
        """A server that ends its streams first: uvicorn would wait for those who listen to them."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.serving.events.close()
            await super().shutdown(sockets)

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
    )
    sys.setswitchinterval(TURN_S)
    keep_what_is_there()
    _end_well_on(signal.SIGTERM)
    with suppress(KeyboardInterrupt):  # uvicorn has ended in order, and raises the signal once more
        Server(config).run(sockets)
    say("Stopped; everything that was acknowledged is stored.")


def _end_well_on(number: int) -> None:
    """The signal that uvicorn raises again when all is done ends the command like Ctrl+C, not in the middle of it."""
    signal.signal(number, signal.default_int_handler)
