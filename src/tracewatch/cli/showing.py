"""Showing a database in the browser of this machine: a server on a free port, its address, and a window onto it."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from typing import TYPE_CHECKING

from tracewatch import settings
from tracewatch.cli import serving
from tracewatch.cli.output import say
from tracewatch.errors import AddressTaken

if TYPE_CHECKING:
    import socket

READY_S = 20.0  # so long a browser waits for the server to answer
PAUSE_S = 0.1


def show(db: str, path: str) -> None:
    """Serves a database to this machine alone until Ctrl+C, and opens the browser at a path of it.

    The port is that of the settings, or a free one where it is taken. What comes is not judged: it is a picture of
    something that is over.
    """
    given = dataclasses.replace(settings.load(), db=db, project="default", host=settings.LOCAL, otlp_port=0)
    with _listening(given) as bound:
        port = bound.getsockname()[1]
        address = f"http://{settings.LOCAL}:{port}"
        say(f"\nOpen it in your browser: {address}{path}")
        say("Stop with Ctrl+C.")
        if has_screen():
            threading.Thread(target=_open_when_ready, args=(address, path), daemon=True).start()
        serving.run(given, [bound], detection=False)


def has_screen() -> bool:
    """Whether a browser could show a window: not on a machine that is only reached over a network."""
    if sys.platform in ("win32", "darwin"):
        return not os.environ.get("SSH_CONNECTION")
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _listening(given: settings.Settings) -> socket.socket:
    from tracewatch.web.addresses import listen

    try:
        return listen(given.host, given.port)
    except AddressTaken:
        return listen(given.host, 0)


def _open_when_ready(address: str, path: str) -> None:
    """Opens the browser once the server answers; one that cannot be opened is no harm, the address is printed."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{address}/health/live", timeout=READY_S):  # noqa: S310  # our own address
                webbrowser.open(address + path)
                return
        except (OSError, urllib.error.URLError):
            time.sleep(PAUSE_S)
