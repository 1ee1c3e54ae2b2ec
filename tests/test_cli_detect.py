"""`tracewatch detect`, `anomalies` and `explain` as a person uses them."""

import json
import re
import time

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.cli.times import parse_time
from tracewatch.errors import BadWindow, NotFound
from tracewatch.records import Span
from tracewatch.stores import open_store

NOON = parse_time("2026-03-02T12:00:00Z")
TEN_KEYS = [
    *("duration", "ttft", "throughput", "tokens", "cache_miss"),
    *("cost", "rag_latency", "rag_relevance", "context_bloat", "queue_time"),
]
SHAPE = [
    *("success", "analyzed_traces", "anomaly_types_analyzed", "anomalies_detected", "anomalies_saved"),
    *("breakdown", "findings"),
]


def a_span(number, **odd):
    ordinary = {
        "start_time": NOON - 4000 + number,
        "trace_id": f"trace-{number}",
        "span_id": "s",
        "duration_ms": 900.0 + number % 5,
        "operation_type": "chat",
        "model_name": "gpt-4o",
        "cost_status": "exact",
    }
    return Span(**ordinary | odd)


def fifty(**odd):
    return [a_span(number, **odd) for number in range(50)]


@pytest.fixture
def db(tmp_path):
    path = str(tmp_path / "watch.db")
    with open_store(path, create=True):
        return path


@pytest.fixture
def filled(db):
    with open_store(db) as store:
        store.add([*fifty(), a_span(99, duration_ms=9000.0), a_span(98, duration_ms=5000.0, model_name="[b]odd")])
    return db


def run(*words, db):
    result = CliRunner().invoke(group, [*words, "--db", db])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def detected(db, *words):
    result = run("detect", "--until", "newest", "--format", "json", *words, db=db)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_answer_has_exactly_the_agreed_shape(filled):
    answer = detected(filled)
    assert list(answer) == SHAPE
    assert list(answer["breakdown"]) == TEN_KEYS
    assert answer["success"] is True
    assert (answer["analyzed_traces"], answer["anomaly_types_analyzed"]) == (52, 10)
    assert answer["anomalies_detected"] == answer["anomalies_saved"] == sum(answer["breakdown"].values()) == 2
    assert {each["trace_id"] for each in answer["findings"]} == {"trace-98", "trace-99"}
    assert answer["findings"][0]["statistics"]["expectedRange"].keys() == {"lower", "upper"}


def test_a_second_run_finds_the_same_and_saves_nothing(filled):
    first, second = detected(filled), detected(filled)
    assert second["anomalies_saved"] == 0
    assert [each["id"] for each in second["findings"]] == [each["id"] for each in first["findings"]]


def test_an_empty_store_answers_zeros_and_says_what_to_do(db):
    result = run("detect", "--format", "json", db=db)
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["analyzed_traces"] == answer["anomalies_detected"] == answer["anomalies_saved"] == 0
    assert answer["breakdown"] == dict.fromkeys(TEN_KEYS, 0)
    assert f"tracewatch import FILE --db {db}" in result.stderr


def test_an_old_store_is_told_how_to_look_at_its_newest_day(filled):
    result = run("detect", db=filled)
    assert result.exit_code == 0
    assert "The newest call is of 2026-03-02 10:54:59" in result.stderr
    assert f"tracewatch detect --until newest --db {filled}" in result.stderr


def test_an_empty_window_inside_the_store_is_told_apart(filled):
    result = run("detect", "--since", "1h", "--until", "2026-03-02T10:00:00Z", db=filled)
    assert "No call is in this window. The newest is of 2026-03-02" in result.stderr


def test_findings_are_told_in_words(filled):
    output = run("detect", "--until", "newest", db=filled).output
    assert "2 findings in 52 calls" in output
    assert "2 new" in output
    assert "Duration Spike" in output
    assert "Chat on gpt-4o took 9 s at 2026-03-02 10:54:59 UTC, usually up to " in output
    assert "Chat on [b]odd took" in output
    assert "tracewatch explain " in output


