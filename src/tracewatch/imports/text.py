"""Text files by line: plain or gzip, UTF-8 or UTF-16, with a limit on how long one line may be."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tracewatch.errors import ImportRefused

# Longest line, in characters. A span with its reasoning text is some 100 kB; what is longer is no row of a table.
MAX_LINE = 16 * 1024 * 1024
HEAD_BYTES = 65_536

GZIP_MAGIC = b"\x1f\x8b"
_UTF8 = "utf-8-sig"  # with or without the mark that Windows puts first
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UNDECODED = re.compile("[\udc80-\udcff]")


class Lines:
    """The lines of a text file, their ends kept, and how far they have been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.characters = 0
        self.undecoded: set[int] = set()

    def __iter__(self) -> Iterator[str]:
        for text in self._texts():
            self.number += 1
            self.characters += len(text)
            if len(text) > MAX_LINE:
                limit = f"{MAX_LINE // 1024**2} MB"
                raise ImportRefused(
                    path=self.path, why=f"line {self.number} is longer than {limit}: no table has such rows"
                )
            if not text.isascii() and _UNDECODED.search(text):
                self.undecoded.add(self.number)
            yield text

    def _texts(self) -> Iterator[str]:
        with text_of(self.path) as (file, raw):
            self._raw = raw
            try:
                while text := file.readline(MAX_LINE + 1):
                    yield text
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                why = f"the gzip data is damaged or incomplete after line {self.number}"
                raise ImportRefused(path=self.path, why=why) from error
            except UnicodeError as error:
                why = f"line {self.number + 1} is not {file.encoding} text"
                raise ImportRefused(path=self.path, why=why) from error

    @property
    def done(self) -> int:
        """Bytes of the file that have been read so far."""
        return self._raw.tell()

    _raw: IO[bytes]


@contextmanager
def text_of(path: Path) -> Iterator[tuple[io.TextIOWrapper, IO[bytes]]]:
    """The text of a file, decompressed and decoded, and the raw file behind it. What is not UTF-8 is escaped."""
    with path.open("rb") as raw:
        packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        data: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        encoding = _encoding(data.peek(2))
        errors = "surrogateescape" if encoding == _UTF8 else "strict"
        with io.TextIOWrapper(data, encoding=encoding, errors=errors, newline="") as text:
            yield text, raw


def head_of(path: Path) -> bytes:
    """The first bytes of a file, decompressed when it is gzip. Raises ImportRefused when they are damaged."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if not head.startswith(GZIP_MAGIC):
            return head
        file.seek(0)
        try:
            return gzip.GzipFile(fileobj=file).read(HEAD_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ImportRefused(path=path, why="its gzip data is damaged or incomplete") from error


def decoded(head: bytes) -> str:
    """Those first bytes as text; a character cut in two at the end does not matter."""
    return head.decode(_encoding(head), errors="replace")


def is_binary(head: bytes) -> bool:
    """Whether these bytes are no text that we read: zero bytes, or many control characters."""
    if head.startswith(_UTF16):
        return False
    odd = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return b"\0" in head or odd * 20 > len(head)


def _encoding(head: bytes) -> str:
    return "utf-16" if head.startswith(_UTF16) else _UTF8
