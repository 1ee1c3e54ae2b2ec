"""All that a store keeps as a folder of files, Parquet or JSON Lines, with counts and checksums beside them.

Values stand in the files as a store holds them (times are UTC epoch seconds, objects and lists JSON text), so that what
is read back is the same to the last digit; `tracewatch export` of one kind of record is the form for other tools.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.copying.archive_files import Form, read, write
from tracewatch.copying.comparing import Scanned, hours_alone
from tracewatch.copying.digests import Digest, numbers_of
from tracewatch.copying.digests import digest as of_numbers
from tracewatch.errors import ImportRefused, OutputRefused
from tracewatch.records import RECORDS, Record, columns
from tracewatch.stores.base import Filter, Progress, Store
from tracewatch.stores.columns import arrow_schema
from tracewatch.stores.measures import KEYS
from tracewatch.stores.rollups import measure_schema
from tracewatch.stores.values import defaults_of
from tracewatch.times import DAY_S

CONTENTS = "archive.json"
"""The file that says what is in the folder; written last, so a folder that has it is whole."""
LAYOUT = 1
HOURS = "hours"
_DAMAGES = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, pa.ArrowException)
"""What comes of files in which anything may stand: other kinds of values, none, or brackets without end."""
HOURS_SCHEMA = pa.schema(
    [pa.field("bucket", pa.int64()), *(pa.field(name, pa.string()) for name in KEYS), *measure_schema()]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What is in one file of an archive."""

    rows: int
    checksum: str
    columns: tuple[str, ...]


def is_archive(path: Path) -> bool:
    """Whether a folder is one."""
    return (path / CONTENTS).is_file()


