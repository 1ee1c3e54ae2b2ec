"""What is new and no alarm: kept, told beside incidents, and counted nowhere."""

import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from workload import calls, end_of

from tracewatch.cli import group
from tracewatch.judge import NEEDS, Judge, chosen, columns_of
from tracewatch.records import Anomaly, Incident, Span
from tracewatch.stores import open_store


@pytest.fixture(scope="module")
def rows():
    """The failures of the last day are of a kind that never came before."""
    table = calls()
    kinds = ["BrandNewError" if status == "error" else None for status in table["status"].to_pylist()]
    return table.append_column("error_type", pa.array(kinds, pa.string()))


@pytest.fixture(scope="module")
def judged(rows, tmp_path_factory):
    """A database that was judged."""
    path = str(tmp_path_factory.mktemp("noted") / "watch.db")
    with open_store(path, create=True) as store:  # an import would price and complete the calls
        for batch in rows.to_batches():
            store.add_batch(Span, batch)
    run("detect", "--since", "2d", "--until", "newest", "--db", path)
    return path


def run(*words):
    result = CliRunner().invoke(group, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def records(path, record_type):
    with open_store(path) as store:
        return store.page(record_type, limit=1000).records


def told(judgements):
    return [each for one in judgements for each in one.alerts], [each for one in judgements for each in one.notes]


@pytest.mark.parametrize("batches", [1, 5])
def test_a_new_kind_of_error_is_a_note_and_no_alert(rows, batches):
    judge, out, size = Judge(), [], -(-len(rows) // batches)
    for begin in range(0, len(rows), size):
        part = rows.slice(begin, size)
        judge.feed(columns_of(pa.Table.from_batches([chosen(each, NEEDS) for each in part.to_batches()])))
        out.append(judge.judge(end_of(part) if begin + size >= len(rows) else part["start_time"][-1].as_py()))
    alerts, notes = told(out)
    assert [each.slice for each in notes] == [{"error_type": "BrandNewError"}]
    assert {each.metric for each in alerts} >= {"error_rate", "inference_time_ms"}
    assert "first_seen" not in {each.kind for each in alerts}
    members = {each.story for one in out for change in one.changes for each in change.members}
    assert members == {each.story for each in alerts}
    assert {each.story for each in (*alerts, *notes)} == set().union(*(one.known_days for one in out))


def test_it_is_a_finding_of_no_incident(judged):
    (note,) = [each for each in records(judged, Anomaly) if each.kind == "first_seen"]
    assert (note.severity, note.incident_id, note.metric_name) == ("low", None, "first_seen_error_type")
    assert note.description.startswith("Error type BrandNewError is new since 2026-03-10 ")
    assert note.id[:8] in run("anomalies", "--type", "first_seen_error_type", "--db", judged).stdout
    assert note.id not in {each.root_id for each in records(judged, Incident)}


def test_incidents_that_begin_near_it_show_it(judged):
    near = {each.metric_name: each.id for each in records(judged, Incident)}
    shown = run("explain", near["error_rate"], "--db", judged).stdout
    assert "First seen around then" in shown
    assert "Error type BrandNewError is new" in shown
    assert "First seen" not in run("explain", near["inference_time_ms"], "--db", judged).stdout
    document = json.loads(run("explain", near["error_rate"], "--format", "json", "--db", judged).stdout)
    assert [each["kind"] for each in document["notes"]] == ["first_seen"]


def test_a_backtest_tells_notes_apart_and_says_how_sure_alerts_are(judged):
    result = run("backtest", "--since", "2026-03-01", "--db", judged)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == sum(each.incident_id is not None for each in records(judged, Anomaly))
    assert "And 1 note: first seen error type BrandNewError." in " ".join(result.stderr.split())
    assert {line["kind"] for line in lines}.isdisjoint({"first_seen"})
    kept = {(each.metric_name, each.detected_at): each for each in records(judged, Anomaly)}
    sure = sorted(round(each.confidence_score, 3) for each in kept.values() if each.incident_id)
    assert sorted(line["confidence"] for line in lines) == sure
    assert np.all(np.array(sure) > 0)


def test_an_incident_is_as_sure_as_its_root(judged):
    findings = {each.id: each for each in records(judged, Anomaly)}
    for each in records(judged, Incident):
        assert each.confidence_score == findings[each.root_id].confidence_score
        assert "Why:" not in each.title


def test_findings_are_chosen_by_metric_and_by_incident(judged):
    path = judged
    incident = next(each for each in records(path, Incident) if each.metric_name == "error_rate")
    lines = run("anomalies", "--incident", incident.id[:8], "--format", "jsonl", "--db", path).stdout.splitlines()
    assert {json.loads(line)["incident_id"] for line in lines} == {incident.id}
    assert len(lines) == incident.findings
    by_name = run(
        "anomalies", "--type", "error_rate,duration_ms", "--format", "jsonl", "--db", path
    ).stdout.splitlines()
    assert {json.loads(line)["anomaly_type"] for line in by_name} == {"error_rate"}
    refused = CliRunner().invoke(group, ["anomalies", "--type", "nonsense", "--db", path])
    assert refused.exit_code == 2
    assert "no metric that tracewatch metrics --all lists" in " ".join(refused.output.split()).replace("│ ", "")
