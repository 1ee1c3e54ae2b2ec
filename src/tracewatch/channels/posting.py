"""One POST over HTTP, as a stranger deserves it: short, bounded, never elsewhere. The standard library alone."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from tracewatch.channels.masking import mask, without_secrets
from tracewatch.channels.reaching import Refused, look_at
from tracewatch.errors import DeliveryFailed, DeliveryRefused

CONNECT_S = 5.0
WHOLE_S = 15.0  # from the first byte to the last, however slowly they come
MOST_ANSWER = 64 * 1024  # bytes read of an answer
LONGEST_REASON = 200  # characters of an answer that are told
LONGEST_WAIT_S = 86_400.0  # however long a receiver asks for
AGAIN = frozenset({408, 425, 429})  # statuses of the receiver's moment, not of the message


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver answered."""

    status: int
    body: bytes
    """Its first MOST_ANSWER bytes."""


def post(url: str, body: bytes, headers: Mapping[str, str], given: str) -> Answer:
    """What the receiver answers with 2xx to a POST. A redirect is not followed.

    `given` is the address as it was written, whose secrets are kept out of what is raised.

    Raises DeliveryFailed when it may succeed later (network, 408, 425, 429, 5xx), DeliveryRefused when not.
    """
    name = mask(given)
    parts = urlsplit(url)
    assert parts.hostname, "an address to post to has a host"
    try:
        answer, wait = _exchange(parts, body, headers)
    except Refused as error:
        raise DeliveryRefused(channel=name, why=f"{parts.hostname} leads to {error}") from error
    except (OSError, HTTPException) as error:
        raise DeliveryFailed(channel=name, why=without_secrets(_network(error), given)) from error
    if 200 <= answer.status < 300:
        return answer
    reason = without_secrets(_reason(answer.body), given)
    why = f"it answered {answer.status}{f' ({reason})' if reason else ''}"
    if answer.status in AGAIN or answer.status >= 500:
        raise DeliveryFailed(channel=name, why=why, retry_after_s=wait)
    if 300 <= answer.status < 400:
        raise DeliveryRefused(channel=name, why=f"{why}, which leads elsewhere: give the address it leads to")
    raise DeliveryRefused(channel=name, why=why)


def _exchange(parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> tuple[Answer, float | None]:
    connection, target = _connection(parts)
    late = threading.Event()
    watch = threading.Timer(WHOLE_S, _cut, (connection, late))
    watch.daemon = True
    try:
        watch.start()
        _connect(connection)
        connection.request("POST", target, body=body, headers={"Host": _host(parts), **headers})
        response = connection.getresponse()
        answer = Answer(status=response.status, body=response.read(MOST_ANSWER))
        return answer, _retry_after(response.getheader("Retry-After"))
    except (OSError, HTTPException) as error:
        if late.is_set():
            raise TimeoutError from error
        raise
    finally:
        watch.cancel()
        connection.close()


def _connect(connection: HTTPConnection) -> None:
    """Connects soon or not at all; who is connected has the whole time to answer."""
    try:
        connection.connect()
    except TimeoutError as error:
        raise ConnectionError(errno.ETIMEDOUT, f"no connection within {CONNECT_S:.0f} s") from error
    connection.sock.settimeout(WHOLE_S)


def _cut(connection: HTTPConnection, late: threading.Event) -> None:
    """Ends a conversation that has taken its time; each byte of a slow one would begin the socket's own time anew."""
    late.set()
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it ended by itself


def _connection(parts: SplitResult) -> tuple[HTTPConnection, str]:
    """A connection to the host, or to the proxy that this machine uses for it, and what is asked there."""
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        look_at(str(found[4][0]))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    proxy = urlsplit(getproxies().get(parts.scheme, ""))
    if not proxy.hostname or proxy_bypass(host):
        return _direct(secure, host, port), path
    if not secure:
        return HTTPConnection(proxy.hostname, proxy.port or 80, timeout=CONNECT_S), f"http://{_host(parts)}{path}"
    through = HTTPSConnection(proxy.hostname, proxy.port or 80, timeout=CONNECT_S, context=ssl.create_default_context())
    through.set_tunnel(host, port)
    return through, path


def _direct(secure: bool, host: str, port: int) -> HTTPConnection:
    if secure:
        return HTTPSConnection(host, port, timeout=CONNECT_S, context=ssl.create_default_context())
    return HTTPConnection(host, port, timeout=CONNECT_S)


def _host(parts: SplitResult) -> str:
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{name}:{parts.port}" if parts.port else f"{name}"


def _network(error: Exception) -> str:
    """What went wrong on the way, in a few words."""
    match error:
        case TimeoutError():
            return f"it did not answer within {WHOLE_S:.0f} s"
        case socket.gaierror():
            return "there is no such host"
        case ssl.SSLError():
            return f"no secure connection ({error.reason or 'TLS'})"
        case ConnectionRefusedError():
            return "nothing listens there"
        case OSError():
            return error.strerror or type(error).__name__
    return f"it does not answer as HTTP ({type(error).__name__})"


def _reason(body: bytes) -> str:
    """The first words of an answer, as one line of plain text."""
    text = "".join(each if each.isprintable() else " " for each in body[:4096].decode("utf-8", "replace"))
    return " ".join(text.split())[:LONGEST_REASON]


def _retry_after(given: str | None) -> float | None:
    """Seconds from a Retry-After header, which is a number of them or a date."""
    if not given:
        return None
    if given.strip().isdecimal():
        return min(float(given.strip()), LONGEST_WAIT_S)
    try:
        wait = parsedate_to_datetime(given).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(wait, 0.0), LONGEST_WAIT_S)
