"""`tracewatch metrics` as a person uses it."""

import json

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.cli.times import parse_time
from tracewatch.errors import BadMetric, BadWindow, NotFound
from tracewatch.metrics import current
from tracewatch.metrics.table import METRIC_OF, METRICS
from tracewatch.records import Span
from tracewatch.stores import open_store

NOON = parse_time("2026-03-02T12:00:00Z")


def a_span(number, **odd):
    ordinary = {
        "start_time": NOON - 4000 + number,
        "trace_id": f"trace-{number}",
        "span_id": "s",
        "duration_ms": 900.0 + number % 5,
        "operation_type": "chat",
        "model_name": "gpt-4o",
        "model_provider": "openai",
        "cost_usd": 0.25,
        "cost_status": "exact",
        "metadata": {"judge_score": number / 100, "feature": "chat"},
    }
    return Span(**ordinary | odd)


@pytest.fixture
def db(tmp_path):
    path = str(tmp_path / "watch.db")
    with open_store(path, create=True):
        return path


@pytest.fixture
def filled(db):
    failed = {"status": "error", "error_category": "rate_limit", "warning_flags": ("slow",)}
    with open_store(db) as store:
        store.add([*(a_span(number) for number in range(48)), a_span(48, **failed), a_span(49)])
    return db


def run(*words, db, until="newest"):
    result = CliRunner().invoke(group, ["metrics", *words, "--db", db, "--until", until])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def rows(*words, db):
    return {each["metric"]: each for each in json.loads(run(*words, "--format", "json", db=db).stdout)}


def test_it_lists_what_the_calls_have(filled):
    result = run(db=filled)
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "902 ms" in lines["duration_ms"]
    assert "engine; type duration" in lines["duration_ms"]
    assert "learning 0/7 days" in lines["duration_ms"]
    assert "engine, as cost_usd; once declared" in lines["cost_per_hour"]
    assert "ttft_ms" not in lines


def test_each_value_of_a_column_has_its_line(filled):
    found = rows(db=filled)
    assert found["error_category_rate[rate_limit]"]["typical"] == 0.02
    assert found["provider_error_rate[openai]"]["told_as"] == "error_rate"
    assert found["warning_flags.slow"]["values"] == 50


def test_a_row_of_the_table_is_judged_once_declared(filled, monkeypatch):
    assert rows(db=filled)["cost_per_hour"]["series"] is False
    monkeypatch.setenv("TRACEWATCH_METRICS", "cost_per_hour:down")
    found = rows(db=filled)["cost_per_hour"]
    assert (found["series"], found["bad"], found["learning"]) == (True, "down", "learning 1/200 hours")


def test_a_metric_carries_everything_about_it(filled):
    cost = rows(db=filled)["cost_usd"]
    assert cost == {
        "metric": "cost_usd",
        "label": "Cost",
        "help": METRIC_OF["cost_usd"].help,
        "family": "cost",
        "grain": "call",
        "unit": "USD",
        "bad": "up",
        "formula": "cost_usd",
        "by": None,
        "latest": 0.25,
        "typical": 0.25,
        "values": 50,
        "days": 1,
        "state": "learning",
        "learning": "learning 0/7 days",
        "told_as": "cost_usd",
        "type": "cost",
        "threshold": 3,
        "rule": None,
        "series": False,
        "declarable": False,
    }


def test_all_of_them_are_there_when_asked_for(filled):
    found = rows("--all", db=filled)
    assert {each.key for each in METRICS} <= set(found)
    assert found["ttft_ms"]["learning"] == "not recorded"
    assert found["ttft_ms"]["latest"] is None


def test_words_family_and_judged_choose(filled):
    assert set(rows("COST_per", db=filled)) == {"cost_per_1k_tokens", "cost_per_hour", "cost_per_day"} - {
        "cost_per_1k_tokens"  # no tokens were reported
    }
    assert {each["family"] for each in rows("--family", "volume", db=filled).values()} == {"volume"}
    assert "first_seen_version" in rows("--all", db=filled)
    assert "first_seen_version" not in rows("--all", "--judged", db=filled)
    assert set(rows("latency", "duration", "--family", "latency", db=filled)) == {"duration_ms"}


