"""Rows that cannot be believed, and files that cannot be read."""

import gzip
import os
import re
import sqlite3
import subprocess
import time
import zipfile
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracewatch.errors import ImportRefused, ImportStopped
from tracewatch.imports import import_file
from tracewatch.imports.text import MAX_LINE
from tracewatch.records import Span

GOOD = "2026-03-02T10:00:00Z"

BAD = {
    "start_time is missing": {"start_time": ""},
    "start_time is not a time": {"start_time": "yesterday"},
    "start_time is before 2015": {"start_time": "1999-01-01T00:00:00Z"},
    "start_time is more than a day in the future": {"start_time": "2099-01-01T00:00:00Z"},
    "duration_ms is negative": {"duration_ms": "-5"},
    "duration_ms is not a number": {"duration_ms": "1,200"},
    "ttft_ms is not a number": {"ttft_ms": "inf"},
    "input_tokens is negative": {"input_tokens": "-1"},
    "input_tokens is not a whole number": {"input_tokens": "1.5"},
    "cost_usd is not a number of ordinary size": {"cost_usd": "1e999"},
    "status is not a status": {"status": "purple"},
    "streaming_enabled is not true or false": {"streaming_enabled": "perhaps"},
    "end_time is before start_time": {"end_time": "2026-03-02T09:59:59Z"},
    "trace_id is longer than 256 characters": {"trace_id": "x" * 257},
    "user_id is longer than 256 characters": {"user_id": "x" * 257},
}
NAMES = sorted({"start_time", "span_id", *(name for row in BAD.values() for name in row)})


def as_line(row):
    quoted = ['"' + {"start_time": GOOD, "span_id": "s", **row}.get(name, "") + '"' for name in NAMES]
    return ",".join(quoted) + "\n"


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_is_refused_and_the_rest_goes_in(what, bring, spans, rejected):
    text = ",".join(NAMES) + "\n" + as_line({"span_id": "a"}) + as_line(BAD[what]) + as_line({"span_id": "b"})
    imported = bring(text)
    assert (imported.read, imported.stored, imported.refused_rows) == (3, 2, 1)
    assert next(iter(imported.refused)).startswith(what)
    (line,) = rejected(imported)
    assert line["line"] == 3
    assert line["reason"].startswith(what)
    (given,) = BAD[what].values()
    assert line["row"].get(next(iter(BAD[what])), "") == given
    assert [row["span_id"] for row in spans()] == ["a", "b"]


def test_rows_that_are_no_rows(bring, rejected):
    imported = bring(f'timestamp,span_id\n{GOOD},a\n{GOOD}\n{GOOD},b,c\n\n{GOOD},d\n{GOOD},"open\n{GOOD},e\n')
    assert imported.stored == 2
    assert [(each["line"], each["reason"]) for each in rejected(imported)] == [
        (3, "it has 1 fields where the header names 2"),
        (4, "it has 3 fields where the header names 2"),
        (7, "the quote it opens is never closed, so the file ends in it at line 8"),
    ]


def test_lines_that_are_no_json(bring, rejected):
    good = '{"timestamp": "' + GOOD + '", "span_id": "a"}'
    imported = bring(f'{good}\n{{"broken": \n[1]\n\n{good[:-2]}b"}}\n', "rows.jsonl")
    assert imported.stored == 2
    lines = [(each["line"], each["reason"]) for each in rejected(imported)]
    assert lines == [(2, "it is not JSON (Expecting value)"), (3, "it is not a JSON object")]


def test_lines_that_are_not_utf8(bring, rejected):
    imported = bring(f"timestamp,user\n{GOOD},Zoe\n{GOOD},Zoé\n".encode("latin-1"))
    assert imported.stored == 1
    assert "not UTF-8" in rejected(imported)[0]["reason"]


def test_json_values_of_several_types_and_half_characters(bring, spans):
    bring(
        '{"timestamp": 1772445600, "span_id": "a", "user": 5, "input_tokens": 7, "metadata": {"k": 1},'
        ' "warnings": ["w"]}\n{"timestamp": 1772445601, "span_id": "b", "user": "\\ud800x", "input_tokens": "8", '
        '"metadata": "{\'k\': 2}"}\n'
        "rows.jsonl",
    )
    first, second = spans()
    assert (first["user_id"], first["input_tokens"], first["metadata"]) == ("5", 7, '{"k": 1}')
    assert first["warning_flags"] == '["w"]'
    assert (second["user_id"], second["input_tokens"], second["metadata"]) == ("?x", 8, '{"k": 2}')