def test_rules_stand_beside_the_counts_of_the_ten_types(db):
    with open_store(db) as store:
        store.add(fifty(status="error"))
    answer = detected(db)
    assert answer["anomalies_detected"] == answer["anomalies_saved"] == 0
    assert [(each["anomaly_type"], each["detector"]) for each in answer["findings"]] == [("high_error_rate", "rules")]
    assert "100 % of 50 calls failed" in run("detect", "--until", "newest", db=db).output


def test_both_sources_are_compared(filled):
    with open_store(filled) as store:
        store.add([a_span(200 + number, source="messages", duration_ms=10.0 + number % 5) for number in range(30)])
        store.add([a_span(300, source="messages", duration_ms=900.0)])
    answer = detected(filled, "--source", "both", "--since", "7d")
    assert list(answer) == [*SHAPE[:-1], "comparison", "findings"]
    assert answer["comparison"]["traces"]["anomalies_detected"] == 2
    assert answer["comparison"]["messages"]["breakdown"]["latency"] == 1
    assert [each["source"] for each in answer["findings"]] == ["traces", "traces", "messages"]
    output = run("detect", "--until", "newest", "--source", "both", db=filled).output
    assert "traces" in output
    assert "Latency Spike" in output


def test_near_identical_findings_are_one_group(filled):
    with open_store(filled) as store:
        store.add([a_span(1000 + number, start_time=NOON - 5000) for number in range(500)])
        store.add([a_span(97, duration_ms=8000.0)])
    output = run("detect", "--until", "newest", db=filled).output
    assert "3 findings in 553 calls" in output
    assert "Duration Spike · chat on gpt-4o: 2 calls, 2026-03-02 10:54:57 to 2026-03-02 10:54:59 UTC" in output
    assert "Duration Spike · chat on [b]odd: 1 call, 2026-03-02 10:54:58 UTC" in output
    assert output.count(" took ") == 2


def test_few_calls_are_said_to_be_too_few(db):
    with open_store(db) as store:
        store.add([a_span(1), a_span(2)])
    output = run("detect", "--until", "newest", db=db).output
    assert "Too few calls to judge (2; it takes 10)" in output
    assert "Nothing abnormal" not in output


def test_many_calls_without_numbers_cannot_be_judged_either(db):
    with open_store(db) as store:
        store.add(fifty(duration_ms=None))
    assert (
        "Too few calls to judge (none of 50 calls says enough; it takes 10)"
        in run("detect", "--until", "newest", db=db).output
    )


def test_a_metric_that_no_call_records_is_said_to_be_so(filled):
    lines = run("detect", "--until", "newest", db=filled).output.splitlines()
    cells = {words[0]: words[-1] for line in lines if (words := line.split())}
    assert (cells["duration"], cells["queue_time"], cells["cost"]) == ("2", "recorded", "recorded")
    assert detected(filled)["breakdown"]["queue_time"] == 0


def test_rules_that_are_quiet_say_so(filled):
    with open_store(filled) as store:
        store.add([a_span(600 + day, start_time=NOON - day * 86400) for day in (1, 2)])
    words = "cost_spike and call_spike cannot judge yet: 2 days of history, it takes 3."
    assert words in run("detect", "--until", "newest", db=filled).output
    with open_store(filled) as store:
        store.add([a_span(700 + number, start_time=NOON - 3 * 86400) for number in range(60)])
    assert "were asked and are quiet" in run("detect", "--until", "newest", db=filled).output


def test_another_source_that_has_rows_is_named(filled):
    result = run("detect", "--source", "messages", db=filled)
    assert "has no messages, but it has traces, the newest of 2026-03-02 10:54:59" in result.stderr
    assert f"tracewatch detect --until newest --db {filled}" in result.stderr


def test_a_user_nobody_knows_is_named(filled):
    result = run("detect", "--user", "u9", "--until", "newest", db=filled)
    assert "There are no calls of user u9 in" in result.stderr


def test_a_window_that_ends_before_it_begins_is_refused(filled):
    result = CliRunner().invoke(group, ["detect", "--since", "2026-03-03", "--until", "2026-03-02", "--db", filled])
    assert isinstance(result.exception, BadWindow)
    assert result.exit_code == 1


