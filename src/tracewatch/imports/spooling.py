"""What cannot be read twice, such as standard input or a named pipe: kept in a temporary file while it is imported."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tracewatch.errors import ImportRefused

STANDARD_INPUT = Path("-")
SHARE_OF_DISK = 0.5  # of what is free where temporary files go; the rest is left to others
READ_BYTES = 1024 * 1024


def is_stream(path: Path) -> bool:
    """Whether this is standard input or a pipe."""
    try:
        return path == STANDARD_INPUT or stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False  # what is wrong with it is said when it is read as a file


@contextmanager
def spooled(path: Path, share: float = SHARE_OF_DISK) -> Iterator[Path]:
    """A file with all that comes from the stream, gone afterwards. Raises ImportRefused."""
    with tempfile.TemporaryDirectory(prefix="tracewatch-") as folder:
        file = Path(folder) / "stream"
        limit = int(shutil.disk_usage(folder).free * share)
        try:
            with file.open("wb") as target:
                if path == STANDARD_INPUT:
                    _copy(sys.stdin.buffer, target, path, limit)
                else:
                    with path.open("rb") as source:
                        _copy(source, target, path, limit)
        except OSError as error:
            raise ImportRefused(path=path, why=f"it could not be kept in {folder} ({error.strerror})") from error
        yield file


def _copy(source: IO[bytes], target: IO[bytes], path: Path, limit: int) -> None:
    while data := source.read(READ_BYTES):
        limit -= len(data)
        if limit < 0:
            why = f"it is more than half of what is free in {tempfile.gettempdir()}; save it to a file first"
            raise ImportRefused(path=path, why=why)
        target.write(data)
