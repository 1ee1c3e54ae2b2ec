"""What the owner of an app, and a team with a table of traces, set out to do, gone through by the doors they use.

Other stories have a place of their own: a usage database gains its columns and keeps its rows (test_end_to_end.py); a
reranker falls back, a chain goes on, one question is one group, an answer raises, a job sums up its run
(test_examples.py); what is critical reaches a webhook and Slack (web/test_a_story_of_alerts.py).
"""

import csv
import json
import logging
import random
import sqlite3
import time

import pytest
from click.testing import CliRunner

import tracewatch
from tracewatch.cli import group

DAY_S = 86_400
HOUR_S = 3600


@pytest.fixture
def db(tmp_path):
    return str(tmp_path / "watch.db")


@pytest.fixture
def program(db):
    """A program that records to the database."""
    tracewatch.init(db, service="shop")
    yield
    tracewatch.shutdown(10)


def run(db, *words):
    done = CliRunner().invoke(group, [*words, "--db", db])
    assert done.exit_code == 0, done.output
    return done


def told(db, *words):
    """What a command says as JSON."""
    return json.loads(run(db, *words, "--format", "json").stdout)


def imported(db, rows):
    """A database with these rows, imported as a team would export them."""
    path = f"{db}.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    run(db, "import", path)


# The owner of one app


def test_an_unknown_paid_model_is_warned_of_once_by_name(db, program, caplog):
    for _ in range(3):
        tracewatch.log_usage("openai", "gpt-99-ultra", "chat_answer", 1000, 100)
    assert tracewatch.flush(20)
    with caplog.at_level(logging.WARNING, logger="tracewatch"):
        found = told(db, "stats")
    assert len([each for each in caplog.records if "gpt-99-ultra" in each.getMessage()]) == 1
    assert (found["total_llm_calls"], found["total_llm_cost"], found["unpriced_calls"]) == (3, 0.0, 3)


def usage_of_days(db, costs):
    """An app's own usage database of so many days up to today, 20 calls on each of them at that cost."""
    midnight = time.time() // DAY_S * DAY_S
    path = f"{db}.usage.db"
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT, usage_type TEXT, "
        "input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL, conversation_id TEXT, metadata TEXT)"
    )
    for back, cost in enumerate(reversed(costs)):
        for call in range(20):
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(midnight - back * DAY_S + call * 0.001))
            connection.execute(
                "INSERT INTO llm_usage (timestamp, provider, model, usage_type, input_tokens, output_tokens, cost_usd) "
                "VALUES (?, 'anthropic', 'claude-haiku-4-5', 'chat_answer', 900, 100, ?)",
                (moment, cost),
            )
    connection.commit()
    connection.close()
    run(db, "import", path)


@pytest.mark.parametrize(
    ("costs", "findings"),
    [
        ([0.01] * 8, []),
        ([0.01] * 7 + [0.04], [("cost_spike", "critical")]),
        ([0.01] * 2 + [0.04], []),  # two days of history are too few
    ],
)
def test_a_day_at_four_times_the_cost_is_critical_and_normal_days_are_not(db, costs, findings):
    usage_of_days(db, costs)
    found = told(db, "detect")["findings"]
    assert [(each["anomaly_type"], each["severity"]) for each in found] == findings
    assert told(db, "stats")["cost_alert"] is bool(findings)


def nights(count, missing=()):
    """Calls of a nightly job at 02:00 of so many nights, within the calls of a day; without those of some nights."""
    chance, rows = random.Random(7), []
    begin = time.time() // DAY_S * DAY_S - count * DAY_S
    for night in range(count):
        midnight = begin + night * DAY_S
        moments = [(midnight + chance.random() * DAY_S, "chat") for _ in range(240)]
        if night not in missing:
            moments += [(midnight + 2 * HOUR_S + 4 * n + chance.random(), "summaries") for n in range(60)]
        for moment, operation in sorted(moments):
            rows.append(
                {
                    "trace_id": f"t{len(rows)}",
                    "span_id": f"s{len(rows)}",
                    "start_time": f"{moment:.3f}",
                    "operation_type": operation,
                    "model_provider": "openai",
                    "model_name": "gpt-4o-mini",
                    "duration_ms": f"{chance.lognormvariate(6.5, 0.3):.1f}",
                    "input_tokens": chance.randint(300, 900),
                    "output_tokens": chance.randint(40, 120),
                    "status": "ok",
                }
            )
    return rows