def archive(
    store: Store,
    folder: Path,
    form: Form,
    kinds: Iterable[tuple[type[Record], Sequence[Filter]]],
    progress: Progress | None = None,
) -> Mapping[str, File]:
    """Writes hourly figures without calls and records of these kinds into a folder that is not there yet.

    The folder appears when it is whole, for its owner alone: it holds hashes of keys and addresses of channels. Returns
    what is in it, by table. Raises OutputRefused.
    """
    beside = folder.with_name(f".{folder.name}.part")
    try:
        if folder.exists():
            raise OutputRefused(path=folder, why="it is there already")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)
        files = {HOURS: _hours(store, beside, form)}
        for record_type, where in kinds:
            names = [each.name for each in columns(record_type)]
            batches, path = store.scan(record_type, names, where), _file(beside, record_type.table, form)
            files[record_type.table] = _written(path, form, arrow_schema(record_type), batches, progress)
        _contents(beside, form, store.retained(), files)
        os.rename(beside, folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise OutputRefused(path=folder, why=error.strerror or str(error)) from error
    return files


def _hours(store: Store, folder: Path, form: Form) -> File:
    tables = (hours for _, _, hours in hours_alone(store, store.retained()))
    batches = (batch for table in tables for batch in table.cast(HOURS_SCHEMA).to_batches())
    return _written(_file(folder, HOURS, form), form, HOURS_SCHEMA, batches)


def _file(folder: Path, table: str, form: Form) -> Path:
    return folder / f"{table}.{form}"


def _written(
    path: Path, form: Form, schema: pa.Schema, batches: Iterable[pa.RecordBatch], progress: Progress | None = None
) -> File:
    counted = Digest()

    def passed() -> Iterator[pa.RecordBatch]:
        nonlocal counted
        for batch in batches:
            counted += of_numbers(numbers_of(batch))
            yield batch
            if progress is not None:
                progress(batch.num_rows)

    write(path, form, schema, passed())
    return File(rows=counted.rows, checksum=counted.checksum, columns=tuple(schema.names))


def _contents(folder: Path, form: Form, retained: float | None, files: Mapping[str, File]) -> None:
    described = {
        "layout": LAYOUT,
        "tracewatch": version("tracewatch"),
        "format": form,
        "retained": retained,
        "tables": {table: asdict(file) for table, file in files.items()},
    }
    with (folder / CONTENTS).open("w", encoding="utf-8") as out:
        json.dump(described, out, indent=2)
        out.flush()
        os.fsync(out.fileno())


class Archive(Scanned):
    """A folder that `archive` has written, to be read as a store is."""

    def __init__(self, folder: Path) -> None:
        """Raises ImportRefused for a folder that is none, or not one of this version."""
        self.folder = folder
        try:
            described = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
            if described["layout"] > LAYOUT:
                raise ImportRefused(path=folder, why=f"a newer tracewatch ({described['tracewatch']}) has written it")
            self._form: Form = described["format"]
            self._retained = None if described["retained"] is None else float(described["retained"])
            self.files = {table: _file_of(**each) for table, each in described["tables"].items()}
        except _DAMAGES as error:
            raise ImportRefused(path=folder, why=f"its {CONTENTS} cannot be read ({error})") from error

    def rows(self, record_type: type[Record]) -> int:
        """How many records of a type it holds."""
        return self.files[record_type.table].rows if record_type.table in self.files else 0

    def check(self, progress: Progress | None = None) -> None:
        """Reads all files. Raises ImportRefused where one is not as it was written."""
        for table, file in self.files.items():
            found = Digest()
            for batch in self._batches(table):
                found += of_numbers(numbers_of(batch))
                if progress is not None:
                    progress(batch.num_rows)
            if (found.rows, found.checksum) != (file.rows, file.checksum):
                why = f"it is not as it was written: {found.rows:,} rows of {file.rows:,}, checksum {found.checksum}"
                raise ImportRefused(path=_file(self.folder, table, self._form), why=why)

    def scan(
        self, record_type: type[Record], names: Sequence[str], where: Sequence[Filter] = ()
    ) -> Iterator[pa.RecordBatch]:
        """All records of a type; a column that the archive does not know yet takes its default."""
        assert not where, "an archive is read as a whole"
        schema = arrow_schema(record_type, names)
        for batch in self._batches(record_type.table):
            filled = [_column(record_type, batch, field) for field in schema]
            yield pa.RecordBatch.from_arrays(filled, schema=schema)

    def retained(self) -> float | None:
        """Before when only hours are kept."""
        return self._retained

    def hours(self, until: float | None) -> Iterator[tuple[float, float, pa.Table]]:
        """Hourly figures without calls of each day before a moment: its bounds, and what `Store.keep_hours` takes."""
        for day, table in _by_day(self._batches(HOURS)):
            end = min(day + DAY_S, until or 0.0)
            if day < end:
                yield day, end, table.filter(pc.less(table["bucket"], int(end)))

    def _batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Raises ImportRefused."""
        file = self.files.get(table)
        if file is None:
            return
        path = _file(self.folder, table, self._form)
        try:
            yield from read(path, self._form, _schema_of(table, file, self.folder))
        except _DAMAGES as error:
            raise ImportRefused(path=path, why=f"the file is damaged or incomplete ({error})") from error


def _file_of(rows: Any, checksum: Any, columns: Any) -> File:
    return File(rows=int(rows), checksum=str(checksum), columns=tuple(map(str, columns)))


def _schema_of(table: str, file: File, folder: Path) -> pa.Schema:
    """Raises ImportRefused for columns that this version does not know."""
    known = {each.table: arrow_schema(each) for each in RECORDS} | {HOURS: HOURS_SCHEMA}
    schema = known.get(table)
    if schema is None or not set(file.columns) <= set(schema.names):
        raise ImportRefused(path=folder, why=f"its {table} has what this version does not know; upgrade it")
    return pa.schema([schema.field(name) for name in file.columns])


def _column(record_type: type[Record], batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name in batch.schema.names:
        return batch.column(field.name)
    default: Any = defaults_of(record_type).get(field.name)
    if pa.types.is_boolean(field.type) and default is not None:
        default = bool(default)
    return pa.repeat(pa.scalar(default, field.type), batch.num_rows)


def _by_day(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[float, pa.Table]]:
    """The hours of each day together; days follow each other."""
    held: list[pa.RecordBatch] = []
    held_day = 0.0
    for batch in batches:
        days = batch.column("bucket").to_numpy() // int(DAY_S)
        cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), batch.num_rows]
        for begin, end in pairwise(cuts):
            if end == begin:
                continue
            day = float(days[begin] * DAY_S)
            if held and day != held_day:
                yield held_day, pa.Table.from_batches(held)
                held = []
            held_day = day
            held.append(batch.slice(begin, end - begin))
    if held:
        yield held_day, pa.Table.from_batches(held)