def test_a_rejects_file_never_replaces_another(bring, tmp_path):
    text = f"timestamp,span_id\n{GOOD},a\nnever,b\n"
    mine = tmp_path / "export.csv.rejects.jsonl"
    mine.write_text("my own notes")
    first = bring(text)
    assert first.rejects == str(tmp_path / "export.csv.rejects.2.jsonl")
    assert mine.read_text() == "my own notes"
    assert bring(text).rejects == first.rejects  # the same rows again: one file says it
    assert bring(text + "nor,c\n").rejects == str(tmp_path / "export.csv.rejects.3.jsonl")


def test_rejects_go_where_they_are_told_to(bring, tmp_path):
    wanted = tmp_path / "bad.jsonl"
    assert bring("timestamp\nnever\n", rejects=wanted).rejects == str(wanted)
    with pytest.raises(ImportRefused, match="say where with --rejects"):
        bring("timestamp\nnever\n", rejects=tmp_path / "missing" / "bad.jsonl")


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "timestamp\n")


def sparse(path):
    with path.open("wb") as file:
        file.write(b'{"timestamp": "')
        file.truncate(10 * 2**30)


def one_line(path, begin):
    path.write_bytes(begin + b"a" * (MAX_LINE + 100))


def parquet(path, **columns):
    pq.write_table(pa.table(columns or {"timestamp": [GOOD]}), path)


def half_parquet(path):
    parquet(path)
    path.write_bytes(path.read_bytes()[:-50])


