"""JSON rows: one object a line (JSONL), or one array of objects."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracewatch.errors import ImportRefused
from tracewatch.imports.base import CHUNK_ROWS, Chunk, Refusal, Source
from tracewatch.imports.text import MAX_LINE, Lines, text_of

if TYPE_CHECKING:
    import pyarrow as pa

PEEKED_ROWS = 100  # rows whose keys tell what kind of export it is
SHOWN = 200  # characters of a row that is no JSON, in the rejects file
READ_CHARACTERS = 1024 * 1024

Found = tuple[int, Any, str | None]
"""A row's place, the row, and what is wrong with it (None: nothing)."""


class JsonRows(Source):
    """A file of JSON objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = path.stat().st_size
        peeked = [row for _, row, fault in islice(self._rows(), PEEKED_ROWS) if fault is None]
        self.names = tuple({name: None for row in peeked for name in row})
        self.all_names = len(peeked) < PEEKED_ROWS

    def chunks(self) -> Iterator[Chunk]:
        """Values as JSON has them; a column of several types becomes text, nested values become JSON text."""
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        refused: list[Refusal] = []
        begun = 0
        for number, row, fault in self._rows():
            if fault:
                refused.append(Refusal(number=number, what=fault, value=None, row=row))
            else:
                rows.append(row)
                numbers.append(number)
            if len(rows) >= CHUNK_ROWS or self._characters - begun > MAX_LINE:
                yield Chunk(columns=columns_of(rows), numbers=numbers, refused=tuple(refused), done=self._done)
                rows, numbers, refused, begun = [], [], [], self._characters
        yield Chunk(columns=columns_of(rows), numbers=numbers, refused=tuple(refused), done=self.total)

    @abstractmethod
    def _rows(self) -> Iterator[Found]:
        """Each row with its number, or why it is none."""

    _characters = 0
    _done = 0


class JsonLines(JsonRows):
    """One JSON object a line."""

    format = "jsonl"

    def _rows(self) -> Iterator[Found]:
        lines = Lines(self.path)
        for line in lines:
            self._characters, self._done = lines.characters, lines.done
            if line.isspace():
                continue
            if lines.number in lines.undecoded:
                yield lines.number, repr(line[:SHOWN]), "it is not UTF-8 text"
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                self._refuse_one_object(lines.number, line)
                yield lines.number, line[:SHOWN], f"it is not JSON ({getattr(error, 'msg', error)})"
                continue
            yield lines.number, row, None if isinstance(row, dict) else "it is not a JSON object"

    def _refuse_one_object(self, number: int, line: str) -> None:
        if number == 1 and line.strip() == "{":
            why = "it is one JSON object over several lines; give one object a line (JSONL) or an array of objects"
            raise ImportRefused(path=self.path, why=why)


class JsonArray(JsonRows):
    """One array of JSON objects, read piece by piece."""

    format = "json"
    place = "row_number"

    def _rows(self) -> Iterator[Found]:
        decode = json.JSONDecoder().raw_decode
        number = 0
        with text_of(self.path) as (file, raw):
            text = file.read(READ_CHARACTERS).lstrip()[1:]
            while (text := text.lstrip(" \t\r\n,")) or (text := file.read(READ_CHARACTERS)):
                if text.startswith("]"):
                    return
                try:
                    row, end = decode(text)
                except (ValueError, RecursionError) as error:
                    text += self._more(file, text, number, error)
                    continue
                number += 1
                text = text[end:]
                self._characters += end
                self._done = raw.tell()
                yield number, row, None if isinstance(row, dict) else "it is not a JSON object"
        raise ImportRefused(path=self.path, why=f"the JSON array ends without ] after row {number}")

    def _more(self, file: Any, text: str, number: int, error: Exception) -> str:
        """More text for a row that is not whole yet; twice as much each time, so that a long row stays linear."""
        more: str = file.read(max(READ_CHARACTERS, len(text))) if len(text) <= MAX_LINE else ""
        if not more:
            why = f"row {number + 1} of the JSON array cannot be read ({getattr(error, 'msg', error)})"
            raise ImportRefused(path=self.path, why=why)
        return more


def columns_of(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    """One Arrow array per key that any of the rows has."""
    names = {name: None for row in rows for name in row}
    return {name: array_of([row.get(name) for row in rows]) for name in names}


def array_of(values: list[Any]) -> pa.Array:
    """An Arrow array of plain values; as text when they are nested or of several types."""
    import pyarrow as pa

    types = set(map(type, values))
    if not types & {dict, list, tuple}:
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError):
            pass
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    # JSON may hold halves of a surrogate pair, which are no Unicode text.
    return text.encode("utf-8", "replace").decode()
