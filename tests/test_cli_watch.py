"""`tracewatch detect` with the adaptive engine, as a person uses it."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from workload import DAY, MONDAY, calls

from tracewatch.cli import group
from tracewatch.records import Anomaly, Baseline, Incident, Span
from tracewatch.stores import open_store

WINDOW = ("--since", "2d", "--until", "newest")
TEN_KEYS = [
    *("duration", "ttft", "throughput", "tokens", "cache_miss"),
    *("cost", "rag_latency", "rag_relevance", "context_bloat", "queue_time"),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A database whose history has been judged, and what was said about it."""
    folder = tmp_path_factory.mktemp("watched")
    path = str(folder / "watch.db")
    pq.write_table(calls(), folder / "calls.parquet")
    run("import", str(folder / "calls.parquet"), db=path)
    return path, run("detect", *WINDOW, db=path).output


def run(*words, db, code=0):
    result = CliRunner().invoke(group, [*words, "--db", db])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result


def told(result):
    """What was said, however it was wrapped."""
    return " ".join(result.output.split())


def known(output):
    """The same words, of what had been told before."""
    new = "folded under them; nothing is new since the last time."
    return " ".join(output.split()).replace("folded under them.", new)


def answer(db, *words):
    return json.loads(run("detect", *WINDOW, "--format", "json", *words, db=db).stdout)


def test_a_window_is_told_by_its_incidents(judged):
    path, output = judged
    found = answer(path)
    incidents, findings = found["incidents"], found["findings"]
    assert len(incidents) == 2
    words = " ".join(output.split())
    assert f"2 incidents in {found['analyzed_traces']} calls" in words
    assert f"2 closed; 2 opened in it, {len(findings)} findings folded under them." in words
    assert f"tracewatch explain {incidents[0]['id'][:8]}" in words
    lines = {words[0]: words[-1] for line in output.splitlines() if (words := line.split())}
    assert {key: int(lines[key]) for key in found["breakdown"]} == found["breakdown"]
    assert {each["metric_name"] for each in incidents} == {"error_rate", "tokens_per_second"}


def test_a_second_time_nothing_is_added(judged):
    path, output = judged
    with open_store(path) as store:
        before = [store.count(each) for each in (Anomaly, Incident)]
    assert answer(path)["anomalies_saved"] == 0
    assert told(run("detect", *WINDOW, db=path)) == known(output)
    with open_store(path) as store:
        assert [store.count(each) for each in (Anomaly, Incident)] == before


def test_the_answer_is_that_of_the_detection_api_and_more(judged):
    found = answer(judged[0])
    assert list(found)[:6] == [
        *("success", "analyzed_traces", "anomaly_types_analyzed", "anomalies_detected", "anomalies_saved", "breakdown")
    ]
    assert list(found["breakdown"])[:10] == TEN_KEYS
    assert found["anomalies_detected"] == sum(found["breakdown"].values()) == len(found["findings"]) > 0
    assert found["analyzed_traces"] == 602
    assert found["learning"] == {"learning": False, "days": 9, "of": 7}
    assert {each["incident_id"] for each in found["findings"]} == {each["id"] for each in found["incidents"]}
    lines = run("detect", *WINDOW, "--format", "jsonl", db=judged[0]).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [each["id"] for each in found["incidents"] + found["findings"]]


def test_a_window_without_incidents_says_so(judged):
    output = run("detect", "--since", "2026-03-02", "--until", "2026-03-04", db=judged[0]).output
    assert "No incident in 610 calls" in " ".join(output.split())


def test_the_spec_judges_when_asked_to(judged):
    found = answer(judged[0], "--detector", "spec")
    assert list(found["breakdown"]) == TEN_KEYS
    assert found["anomaly_types_analyzed"] == 10
    assert {each["detector"] for each in found["findings"]} <= {"spec", "rules"}
    assert "incidents" not in found


def test_history_can_be_judged_again(judged):
    path, output = judged
    again = run("detect", *WINDOW, "--relearn", db=path)
    assert told(again) == known(output)
    with open_store(path) as store:
        assert {each.revision for each in store.page(Baseline).records} == {1}


def test_while_it_learns_the_first_form_stands_in(tmp_path):
    path = str(tmp_path / "young.db")
    with open_store(path, create=True) as store:
        for batch in calls(days=4).to_batches():
            store.add_batch(Span, batch)
    done = run("detect", "--until", "newest", db=path)
    assert "The adaptive engine is learning 4 of 7 days; until then ten z-scores judge." in done.stderr
    assert "Duration Spike" in done.stdout
    alone = run("detect", "--until", "newest", "--detector", "adaptive", db=path)
    assert "No incident can be told yet: learning 4 of 7 days" in alone.stdout


def test_the_engine_is_not_asked_about_one_account(judged):
    refused = run("detect", "--user", "u1", "--detector", "adaptive", db=judged[0], code=2)
    assert "leave out --user and --source" in refused.output
    assert "u1" in run("detect", "--user", "u1", "--until", "2026-03-01", db=judged[0]).output


def test_something_bad_and_new_gives_exit_code_3_once(tmp_path):
    path = str(tmp_path / "cron.db")
    with open_store(path, create=True) as store:
        for batch in calls().to_batches():
            store.add_batch(Span, batch)
    run("detect", *WINDOW, "--fail-on", "medium", db=path, code=3)
    run("detect", *WINDOW, "--fail-on", "medium", db=path)


def test_calls_that_come_too_late_are_said(judged, tmp_path):
    path = str(tmp_path / "late.db")
    with open_store(path, create=True) as store:
        store.add([Span(trace_id=str(n), span_id="s", start_time=MONDAY + n * 600) for n in range(500)])
    run("detect", db=path)
    with open_store(path) as store:
        store.add([Span(trace_id=f"late{n}", span_id="s", start_time=MONDAY + n) for n in range(20)])
        store.add([Span(trace_id="ahead", span_id="s", start_time=MONDAY + 100_000 * DAY)])
    said = run("detect", db=path).stderr
    assert "20 calls came more than an hour after they had ended" in said
    assert "There are calls that begin in the future" in said


def test_a_backtest_of_a_file_and_of_the_store_say_what_live_found(judged):
    found = {each["id"]: each for each in answer(judged[0])["incidents"]}
    of_file = CliRunner().invoke(group, ["backtest", str(Path(judged[0]).with_name("calls.parquet"))])
    of_store = run("backtest", "--since", "2026-03-01", db=judged[0])
    for told in (of_file, of_store):
        alerts = [json.loads(line) for line in told.stdout.splitlines()]
        assert {each["incident"] for each in alerts} == set(found)
        assert len(alerts) == len(answer(judged[0])["findings"])


@pytest.mark.parametrize("columns", ["40", "80"])
def test_the_first_line_is_wrapped_and_commands_stay_whole(judged, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    lines = run("detect", *WINDOW, db=judged[0]).output.splitlines()
    commands = [line for line in lines if "tracewatch " in line]
    assert max(len(line) for line in lines if line not in commands) <= int(columns)
    assert [line.endswith(f" --db {judged[0]}") for line in commands] == [True] * len(commands)
    assert len(commands) >= 2


def test_that_silence_after_an_import_is_not_judged_is_said_once_it_is_long(judged):
    said = "UTC; silence after that is not judged."
    assert said in run("detect", "--since", "2d", db=judged[0]).stderr
    assert said not in run("detect", *WINDOW, db=judged[0]).stderr
