"""Bodies of responses that the host reads by itself, raw or through a client's helper: watched as they pass."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from tracewatch.capture import noting
from tracewatch.capture.calls import Call
from tracewatch.capture.wrapping import Watcher, pieces, pieces_async

EVENTS = "text/event-stream"
MOST_BYTES = 32 * 1024 * 1024
"""The longest body of one piece that is kept for reading; of a longer one we know its times alone."""

_DONE = b"[DONE]"


def watch_body(response: Any, call: Call) -> None:
    """Has the call read along as the host reads this response, whose body has not been read yet."""
    decode = _decoder(response)
    events = is_events(response)
    if events:
        call.streaming(readable=decode is not None)
    watcher: Watcher = call if decode is None else (Events if events else Document)(call, decode)
    _replace(response, call, watcher)


def watch_close(response: Any, call: Call) -> None:
    """Tells the call when this response is closed, whoever does it."""
    _replace(response, call, None)


def is_events(response: Any) -> bool:
    """Whether the answer is a stream of server-sent events."""
    return EVENTS in str(response.headers.get("content-type", ""))


class Events:
    """A watcher of server-sent events, which tells the call each of them as the object it holds."""

    def __init__(self, call: Call, decode: Callable[[bytes], bytes]) -> None:
        self._call = call
        self._decode = decode
        self._rest = b""
        self.pulling, self.left, self.failed = call.pulling, call.left, call.failed

    def arrived(self, piece: Any) -> None:
        try:
            *lines, self._rest = (self._rest + self._decode(piece)).split(b"\n")
            for line in lines:
                self._read(line)
        except Exception as mistake:
            noting.swallowed(mistake)

    def finished(self) -> None:
        try:
            self._read(self._rest)
        except Exception as mistake:
            noting.swallowed(mistake)
        self._call.finished()

    def _read(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data and data != _DONE:
            self._call.arrived(json.loads(data))


class Document:
    """A watcher of a body that is one JSON object."""

    def __init__(self, call: Call, decode: Callable[[bytes], bytes]) -> None:
        self._call = call
        self._decode = decode
        self._read: list[bytes] = []
        self._bytes = 0
        self.pulling, self.left, self.failed = call.pulling, call.left, call.failed

    def arrived(self, piece: Any) -> None:
        self._bytes += len(piece)
        if self._bytes > MOST_BYTES:
            self._read.clear()
        else:
            self._read.append(piece)

    def finished(self) -> None:
        answer = None
        try:
            body = b"".join(self._decode(each) for each in self._read)
            answer = json.loads(body) if body else None
        except Exception as mistake:
            noting.swallowed(mistake)
        self._call.answered(answer)


def _decoder(response: Any) -> Callable[[bytes], bytes] | None:
    """What undoes the compression of this response, by its own HTTP library; None where that is not possible."""
    encoding = str(response.headers.get("content-encoding", "")).strip().lower()
    if encoding in ("", "identity"):
        return bytes
    decoders = sys.modules.get(f"{_library(type(response))}._decoders")
    kind = getattr(decoders, "SUPPORTED_DECODERS", {}).get(encoding)
    return None if kind is None else functools.partial(_decoded, kind().decode)


def _decoded(decode: Callable[[bytes], Any], piece: bytes) -> bytes:
    """What one library gives back at once, and another in parts."""
    found = decode(piece)
    return found if isinstance(found, bytes) else b"".join(found)


def _library(kind: type) -> str:
    """The package whose response it is: httpx, or httpx2."""
    names = (each.__module__.partition(".")[0] for each in kind.__mro__)
    return next(name for name in names if hasattr(sys.modules.get(name), "SyncByteStream"))


def _replace(response: Any, call: Call, watcher: Watcher | None) -> None:
    response.stream = _body_of(_library(type(response)))(response.stream, call, watcher)


@functools.lru_cache(maxsize=8)
def _body_of(library: str) -> type[_Body]:
    """The class of watched bodies that this HTTP library takes for one of its own streams."""
    module = sys.modules[library]
    bases = (_Body, module.SyncByteStream, module.AsyncByteStream)
    return type("WatchedBody", bases, {"__module__": __name__})


class _Body:
    """The body as it was, but for what it tells the call and the watcher. Only its first reading is watched."""

    def __init__(self, body: Any, call: Call, watcher: Watcher | None) -> None:
        self._body = body
        self._call = call
        self._watcher = watcher

    def __getattr__(self, name: str) -> Any:
        if name == "_body":  # while it is being copied there is none yet
            raise AttributeError(name)
        return getattr(self._body, name)

    def __iter__(self) -> Iterator[bytes]:
        watcher, self._watcher = self._watcher, None
        body = iter(self._body)
        return body if watcher is None else pieces(body, watcher)

    def __aiter__(self) -> AsyncIterator[bytes]:
        watcher, self._watcher = self._watcher, None
        body = aiter(self._body)
        return body if watcher is None else pieces_async(body, watcher)

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            self._call.closed()

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._call.closed()
