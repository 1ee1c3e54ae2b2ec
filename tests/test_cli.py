"""The command line as a whole: help, health, settings."""

import json
import subprocess
import sys
from pathlib import Path

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


def test_settings_come_from_the_environment():
    assert settings.load({"TRACEWATCH_DB": "here.db", "TRACEWATCH_PROJECT": ""}).db == "here.db"
    assert settings.load({}).project == "default"


def test_a_setting_that_cannot_be_is_refused():
    with pytest.raises(BadSetting, match="must be one of normal, full"):
        settings.load({"TRACEWATCH_DURABILITY": "none"})