WRONG = {
    "missing.csv": (lambda path: None, "there is no such file"),
    "folder": (lambda path: path.mkdir(), "it is a directory"),
    "empty.csv": (lambda path: path.touch(), "it is empty"),
    "blank.csv": (lambda path: path.write_text("\n  \n"), "it is empty"),
    "text.parquet": (lambda path: path.write_text("timestamp\n"), "named like a Parquet file but is not one"),
    "half.parquet": (half_parquet, "damaged or incomplete"),
    "timeless.parquet": (lambda path: parquet(path, a=[1]), "no column says when a call began .*; its columns are a"),
    "timeless.jsonl": (lambda path: path.write_text('{"input_tokens": 1}'), "no column says when"),
    "encrypted.parquet": (lambda path: path.write_bytes(b"PARE" + b"\0" * 50 + b"PARE"), "encrypted Parquet"),
    "binary.csv": (lambda path: path.write_bytes(bytes(range(256)) * 10), "binary data"),
    "sheet.xlsx": (zipped, "zip archive"),
    "half.csv.gz": (lambda path: path.write_bytes(gzip.compress(os.urandom(9000))[:500]), "gzip data is damaged"),
    "sparse.jsonl": (sparse, "binary data"),
    "header.csv": (lambda path: one_line(path, b"timestamp,"), "first line is longer than 64 kB"),
    "line.csv": (lambda path: one_line(path, b"timestamp\n"), "line 2 is longer than 16 MB"),
    "line.jsonl": (lambda path: one_line(path, b'{"timestamp": "'), "line 1 is longer than 16 MB"),
    "quote.csv": (
        lambda path: path.write_text('timestamp,user\n"' + "a\n" * (MAX_LINE // 2 + 9)),
        "is not closed within 100,000 lines",
    ),
    "array.json": (lambda path: path.write_text('[{"timestamp": 1772445600}, {"timest'), "row 2 of the JSON array"),
    "unended.json": (lambda path: path.write_text('[{"timestamp": 1772445600},\n'), "ends without ] after row 1"),
    "object.json": (lambda path: path.write_text('{\n "timestamp": 1\n}'), "one JSON object over several lines"),
    "none.json": (lambda path: path.write_text("[]"), "there is no row in it"),
    "headless.csv": (lambda path: path.write_text("2026-03-02,5\n2026-03-03,6\n"), "no header we know"),
    "timeless.csv": (lambda path: path.write_text("input_tokens,model\n1,x\n"), "its columns are input_tokens, model"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_gets_one_sentence_quickly(name, tmp_path, store):
    make, why = WRONG[name]
    make(tmp_path / name)
    begun = time.monotonic()
    with pytest.raises(ImportRefused) as refused:
        import_file(tmp_path / name, store)
    assert re.search(why, str(refused.value)), str(refused.value)
    assert "\n" not in str(refused.value)
    assert time.monotonic() - begun < 5


def test_no_permission(tmp_path, store):
    path = tmp_path / "mine.csv"
    path.write_text("timestamp\n")
    path.chmod(0)
    as_nobody = os.geteuid() == 0
    if as_nobody:
        tmp_path.chmod(0o755)
        os.seteuid(65_534)
    try:
        with pytest.raises(ImportRefused, match="permission was denied"):
            import_file(path, store)
    finally:
        if as_nobody:
            os.seteuid(0)


def test_what_came_before_the_damage_stays(bring, spans):
    rows = "".join(f"{1_772_445_600 + row},{row}\n" for row in range(20_000))
    packed = gzip.compress(f"timestamp,input_tokens\n{rows}".encode())
    with pytest.raises(ImportRefused, match="damaged or incomplete after line"):
        bring(packed[:-2000], "rows.csv.gz")
    assert len(spans()) == 16_384


def test_the_database_itself_is_no_file_to_import(store):
    with pytest.raises(ImportRefused, match="the database itself"):
        import_file(store.url, store)


def test_a_reason_names_the_column_as_the_file_does_and_as_we_do(bring, rejected):
    text = f"timestamp,prompt_tokens\n1999-01-01 08:00,1\n{GOOD},many\n2099-01-01T00:00:00+02:00,1\n,1\n{GOOD},1\n"
    imported = bring(text)
    assert [each["reason"] for each in rejected(imported)] == [
        "timestamp (start_time) is before 2015: '1999-01-01 08:00'",
        "prompt_tokens (input_tokens) is not a number (write it like 1234.5, without separators): 'many'",
        "timestamp (start_time) is more than a day in the future: '2099-01-01T00:00:00+02:00'",
        "timestamp (start_time) is missing",
    ]


def test_rejects_come_in_the_order_of_the_file(bring, rejected):
    imported = bring(f"timestamp,span_id\nnever,a\n{GOOD}\nnever,b\n{GOOD}\n")
    assert [each["line"] for each in rejected(imported)] == [2, 3, 4, 5]


def test_rows_of_parquet_and_sqlite_are_numbered(tmp_path, store, rejected):
    times = pa.array([1_772_445_600_000_000_001, 10**15, None], pa.timestamp("ns"))
    parquet(tmp_path / "rows.parquet", timestamp=times)
    lines = rejected(import_file(tmp_path / "rows.parquet", store))
    assert [each["row_number"] for each in lines] == [2, 3]
    assert "'1970-01-12 13:46:40" in lines[0]["reason"]
    assert lines[0]["row"]["timestamp"].startswith("1970-01-12 13:46:40")
    with closing(sqlite3.connect(tmp_path / "rows.db")) as app, app:
        app.execute("CREATE TABLE messages (created_at TEXT)")
        app.executemany("INSERT INTO messages VALUES (?)", [(GOOD,), ("never",)])
    (line,) = rejected(import_file(tmp_path / "rows.db", store))
    assert (line["row_number"], line["row"]) == (2, {"created_at": "never"})


def test_a_column_to_keep_that_is_not_there_is_told_before_anything_is_stored(bring, store):
    with pytest.raises(ImportRefused, match="has no column nosuch to keep; its columns are timestamp, answer"):
        bring(f"timestamp,answer\n{GOOD},yes\n", keep=("answer", "nosuch"))
    assert store.count(Span) == 0
    row = '{"timestamp": "' + GOOD + '"}\n'
    late = row * 150 + '{"timestamp": "' + GOOD + '", "late": "x"}\n'
    assert bring(late, "late.jsonl", keep=("late", "never")).not_there == ("never",)


def test_a_store_that_gives_up_says_how_far_it_came_and_the_same_command_continues(tmp_path, store, monkeypatch):
    monkeypatch.setattr("tracewatch.imports.parquet.CHUNK_ROWS", 100)
    times = [1_772_445_600 + row for row in range(1000)]
    parquet(tmp_path / "rows.parquet", timestamp=times)

    def kill(step):
        if step.stored == 300:
            children[0].kill()
            children[0].wait()

    children = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **more: children.append(popen(*args, **more)) or children[-1]
    )
    with pytest.raises(ImportStopped, match=r"ended with -9.*300 rows of it are in the database, and the same command"):
        import_file(tmp_path / "rows.parquet", store, progress=kill)
    assert store.count(Span) == 300
    again = import_file(tmp_path / "rows.parquet", store)
    assert (again.stored, again.already_there) == (700, 300)
