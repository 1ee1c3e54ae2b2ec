"""Metrics that a user declares, from the setting to the finding: live, replayed, after a restart."""

import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from workload import DAY, HOUR, MONDAY, calls, end_of, within

from tracewatch.cli import group
from tracewatch.live import Watcher, passing
from tracewatch.metrics.custom import parse
from tracewatch.records import Anomaly, Span
from tracewatch.stores import open_store

LINE = "metadata.judge_score:down, tokens_per_hour:up"
DAYS = 11  # a series says nothing in its first 200 hours
STEP = 9 * 24 + 12  # hours after the start
GRACE = passing.GRACE_S


@pytest.fixture(scope="module")
def rows():
    """Calls with a judge's score. It falls for good on the tenth day. On the eleventh prompts are huge for an hour."""
    table, rng = calls(DAYS, seed=4), np.random.default_rng(5)
    times = table["start_time"].to_numpy()
    scores = rng.normal(0.8, 0.05, len(times)) - 0.4 * (times >= MONDAY + STEP * HOUR)
    texts = [json.dumps({"judge_score": round(score, 3), "feature": "x"}) for score in scores.tolist()]
    tokens = table["input_tokens"].to_numpy() * np.where(within(times, MONDAY, 10 * 24 + 6, 1), 60, 1)
    at = table.schema.get_field_index("input_tokens")
    return table.set_column(at, "input_tokens", pa.array(tokens)).append_column("metadata", pa.array(texts))


@pytest.fixture(scope="module")
def judged(rows, tmp_path_factory):
    """A database that was judged with the metrics declared."""
    path = str(tmp_path_factory.mktemp("declared") / "watch.db")
    with open_store(path, create=True) as store:  # an import would price and complete the calls
        put(store, rows)
    run("detect", "--since", "2d", "--until", "newest", "--db", path, line=LINE)
    return path


def put(store, rows):
    for batch in rows.to_batches():
        store.add_batch(Span, batch)


def run(*words, line=""):
    result = CliRunner().invoke(group, words, env={"TRACEWATCH_METRICS": line}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def replayed(path, line=""):
    told = run("backtest", "--since", "2026-03-01", "--db", path, line=line).stdout
    return [json.loads(each) for each in told.splitlines()]


def kept(path):
    with open_store(path) as store:
        return sorted(of(each) for each in store.page(Anomaly, limit=1000).records)


def of(found):
    return found.detected_at, found.metric_name, found.direction, json.dumps(found.slice, sort_keys=True)


def test_a_declared_number_that_steps_is_found_by_detect(judged):
    with open_store(judged) as store:
        found = [each for each in store.page(Anomaly, limit=1000).records if "." in each.metric_name]
    assert {each.metric_name for each in found} == {"metadata.judge_score"}
    assert {each.direction for each in found} == {"down"}
    first = min(found, key=lambda each: each.detected_at)
    assert 0 < first.detected_at - (MONDAY + STEP * HOUR) < 4 * HOUR
    assert first.detected_value == pytest.approx(0.4, abs=0.05)
    assert first.expected_value == pytest.approx(0.8, abs=0.05)
    assert first.severity in ("medium", "high")
    assert "have judge score 0.4" in first.description
    assert first.incident_id


def test_a_declared_row_of_the_table_is_judged_by_its_hours(judged):
    found = [each for each in kept(judged) if each[1] == "tokens_per_hour"]
    assert found == [(MONDAY + 10 * DAY + 7 * HOUR, "tokens_per_hour", "up", "{}")]


def test_a_backtest_tells_the_same(judged):
    lines = [
        json.loads(line)
        for line in run("backtest", "--since", "2026-03-01", "--db", judged, line=LINE).stdout.splitlines()
    ]
    with open_store(judged) as store:
        found = [each for each in store.page(Anomaly, limit=1000).records if each.incident_id]
    assert sorted((each["metric"], each["incident"]) for each in lines) == sorted(
        (each.metric_name, each.incident_id) for each in found
    )
    assert {"metadata.judge_score", "tokens_per_hour"} <= {each["metric"] for each in lines}


def test_what_is_not_declared_is_judged_if_it_is_a_number_of_calls_and_not_by_the_hour(judged):
    metrics = {
        json.loads(line)["metric"]
        for line in run("backtest", "--since", "2026-03-01", "--db", judged).stdout.splitlines()
    }
    assert "metadata.judge_score" in metrics
    assert "tokens_per_hour" not in metrics


def test_batches_and_restarts_change_nothing(rows, judged, tmp_path):
    ended, before = rows["end_time"].to_numpy(), -np.inf
    path = str(tmp_path / "watch.db")
    with open_store(path, create=True) as store:
        often = np.arange(MONDAY + 9 * DAY, MONDAY + DAYS * DAY, 0.37 * DAY).tolist()
        for now in [MONDAY + 4 * DAY, *often, end_of(rows) + GRACE]:
            put(store, rows.filter((ended >= before) & (ended < now)))
            watcher = Watcher(store, "default", parse(LINE))
            watcher.run(now)
            assert watcher.save(now)
            before = now
    assert kept(path) == kept(judged)


def test_when_what_is_declared_changes_history_is_judged_again(rows, tmp_path):
    path, now = str(tmp_path / "watch.db"), end_of(rows) + GRACE
    with open_store(path, create=True) as store:
        put(store, rows)
        watcher = Watcher(store, "default")
        assert "tokens_per_hour" not in {each.metric_name for each in watcher.run(now).new}
        watcher.save(now)
        passed = Watcher(store, "default", parse(LINE)).run(now)
    assert "tokens_per_hour" in {each.metric_name for each in passed.new}
    assert passed.sentences[0].startswith("The metrics that are declared (TRACEWATCH_METRICS) have changed.")
