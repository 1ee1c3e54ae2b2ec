"""`tracewatch incidents` as a person uses it, on a real store."""

import json

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.cli.times import parse_time
from tracewatch.errors import Ambiguous, NotFound
from tracewatch.records import Anomaly, Incident
from tracewatch.stores import open_store

NOON = parse_time("2026-03-02T12:00:00Z")
HOUR = 3600.0


def an_incident(number, **odd):
    ordinary = {
        "id": f"{number:x}{number:x}abcdef", "severity": "high", "title": f"Calls of ask waited {number} s.",
        "root_id": f"root-{number}", "metric_name": "ttft_ms", "kind": "spike", "direction": "up",
        "slice": {"operation_type": "ask"}, "confidence_score": 0.8, "started_at": NOON + number * HOUR,
        "detected_at": NOON + number * HOUR + 600, "updated_at": NOON + number * HOUR + 900, "findings": 2,
        "observed": 4200.0, "expected": 1100.0, "lower": 900.0, "upper": 1500.0,
    }  # fmt: skip
    return Incident(**ordinary | odd)


def a_finding(number, name="root", **odd):
    ordinary = {
        "id": f"{name}-{number}", "anomaly_type": "ttft", "severity": "high", "confidence_score": 0.8,
        "metric_name": "ttft_ms", "detected_value": 4200.0, "expected_value": 1100.0, "threshold_value": 1500.0,
        "deviation_percentage": 281.8, "statistics": {}, "description": f"The {name} of {number}.",
        "detected_at": NOON + number * HOUR + 600, "occurred_at": NOON + number * HOUR, "detector": "adaptive",
        "incident_id": f"{number:x}{number:x}abcdef",
    }  # fmt: skip
    return Anomaly(**ordinary | odd)


@pytest.fixture
def db(tmp_path):
    path = str(tmp_path / "watch.db")
    with open_store(path, create=True) as store:
        store.put(
            [
                an_incident(1, state="closed", severity="low", closed_at=NOON + 5 * HOUR, resolution_status="resolved"),
                an_incident(2, state="growing", severity="critical", title="[b]odd[/b] \x1b[31mcalls"),
                an_incident(
                    3, state="open", reopened=2, cost_effect_usd=12.5, time_effect_s=90.0, calls=1234,
                    contributing_factors=("The provider queued.",), recommended_actions=("Ask the provider.",),
                    trace_ids=("trace-7",),
                ),
            ]
        )  # fmt: skip
        store.put([a_finding(3, "symptom", occurred_at=NOON, detected_at=NOON), a_finding(3), a_finding(2)])
    return path


def run(*words, db, code=0):
    result = CliRunner().invoke(group, ["incidents", *words, "--db", db])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result


def listed(db, *words):
    return [each["id"][0] for each in json.loads(run("--format", "json", *words, db=db).stdout)]


def kept(db, record, id_):
    with open_store(db) as store:
        return store.get(record, {"project": "default", "id": id_})


def test_incidents_are_listed_newest_first_and_filtered(db):
    assert listed(db) == ["3", "2", "1"]
    assert listed(db, "--state", "open,growing") == ["3", "2"]
    assert listed(db, "--severity", "low") == ["1"]
    assert listed(db, "--since", "2026-03-02T14:00:00Z") == ["3", "2"]
    assert listed(db, "--state", "closed", "--severity", "critical") == []
    lines = run("--format", "jsonl", db=db).stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["open", "growing", "closed"]


def test_the_table_says_what_and_where_it_stands(db):
    told = run(db=db).stdout
    newest, odd = (line for line in told.splitlines() if line.startswith(("33abcdef", "22abcdef")))
    assert "Calls of ask waited 3 s." in newest
    assert "open again" in newest
    assert "growing" in odd
    assert "[b]odd[/b]" in odd
    assert "\x1b" not in odd


def test_a_list_goes_on_where_it_ended(db):
    first = run("--limit", "2", "--format", "json", db=db)
    cursor = first.stderr.split("--cursor ")[1].strip()
    assert listed(db, "--limit", "2", "--cursor", cursor) == ["1"]


