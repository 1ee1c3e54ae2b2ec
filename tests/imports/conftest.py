import json
from pathlib import Path

import pytest

from tracewatch.imports import import_file
from tracewatch.records import Span, columns
from tracewatch.stores import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as opened:
        yield opened


@pytest.fixture
def bring(tmp_path, store):
    """Writes a text (or bytes) to a file, imports it, and gives what came of it."""

    def bring(content, name="export.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return import_file(path, store, **options)

    return bring


@pytest.fixture
def spans(store):
    """All spans in the store, oldest first."""

    def spans():
        names = [each.name for each in columns(Span)]
        rows = [row for batch in store.scan(Span, names) for row in batch.to_pylist()]
        return sorted(rows, key=lambda row: (row["start_time"], row["span_id"]))

    return spans


@pytest.fixture
def only(spans):
    """The only span in the store."""

    def only():
        (span,) = spans()
        return span

    return only


@pytest.fixture
def rejected():
    """The lines of a rejects file."""
    return lambda imported: [json.loads(line) for line in Path(imported.rejects).read_text("utf-8").splitlines()]
