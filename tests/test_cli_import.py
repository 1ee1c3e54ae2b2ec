"""`tracewatch import`, as a user types it."""

import json
import os
import sqlite3
import sys
import threading
from contextlib import closing

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.errors import ImportRefused
from tracewatch.imports import spooled
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
        "  No price is known for gpt-99-imaginary: the cost of 1 call stays empty. See: tracewatch prices --help",
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
    assert "cannot read missing.csv: there is no such file" in done.stderr
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
    assert "1 row of llm_usage came over" in done.stdout
    with open_store(str(tmp_path / "usage.db")) as store:
        assert store.count(Span) == 1
    assert "0 rows of llm_usage came over" in run("usage.db", "--db", "usage.db").stdout


def an_app_with(tmp_path, *tables):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as app, app:
        app.execute("CREATE TABLE customers (name TEXT, created_at TEXT)")
        for table in tables:
            app.execute(f"CREATE TABLE [{table}] (ts TEXT, provider TEXT, model TEXT, input_tokens INTEGER)")
            app.execute(f"INSERT INTO [{table}] VALUES ('2026-03-02T10:00:00Z', 'ollama', 'llama3', 7)")


def test_the_one_table_with_the_columns_of_calls_is_taken(run, tmp_path):
    an_app_with(tmp_path, 'my "calls"')
    assert "1 row read: 1 stored" in run("shop.db", "--db", "watch.db").stdout
    with open_store(str(tmp_path / "watch.db")) as store:
        (span,) = store.page(Span).records
    assert (span.model_name, span.input_tokens) == ("llama3", 7)


def test_of_several_tables_with_calls_one_has_to_be_named(run, tmp_path):
    an_app_with(tmp_path, "old_calls", "new_calls")
    done = run("shop.db", "--db", "watch.db")
    assert done.exit_code == 1
    assert "2 others have the columns of calls: new_calls, old_calls. Name one with --table" in done.stderr
    assert "1 stored" in run("shop.db", "--table", "new_calls", "--db", "watch.db").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("shop.db",), "no other with the columns of calls. It has customers: name one with --table"),
        (("shop.db", "--table", "orders"), "it has no table orders; its tables are customers"),
        (("traces.csv", "--table", "orders"), "it is no SQLite file and has no table orders; leave out --table"),
    ],
)
def test_a_table_that_is_not_there_is_refused_with_those_that_are(run, traces, tmp_path, words, told):
    an_app_with(tmp_path)
    done = run(*words, "--db", "watch.db")
    assert done.exit_code == 1
    assert told in done.stderr


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


@pytest.fixture
def usage(tmp_path):
    """An app's database with a call that can be read, one of an unknown model, and one that cannot be read."""
    path = tmp_path / "ip.db"
    with closing(sqlite3.connect(path)) as app, app:
        app.execute(
            "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT,"
            " usage_type TEXT, input_tokens INTEGER)"
        )
        add = "INSERT INTO llm_usage (timestamp, provider, model, input_tokens) VALUES (?, 'openai', ?, 10)"
        app.executemany(add, [("2026-03-02", "gpt-4o-mini"), ("2026-03-02", "gpt-99-imaginary"), ("never", "x")])
    return path


def test_all_that_is_said_of_a_usage_database_in_place(run, usage, tmp_path):
    done = run("ip.db", "--db", "ip.db", "--project", "shop")
    assert done.exit_code == 0
    reason = "timestamp (start_time) is not a time (write it like 2026-03-02T10:00:00Z, or in epoch seconds)"
    behind = [
        "  1 row of llm_usage stayed behind in all; see ip.db.rejects.jsonl",
        f"  stayed behind 1: {reason}",
    ]
    assert done.stdout.splitlines()[1:] == [
        "2 rows of llm_usage came over; what the app writes from now on follows by itself.",
        *behind,
        "  2 time stamps name no time zone and were taken as UTC.",
        "  No price is known for gpt-99-imaginary: the cost of 1 call stays empty. See: tracewatch prices --help",
        "Next: tracewatch detect --db ip.db --project shop --until 2026-03-02T00:00:01Z",
    ]
    (line,) = (tmp_path / "ip.db.rejects.jsonl").read_text().splitlines()
    assert json.loads(line)["row_number"] == 3
    again = run("ip.db", "--db", "ip.db").stdout.splitlines()
    assert again[1] == behind[0].replace("in all;", "in all, 0 of them now;")
    assert again[-1] == "Next: tracewatch detect --db ip.db --project shop"
    told = json.loads(run("ip.db", "--db", "ip.db", "--format", "json").stdout)["upgrades"][0]
    assert (told["rows_brought"], told["stayed_behind"]) == (0, {reason: 1})


def test_another_project_in_place_is_refused(run, usage):
    run("ip.db", "--db", "ip.db", "--project", "shop")
    done = run("ip.db", "--db", "ip.db", "--project", "other")
    assert done.exit_code == 1
    assert "its rows went to the project 'shop'" in done.stderr
    assert run("ip.db", "--db", "ip.db", "--project", "shop").exit_code == 0
    assert "--keep" in run("ip.db", "--db", "ip.db", "--keep", "model").stderr


def test_standard_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["import", "-", "--db", "watch.db"]
    done = CliRunner().invoke(group, words, input=TRACES, catch_exceptions=False)
    assert done.stdout.splitlines()[:2] == [
        "standard input: traces in csv",
        "  3 rows read: 2 stored, 0 already there, 1 refused",
    ]
    (line,) = (tmp_path / "stdin.rejects.jsonl").read_text().splitlines()
    assert (json.loads(line)["file"], json.loads(line)["line"]) == ("standard input", 4)
    jsonl = '{"timestamp": "2026-03-02T10:00:00Z", "span_id": "z"}\n'
    assert "1 stored" in CliRunner().invoke(group, words, input=jsonl, catch_exceptions=False).stdout
    empty = CliRunner().invoke(group, words, input="", catch_exceptions=False)
    assert empty.stderr == "tracewatch: cannot read standard input: it is empty\n"
    assert empty.exit_code == 1


def test_a_named_pipe(run, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(TRACES,))
    writer.start()
    assert "2 stored" in run("pipe", "--db", "watch.db").stdout
    writer.join()
    assert (tmp_path / "pipe.rejects.jsonl").exists()


def test_a_stream_larger_than_there_is_room_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(TRACES,))
    writer.start()
    with pytest.raises(ImportRefused, match="more than half of what is free"), spooled(tmp_path / "pipe", share=0.0):
        pass
    writer.join()


def test_a_store_that_gives_up_is_one_sentence_and_the_rest_is_still_said(run, traces, tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("timestamp\n" + "".join(f"{1_772_445_600 + row}\n" for row in range(300)))
    monkeypatch.setattr("tracewatch.imports.delimited.CHUNK_ROWS", 100)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    done = run("traces.csv", "rows.csv", "--db", "watch.db")
    assert done.exit_code == 1
    assert "2 stored" in done.stdout
    assert done.stderr.count("tracewatch: ") == 1
    assert "The import of rows.csv stopped there: 100 rows of it are in the database" in done.stderr
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert "200 stored, 100 already there" in run("rows.csv", "--db", "watch.db").stdout