def test_a_finding_saved_before_is_shown_as_it_is_stored(filled):
    first = detected(filled)["findings"]
    with open_store(filled) as store:
        store.add([a_span(1000 + number, start_time=NOON - 90_000) for number in range(3000)])
    again = detected(filled, "--since", "7d")
    assert sorted(again["findings"], key=str) == sorted(first, key=str)
    assert (again["anomalies_detected"], again["anomalies_saved"]) == (2, 0)
    assert sorted(again["findings"], key=str) == sorted(listed(filled), key=str)


def test_a_bad_finding_that_is_new_gives_exit_code_3_once(filled):
    words = ("detect", "--until", "newest", "--fail-on", "medium")
    severities = {each["severity"] for each in detected(filled)["findings"]}
    assert severities == {"low", "high"}
    assert run(*words, db=filled).exit_code == 0
    with open_store(filled) as store:
        store.add([a_span(1000 + number, start_time=NOON - 5000) for number in range(500)])
        store.add([a_span(97, duration_ms=20_000.0)])
    assert run(*words, "--format", "json", db=filled).exit_code == 3


def test_a_new_finding_that_is_not_so_bad_gives_exit_code_0(filled):
    assert run("detect", "--until", "newest", "--fail-on", "critical", db=filled).exit_code == 0
    assert listed(filled)


def test_one_user_alone(filled):
    with open_store(filled) as store:
        store.add([a_span(500, user_id="u1")])
    assert detected(filled, "--user", "u1")["analyzed_traces"] == 1


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--until", "soon")])
def test_a_time_that_cannot_be_read_is_refused(filled, words):
    result = CliRunner().invoke(group, ["detect", *words, "--db", filled])
    assert result.exit_code == 1
    assert f"cannot read '{words[1]}' as a time" in str(result.exception)


def test_the_window_ends_now_by_default(db):
    with open_store(db) as store:
        store.add([a_span(number, start_time=time.time() - 60 - number) for number in range(20)])
    assert "Nothing abnormal in 20 calls" in run("detect", db=db).output


def listed(db, *words):
    return json.loads(run("anomalies", "--format", "json", *words, db=db).stdout)


def test_findings_are_listed_newest_first_and_filtered(filled):
    detected(filled)
    assert [each["trace_id"] for each in listed(filled)] == ["trace-99", "trace-98"]
    assert [each["model_id"] for each in listed(filled, "--model", "gpt-4o")] == ["gpt-4o"]
    assert listed(filled, "--type", "cost,ttft") == []
    assert len(listed(filled, "--severity", "low,medium,high,critical", "--status", "pending")) == 2
    assert listed(filled, "--since", "2026-03-03") == []
    assert "Chat on gpt-4o took 9 s" in run("anomalies", db=filled).output
    lines = run("anomalies", "--format", "jsonl", db=filled).stdout.splitlines()
    assert [json.loads(line)["trace_id"] for line in lines] == ["trace-99", "trace-98"]


def test_a_list_goes_on_where_it_ended(filled):
    detected(filled)
    first = run("anomalies", "--limit", "1", "--format", "json", db=filled)
    cursor = first.stderr.split("--cursor ")[1].strip()
    assert [each["trace_id"] for each in listed(filled, "--limit", "1", "--cursor", cursor)] == ["trace-98"]


def test_a_severity_that_does_not_exist_is_refused(filled):
    result = run("anomalies", "--severity", "terrible", db=filled)
    assert result.exit_code == 2
    assert "'terrible' is none of low, medium, high, critical" in result.output


def test_no_finding_yet_says_how_to_look_for_one(db):
    assert "tracewatch detect" in run("anomalies", db=db).stderr


@pytest.mark.parametrize(
    ("verb", "status"), [("ack", "acknowledged"), ("resolve", "resolved"), ("dismiss", "dismissed")]
)
def test_people_can_deal_with_a_finding(filled, verb, status):
    finding = detected(filled)["findings"][0]
    assert run("anomalies", verb, finding["id"][:10], db=filled).exit_code == 0
    assert [each["id"] for each in listed(filled, "--status", status)] == [finding["id"]]
    detected(filled)
    assert [each["acknowledged"] for each in listed(filled, "--status", status)] == [True]


