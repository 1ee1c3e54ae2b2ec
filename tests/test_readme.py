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


def _commands():
    for block in FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["tracewatch"]:
                yield words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader stands: with a usage database of an app at hand."""
    place = tmp_path_factory.mktemp("reader")
    sql = (
        "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT, usage_type TEXT, "
        "input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL, conversation_id TEXT, metadata TEXT);"
        "INSERT INTO llm_usage VALUES "
        "(1, datetime('now'), 'openai', 'gpt-4o-mini', 'chat_answer', 9, 9, 0.1, 'c', '{}')"
    )
    code = "import sqlite3, sys; sqlite3.connect('usage.db').executescript(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, sql], cwd=place, check=True)
    return place


def test_the_readme_shows_commands():
    assert len(list(_commands())) >= 6


def test_commands_of_the_readme_run(folder):
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    for words in _commands():
        done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