@pytest.mark.parametrize(("option", "known"), [("--state", "recovering"), ("--severity", "critical")])
def test_a_word_that_does_not_exist_is_refused(db, option, known):
    result = run(option, "terrible", db=db, code=2)
    assert "'terrible' is none of" in result.output
    assert known in result.output


def test_none_yet_says_how_to_look_for_some(db, tmp_path):
    assert "ask for another --state" in run("--severity", "medium", db=db).stderr
    empty = str(tmp_path / "empty.db")
    with open_store(empty, create=True):
        pass
    told = run(db=empty)
    assert "tracewatch detect --detector adaptive" in told.stderr
    assert run("--format", "json", db=empty).stdout.strip() == "[]"


def test_one_incident_is_shown_with_everything_and_its_findings_root_first(db):
    told = run("show", "33", db=db).stdout
    for words in (
        *("High · open again", "Calls of ask waited 3 s.", "4.2 s", "1.1 s (900 ms to 1.5 s)", "operation_type ask"),
        *("2 times", "1,234", "$12.50", "1 min 30 s", "The provider queued.", "Ask the provider."),
        "tracewatch trace trace-7",
    ):
        assert words in told
    assert told.index("The root of 3.") < told.index("The symptom of 3.")
    assert "Closed" not in told
    bare = run("show", "11", db=db).stdout
    assert "Findings" not in bare
    assert "2026-03-02 17:00:00 UTC" in bare


def test_one_incident_as_json_carries_its_findings(db):
    told = json.loads(run("show", "33", "--format", "json", db=db).stdout)
    assert (told["state"], told["reopened"]) == ("open", 2)
    assert [each["id"] for each in told["anomalies"]] == ["root-3", "symptom-3"]


@pytest.mark.parametrize(
    ("verb", "status"), [("ack", "acknowledged"), ("resolve", "resolved"), ("dismiss", "dismissed")]
)
def test_people_deal_with_an_incident_and_all_its_findings(db, verb, status):
    assert f"is {status}: Calls of ask waited 3 s." in run(verb, "33", db=db).stderr
    done = [kept(db, Incident, "33abcdef"), kept(db, Anomaly, "root-3"), kept(db, Anomaly, "symptom-3")]
    assert [(each.resolution_status, each.acknowledged) for each in done] == [(status, True)] * 3
    assert kept(db, Anomaly, "root-2").resolution_status == "pending"


def test_an_id_that_is_not_there_or_not_enough_of_one(db):
    missing = CliRunner().invoke(group, ["incidents", "ack", "nope", "--db", db])
    assert isinstance(missing.exception, NotFound)
    assert "tracewatch incidents" in str(missing.exception)
    with open_store(db) as store:
        store.put([an_incident(3, id="33other")])
    assert isinstance(CliRunner().invoke(group, ["incidents", "show", "33", "--db", db]).exception, Ambiguous)


@pytest.mark.parametrize("option", [("--format", "json"), ("--state", "open"), ("--limit", "3")])
def test_options_of_the_list_are_refused_before_a_verb(db, option):
    result = CliRunner().invoke(group, ["incidents", *option, "ack", "33", "--db", db])
    assert result.exit_code == 2
    assert f"{option[0]} is about the list: 'ack' takes the ids of incidents." in " ".join(result.output.split())


def test_the_commands_to_type_next_name_the_store_that_was_named(db, tmp_path):
    told = CliRunner().invoke(group, ["incidents", "--db", db, "--project", "shop floor"]).output
    assert f"tracewatch detect --detector adaptive --db {db} --project 'shop floor'. " in told
    by_environment = CliRunner().invoke(group, ["incidents", "--project", "shop"], env={"TRACEWATCH_DB": db})
    missing = CliRunner().invoke(group, ["anomalies", "--db", db, "ack", "nothing-like-it"])
    assert "--db" not in by_environment.output
    assert str(missing.exception).endswith(f"List the newest with: tracewatch anomalies --db {db}")


