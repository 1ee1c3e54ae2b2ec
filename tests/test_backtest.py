"""Backtesting through the command: what is told, when, and that nothing told depends on what came later."""

import csv
import json
import random
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tracewatch.backtest import DETECTORS, read_file, replay
from tracewatch.cli import COMMANDS, group
from tracewatch.cli.backtesting import DETECTORS as NAMES
from tracewatch.detectors.adaptive.errands import Second
from tracewatch.errors import BadTime, ImportRefused, OutputRefused
from tracewatch.imports import recognise

BEGIN = 1_772_323_200.0  # 2026-03-01T00:00:00Z
HOUR_S, DAY_S = 3600, 86_400
FIELDS = {"detected_at", "metric", "direction", "slice", "trace_ids", "severity"}


@pytest.fixture
def backtest(tmp_path, monkeypatch):
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        done = CliRunner().invoke(group, ["backtest", *map(str, words)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    return run


def calls(days=14):
    """A call every five minutes; one is very slow, and for two hours of the last but one day a third of them fail."""
    source = random.Random(5)
    rows = []
    for number in range(days * 288):
        start = BEGIN + number * 300 + source.random() * 200
        slow = number == 12 * 288 + 9 * 12 + 2
        failing = BEGIN + (days - 2) * DAY_S <= start < BEGIN + (days - 2) * DAY_S + 2 * HOUR_S
        rows.append(
            {
                "start_time": datetime.fromtimestamp(start, UTC),
                "trace_id": f"t{number}",
                "span_id": f"s{number}",
                "operation_type": "chat",
                "model_name": ("gpt-4o", "claude-haiku-4-5")[number % 2],
                "model_provider": ("openai", "anthropic")[number % 2],
                "status": "error" if failing and number % 3 == 0 else "ok",
                "duration_ms": 90_000.0 if slow else source.lognormvariate(7, 0.3),
                "input_tokens": source.randrange(500, 1500),
                "output_tokens": source.randrange(50, 150),
                "cost_usd": source.uniform(0.001, 0.002),
            }
        )
    return rows


def stored(rows, path):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_slow_call_is_told_at_the_end_of_its_hour(backtest, tmp_path):
    path = stored(calls(), tmp_path / "calls.parquet")
    done = backtest(path, "--detector", "spec", "--alerts", "alerts.jsonl")
    found = lines((tmp_path / "alerts.jsonl").read_text())
    assert done.stdout == ""
    assert "a day from 2026-03-01" in done.stderr
    assert all(set(alert) >= FIELDS for alert in found)
    slow = [alert for alert in found if alert["metric"] == "duration_ms" and alert["observed"] == 90_000]
    assert [alert["detected_at"] for alert in slow] == ["2026-03-13T10:00:00.000Z"]
    assert slow[0]["slice"] == {"operation_type": "chat", "model_name": "gpt-4o"}
    assert slow[0]["trace_ids"] == [f"t{12 * 288 + 9 * 12 + 2}"]
    assert slow[0]["direction"] == "up"
    assert slow[0]["expected"] < slow[0]["upper"] < slow[0]["observed"]


@pytest.mark.parametrize("detector", NAMES)
def test_what_was_told_does_not_depend_on_what_came_later(backtest, tmp_path, detector):
    rows = calls()
    cut = BEGIN + 12 * DAY_S + 14 * HOUR_S
    whole = stored(rows, tmp_path / "whole.parquet")
    part = stored([row for row in rows if row["start_time"].timestamp() < cut], tmp_path / "part.parquet")
    told = [lines(backtest(path, "--detector", detector).stdout) for path in (whole, part)]
    until = datetime.fromtimestamp(cut, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert told[1]
    assert [alert for alert in told[0] if alert["detected_at"][:19] <= until] == told[1]


@pytest.mark.parametrize("detector", NAMES)
def test_from_leaves_out_what_came_before_and_changes_nothing_else(backtest, tmp_path, detector):
    path = stored(calls(), tmp_path / "calls.parquet")
    everything = lines(backtest(path, "--detector", detector).stdout)
    later = [alert for alert in everything if alert["detected_at"] >= "2026-03-13T00:00:00.000Z"]
    assert lines(backtest(path, "--detector", detector, "--from", "2026-03-13").stdout) == later
    assert later


@pytest.mark.parametrize("detector", NAMES)
def test_the_order_of_the_file_does_not_matter(backtest, tmp_path, detector):
    rows = calls()
    told = backtest(stored(rows, tmp_path / "sorted.parquet"), "--detector", detector).stdout
    random.Random(1).shuffle(rows)
    assert backtest(stored(rows, tmp_path / "shuffled.parquet"), "--detector", detector).stdout == told


@pytest.mark.parametrize("detector", NAMES)
def test_a_second_process_changes_nothing(backtest, tmp_path, monkeypatch, detector):
    path = stored(calls(), tmp_path / "calls.parquet")
    alone = backtest(path, "--detector", detector).stdout
    monkeypatch.setattr("tracewatch.cli.backtesting.LARGE", 0)
    monkeypatch.setattr("tracewatch.cli.backtesting.processors", lambda: 2)
    assert backtest(path, "--detector", detector).stdout == alone


@pytest.mark.parametrize("after", [0, 9, 40])
def test_a_second_process_that_is_killed_changes_nothing(backtest, tmp_path, monkeypatch, after):
    path = stored(calls(), tmp_path / "calls.parquet")
    alone = backtest(path).stdout
    monkeypatch.setattr("tracewatch.cli.backtesting.LARGE", 0)
    monkeypatch.setattr("tracewatch.cli.backtesting.processors", lambda: 2)
    tell, told = Second.tell, []

    def killed(second, message):
        told.append(message)
        if len(told) == after + 1:
            second.process.kill()
            second.process.wait()
        return tell(second, message)

    monkeypatch.setattr(Second, "tell", killed)
    assert backtest(path).stdout == alone
    assert len(told) > after


@pytest.mark.parametrize("name", NAMES)
def test_live_batches_and_a_replay_say_the_same(tmp_path, name):
    member = DETECTORS[name]
    source, kind = recognise(stored(calls(), tmp_path / "calls.parquet"))
    history = read_file(source, kind, member.needs, lambda _: None)
    chance = random.Random(7)
    live, told, begin = member.make(), [], 0
    while begin < len(history):
        end = min(begin + chance.randrange(1, 120), len(history))
        live.feed(history.columns(slice(begin, end)))
        told += live.advance(history.times[end - 1])
        begin = end
    told += live.advance(history.times[-1] + member.step_s)
    assert [essence(alert) for alert in told] == [essence(alert) for alert in replay(history, member, lambda _: None)]
    assert told


def essence(alert):
    return alert.detected_at, alert.metric, alert.direction, dict(alert.slice), alert.trace_ids


def test_every_format_says_the_same(backtest, tmp_path):
    rows = [{**row, "start_time": row["start_time"].isoformat()} for row in calls(3)]
    rows[500]["duration_ms"] = 80_000.0
    (tmp_path / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (tmp_path / "calls.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    stored(rows, tmp_path / "calls.parquet")
    told = {backtest(f"calls.{kind}", "--detector", "spec").stdout for kind in ("jsonl", "csv", "parquet")}
    assert len(told) == 1
    assert "80000.0" in told.pop()


def test_history_of_a_store_is_replayed_alike(backtest, tmp_path):
    path = stored(calls(), tmp_path / "calls.parquet")
    assert CliRunner().invoke(group, ["import", str(path), "--db", "watch.db"]).exit_code == 0
    of_store = backtest("--since", "2026-03-01", "--db", "watch.db", "--detector", "spec").stdout
    assert lines(of_store) == lines(backtest(path, "--detector", "spec").stdout)
    assert backtest("--since", "2100-01-01", "--db", "watch.db").stdout == ""


def test_a_series_is_scored_row_by_row(backtest, tmp_path):
    source = random.Random(3)
    rows = [(f"2014-04-01 {row // 60 % 24:02}:{row % 60:02}:00", f"{source.gauss(10, 1):.3f}") for row in range(1200)]
    rows[1000] = (rows[1000][0], "99.5")
    rows[1100] = (rows[1100][0], "")
    (tmp_path / "series.csv").write_text("timestamp,value\n" + "".join(f"{t},{value}\n" for t, value in rows))
    done = backtest("series.csv", "--scores", "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        scored = list(csv.DictReader(file))
    assert [(row["timestamp"], row["value"]) for row in scored] == rows
    scores = [float(row["score"]) for row in scored]
    assert all(0 <= score <= 1 for score in scores)
    assert scores.index(max(scores)) == 1000
    assert scores[1100] == 0
    assert "1 row without a number" in done.stderr
    assert [alert["observed"] for alert in lines(done.stdout) if alert["severity"] > 20] == [99.5]


def test_a_series_may_come_as_json_lines(backtest, tmp_path):
    rows = [{"timestamp": row * 60, "value": 9 if row == 800 else row % 4} for row in range(1000)]
    (tmp_path / "series.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = lines(backtest("series.jsonl").stdout)
    assert [alert["detected_at"] for alert in found] == ["1970-01-01T13:20:00.000Z"]
    assert found[0]["direction"] == "up"


@pytest.mark.parametrize("detector", NAMES)
@pytest.mark.parametrize("times", [[0.0], [0.0] * 50, [0.0, 3.0e9]])
def test_odd_histories_are_no_error(backtest, tmp_path, detector, times):
    rows = [{**row, "start_time": BEGIN + time} for row, time in zip(calls(1), times, strict=False)]
    assert backtest(stored(rows, tmp_path / "odd.parquet"), "--detector", detector).stdout == ""


def test_it_says_why_nothing_is_told(backtest, tmp_path):
    path = stored(calls(1), tmp_path / "calls.parquet")
    late = backtest(path, "--from", "2027-01-01")
    assert "there is nothing to tell" in late.stderr
    assert late.stdout == ""
    (tmp_path / "header.csv").write_text("start_time,model,duration_ms\n")
    assert "no calls to replay" in backtest("header.csv", "--alerts", "none.jsonl").stderr
    assert (tmp_path / "none.jsonl").read_text() == ""
    (tmp_path / "header.csv").write_text("timestamp,value\n")
    assert "no rows to score" in backtest("header.csv").stderr


def test_rows_that_cannot_be_believed_are_left_out_and_counted(backtest, tmp_path):
    (tmp_path / "odd.csv").write_text("start_time,model,duration_ms\n2026-03-01T00:00:00Z,m,5\nsoon,m,5\n,m,5\n")
    told = backtest("odd.csv").stderr
    assert "left out 1 row: start_time is not a time" in told
    assert "left out 1 row: start_time is missing" in told
    assert "1 call replayed" in told


def test_bad_files_are_refused_in_one_sentence(backtest, tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ImportRefused, match="it is empty"):
        backtest("empty.csv")
    with pytest.raises(ImportRefused, match=r"cannot read missing\.csv: there is no such file"):
        backtest("missing.csv")


def test_bad_options_are_refused(backtest, tmp_path):
    path = stored(calls(1), tmp_path / "calls.parquet")
    (tmp_path / "series.csv").write_text("timestamp,value\n2026-03-01,5\n")
    with pytest.raises(OutputRefused, match="it is the file to be read"):
        backtest("series.csv", "--scores", tmp_path / "series.csv")
    with pytest.raises(OutputRefused, match="No such file"):
        backtest(path, "--alerts", tmp_path / "nowhere" / "alerts.jsonl")
    with pytest.raises(BadTime):
        backtest(path, "--from", "soon")
    assert (tmp_path / "series.csv").read_text().endswith("5\n")
    assert "Name a FILE" in backtest(code=2).output
    assert "Name a FILE" in backtest(path, "--since", "3d", code=2).output
    assert "holds calls" in backtest(path, "--scores", "scores.csv", code=2).output
    assert "--detector is for calls" in backtest("series.csv", "--detector", "spec", code=2).output


def test_the_command_offers_every_detector():
    assert tuple(DETECTORS) == NAMES
    assert "backtest" in COMMANDS


def test_alerts_of_one_cause_share_their_incident(backtest, tmp_path):
    path = stored(calls(), tmp_path / "calls.parquet")
    done = backtest(path, "--alerts", "alerts.jsonl")
    found = lines((tmp_path / "alerts.jsonl").read_text())
    assert found
    assert all(
        set(alert) >= FIELDS | {"incident", "kind", "since", "observed", "expected", "n", "score"} for alert in found
    )
    assert not any("story" in alert for alert in found)
    ids = {alert["incident"] for alert in found}
    assert f"{len(ids)} incident" in done.stderr
    [failing] = [line for line in done.stderr.splitlines() if "error_rate up" in line]
    assert "high: " in failing
    assert "over at 2026-03-13" in failing
    again = lines(backtest(path).stdout)
    assert [alert["incident"] for alert in again] == [alert["incident"] for alert in found]


def test_the_detections_of_the_first_form_have_no_incidents(backtest, tmp_path):
    path = stored(calls(), tmp_path / "calls.parquet")
    assert not any("incident" in alert for alert in lines(backtest(path, "--detector", "spec").stdout))