@pytest.mark.parametrize(("missing", "is_told"), [((), False), ((20,), True)])
def test_a_nightly_run_that_does_not_come_is_a_finding(db, missing, is_told):
    imported(db, nights(21, missing))
    run(db, "detect", "--until", "newest")
    found = told(db, "incidents", "--since", "3d")
    of_the_job = [each for each in found if (each["slice"] or {}).get("operation_type") == "summaries"]
    assert bool(of_the_job) is is_told, found


def test_a_conversation_that_runs_away_is_told_and_explained_where_no_session_is_named(db):
    rows = nights(12)
    for number, row in enumerate(rows):
        row["conversation_id"] = f"c{number // 4}"
    chats = [row for row in rows if row["operation_type"] == "chat"]
    for row in chats[-260:-100]:
        row["conversation_id"] = "loop"
    imported(db, rows)
    run(db, "detect", "--until", "newest")
    (loop,) = [each for each in told(db, "incidents", "--since", "3d") if each["slice"] == {"conversation_id": "loop"}]
    assert "conversation" in run(db, "explain", loop["id"]).stdout


@pytest.mark.parametrize(
    ("provider", "model", "given_usd", "answered_usd"),
    [
        ("anthropic", "claude-haiku-4-5", 1.0, 5.0),
        ("anthropic", "claude-sonnet-4-5", 3.0, 15.0),
        ("openai", "gpt-4o-mini", 0.15, 0.60),
    ],
)
def test_a_million_tokens_cost_what_the_price_list_says(db, program, provider, model, given_usd, answered_usd):
    # One tier: calls of many tokens at once cost more per token with some models.
    for _ in range(10):
        tracewatch.log_usage(provider, model, "in", 100_000, 0)
        tracewatch.log_usage(provider, model, "out", 0, 100_000)
    assert tracewatch.flush(20)
    parts = {each["value"]: each["cost_usd"] for each in told(db, "stats")["breakdown"]["usage_type"]}
    assert parts == {"in": pytest.approx(given_usd), "out": pytest.approx(answered_usd)}


# A team with a table of traces


def test_a_hundred_traces_are_analysed_by_ten_types_and_findings_lead_to_their_traces(db):
    moment, rows = time.time() - 2 * HOUR_S, nights(1)[:119]
    for number, row in enumerate(rows):
        row["start_time"] = f"{moment + number:.3f}"
    rows[60]["duration_ms"] = "60000"
    imported(db, rows)
    found = told(db, "detect")
    assert (found["success"], found["analyzed_traces"], found["anomaly_types_analyzed"]) == (True, 119, 10)
    assert found["breakdown"]["duration"] == 1
    assert found["anomalies_saved"] == found["anomalies_detected"] >= 1
    (finding,) = [each for each in found["findings"] if each["anomaly_type"] == "duration"]
    assert finding["statistics"]["trace_id"] == rows[60]["trace_id"]
    assert finding["statistics"]["expectedRange"]["upper"] < 60_000
    assert "1 min 0 s" in run(db, "trace", finding["statistics"]["trace_id"]).stdout


def test_an_empty_store_answers_zeros(db, program):
    tracewatch.record("nothing of a model")
    assert tracewatch.flush(20)
    empty = told(db, "detect", "--project", "another")
    assert (empty["success"], empty["analyzed_traces"], empty["anomalies_detected"], empty["anomalies_saved"]) == (
        *(True, 0, 0, 0),
    )
    assert set(empty["breakdown"].values()) == {0}
    stats = told(db, "stats", "--project", "another")
    assert (stats["total_llm_calls"], stats["total_llm_cost"], stats["anomalies"]) == (0, 0.0, [])
