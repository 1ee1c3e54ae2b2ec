"""`tracewatch explain` of findings and incidents of the adaptive engine, as a person uses it."""

import json
import re

import pytest
from click.testing import CliRunner
from explained import END, ONSET, kept, ordinary, since_onset

from tracewatch.cli import group
from tracewatch.errors import NotFound
from tracewatch.records import Anomaly, Incident
from tracewatch.stores import open_store

INCIDENT = {
    "id": "1nc1dent",
    "state": "open",
    "severity": "high",
    "title": "Chat is slow",
    "root_id": "r00tr00t",
    "metric_name": "duration_ms",
    "kind": "level_shift",
    "direction": "up",
    "slice": {"model_name": "gpt-4o"},
    "confidence_score": 0.93,
    "started_at": ONSET,
    "detected_at": ONSET + 1500,
    "updated_at": END,
    "observed": 5200.0,
    "expected": 2900.0,
    "lower": 2500.0,
    "upper": 3400.0,
    "contributing_factors": ("slower speed, as it was told then",),
    "recommended_actions": ("Ask openai, as it was told then.",),
}
FINDING = {
    "id": "r00tr00t",
    "incident_id": "1nc1dent",
    "anomaly_type": "duration",
    "severity": "high",
    "confidence_score": 0.93,
    "metric_name": "duration_ms",
    "detected_value": 5200.0,
    "expected_value": 2900.0,
    "threshold_value": 3400.0,
    "deviation_percentage": 80.0,
    "statistics": {"expectedRange": {"lower": 2500.0, "upper": 3400.0}, "learning": {"days": 14, "of": 30}},
    "description": "Calls of gpt-4o take 5.2 s",
    "detected_at": ONSET + 1500,
    "occurred_at": ONSET,
    "detector": "adaptive",
    "kind": "level_shift",
    "direction": "up",
    "slice": {"model_name": "gpt-4o"},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A store with slow answers of one model, an incident about them, its root finding and a symptom."""
    rows = ordinary()
    for row in since_onset(rows, model_name="gpt-4o"):
        row["duration_ms"] += row["output_tokens"] / row["tokens_per_second"] * 1000
        row["tokens_per_second"] /= 2
    path = tmp_path_factory.mktemp("explain") / "watch.db"
    symptom = FINDING | {"id": "5ymptom", "metric_name": "ttft_ms", "description": "[b]First tokens come late[/b]"}
    with kept(path, rows) as store:
        store.put([Incident(**INCIDENT)])
        store.put([Anomaly(**FINDING), Anomaly(**symptom)])
    return path


@pytest.fixture
def db(template, tmp_path):
    path = tmp_path / "watch.db"
    path.write_bytes(template.read_bytes())
    return str(path)


def run(*words, db, env=None):
    result = CliRunner().invoke(group, ["explain", *words, "--db", db], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_an_incident_is_explained_from_what_came_to_what_to_open(db):
    told = run("1nc1", db=db).stdout
    assert told.startswith("High · incident, open · 1nc1dent\nCalls of gpt-4o take 5.2 s since 2026-03-10 10:00 UTC")
    for fact in (
        "What came      5.2 s\n",
        "Expected       2.5–3.4 s\n",
        "How sure       very likely, 0.93 of 1\n",
        "Where          model gpt-4o\n",
    ):
        assert fact in told
    assert re.search(r"Touched +\d+ calls, 8 users\n", told)
    assert re.search(r"Compared with +\d+ calls of the same hours of 6 days before\n", told)
    assert re.search(r"Why\n  • slower speed \(\d+.* tokens/s, usually \d+", told)
    assert "Ask openai about the speed of gpt-4o" in told
    assert len(re.findall(r"^  tracewatch trace t\d+", told, re.MULTILINE)) == 6
    assert "(a usual one, to compare)" in told


def test_the_chart_shows_the_band_the_onset_the_detection_and_now(db):
    told = run("1nc1", db=db).stdout
    chart = told[told.index("duration_ms, each point") : told.index("\nWhy")]
    assert "●" in chart
    assert "░" in chart
    assert "▲ since 2026-03-10 10:00:00  ◆ detected 2026-03-10 10:25:00  ■ now 2026-03-10 12:" in chart
    marks = next(line for line in chart.splitlines() if "▲" in line)
    assert marks.index("▲") < marks.index("◆") < marks.index("■")


def test_the_bars_of_a_bridge_are_signed_and_its_sum_is_told(db):
    told = run("1nc1", db=db).stdout
    bridge = told[told.index("Time of a call, from the usual to what came") :]
    assert re.search(r"  [\d.]+ s → [\d.]+ s \(\+[\d.]+ s\)\n", bridge)
    assert re.search(r"  slower speed +▒*│█+ \+[\d.]+ s\n", bridge)


def test_symptoms_are_folded_under_their_incident_and_their_markup_is_shown_not_obeyed(db):
    told = run("1nc1", db=db).stdout
    assert "Also part of it\n  • [b]First tokens come late[/b]\n" in told


def test_a_finding_is_explained_by_itself_with_its_learning_state_and_its_incident(db):
    told = run("r00t", db=db).stdout
    assert told.startswith("High · level shift · r00tr00t\n")
    assert "Learning       learning 14/30 days when it was found\n" in told
    assert "Incident       1nc1dent\n" in told


def test_json_carries_the_record_and_the_whole_explanation(db):
    told = json.loads(run("1nc1", "--format", "json", db=db).stdout)
    assert told["id"] == "1nc1dent"
    why = told["explanation"]
    assert why["factors"][0].startswith("slower speed")
    assert why["causes"]["version"] == 1
    assert why["causes"]["latency"]["unit"] == "ms"
    assert why["time_effect_s"] > 0
    assert json.loads(run("r00t", "--format", "json", db=db).stdout)["explanation"]["calls"] == why["calls"]


@pytest.mark.parametrize("columns", ["40", "60", "160"])
def test_no_line_is_wider_than_the_window_and_piped_text_has_no_colour(db, columns):
    told = run("1nc1", db=db, env={"COLUMNS": columns}).stdout
    assert max(map(len, told.splitlines())) <= int(columns)
    assert "\x1b" not in told


def test_calls_that_are_gone_are_told_as_gone_and_what_was_kept_is_shown(db):
    with open_store(db) as store:
        store.retain(END + 86400)
    told = run("1nc1", db=db).stdout
    assert "The calls of that time are no longer in the database (retention)" in told
    assert "• slower speed, as it was told then\n" in told
    assert "• Ask openai, as it was told then.\n" in told
    assert "each point" not in told
    assert "The calls of that time are gone (retention), and nothing was kept" in run("r00t", db=db).stdout


def test_a_closed_incident_says_from_when_to_when(db):
    with open_store(db) as store:
        store.put([Incident(**INCIDENT | {"state": "closed", "closed_at": END - 3600})])
    told = run("1nc1", db=db).stdout
    assert "from 2026-03-10 10:00 UTC to 2026-03-10 12:00 UTC" in told.replace("\n", " ")
    assert "■ over 2026-03-10 12:00:00" in told


def test_an_unknown_id_is_refused_with_what_to_do(db):
    result = CliRunner().invoke(group, ["explain", "none", "--db", db])
    assert isinstance(result.exception, NotFound)
    assert "tracewatch anomalies" in str(result.exception)
    assert "tracewatch incidents" in str(result.exception)


def test_what_gave_time_back_is_named_so_and_less_than_usual_is_no_waiting(tmp_path):
    rows = ordinary()
    for row in since_onset(rows, model_name="gpt-4o"):
        row["duration_ms"] -= 0.9 * row["output_tokens"] / row["tokens_per_second"] * 1000 - 100
        row["ttft_ms"] += 100
        row["output_tokens"] *= 0.1
    path = tmp_path / "watch.db"
    with kept(path, rows) as store:
        store.put([Incident(**INCIDENT | {"metric_name": "ttft_ms", "observed": 500.0, "expected": 400.0})])
    told = run("1nc1", db=str(path)).stdout
    assert re.search(r"  shorter answers +▒+│ +-[\d.]+ s\n", told)
    assert "longer answers" not in told
    assert "Waiting" not in told
    assert "less than usual" not in told
