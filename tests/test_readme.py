"""What the README and the first steps show runs as it stands there, on real input."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mock_provider import Provider

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
FENCE = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
SETTING = re.compile(r"(TRACEWATCH_\w+)=(.*)", re.DOTALL)
PAGES = ("README.md", "docs/getting-started.md")
USAGE = (
    "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT, usage_type TEXT, "
    "input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL, conversation_id TEXT, metadata TEXT);"
    "INSERT INTO llm_usage VALUES "
    "(1, datetime('now'), 'openai', 'gpt-4o-mini', 'chat_answer', 9, 9, 0.1, 'c', '{\"judge_score\": 0.8}')"
)
TRACES = (
    "trace_id,span_id,start_time,operation_type,model_name,model_provider,duration_ms,input_tokens,output_tokens\n"
    "t1,s1,2026-03-02T12:00:00Z,chat,gpt-4o-mini,openai,812,1200,90\n"
)


def _shown(page):
    """Each piece of code of a page: programs, and commands of tracewatch with the settings before them."""
    for language, block in FENCE.findall((ROOT / page).read_text(encoding="utf-8")):
        if language == "python":
            yield {}, [str(BIN / "python"), "-W", "error", "-c", block]
            continue
        for line in block.splitlines():
            words, settings = shlex.split(line, comments=True), {}
            while words and (given := SETTING.fullmatch(words[0])):
                settings[given[1]] = given[2]
                words.pop(0)
            if words[:1] == ["tracewatch"]:
                yield settings, words


@pytest.fixture
def reader(tmp_path):
    """Runs what a reader types, where an app's usage database and an export of traces lie, and a model answers."""
    code = "import sqlite3, sys; sqlite3.connect('usage.db').executescript(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, USAGE], cwd=tmp_path, check=True)
    (tmp_path / "llm_traces.csv").write_text(TRACES, encoding="utf-8")
    with Provider() as provider:
        known = {
            "OPENAI_BASE_URL": f"{provider.url}/v1",
            "OPENAI_API_KEY": "sk-ok",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

        def run(words, settings):
            environ = {**os.environ, **known, **settings}
            if words[:2] == ["tracewatch", "serve"]:
                return _served([*words, "--port", "0", "--otlp-port", "0"], tmp_path, environ)
            done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True)
            assert done.returncode == 0, (words, done.stderr)
            return done.stdout

        yield run


def _served(words, folder, environ):
    """The first line of a server, which is then told to stop."""
    process = subprocess.Popen(words, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        first = process.stderr.readline()
        assert re.search(r"at http://127\.0\.0\.1:\d+", first), first
    finally:
        process.terminate()
        process.communicate(timeout=60)
    return first


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_runs(reader, page):
    for settings, words in _shown(page):
        said = reader(words, settings)
        if settings:
            assert "judge_score" in said
        if words[1:2] == ["traces"] and page == "README.md":
            assert "gpt-4o-mini" in said  # what the program above it has recorded


@pytest.mark.parametrize(
    ("page", "commands"),
    [
        ("README.md", {"import", "detect", "incidents", "metrics", "backtest", "serve", "traces", "stats", "doctor"}),
        ("docs/getting-started.md", {"import", "detect", "anomalies", "backtest", "serve", "traces", "stats", "keys"}),
    ],
)
def test_the_pages_show_how_to_begin(page, commands):
    shown = list(_shown(page))
    assert commands == {words[1] for _, words in shown if words[0] == "tracewatch"}
    assert any(words[0].endswith("python") for _, words in shown)
