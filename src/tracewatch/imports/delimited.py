"""CSV in its dialects: rows between commas, semicolons, tabs or bars, with quoted line breaks."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from tracewatch.errors import ImportRefused
from tracewatch.imports.base import CHUNK_ROWS, Chunk, Refusal, Source
from tracewatch.imports.naming import known_names
from tracewatch.imports.text import MAX_LINE, Lines

DELIMITERS = (",", ";", "\t", "|")

# Lines that one quoted field may span. A stray quote would otherwise swallow the rest of a large file, slowly.
MOST_LINES = 100_000


def dialect(header: str) -> tuple[str, tuple[str, ...]]:
    """The delimiter under which a header line names the most columns we know, and those names."""
    read = {delimiter: next(csv.reader([header], delimiter=delimiter), []) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: (known_names(read[delimiter]), len(read[delimiter])))
    return best, _distinct(read[best])


class Delimited(Source):
    """A CSV file with a header line."""

    format = "csv"

    def __init__(self, path: Path, header: str) -> None:
        self.path = path
        self.total = path.stat().st_size
        self.delimiter, self.names = dialect(header)

    def chunks(self) -> Iterator[Chunk]:
        """Every value is text; an empty field is null."""
        limit = csv.field_size_limit(MAX_LINE)
        lines = Lines(self.path)
        try:
            yield from self._chunks(lines)
        except csv.Error as error:
            why = f"after line {lines.number} the quoting is broken ({error}); is a closing quote missing?"
            raise ImportRefused(path=self.path, why=why) from error
        finally:
            csv.field_size_limit(limit)

    def _chunks(self, lines: Lines) -> Iterator[Chunk]:
        reader = csv.reader(self._watched(lines), delimiter=self.delimiter)
        next(_non_empty(reader))
        rows: list[list[str]] = []
        numbers: list[int] = []
        refused: list[Refusal] = []
        first, begun = reader.line_num + 1, lines.characters
        for row in reader:
            what = self._fault(row, range(first, reader.line_num + 1), lines)
            if what:
                refused.append(Refusal(number=first, what=what, value=None, row=_readable(row)))
            elif row:
                rows.append(row)
                numbers.append(first)
            first, self._quotes = reader.line_num + 1, 0
            if len(rows) >= CHUNK_ROWS or lines.characters - begun > MAX_LINE:
                yield self._chunk(rows, numbers, refused, lines.done)
                rows, numbers, refused, begun = [], [], [], lines.characters
        yield self._chunk(rows, numbers, refused, self.total)

    def _watched(self, lines: Lines) -> Iterator[str]:
        """The lines, while a row is not too many of them; and whether a quote is still open at the end."""
        row = lines.number
        self._quotes, self._ended = 0, False
        for text in lines:
            if self._quotes == 0:
                row = lines.number
            elif lines.number - row > MOST_LINES:
                why = f"a quote that line {row} opens is not closed within {MOST_LINES:,} lines"
                raise ImportRefused(path=self.path, why=why)
            self._quotes += text.count('"')
            yield text
        self._ended = True

    def _fault(self, row: list[str], where: range, lines: Lines) -> str | None:
        if lines.undecoded and not lines.undecoded.isdisjoint(where):
            return "it is not UTF-8 text (convert the file, for example with: iconv -f latin1 -t utf-8)"
        if self._ended and len(where) > 1 and self._quotes % 2:
            return f"the quote it opens is never closed, so the file ends in it at line {where[-1]}"
        if not row or len(row) == len(self.names):
            return None
        until = f", up to line {where[-1]}" if len(where) > 1 else ""
        return f"it has {len(row)} fields where the header names {len(self.names)}{until}"

    def _chunk(self, rows: list[list[str]], numbers: list[int], refused: list[Refusal], done: int) -> Chunk:
        import pyarrow as pa

        by_column = zip(*rows, strict=True) if rows else [() for _ in self.names]
        columns = {name: pa.array(values, pa.string()) for name, values in zip(self.names, by_column, strict=True)}
        return Chunk(columns=columns, numbers=numbers, refused=tuple(refused), done=done)


def _non_empty(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    return (row for row in rows if row)


def _readable(row: list[str]) -> list[str]:
    return [value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for value in row]


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, later namesakes numbered."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(distinct)