def test_options_before_the_verb_count_for_it(filled, tmp_path, monkeypatch):
    finding = detected(filled)["findings"][0]
    elsewhere = str(tmp_path / "elsewhere.db")
    with open_store(elsewhere, create=True):
        monkeypatch.setenv("TRACEWATCH_DB", elsewhere)
    before = ["anomalies", "--db", filled, "--project", "default", "dismiss", finding["id"]]
    assert CliRunner().invoke(group, before).exit_code == 0
    assert [each["id"] for each in listed(filled, "--status", "dismissed")] == [finding["id"]]
    both = ["anomalies", "--db", elsewhere, "ack", finding["id"], "--db", filled]
    assert CliRunner().invoke(group, both).exit_code == 0
    assert len(listed(filled, "--status", "acknowledged")) == 1
    wrong = CliRunner().invoke(group, ["anomalies", "--project", "other", "ack", finding["id"], "--db", filled])
    assert isinstance(wrong.exception, NotFound)


@pytest.mark.parametrize("option", [("--format", "json"), ("--severity", "low"), ("--limit", "3")])
def test_options_of_the_list_are_refused_before_a_verb(filled, option):
    result = CliRunner().invoke(group, ["anomalies", *option, "ack", "abc", "--db", filled])
    assert result.exit_code == 2
    assert f"{option[0]} is about the list: 'ack' takes the ids of findings." in result.output


def test_times_on_a_card_are_written_in_one_way(filled):
    finding = detected(filled)["findings"][0]
    output = run("explain", finding["id"], db=filled).output
    assert "At" in [line.split()[0] for line in output.splitlines() if line.split()]
    assert "Since" not in output
    assert not re.search(r"\dT\d|\d on \d", output)
    dates = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", output)
    assert len(dates) == len(re.findall(r"\d{4}-\d\d-\d\d", output)) == 5


def test_a_far_call_leaves_the_others_more_than_one_bar_and_the_gap_is_marked(db):
    with open_store(db) as store:
        store.add([a_span(number, duration_ms=100.0 * 1.03**number) for number in range(50)])
        store.add([a_span(99, duration_ms=1e6)])
    finding = next(each for each in detected(db)["findings"] if each["trace_id"] == "trace-99")
    output = run("explain", finding["id"], db=db).output
    assert output.count("█") > 40
    assert len([line for line in output.splitlines() if "█" in line or "▏" in line]) > 2
    assert "⋮  no call from" in output


def test_a_limit_is_not_a_range(db):
    with open_store(db) as store:
        store.add(fifty(status="error", model_name="small"))
    finding = detected(db)["findings"][0]
    output = run("explain", finding["id"], db=db).output
    assert "at most 20 %" in output
    assert "on average" not in output
    assert "model small: all 50 calls that failed" in output
    assert "No single number stands out" not in output
    assert "Since" in output


def test_everything_about_one_finding(filled):
    finding = next(each for each in detected(filled)["findings"] if each["trace_id"] == "trace-99")
    output = run("explain", finding["id"][:8], db=filled).output
    for text in ("Duration Spike", "What came", "9 s", "Expected", "How sure", "Open the trace", "◀ this call"):
        assert text in output
    assert "tracewatch trace trace-99" in output
    assert json.loads(run("explain", finding["id"], "--format", "json", db=filled).stdout) == finding


def test_a_rule_is_explained_without_a_chart(db):
    with open_store(db) as store:
        store.add(fifty(status="error"))
    finding = detected(db)["findings"][0]
    output = run("explain", finding["id"], db=db).output
    assert "High Error Rate" in output
    assert "◀ this call" not in output


def test_an_id_that_is_not_there_or_not_one_alone_is_told(filled):
    detected(filled)
    missing = CliRunner().invoke(group, ["explain", "zzz", "--db", filled])
    assert "there is no incident or finding 'zzz'" in str(missing.exception)
    with open_store(filled) as store:
        store.add([a_span(600 + number, duration_ms=9000.0 + number) for number in range(17)])
        store.add([a_span(2000 + number) for number in range(3000)])
    found = detected(filled, "--since", "30d")["findings"]
    first_letters = [each["id"][0] for each in found]
    twice = next(each for each in first_letters if first_letters.count(each) > 1)
    ambiguous = CliRunner().invoke(group, ["explain", twice, "--db", filled])
    assert f"findings begin with '{twice}'" in str(ambiguous.exception)
