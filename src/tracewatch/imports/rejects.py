"""The file of refused rows: one JSON object a line, never written over anything else."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from tracewatch.errors import ImportRefused
from tracewatch.imports.base import Refusal


class Rejects:
    """Refused rows on their way into a file, which is made when the first of them comes."""

    def __init__(self, path: Path) -> None:
        self._wanted = path
        self._file: IO[str] | None = None
        self.path: Path | None = None

    def add(self, source: str, place: str, refusals: Iterable[Refusal]) -> None:
        """Writes refused rows down. Raises ImportRefused when that is not possible."""
        for refusal in refusals:
            described = {"file": source, place: refusal.number, "reason": refusal.reason, "row": refusal.row}
            text = json.dumps(described, ensure_ascii=False, default=str)
            self._opened().write(text.encode("utf-8", "replace").decode() + "\n")

    def flush(self) -> None:
        """Hands what was added to the operating system, so that it outlives this process."""
        if self._file:
            self._file.flush()

    def close(self) -> None:
        """Ends the file; when an earlier import left the same one, that one stays alone."""
        if self._file is None or self.path is None:
            return
        self._file.close()
        for earlier in self._names(until=self.path):
            if earlier.is_file() and filecmp.cmp(earlier, self.path, shallow=False):
                self.path.unlink()
                self.path = earlier
                return

    def __enter__(self) -> Rejects:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> IO[str]:
        if self._file is None:
            self._file = self._free()
        return self._file

    def _free(self) -> IO[Any]:
        for path in self._names():
            try:
                file = path.open("x", encoding="utf-8")
            except FileExistsError:
                continue
            except OSError as error:
                why = f"the refused rows cannot be written to {path} ({error.strerror}); say where with --rejects FILE"
                raise ImportRefused(path=self._wanted, why=why) from error
            self.path = path
            return file
        raise AssertionError("names never run out")

    def _names(self, until: Path | None = None) -> Iterable[Path]:
        """The wanted name, then the same with 2, 3 and so on."""
        path, number = self._wanted, 1
        while path != until:
            yield path
            number += 1
            path = self._wanted.with_suffix(f".{number}{self._wanted.suffix}")