def test_a_dismissal_says_what_it_would_have_hidden_and_teaches(db):
    odd = {"started_at": NOON - HOUR, "metric_name": "ttft_ms", "state": "closed"}
    with open_store(db) as store:
        store.put([an_incident(4, **odd), an_incident(5, **odd | {"observed": 90_000.0})])
    told = run("dismiss", "33", "--because", "too-small", "--preview", db=db).stderr
    assert "Would also have hidden 2 earlier incidents: 11abcdef, 44abcdef." in told
    assert kept(db, Incident, "33abcdef").resolution_status == "pending"
    assert "is dismissed" in run("dismiss", "33", "--because", "too-small", "--who", "anna", db=db).stderr
    (lesson,) = json.loads(run("taught", "--format", "json", db=db).stdout)
    assert (lesson["reason"], lesson["metric_name"], lesson["taught_by"]) == ("too_small", "ttft_ms", "anna")
    listed = run("taught", db=db).stdout
    assert "too small: ttft_ms up (operation_type ask)" in listed
    assert "more than 5.2× off" in listed
    run("unlearn", lesson["id"][:6], db=db)
    assert "Nothing was taught yet" in run("taught", db=db).stderr
    assert "taken back" in run("taught", "--all", db=db).stdout


def test_a_dismissal_without_a_reason_teaches_nothing_and_says_so(db):
    assert "add --because too-small" in run("dismiss", "33", db=db).stderr
    assert json.loads(run("taught", "--format", "json", db=db).stdout) == []


def test_what_was_done_last_is_undone(db):
    run("ack", "33", db=db)
    run("resolve", "33", "--because", "fixed", "--note", "rolled back", db=db)
    assert "is as it was before" in run("undo", "33", db=db).stderr
    assert kept(db, Incident, "33abcdef").resolution_status == "acknowledged"
    run("reopen", "33", db=db)
    assert kept(db, Anomaly, "root-3").resolution_status == "pending"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ((), "snoozed until 20"),
        (("--until", "tomorrow"), "snoozed until 20"),
        (("--until-worse",), "until it gets worse"),
    ],
)
def test_an_incident_is_snoozed(db, how, said):
    assert "Nobody is told until" in run("snooze", "33", *how, db=db).stderr
    assert said in run("show", "33", db=db).stdout
    assert "snoozed" in run(db=db).stdout


def test_a_snooze_takes_one_end(db):
    assert "Say one of" in run("snooze", "33", "--for", "1h", "--until-worse", db=db, code=2).output
    past = CliRunner().invoke(group, ["incidents", "snooze", "33", "--until", "2026-03-02", "--db", db])
    assert "ends in the future" in str(past.exception)


def test_a_note_is_kept_with_who_wrote_it(db):
    from tracewatch.records import Deed

    run("note", "33", "the provider knows", "--who", "ben", db=db)
    with open_store(db) as store:
        (deed,) = store.page(Deed, limit=5).records
    assert (deed.verb, deed.text, deed.done_by) == ("note", "the provider knows", "ben")
    assert kept(db, Incident, "33abcdef").resolution_status == "pending"


def test_what_findings_were_worth(db):
    run("dismiss", "33", "--because", "noise", db=db)
    run("resolve", "22", db=db)
    (row,) = json.loads(run("--quality", "--format", "json", db=db).stdout)
    assert (row["metric"], row["useful"], row["noise"], row["undecided"]) == ("ttft_ms", 2, 1, 0)
    assert row["precision"] == pytest.approx(2 / 3)
    assert "67%" in run("--quality", db=db).stdout


def test_what_recovers_says_when_it_closes(db):
    with open_store(db) as store:
        store.put([an_incident(3, state="recovering", recovering_at=NOON + 4 * HOUR)])
        store.put([a_finding(3, ended_at=NOON + 4 * HOUR), a_finding(3, "symptom", ended_at=NOON + 4 * HOUR)])
    told = " ".join(run("show", "33", db=db).stdout.split())
    assert "back in range since 2026-03-02 16:00:00 UTC; closes at 2026-03-02 18:00:00 UTC" in told


def test_findings_are_dealt_with_alike(db):
    for words in (["snooze", "root-3"], ["note", "root-3", "seen"], ["dismiss", "root-3", "--because", "wrong-metric"]):
        result = CliRunner().invoke(group, ["anomalies", *words, "--db", db])
        assert result.exit_code == 0, result.output
    assert kept(db, Anomaly, "root-3").resolution_status == "dismissed"
    assert "never" in run("taught", db=db).stdout
