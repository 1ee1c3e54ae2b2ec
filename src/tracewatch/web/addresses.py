"""Sockets bound to the addresses that a server listens on."""

from __future__ import annotations

import os
import socket

from tracewatch.errors import AddressTaken

BACKLOG = 2_048  # connections that wait to be taken while the server is busy


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; they wait until somebody serves them. Raises AddressTaken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressTaken(host=host, port=port, why=error.strerror) from error
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise AddressTaken(host=host, port=port, why=error.strerror) from error
    found.setblocking(False)
    return found
