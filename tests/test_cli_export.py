"""`tracewatch export` and `tracewatch import` are each other's way back."""

import json
import stat
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from test_copying import everything, rolled, some
from workload import HOUR, MONDAY

from tracewatch.cli import group
from tracewatch.copying import digests
from tracewatch.copying.moving import HOURLY, STAYS, UNDER_WAY
from tracewatch.errors import ImportRefused
from tracewatch.records import RECORDS, Baseline, Delivery, Incident, PriceOverride, Span, columns, key_of
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


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A database with some of everything, and hours whose calls are gone."""
    path = tmp_path_factory.mktemp("full") / "w.db"
    with open_store(str(path), create=True) as store:
        ordinary = {"span_id": "s", "model_name": "gpt-4o-mini", "output_tokens": 2}
        store.add([
            Span(trace_id=f"t{number}", start_time=MONDAY + number * HOUR, duration_ms=number / 7, **ordinary)
            for number in range(60)
        ])  # fmt: skip
        for record_type in RECORDS:
            store.put(some(record_type))
        store.put([replace(each, ends_at=None) for each in some(PriceOverride)])
        store.put([replace(some(Delivery)[0], **{key_of(Delivery)[0]: "unsent"}, state="waiting")])
        store.retain(MONDAY + 30 * HOUR, [("default", "t3", "s")])
    return path


def as_values(record):
    return {each.name: getattr(record, each.name) for each in columns(type(record))}


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_everything_goes_into_a_folder_and_comes_back(full, tmp_path, form):
    folder, again = tmp_path / "backup", tmp_path / "again.db"
    done = run("export", "--what", "everything", "--format", form, folder, "--db", full)
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    told = json.loads(run("import", folder, "--db", again, "--format", "json").stdout)
    assert told["proven"]
    described = json.loads((folder / "archive.json").read_text())["tables"]
    assert {name: (each["rows"], each["checksum"]) for name, each in told["parts"].items() if name != HOURLY} == {
        name: (each["rows"], each["checksum"]) for name, each in described.items() if each["rows"] and name != "hours"
    }
    assert told["parts"][HOURLY]["checksum"] == described["hours"]["checksum"]
    with open_store(str(full)) as one, open_store(str(again)) as other:
        assert [each.trace_id for each in everything(one, Span) if each not in everything(other, Span)] == ["t3"]
        for record_type in set(RECORDS) - {*STAYS, Baseline, Delivery, Span}:
            assert everything(other, record_type) == everything(one, record_type), record_type
        assert {each.state for each in everything(other, Delivery)}.isdisjoint(UNDER_WAY)
        assert rolled(other) == rolled(one)
        assert other.retained() == one.retained()
    once_more = json.loads(run("import", folder, "--db", again, "--format", "json").stdout)
    assert {each["copied"] for each in once_more["parts"].values()} == {0}


def test_everything_is_all_or_nothing(full, tmp_path):
    folder = tmp_path / "backup"
    assert "--since" in run("export", "--what", "everything", folder, "--since", "7d", "--db", full).stderr
    assert "--project" in run("export", "--what", "everything", folder, "--project", "x", "--db", full).stderr
    assert "folder" in run("export", "--what", "everything", "--db", full).stderr
    assert "parquet or jsonl" in run("export", "--what", "everything", folder, "--format", "csv", "--db", full).stderr
    assert not folder.exists()
    assert run("export", "--what", "everything", folder, "--db", full).exit_code == 0
    assert run("export", "--what", "everything", folder, "--db", full).exit_code != 0  # never over another one
    assert "alone" in run("import", folder, full, "--db", tmp_path / "x.db").stderr


def test_a_damaged_archive_brings_nothing(full, tmp_path):
    folder = tmp_path / "backup"
    run("export", "--what", "everything", "--format", "jsonl", folder, "--db", full)
    file = folder / f"{Incident.table}.jsonl"
    whole = file.read_text()
    for broken in (whole.replace("title-0", "title-9"), whole[:-20], "", "[1]\n", "[" * 100_000):
        file.write_text(broken)
        with pytest.raises(ImportRefused, match=Incident.table):
            run("import", folder, "--db", tmp_path / "again.db")
    file.write_text(whole)
    contents = folder / "archive.json"
    described = json.loads(contents.read_text())
    contents.write_text(json.dumps({**described, "layout": 2}))
    with pytest.raises(ImportRefused, match="newer"):
        run("import", folder, "--db", tmp_path / "again.db")
    for wrong in ({"tables": []}, {"tables": {"hours": {"rows": "many"}}}, {"retained": "x"}, {"format": []}):
        contents.write_text(json.dumps({**described, **wrong}))
        with pytest.raises(ImportRefused):
            run("import", folder, "--db", tmp_path / "again.db")
    contents.unlink()
    assert "directory" in run("import", folder, "--db", tmp_path / "again.db").stderr
    assert not (tmp_path / "again.db").exists()


def test_an_archive_of_fewer_columns_is_filled_up(full, tmp_path):
    folder, again = tmp_path / "backup", tmp_path / "again.db"
    run("export", "--what", "everything", folder, "--db", full)
    with open_store(str(full)) as store:
        kept = [each.name for each in columns(Incident) if each.key or each.required]
        rows = pa.Table.from_batches(list(store.scan(Incident, kept)))
    pq.write_table(rows, folder / f"{Incident.table}.parquet")
    described = json.loads((folder / "archive.json").read_text())
    found = digests.digest(digests.numbers_of(rows.combine_chunks().to_batches()[0]))
    described["tables"][Incident.table] = {"rows": found.rows, "checksum": found.checksum, "columns": kept}
    (folder / "archive.json").write_text(json.dumps(described))
    assert run("import", folder, "--db", again).exit_code == 0
    with open_store(str(again)) as store:
        given = {name: value for name, value in as_values(some(Incident)[0]).items() if name in kept}
        assert Incident(**given) in everything(store, Incident)
