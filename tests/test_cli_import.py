"""`tracewatch import`, as a user types it."""

import json
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.records import Span
from tracewatch.stores import open_store

TRACES = (
    "start_time,span_id,provider,model,input_tokens,output_tokens,answer\n"
    "2026-03-02 10:00:00,a,openai,gpt-4o-mini,10,20,hello\n"
    "2026-03-02 10:00:01,b,openai,gpt-99-imaginary,10,20,hello\n"
    "never,c,openai,gpt-4o-mini,10,20,hello\n"
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        return CliRunner().invoke(group, ["import", *words], catch_exceptions=False)

    return run


@pytest.fixture
def traces(tmp_path):
    path = tmp_path / "traces.csv"
    path.write_text(TRACES)
    return path


def test_what_is_said_of_an_import(run, traces):
    done = run("traces.csv", "--db", "watch.db")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "traces.csv: traces in csv",
        "  3 rows read: 2 stored, 0 already there, 1 refused",
        "  refused 1: start_time is not a time (write it like 2026-03-02T10:00:00Z, or in epoch seconds)",
        "  The refused rows, each with its reason, are in traces.csv.rejects.jsonl",
        "  2 time stamps name no time zone and were taken as UTC.",
        "  No price is known for gpt-99-imaginary: the cost of 1 calls stays empty. See: tracewatch prices --help",
        "  Left out, as texts may be prompts or answers (--keep COLUMN keeps one): answer",
        "Next: tracewatch detect --db watch.db --until 2026-03-02T10:00:02Z",
    ]


def test_twice_says_that_nothing_was_added(run, traces):
    run("traces.csv", "--db", "watch.db")
    assert "Nothing was added" in run("traces.csv", "--db", "watch.db").stdout


def test_json_is_one_object(run, traces, tmp_path):
    told = json.loads(run("traces.csv", "--db", "watch.db", "--format", "json", "--rejects", "bad.jsonl").stdout)
    assert (told["read"], told["stored"], told["already_there"], told["refused"]) == (3, 2, 0, 1)
    assert told["files"][0]["unpriced"] == {"gpt-99-imaginary": 1}
    assert told["files"][0]["rejects"] == "bad.jsonl"
    assert (tmp_path / "bad.jsonl").exists()
    assert told["errors"] == []


def test_several_files_of_which_one_is_wrong(run, traces, tmp_path):
    done = run("traces.csv", "missing.csv", "--db", "watch.db")
    assert done.exit_code == 1
    assert "cannot import missing.csv: there is no such file" in done.stderr
    assert "2 stored" in done.stdout


def test_a_wrong_file_alone_makes_no_database(run, tmp_path):
    assert run("missing.csv", "--db", "watch.db").exit_code == 1
    assert not (tmp_path / "watch.db").exists()


def test_a_project_that_is_named_overrules_the_rows(run, tmp_path):
    (tmp_path / "rows.csv").write_text("timestamp,project\n2026-03-02T10:00:00Z,theirs\n")
    assert "--project theirs" in run("rows.csv", "--db", "watch.db").stdout
    assert "--project mine" in run("rows.csv", "--db", "watch.db", "--project", "mine").stdout


def test_messages_lead_to_messages(run, tmp_path):
    (tmp_path / "old.csv").write_text("created_at,latency_ms\n2026-03-02T10:00:00Z,5\n")
    assert "--source messages" in run("old.csv", "--db", "watch.db").stdout


def test_a_usage_database_in_place(run, tmp_path):
    with closing(sqlite3.connect(tmp_path / "usage.db")) as app, app:
        app.execute(
            "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT,"
            " usage_type TEXT, input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL, conversation_id TEXT,"
            " metadata TEXT)"
        )
        app.execute("INSERT INTO llm_usage (timestamp, provider, model) VALUES ('2026-03-02', 'ollama', 'llama3')")
    done = run("usage.db", "--db", "usage.db")
    assert "gained the columns trace_id, latency_ms, status, error_message" in done.stdout
    assert "1 rows of llm_usage came over" in done.stdout
    with open_store(str(tmp_path / "usage.db")) as store:
        assert store.count(Span) == 1
    assert "0 rows of llm_usage came over" in run("usage.db", "--db", "usage.db").stdout


def test_a_text_file_named_as_the_database(run, traces):
    done = run("traces.csv", "--db", "traces.csv")
    assert done.exit_code == 1
    assert "it is the database itself" in done.stderr
    assert traces.read_text() == TRACES


def test_the_database_itself_without_such_a_table(run, traces):
    run("traces.csv", "--db", "watch.db")
    done = run("watch.db", "--db", "watch.db")
    assert done.exit_code == 1
    assert "it is the database itself" in done.stderr
