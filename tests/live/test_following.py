"""`tracewatch watch`, as a person and as a script use it."""

import json
import time

import pytest
from click.testing import CliRunner
from workload import DAY, calls

from tracewatch.cli import group
from tracewatch.live import Tenure
from tracewatch.records import SEVERITIES, Anomaly, Headway, Incident, Span
from tracewatch.stores import open_store


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A database that nobody has looked at: nine days of calls up to now, with incidents in the last of them."""
    path = str(tmp_path_factory.mktemp("followed") / "w.db")
    with open_store(path, create=True) as store:
        for batch in calls(start=time.time() - 9 * DAY).to_batches():
            store.add_batch(Span, batch)
    return path


def run(*words, db):
    result = CliRunner().invoke(group, [*words, "--db", db])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def once(path):
    return run("watch", "--once", "--format", "jsonl", db=path)


def test_each_finding_and_each_incident_is_one_object_a_line(once, path):
    events = [json.loads(line) for line in once.stdout.splitlines()]
    with open_store(path) as store:
        assert {each["id"] for each in events if each["event"] == "finding"} == {
            each.id for each in store.page(Anomaly).records
        }
        assert {each["id"] for each in events if each["event"] == "incident"} == {
            each.id for each in store.page(Incident).records
        }
    assert {each["metric_name"] for each in events} >= {"inference_time_ms", "error_rate"}


def test_what_was_told_is_not_told_again(once, path):
    again = run("watch", "--once", "--format", "json", db=path)
    assert [each for each in json.loads(again.stdout) if each["event"] == "finding"] == []
    assert "what was learned is kept" in again.stderr


@pytest.mark.usefixtures("once")
def test_how_far_it_has_come_is_written_down(path):
    with open_store(path) as store:
        (headway,) = store.page(Headway).records
    assert headway.behind_s == 0
    assert headway.learned_days >= 8
    assert 0 < time.time() - headway.judged_until < 7200


def test_people_get_lines(tmp_path):
    path = str(tmp_path / "w.db")
    with open_store(path, create=True) as store:
        for batch in calls(start=time.time() - 9 * DAY).to_batches():
            store.add_batch(Span, batch)
    said = run("watch", "--once", db=path)
    assert "Judging what has come" in said.stderr
    lines = said.stdout.splitlines()
    assert any("closed" in line for line in lines)
    assert all(line.startswith("20") for line in lines)
    assert any(SEVERITIES[-1] in line or SEVERITIES[-2] in line for line in lines)


@pytest.mark.usefixtures("once")
def test_detect_shows_what_another_process_has_found(path):
    with open_store(path) as store:
        tenure = Tenure(store, "tracewatch watch on a machine, process 7")
        assert tenure.take()
        with tenure.kept(every_s=0.01):
            shown = run("detect", "--since", "2d", db=path)
            assert "process 7 watches this database" in shown.stderr
            assert "incidents in" in shown.stdout
            assert tenure.lease.epoch == tenure.current().epoch
