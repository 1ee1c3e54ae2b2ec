"""Spans -> a file -> an import give the same spans, in every format."""

import csv
import io
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tracewatch.imports import import_file
from tracewatch.imports.values import NULLS
from tracewatch.records import COST_STATUSES, STATUSES, Span, column_of, columns
from tracewatch.stores import Filter

T0 = 1_772_445_600

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
TEXT = TEXT.filter(lambda text: text not in NULLS and text not in ("false", "False", "f", "0"))
AMOUNT = st.floats(0, 1e9, allow_subnormal=False)
BY_KIND = {
    "text": TEXT,
    "integer": st.integers(0, 2**40),
    "real": AMOUNT,
    "time": st.floats(T0 - 1e8, T0, allow_nan=False),
    "boolean": st.booleans(),
    "list": st.lists(TEXT, max_size=3),
    "json": st.dictionaries(TEXT, st.none() | st.booleans() | AMOUNT | TEXT, max_size=3),
}
CHOICES = {"status": st.sampled_from(STATUSES), "cost_status": st.sampled_from(COST_STATUSES)}
SPECIAL = {"end_time": st.floats(T0, T0 + 1e4), "error_message": TEXT.map(lambda text: text[:500])}
STORED = [each for each in columns(Span) if not each.content and each.name != "project"]
DERIVED = {"end_time", "duration_ms", "total_tokens", "tokens_per_second", "status", "source"}


def value_of(column):
    values = {**BY_KIND, **SPECIAL, **CHOICES}.get(column.name, BY_KIND[column.kind])
    return values if column.required else st.none() | values


ROWS = st.lists(
    st.fixed_dictionaries({each.name: value_of(each) for each in STORED}),
    min_size=1,
    max_size=5,
    unique_by=lambda row: (row["trace_id"], row["span_id"]),
)


def as_text(value):
    return json.dumps(value) if isinstance(value, dict | list) else value


def write_csv(rows, path):
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    names = [each.name for each in STORED]
    writer.writerow(names)
    writer.writerows([as_text(row[name]) for name in names] for row in rows)
    path.write_bytes(file.getvalue().encode())


def write_jsonl(rows, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_parquet(rows, path):
    flat = [{name: as_text(value) for name, value in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(flat), path)


def check(row, stored):
    for name, value in row.items():
        got = stored[name]
        if got is not None and column_of(Span)[name].kind in ("list", "json"):
            got = json.loads(got)
        if value is not None:
            assert got == (pytest.approx(value, abs=1e-6) if name.endswith("_time") else value), name
        elif name not in DERIVED:
            assert got is None, name


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_spans_come_back_as_they_were(write, store, tmp_path):
    projects = itertools.count()
    names = [each.name for each in columns(Span)]

    @settings(max_examples=20, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
    @given(rows=ROWS)
    def come_back(rows):
        project = f"p{next(projects)}"
        write(rows, tmp_path / "export")
        imported = import_file(tmp_path / "export", store, project=project, kind="traces")
        assert imported.refused == {}
        assert imported.stored == len(rows)
        found = {}
        for batch in store.scan(Span, names, [Filter("project", "=", (project,))]):
            found |= {(row["trace_id"], row["span_id"]): row for row in batch.to_pylist()}
        for row in rows:
            check(row, found[row["trace_id"], row["span_id"]])

    come_back()