def test_one_object_a_line(filled):
    lines = run("duration", "--format", "jsonl", db=filled).stdout.splitlines()
    assert [json.loads(line)["metric"] for line in lines] == ["duration_ms"]


def test_numbers_in_the_metadata_are_found_and_keep_their_direction_when_declared(filled, monkeypatch):
    assert rows(db=filled)["metadata.judge_score"]["told_as"] == "metadata.…"
    assert "metadata.feature" not in rows("--all", db=filled)
    assert "could watch" not in run(db=filled).stderr
    monkeypatch.setenv("TRACEWATCH_METRICS", "metadata.judge_score:down")
    found = rows(db=filled)
    assert found["metadata.judge_score"]["typical"] == pytest.approx(0.245)
    assert found["metadata.judge_score"]["bad"] == "down"
    assert found["metadata.judge_score"]["told_as"] == "metadata.judge_score"
    assert "could watch" not in run(db=filled).stderr


def test_a_bad_declaration_is_one_sentence(filled, monkeypatch):
    monkeypatch.setenv("TRACEWATCH_METRICS", "judge")
    with pytest.raises(BadMetric):
        CliRunner().invoke(group, ["metrics", "--db", filled], catch_exceptions=False)


def test_an_empty_store_says_what_to_do(db):
    result = run(db=db, until="now")
    assert result.exit_code == 0
    assert "Load something with: tracewatch import FILE" in result.stderr
    assert rows(db=db) == {}
    assert len(rows("--all", db=db)) == len(METRICS)


def test_an_empty_period_says_where_the_calls_are(filled):
    assert "The newest call began at 2026-03-02 10:54" in run("--since", "1h", db=filled, until="now").stderr


def test_nothing_named_so_points_to_all(filled):
    assert "No metric named like nonsense" in run("nonsense", db=filled).stderr


@pytest.mark.parametrize(("words", "error"), [(("--family", "x"), NotFound), (("--since", "2027-01-01"), BadWindow)])
def test_what_cannot_be_is_refused(filled, words, error):
    with pytest.raises(error):
        CliRunner().invoke(group, ["metrics", *words, "--db", filled], catch_exceptions=False)


def test_of_many_calls_the_newest_are_read_and_it_says_so(filled, monkeypatch):
    monkeypatch.setattr(current, "MOST_ROWS", 10)
    with open_store(filled) as store:
        store.add([a_span(number, start_time=NOON + 3600 * 3 + number, duration_ms=5.0) for number in range(100, 120)])
    result = run("duration_ms", db=filled)
    assert "Measured on the newest 20 of 70 calls, from 2026-03-02 15:00:00 UTC on." in result.stderr
    assert "5 ms" in result.stdout


def test_rows_of_a_messages_table_are_left_out(filled):
    with open_store(filled) as store:
        store.add([a_span(500, source="messages", duration_ms=1e6)])
    assert rows(db=filled)["duration_ms"]["values"] == 50


def test_rows_of_a_messages_table_are_better_than_nothing(db):
    with open_store(db) as store:
        store.add([a_span(1, source="messages", duration_ms=7.0)])
    result = run("duration_ms", "--since", "2026-03-01", "--format", "jsonl", db=db, until="2026-03-03")
    assert json.loads(result.stdout)["typical"] == 7


def test_numbers_of_one_family_are_told_in_one_line(tmp_path):
    path = str(tmp_path / "limits.db")
    limits = {f"ratelimit_{end}_{kind}": 100 for end in ("limit", "remaining") for kind in ("requests", "tokens")}
    with open_store(path, create=True) as store:
        store.add(
            Span(
                trace_id=f"t{each}",
                span_id="s",
                start_time=NOON - 60.0 + each,
                metadata={**{name: room - each for name, room in limits.items()}, "pages": each},
            )
            for each in range(50)
        )
    until = "2026-03-02T12:10:00Z"
    said = run(db=path, until=until).output
    assert "Not shown: 4 metrics metadata.ratelimit_…; see them with: tracewatch metrics metadata.ratelimit_" in said
    assert "metadata.pages" in said
    assert "ratelimit_limit_tokens" not in said
    assert "metadata.ratelimit_limit_tokens" in run("metadata.ratelimit_", db=path, until=until).output
    assert "metadata.ratelimit_limit_tokens" in rows(db=path)
