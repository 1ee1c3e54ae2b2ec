"""The sink that is a tracewatch server (or any other that takes OTLP/HTTP): rows as OTLP/JSON over one connection."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, unquote, urlsplit

from tracewatch.capture.sinks import Refused, TooMany, Unavailable
from tracewatch.otlp import encode
from tracewatch.records import Span

PATH = "/v1/traces"
TIMEOUT_S = 10.0
GZIP_LEVEL = 1  # a fifth of the bytes for a tenth of a millisecond a batch; higher levels save little more
LONGEST_WAIT_S = 600.0  # a server that asks for more is asked again before
ANSWER_BYTES = 65_536  # what is read of an answer

# The request itself is at fault: the same rows would be refused again. Everything else may be put right meanwhile, a
# wrong key or address included.
_REFUSED = (400, 415, 422)
_TOO_LARGE = 413


class ServerSink:
    """Rows to a server, each batch acknowledged before the next."""

    def __init__(self, url: str, *, headers: Mapping[str, str]) -> None:
        """`url` as http://host:4319 or with a path that ends in /v1/traces."""
        parts = urlsplit(url)
        self.name = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._parts = parts
        path = parts.path.rstrip("/")
        self._path = (path if path.endswith(PATH) else path + PATH) + (f"?{parts.query}" if parts.query else "")
        self._headers = {**_HEADERS, **_login(parts), **headers}
        self._connection: http.client.HTTPConnection | None = None

    def write(self, rows: Sequence[Span]) -> int:
        """Posts the rows. Returns how many the server refused, or raises Unavailable, Refused or TooMany."""
        body = gzip.compress(encode(rows), GZIP_LEVEL)
        try:
            status, headers, answer = self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(_reason(error)) from error
        if 200 <= status < 300:
            return _rejected(answer)
        said = f"it answered {status} {http.client.responses.get(status, '')}".rstrip() + _excerpt(answer)
        if status == _TOO_LARGE:
            raise TooMany(said)
        if status in _REFUSED:
            raise Refused(said)
        raise Unavailable(said, after=_wait(headers.get("Retry-After")))

    def close(self) -> None:
        """Ends the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _post(self, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        kept = self._connection is not None
        try:
            return self._exchange(body)
        except (http.client.RemoteDisconnected, ConnectionError, http.client.CannotSendRequest):
            if not kept:
                raise
            self.close()  # the server ended a connection that had been idle, which says nothing about the server
            return self._exchange(body)

    def _exchange(self, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            self._connection = self._connected()
        self._connection.request("POST", self._path, body=body, headers=self._headers)
        response = self._connection.getresponse()
        answer = response.read(ANSWER_BYTES)
        if response.will_close or response.read(1):
            self.close()
        return response.status, response.headers, answer

    def _connected(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)


_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "gzip", "User-Agent": "tracewatch-sdk"}


def _login(parts: SplitResult) -> dict[str, str]:
    """Name and password in the address."""
    if parts.username is None:
        return {}
    import base64

    text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def _rejected(answer: bytes) -> int:
    """How many spans a server says it has refused: OTLP's partial success."""
    try:
        partial = json.loads(answer).get("partialSuccess") or {}
        return int(partial.get("rejectedSpans") or 0)
    except (ValueError, TypeError, AttributeError):
        return 0  # an empty answer, or one that is no JSON, refuses nothing


def _wait(given: str | None) -> float | None:
    """Retry-After in seconds, from seconds or a date; None when it is missing or neither."""
    if not given:
        return None
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(given).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if seconds == seconds else None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _excerpt(answer: bytes) -> str:
    text = " ".join(answer[:200].decode(errors="replace").split())
    return f" ({text})" if text else ""
