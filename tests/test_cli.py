"""The command line as a whole: help, health, settings."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tracewatch import settings
from tracewatch.cli import COMMANDS, group
from tracewatch.errors import BadSetting
from tracewatch.records import Span
from tracewatch.stores import open_store


def run(*words):
    return CliRunner().invoke(group, list(words))


@pytest.fixture
def db(tmp_path):
    path = str(tmp_path / "watch.db")
    with open_store(path, create=True) as store:
        store.add([Span(start_time=1.0, trace_id="t", span_id="s", cost_status="unpriced")])
    return path


def every_group(command, path):
    """The groups of commands, each with the words that lead to it."""
    if isinstance(command, click.Group):
        yield command, path
        for name in command.list_commands(click.Context(command)):
            yield from every_group(command.get_command(click.Context(command), name), [*path, name])


GROUPS = [path for _, path in every_group(group, [])]


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: " ".join(path) or "tracewatch")
def test_no_summary_of_a_command_is_cut_in_a_terminal_of_80_columns(path):
    result = CliRunner().invoke(group, [*path, "--help"], env={"COLUMNS": "80"}, terminal_width=80)
    listed = result.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert listed
    assert [line for line in listed.splitlines() if line.endswith("...") or len(line) > 80] == []


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (("tracse",), "'trace' or 'traces'"),
        (("alerts", "aply"), "'apply'"),
        (("detect", "--detector", "adaptative"), "'adaptive'"),
        (("traces", "--format", "jsnol"), "'json"),
    ],
)
def test_a_word_that_is_nearly_right_gets_a_suggestion(words, guess):
    result = run(*words)
    assert result.exit_code == 2
    assert f"Did you mean {guess}" in result.stderr


def test_a_word_that_is_near_nothing_gets_no_suggestion():
    assert "Did you mean" not in run("qqqqq").stderr


@pytest.mark.parametrize(("noun", "show"), [("incidents", "incidents show"), ("anomalies", "explain")])
def test_an_id_in_place_of_a_command_leads_to_the_command_that_shows_it(noun, show):
    result = run(noun, "3f9a12c0")
    assert result.exit_code == 2
    assert f"type: tracewatch {show} 3f9a12c0" in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys; from tracewatch.cli import group\n"
        "try: group(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'numpy', 'pyarrow', 'rich', 'genai_prices'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"


def test_doctor_finds_a_sound_database(db):
    checks = {each["what"]: each for each in json.loads(run("doctor", "--db", db, "--format", "json").stdout)}
    assert checks["integrity"]["verdict"] == "ok"
    assert checks["cost"]["verdict"] == "warning"
    assert "prices check" in checks["cost"]["advice"]


def test_doctor_finds_a_damaged_database(db):
    with open_store(db) as store:
        store.add(Span(start_time=float(n), trace_id=f"t{n}", span_id="s" * 100) for n in range(3000))
    data = bytearray(Path(db).read_bytes())
    for page in range(20, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = bytes(64)
    Path(db).write_bytes(data)
    result = run("doctor", "--db", db)
    assert result.exit_code == 1
    assert "✗" in result.stdout


def test_doctor_says_when_there_is_no_database(tmp_path):
    result = run("doctor", "--db", str(tmp_path / "none.db"))
    assert result.exit_code == 1
    assert "there is no database" in result.stdout


@pytest.mark.parametrize("words", [("stats",), ("traces",), ("incidents",), ("watch", "--once"), ("detect",)])
def test_the_address_of_a_server_is_told_from_its_database(words):
    result = run(*words, "--db", "http://ann:secret@127.0.0.1:4319")
    assert result.exit_code == 1
    assert "is the address of a server, and its database is wanted here" in str(result.exception)
    assert "secret" not in str(result.exception)


def test_doctor_tells_the_address_of_a_server_from_a_database():
    assert "its database is wanted here" in run("doctor", "--db", "http://127.0.0.1:4319").stdout


def test_doctor_warns_where_nobody_watches(db):
    checks = {each["what"]: each for each in json.loads(run("doctor", "--db", db, "--format", "json").stdout)}
    assert (checks["detection"]["verdict"], checks["detection"]["found"]) == ("warning", "nobody watches")


def test_a_file_of_rules_that_is_not_there_is_told_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("alerts", "apply", "none.yaml")
    told = f"there is no file 'none.yaml' in {tmp_path}. Name a file like alerts.yaml"
    assert (result.exit_code, str(result.exception)) == (1, told)


def test_an_address_that_cannot_be_reached_is_named_once():
    result = run("alerts", "test", "json://127.0.0.1:1/abc")
    assert result.exit_code == 1
    assert result.stderr.count("json://") == 1


def test_settings_come_from_the_environment():
    assert settings.load({"TRACEWATCH_DB": "here.db", "TRACEWATCH_PROJECT": ""}).db == "here.db"
    assert settings.load({}).project == "default"


def test_a_setting_that_cannot_be_is_refused():
    with pytest.raises(BadSetting, match="must be one of normal, full"):
        settings.load({"TRACEWATCH_DURABILITY": "none"})
