"""Request bodies, read as they come in: unpacked on the way, and never more of them at once than was agreed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from tracewatch.errors import BodyBroken, BodyRefused, BodyTooLarge, BodyTooSlow, EncodingUnknown, ServerFull
from tracewatch.web.counters import Counters
from tracewatch.web.sparing import Disk

MIB = 2**20
READ_S = 60.0  # to send a body; exporters give up after 10 s
DRAINED = 16  # times the largest body that is read and thrown away, so that its sender hears why it was refused
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 47}  # zlib's wbits; 47 tells zlib's and gzip's head apart


@dataclass(slots=True)
class Room:
    """How many bytes of requests the server holds: each is counted from its first byte to its answer."""

    most: int
    counters: Counters
    disk: Disk | None = None

    def take(self, size: int) -> None:
        """Counts bytes in. Raises ServerFull or DiskShort."""
        if self.disk is not None:
            self.disk.check()
        if self.counters.queued_bytes + size > self.most:
            raise ServerFull(mib=self.most // MIB)
        self.counters.queued_bytes += size

    def give_back(self, size: int) -> None:
        """Counts bytes out."""
        self.counters.queued_bytes -= size


@dataclass(slots=True)
class Body:
    """One body: what of it has come, and how much room it takes until `done`."""

    room: Room
    most: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, part: bytes) -> None:
        """Takes a part in. Raises BodyTooLarge, ServerFull or DiskShort."""
        if self.size + len(part) > self.most:
            raise BodyTooLarge(mib=self.most // MIB)
        self.room.take(len(part))
        self.size += len(part)
        self.parts.append(part)

    def done(self) -> None:
        """Gives its room back."""
        self.room.give_back(self.size)
        self.size = 0
        self.parts.clear()


class Unpacking:
    """Unpacks gzip or zlib as it comes, and never further than is asked for."""

    def __init__(self, encoding: str) -> None:
        self._window = _WINDOWS[encoding]
        self._stream = zlib.decompressobj(self._window)

    def unpack(self, part: bytes, most: int) -> list[bytes]:
        """What these bytes unpack to; it stops after more than `most`. Raises BodyBroken."""
        found: list[bytes] = []
        left = most + 1
        try:
            while part and left > 0:
                if self._stream.eof:  # gzip files may follow one another
                    self._stream = zlib.decompressobj(self._window)
                found.append(self._stream.decompress(part, left))
                left -= len(found[-1])
                part = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        except zlib.error as error:
            raise BodyBroken(why=f"it cannot be unpacked ({error})") from error
        return found

    def end(self) -> None:
        """Raises BodyBroken when something is missing at the end."""
        if not self._stream.eof:
            raise BodyBroken(why="it ends in the middle of the packed data")


async def read_into(body: Body, request: Request) -> bytes:
    """The whole body, unpacked. Raises BodyRefused, and reads on until its sender can hear of it."""
    stream = request.stream()
    try:
        async with asyncio.timeout(READ_S):
            try:
                return await _read(body, request, stream)
            except BodyRefused:
                body.done()
                await _drain(stream, body.most * DRAINED)
                raise
    except TimeoutError as error:
        raise BodyTooSlow(seconds=int(READ_S)) from error
    except ClientDisconnect as error:
        raise BodyBroken(why="its sender went away before the end") from error


async def _read(body: Body, request: Request, stream: AsyncIterator[bytes]) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", *_WINDOWS):
        raise EncodingUnknown(given=encoding[:40])
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > body.most:
        raise BodyTooLarge(mib=body.most // MIB)
    unpacking = Unpacking(encoding) if encoding in _WINDOWS else None
    async for part in stream:
        if unpacking is None:
            body.add(part)
        else:
            for each in unpacking.unpack(part, body.most - body.size):
                body.add(each)
    if unpacking is not None:
        unpacking.end()
    return b"".join(body.parts)


async def _drain(stream: AsyncIterator[bytes], most: int) -> None:
    """Throws the rest away: a client that is still sending would not read the answer."""
    async for part in stream:
        most -= len(part)
        if most < 0:
            return
