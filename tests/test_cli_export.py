"""`tracewatch export` and `tracewatch import` are each other's way back."""

import json

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.records import Span, columns
from tracewatch.stores import open_store

T0 = 1_772_445_600.0
DERIVED = ("end_time", "tokens_per_second", "total_tokens", "cost_source", "source")
"""Columns that an import fills where they are empty."""


@pytest.fixture
def db(tmp_path):
    path = tmp_path / "w.db"
    with open_store(str(path), create=True) as store:
        store.add([
            Span(
                trace_id=f"t{number:03}", span_id="s", start_time=T0 + number + 0.123456, duration_ms=1.5 * number,
                status="error" if number % 10 == 0 else "ok", error_message='said "no", twice\nand more' if number % 10
                == 0 else None, model_name="gpt-4o-mini", model_provider="openai", operation_type="chat",
                input_tokens=number, output_tokens=2, cost_usd=0.25, cost_status="reported",
                warning_flags=("a", "b") if number % 2 else (), metadata={"ä": number, "deep": {"x": [1]}},
                rag_graph_used=number % 3 == 0, source="sdk",
            )
            for number in range(100)
        ])  # fmt: skip
    return path


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words], catch_exceptions=False)


def rows_of(path):
    with open_store(str(path)) as store:
        found = store.page(Span, limit=500).records
    return {each.trace_id: each for each in found}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_what_is_exported_comes_back_as_it_was(db, tmp_path, form):
    file = tmp_path / f"calls.{form}"
    done = run("export", file, "--db", db)
    assert done.exit_code == 0, done.output
    assert "Wrote 100 traces" in done.stderr
    assert not list(tmp_path.glob(".*.part"))
    assert run("import", file, "--as", "traces", "--db", tmp_path / "again.db").exit_code == 0
    before, after = rows_of(db), rows_of(tmp_path / "again.db")
    assert before.keys() == after.keys()
    for trace_id, span in before.items():
        for each in columns(Span):
            one, other = getattr(span, each.name), getattr(after[trace_id], each.name)
            if each.kind == "time" and one is not None:  # to the microsecond, as files have it
                assert other == pytest.approx(one, abs=2e-6)
            elif each.name not in DERIVED:
                assert one == other or (one in ((), None) and other in ((), None)), (each.name, one, other)


def test_only_what_matches(db, tmp_path):
    done = run("export", "--db", db, "--where", "status=error")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["status"] for each in lines} == {"error"}
    assert len(lines) == 10
    done = run("export", tmp_path / "f.jsonl", "--db", db, "--since", T0 + 90, "--until", T0 + 95)
    assert "Wrote 5 traces" in done.stderr


def test_nothing_is_a_file_too(db, tmp_path):
    for form in ("csv", "jsonl", "parquet"):
        done = run("export", tmp_path / f"none.{form}", "--db", db, "--what", "incidents")
        assert "Wrote 0 incidents" in done.stderr
        assert (tmp_path / f"none.{form}").exists()


def test_what_cannot_be_written_is_said(db, tmp_path):
    assert "--format" in run("export", tmp_path / "calls.txt", "--db", db).stderr
    assert "name a file" in run("export", "--format", "parquet", "--db", db).stderr
    from tracewatch.errors import OutputRefused

    with pytest.raises(OutputRefused):
        run("export", tmp_path / "nowhere" / "calls.csv", "--db", db)
