"""What a file is, told by what is in it: its format, and which kind of export."""

from __future__ import annotations

import stat
from pathlib import Path

from tracewatch.errors import ImportRefused
from tracewatch.imports import database, parquet
from tracewatch.imports.base import Kind, Source
from tracewatch.imports.database import TABLES, Database
from tracewatch.imports.delimited import Delimited, dialect
from tracewatch.imports.jsonl import JsonArray, JsonLines
from tracewatch.imports.naming import has_time, kind_of, known_names, plan
from tracewatch.imports.parquet import Parquet
from tracewatch.imports.text import HEAD_BYTES, decoded, head_of, is_binary

# First bytes of what people also have lying about, and what to do with it.
OTHERS = {
    b"PK\x03\x04": "it is a zip archive (or an .xlsx sheet); unpack it, or export it as CSV",
    b"BZh": "it is packed with bzip2; unpack it first (gzip is read as it is)",
    b"\xfd7zXZ\0": "it is packed with xz; unpack it first (gzip is read as it is)",
    b"\x28\xb5\x2f\xfd": "it is packed with zstd; unpack it first (gzip is read as it is)",
    b"7z\xbc\xaf": "it is a 7z archive; unpack it first (gzip is read as it is)",
    b"ARROW1": "it is an Arrow (Feather) file; save it as Parquet",
    b"ORC": "it is an ORC file; save it as Parquet",
    parquet.ENCRYPTED_MAGIC: "it is an encrypted Parquet file; save it without encryption",
    b"%PDF": "it is a PDF; export the rows as CSV",
}
ACCEPTED = "tracewatch reads CSV, JSONL, JSON arrays, Parquet and SQLite"


def recognise(path: Path, kind: Kind | None = None, table: str | None = None) -> tuple[Source, Kind]:
    """The file as a source of rows, and which kind of export it is (`kind`, if given). Raises ImportRefused.

    `table` is the one to read of a SQLite file; without it that of a known name, or the only one that has calls.
    """
    try:
        source = _source(path, kind, table)
    except PermissionError as error:
        raise ImportRefused(path=path, why="permission was denied") from error
    except OSError as error:
        raise ImportRefused(path=path, why=error.strerror or str(error)) from error
    if table is not None and source.table is None:
        raise ImportRefused(path=path, why=f"it is no SQLite file and has no table {table}; leave out --table")
    kind = kind or TABLES.get(source.table or "") or kind_of(source.names)
    if not has_time(plan(source.names, kind)):
        raise ImportRefused(path=path, why=_without_time(source))
    return source, kind


def _source(path: Path, kind: Kind | None, table: str | None) -> Source:
    _look(path)
    with path.open("rb") as file:
        magic = file.read(16)
    if magic == database.MAGIC:
        return Database(path, kind, table)
    if magic.startswith(parquet.MAGIC):
        return Parquet(path)
    for other, why in OTHERS.items():
        if magic.startswith(other):
            raise ImportRefused(path=path, why=why)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise ImportRefused(path=path, why="it is named like a Parquet file but is not one")
    return _text_source(path)


def _text_source(path: Path) -> Source:
    head = head_of(path)
    if is_binary(head):
        raise ImportRefused(path=path, why=f"it is binary data of no kind we know; {ACCEPTED}")
    text = decoded(head).lstrip()
    if not text:
        raise ImportRefused(path=path, why="it is empty")
    if text.startswith("["):
        return JsonArray(path)
    if text.startswith("{"):
        return JsonLines(path)
    header, end, _ = text.partition("\n")
    if not end and len(head) >= HEAD_BYTES:
        raise ImportRefused(
            path=path, why=f"its first line is longer than {HEAD_BYTES // 1024} kB: no header is that long"
        )
    _, names = dialect(header.rstrip("\r"))
    if not known_names(names):
        shown = ascii(header.strip()[:60])
        why = f"its first line, {shown}, is no header we know; name the columns there, such as start_time or timestamp"
        raise ImportRefused(path=path, why=why)
    return Delimited(path, header.rstrip("\r"))


def _look(path: Path) -> None:
    """Raises ImportRefused for what is no file with something in it."""
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise ImportRefused(path=path, why="there is no such file") from error
    if stat.S_ISDIR(found.st_mode):
        raise ImportRefused(path=path, why="it is a directory; name the files in it")
    if not stat.S_ISREG(found.st_mode):
        raise ImportRefused(path=path, why="it is not a regular file; save it to one first")
    if found.st_size == 0:
        raise ImportRefused(path=path, why="it is empty")


def _without_time(source: Source) -> str:
    if not source.names:
        return "there is no row in it"
    names = ", ".join(source.names[:20])
    more = f" and {len(source.names) - 20} more" if len(source.names) > 20 else ""
    return f"no column says when a call began (start_time, timestamp, created_at …); its columns are {names}{more}"
