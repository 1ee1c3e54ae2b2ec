"""`tracewatch alerts`, as a person and as a script use it."""

import json
import time

import pytest
from click.testing import CliRunner
from hearing import HOUR, a_finding, an_incident, receiver

from tracewatch.alerts.telling import Alerting
from tracewatch.cli import group
from tracewatch.records import AlertChannel, AlertRule, Delivery
from tracewatch.stores import open_store

RULES = """
channels:
  team: {url}
rules:
  - name: waits
    metrics: [ttft_ms]
  - name: never
    metrics: [rag_relevance_score]
"""


@pytest.fixture
def heard():
    with receiver() as there:
        yield there


@pytest.fixture
def db(tmp_path):
    """A database with an incident of the last hour that lasts, and one of the day before that is over."""
    path, now = str(tmp_path / "w.db"), time.time()
    new = {"started_at": now - HOUR, "detected_at": now - HOUR, "updated_at": now}
    old = {"started_at": now - 25 * HOUR, "detected_at": now - 25 * HOUR, "updated_at": now - 20 * HOUR}
    with open_store(path, create=True) as store:
        store.add([an_incident(**new)])
        store.add([an_incident(id="i2", metric_name="error_rate", state="closed", closed_at=now - 22 * HOUR, **old)])
        store.add([a_finding(detected_at=now - HOUR, occurred_at=now - HOUR)])
    return path


@pytest.fixture
def file(tmp_path, heard):
    path = tmp_path / "alerts.yaml"
    path.write_text(RULES.format(url=heard.url))
    return str(path)


def run(*words, db, code=0):
    result = CliRunner().invoke(group, ["alerts", *words, "--db", db])
    assert result.exit_code == code, result.output
    return result


def test_a_plan_puts_the_rules_of_a_file_beside_those_in_force(db, file):
    shown = run("plan", file, "--since", "7d", db=db)
    assert "waits" in shown.stdout
    assert "would have told nothing: never" in shown.stderr
    plans = json.loads(run("plan", file, "--since", "7d", "--format", "json", db=db).stdout)
    fired = {each["rule"]: each["fired"] for each in plans["file"]["rules"]}
    assert fired == {"waits": 1, "never": 0, "default": 1}
    assert {each["rule"]: each["fired"] for each in plans["in_force"]["rules"]} == {"default": 2}
    assert plans["file"]["missed"] == []
    with open_store(db) as store:
        assert (store.count(Delivery), store.count(AlertRule)) == (0, 0)


def test_a_plan_names_what_nobody_would_have_been_told_of(db, tmp_path):
    (tmp_path / "few.yaml").write_text("rules:\n  - name: default\n    severity: critical\n")
    plans = json.loads(run("plan", str(tmp_path / "few.yaml"), "--format", "json", db=db).stdout)
    assert {each["id"] for each in plans["file"]["missed"]} == {"i1", "i2"}


def test_apply_makes_the_rules_equal_to_the_file(db, file, tmp_path, heard):
    dry = run("apply", file, "--dry-run", db=db)
    assert dry.stdout.splitlines() == ["+ channel team (added)", "+ rule waits (added)", "+ rule never (added)"]
    with open_store(db) as store:
        assert store.count(AlertRule) == 0
    assert run("apply", file, db=db).stdout == dry.stdout
    assert "Nothing changes" in run("apply", file, db=db).stderr
    other = f"channels:\n  ops: {heard.url}\nrules:\n  - name: waits\n    severity: high\n"
    (tmp_path / "other.yaml").write_text(other)
    changed = json.loads(run("apply", str(tmp_path / "other.yaml"), "--format", "json", db=db).stdout)
    assert changed["rules"] == {"added": [], "changed": ["waits"], "removed": ["never"], "same": []}
    with open_store(db) as store:
        assert [each.severity for each in store.page(AlertRule).records] == ["high"]
        assert [each.name for each in store.page(AlertChannel).records] == ["ops"]


def test_a_file_with_mistakes_changes_nothing_and_says_all_of_them(db, tmp_path):
    (tmp_path / "bad.yaml").write_text("rules:\n  - name: a\n    severty: high\n    for: soon\n")
    result = run("apply", str(tmp_path / "bad.yaml"), db=db, code=1)
    assert result.stderr.splitlines() == [
        "tracewatch: bad.yaml line 3: rule 'a': a rule has no entry 'severty': did you mean severity?",
        "tracewatch: bad.yaml line 4: rule 'a': for is a time like 90s, 10m, 24h or 7d, and not 'soon'",
    ]


def test_a_channel_that_cannot_be_opened_from_here_is_pointed_out(db, tmp_path):
    (tmp_path / "odd.yaml").write_text("channels:\n  a: ${NOT_SET_HERE}\n  b: 'nothing://x'\n")
    said = run("apply", str(tmp_path / "odd.yaml"), db=db).stderr
    assert "channel a from here: the environment variable NOT_SET_HERE is not set here" in said
    assert "channel b from here" in said


def test_the_list_says_where_rules_stand_and_gives_the_file_back(db, file, tmp_path):
    run("apply", file, db=db)
    found = json.loads(run("list", "--format", "json", db=db).stdout)
    assert {each["name"]: each["state"] for each in found["rules"]} == {
        "waits": "pending", "never": "ok", "default": "ok",
    }  # fmt: skip
    with open_store(db) as store:
        Alerting(store, "default").run(time.time())
    assert "firing" in run("list", db=db).stdout
    (tmp_path / "again.yaml").write_text(run("list", "--format", "yaml", db=db).stdout)
    assert "Nothing changes" in run("apply", str(tmp_path / "again.yaml"), db=db).stderr


def test_a_test_says_what_came_back(db, file, heard):
    assert "There is no channel" in run("test", db=db, code=1).stderr
    run("apply", file, db=db)
    assert run("test", db=db).stdout == "team: taken\n"
    assert [each["type"] for each in heard.messages] == ["test"]
    heard.answers += [403]
    assert "403" in run("test", "team", db=db, code=1).stderr
    assert "taken" in run("test", heard.url, db=db).stdout
    assert "no such channel" in run("test", "tea", db=db, code=1).stderr


def test_what_was_given_up_is_shown_and_tried_again(db, file, heard):
    run("apply", file, db=db)
    heard.answers += [404]
    with open_store(db) as store:
        Alerting(store, "default").run(time.time())
    CliRunner().invoke(group, ["watch", "--once", "--db", db])
    (row,) = json.loads(run("deliveries", "--state", "dead", "--format", "json", db=db).stdout)
    assert ("404" in row["answer"], row["attempts"], "message" in row, "token" in row) == (True, 1, False, False)
    assert row["key"] in run("deliveries", db=db).stdout
    assert "1 message is tried again" in run("resend", row["key"][:8], db=db).stderr
    CliRunner().invoke(group, ["watch", "--once", "--db", db])
    assert [each["state"] for each in json.loads(run("deliveries", "--format", "json", db=db).stdout)] == ["sent"]
    assert len(heard.keys) == 2
    run("resend", "none", db=db, code=1)
    run("resend", db=db, code=2)


def test_to_try_a_channel_makes_no_database(tmp_path):
    path = tmp_path / "none.db"
    assert "There is no channel" in run("test", db=str(path), code=1).stderr
    assert not path.exists()
