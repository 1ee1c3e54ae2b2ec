"""`tracewatch compact`: spans go into files beside the database, and everything else says the same as before."""

import json
import sqlite3
import time
from contextlib import closing

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.errors import ImportRefused
from tracewatch.imports import import_file
from tracewatch.live.compacting import COMPACTING
from tracewatch.records import Lease, Span
from tracewatch.stores import open_store

DAY = 86_400


@pytest.fixture
def db(tmp_path):
    path, now = tmp_path / "w.db", time.time()
    with open_store(str(path), create=True) as store:
        store.add(
            Span(
                trace_id=f"t{number}", span_id="s", start_time=now - number * 0.1 * DAY, duration_ms=100.0,
                model_name="gpt-4o-mini", model_provider="openai", operation_type="chat", input_tokens=10,
                output_tokens=2, user_id=f"u{number % 3}",
            )
            for number in range(100)
        )  # fmt: skip
    return path


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words], catch_exceptions=False)


def in_table(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM llm_traces").fetchone()[0]


def test_what_was_compacted_is_shown_as_before(db):
    asked = (("traces", "--since", "30d", "--limit", "100", "--format", "jsonl"), ("stats", "--since", "30d"))
    before = [run(*words, "--db", db).stdout for words in asked]
    done = run("compact", "--db", db)
    assert done.exit_code == 0, done.output
    assert in_table(db) < 35
    assert "Compacted 6" in done.stderr
    assert "Segments beside the database: 1 with 6" in done.stderr
    assert [run(*words, "--db", db).stdout for words in asked] == before
    assert len(before[0].splitlines()) == 100
    again = run("compact", "--db", db)
    assert "nothing to compact that is older than 3 days" in again.stderr


def test_the_doctor_tells_of_segments_and_reads_them(db):
    run("compact", "--db", db, "--days", "0")
    told = {each["what"]: each for each in json.loads(run("doctor", "--db", db, "--format", "json").stdout)}
    assert "segments 1 with " in told["database"]["found"]
    assert told["integrity"]["verdict"] == "ok"
    for each in (db.parent / "w.db.segments").glob("*.parquet"):
        each.write_bytes(each.read_bytes()[:-1] + b"X")
    broken = run("doctor", "--db", db, "--format", "json")
    told = {each["what"]: each for each in json.loads(broken.stdout)}
    assert broken.exit_code == 1
    assert "its content is not what was written" in told["integrity"]["found"]


def test_while_another_process_compacts_it_says_who(db, monkeypatch):
    monkeypatch.setattr("tracewatch.live.compacting.Tenure.take_or_hear", lambda self: False)
    with open_store(str(db)) as store:
        lease = Lease(name=COMPACTING, holder="somebody else", epoch=1, taken_at=0.0, renewed_at=0.0)
        store.add([lease])
    done = CliRunner().invoke(group, ["compact", "--db", str(db)])
    assert done.exit_code == 1
    assert "is being compacted by another process (somebody else): wait until" in str(done.exception)
    assert in_table(db) == 100


def test_an_import_does_not_take_the_half_that_it_sees(db, tmp_path):
    run("compact", "--db", db)
    with open_store(str(tmp_path / "other.db"), create=True) as other:
        with pytest.raises(ImportRefused, match="some of its spans lie in segments beside it"):
            import_file(db, other)
        assert other.count(Span) == 0
