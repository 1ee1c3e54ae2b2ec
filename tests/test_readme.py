"""The commands of the README run as they stand there, on real input."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
FENCE = re.compile(r"```sh\n(.*?)```", re.DOTALL)
SETTING = re.compile(r"(TRACEWATCH_\w+)=(.*)", re.DOTALL)


def _commands():
    """Each command of tracewatch, with the settings that stand before it."""
    for block in FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        for line in block.splitlines():
            words, settings = shlex.split(line, comments=True), {}
            while words and (given := SETTING.fullmatch(words[0])):
                settings[given[1]] = given[2]
                words.pop(0)
            if words[:1] == ["tracewatch"]:
                yield settings, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader stands: with a usage database of an app at hand."""
    place = tmp_path_factory.mktemp("reader")
    sql = (
        "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT, usage_type TEXT, "
        "input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL, conversation_id TEXT, metadata TEXT);"
        "INSERT INTO llm_usage VALUES "
        "(1, datetime('now'), 'openai', 'gpt-4o-mini', 'chat_answer', 9, 9, 0.1, 'c', '{\"judge_score\": 0.8}')"
    )
    code = "import sqlite3, sys; sqlite3.connect('usage.db').executescript(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, sql], cwd=place, check=True)
    return place


def test_the_readme_shows_commands():
    named = {words[1] for _, words in _commands()}
    assert {"import", "detect", "incidents", "metrics", "backtest"} <= named


def test_commands_of_the_readme_run(folder):
    for settings, words in _commands():
        environ = {**os.environ, **settings, "PATH": f"{BIN}:{os.environ['PATH']}"}
        done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
        if settings:
            assert "judge_score" in done.stdout
