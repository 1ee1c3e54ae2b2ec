"""The whole way, by the command line alone, as a new user would go it: load, find, look, price, check."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tracewatch.records import SEVERITIES

TRACEWATCH = Path(sys.executable).with_name("tracewatch")
DAY_S = 86_400


@pytest.fixture
def tracewatch(tmp_path):
    """Runs the command in an empty folder and gives what it printed."""

    def run(*words, code=0):
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACEWATCH_")}
        done = subprocess.run(
            [TRACEWATCH, *words], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def usage_db(tmp_path):
    """The database of an app that keeps its usage itself: eight days of calls, the last at four times the cost."""
    path = tmp_path / "usage.db"
    midnight = time.time() // DAY_S * DAY_S
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT, usage_type TEXT, "
        "input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL, conversation_id TEXT, metadata TEXT)"
    )
    for day in range(8):
        cost = 0.04 if day == 0 else 0.01
        for call in range(20):
            moment = midnight - day * DAY_S + call * 0.001
            connection.execute(
                "INSERT INTO llm_usage (timestamp, provider, model, usage_type, input_tokens, output_tokens, cost_usd, "
                "conversation_id) VALUES (?, 'anthropic', 'claude-haiku-4-5', 'chat_answer', 900, 100, ?, ?)",
                (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)), cost, f"c{call}"),
            )
    connection.commit()
    connection.close()
    return path


def test_a_usage_database_becomes_findings(tracewatch, usage_db):
    told = tracewatch("import", str(usage_db)).stdout
    assert "160 stored" in told

    found = json.loads(tracewatch("detect", "--format", "json").stdout)
    assert [each["anomaly_type"] for each in found["findings"]] == ["cost_spike"]
    assert found["findings"][0]["severity"] == "critical"

    kept = [json.loads(line) for line in tracewatch("anomalies", "--format", "jsonl").stdout.splitlines()]
    assert [each["id"] for each in kept] == [found["findings"][0]["id"]]
    assert "daily average" in tracewatch("explain", kept[0]["id"][:6]).stdout

    again = json.loads(tracewatch("detect", "--format", "json").stdout)
    assert again["anomalies_saved"] == 0
    assert len(tracewatch("anomalies", "--format", "jsonl").stdout.splitlines()) == 1

    stats = json.loads(tracewatch("stats", "--since", "30d", "--format", "json").stdout)
    assert (stats["total_llm_calls"], stats["today_calls"], stats["cost_alert"]) == (160, 20, True)
    assert stats["total_llm_cost"] == pytest.approx(20 * 0.04 + 140 * 0.01)
    assert stats["anomalies"][0]["severity"] == "critical"

    newest = json.loads(tracewatch("traces", "--limit", "1", "--format", "json").stdout)[0]
    assert newest["model_name"] == "claude-haiku-4-5"
    assert "claude-haiku-4-5" in tracewatch("trace", newest["trace_id"]).stdout

    priced = tracewatch("prices", "check").stdout
    assert "claude-haiku-4-5" in priced
    assert "every page is sound" in tracewatch("doctor").stdout


def test_a_usage_database_is_upgraded_where_it_is(tracewatch, usage_db):
    tracewatch("stats", "--db", str(usage_db))
    connection = sqlite3.connect(usage_db)
    names = {row[1] for row in connection.execute("PRAGMA table_info(llm_usage)")}
    assert {"trace_id", "latency_ms", "status", "error_message"} <= names
    assert connection.execute("SELECT count(*) FROM llm_usage").fetchone() == (160,)
    connection.execute(
        "INSERT INTO llm_usage (timestamp, provider, model, usage_type, input_tokens, output_tokens, cost_usd) "
        "VALUES (?, 'anthropic', 'claude-haiku-4-5', 'chat_answer', 1, 1, 0.01)",
        (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),),
    )
    connection.commit()
    connection.close()
    since = json.loads(tracewatch("stats", "--since", "30d", "--db", str(usage_db), "--format", "json").stdout)
    assert since["total_llm_calls"] == 161


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of somebody who has just run the demo, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run([TRACEWATCH, "demo"], cwd=folder, capture_output=True, text=True, check=True)
    return folder, done.stdout


@pytest.fixture
def after_demo(tmp_path, demo):
    """What the demo printed, with its database at hand."""
    folder, told = demo
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    return told


def test_the_demo_tells_incidents_with_their_causes(after_demo):
    told = " ".join(after_demo.split())
    assert re.search(r"[1-9]\d* incidents in 64,582 spans: [1-9]\d* still going on", told)
    assert "The first 7 days are only learned from" in told
    assert "fall back" in told, "the model that stopped answering"
    assert "Why: " in told


def test_the_demo_is_a_file_and_says_so_of_anything_else(tracewatch):
    ended = tracewatch("demo", "--db", "postgresql://ann:s3cret@db/app", "--no-serve", code=1)
    assert "the demo makes a file of its own, and postgresql://ann@db/app is on a database server" in ended.stderr


def test_the_demo_tells_the_worst_first(after_demo):
    severities = re.findall(r"^([A-Z]+) · ", after_demo, re.MULTILINE)
    assert len(severities) > 3
    order = [word.upper() for word in reversed(SEVERITIES)]
    assert severities == sorted(severities, key=order.index)


def test_commands_the_demo_proposes_run(tracewatch, after_demo):
    commands = [line.split()[1:] for line in after_demo.splitlines() if "--db tracewatch-demo.db" in line]
    assert [words[0] for words in commands] == ["incidents", "explain", "trace", "metrics"]
    for words in commands:
        assert tracewatch(*words).stdout


def test_the_demo_is_made_anew_and_fits_a_narrow_window(tracewatch, after_demo, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    told = tracewatch("demo").stdout
    assert "64,582" in told
    assert all(len(line) <= 40 for line in told.splitlines() if "--db" not in line)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C is sent as a signal")
def test_the_demo_opens_the_dashboard_at_its_worst_incident_until_it_is_told_to_stop(tmp_path):
    opened = tmp_path / "opened"  # reading it waits until the browser is opened
    os.mkfifo(opened)
    browser = f"{sys.executable} -c \"import sys; open({str(opened)!r}, 'w').write(sys.argv[1])\" %s"
    environ = {**os.environ, "BROWSER": browser, "DISPLAY": ":9", "TRACEWATCH_PORT": "0"}
    command = [TRACEWATCH, "demo", "--serve"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as demo:
        said = b""
        while b"Stop with Ctrl+C" not in said:
            line = demo.stderr.readline()
            assert line, said
            said += line
        address = re.search(rb"Open it in your browser: (http://127\.0\.0\.1:\d+/incidents/\w+)", said)[1].decode()
        with urllib.request.urlopen(address) as answer:
            assert "What to do next" in answer.read().decode()
        assert opened.read_text() == address
        demo.send_signal(signal.SIGINT)
        told, rest = demo.communicate(timeout=60)
    assert demo.returncode == 0, rest
    assert b"still going on" in told
    assert b"Traceback" not in rest


def test_the_demo_spares_a_file_that_is_not_its_own(tracewatch, tmp_path):
    (tmp_path / "mine.db").write_text("my notes")
    told = tracewatch("demo", "--db", "mine.db", code=1).stderr
    assert "nothing was changed" in told
    assert (tmp_path / "mine.db").read_text() == "my notes"


def test_the_demo_spares_the_database_of_an_app(tracewatch, usage_db):
    for _ in range(2):
        tracewatch("demo", "--db", str(usage_db), code=1)
        connection = sqlite3.connect(usage_db)
        assert connection.execute("SELECT count(*) FROM llm_usage").fetchone() == (160,)
        connection.close()
        tracewatch("stats", "--db", str(usage_db))


def test_a_demo_that_somebody_added_to_is_not_made_anew(tracewatch, after_demo, usage_db):
    tracewatch("import", str(usage_db), "--db", "tracewatch-demo.db")
    assert "nothing was changed" in tracewatch("demo", code=1).stderr


def test_an_empty_folder_gets_advice_not_a_stack(tracewatch):
    for words in (
        ["stats"],
        ["traces"],
        ["detect"],
        ["anomalies"],
        ["explain", "x"],
        ["trace", "x"],
        ["prices", "check"],
    ):
        told = tracewatch(*words, code=1).stderr
        assert "there is no database at tracewatch.db" in told, words
        assert "tracewatch import" in told


def test_output_may_be_cut_short(tracewatch, usage_db, tmp_path):
    tracewatch("import", str(usage_db))
    shell = f"'{TRACEWATCH}' traces --limit 10000 --format jsonl | head -1"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout)["model_name"] == "claude-haiku-4-5"
    assert "Traceback" not in done.stderr
