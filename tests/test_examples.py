"""The example programs, each run as a process of its own against the mock provider, and what they leave behind."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from mock_provider import Provider
from mock_provider.base import whole

from tracewatch.cli import group

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
TRACEWATCH = Path(sys.executable).with_name("tracewatch")
OURS = ("TRACEWATCH_", "OTEL_", "OPENAI_", "ANTHROPIC_", "OLLAMA_")


class Place:
    """A folder with a database, the provider that is asked from it, and what was recorded there."""

    def __init__(self, folder, provider):
        self.folder, self.provider = folder, provider
        self.db = folder / "tracewatch.db"

    def environ(self, **given):
        """No settings of the machine's; keys whose names say what the provider is to do."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        asked = {"ANTHROPIC_BASE_URL": self.provider.url, "ANTHROPIC_API_KEY": "sk-ok"}
        asked |= {"OPENAI_BASE_URL": f"{self.provider.url}/v1", "OPENAI_API_KEY": "sk-ok"}
        return {**plain, **asked, "OLLAMA_HOST": self.provider.url, **given}

    def run(self, script, code=0, **environ):
        """Runs a script to its end, warnings as errors; gives what it printed."""
        command = [sys.executable, "-W", "error", str(EXAMPLES / script)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ(**environ), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def tracewatch(self, *words):
        """What a command prints."""
        done = CliRunner().invoke(group, [*words, "--db", str(self.db)])
        assert done.exit_code == 0, done.output
        return done.stdout

    def rows(self, *filters):
        """The rows of the store as `tracewatch traces` gives them, oldest first."""
        lines = self.tracewatch("traces", "--format", "jsonl", "--limit", "10000", *filters).splitlines()
        return sorted(map(json.loads, lines), key=lambda row: row["start_time"])

    def stats(self):
        return json.loads(self.tracewatch("stats", "--format", "json"))


@pytest.fixture(scope="module")
def _provider():
    with Provider() as provider:
        yield provider


@pytest.fixture
def place(tmp_path, _provider):
    yield Place(tmp_path, _provider)
    _provider.answer = None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(place, bind, *command, **environ):
    """A server of an example in a process of its own; when the block ends, it is told to stop and has done so.

    The socket listens already and is handed over (`bind` says how), so a request just waits until the server is there.
    """
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as listening,
        (place.folder / "served.log").open("w") as log,
    ):
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *(each.format(listening.fileno()) for each in bind)],
            cwd=place.folder,
            env=place.environ(PYTHONPATH=str(EXAMPLES / "question_answering"), **environ),
            pass_fds=[listening.fileno()],
            stdout=log,
            stderr=log,
        )
    try:
        yield url
        process.terminate()
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()


def ask(url, **question):
    """Status and answer of one question."""
    body = json.dumps({"text": "What is the capital of France?", **question}).encode()
    request = urllib.request.Request(f"{url}/ask", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error) | {"trace_id": error.headers["x-trace-id"]}


UVICORN = (("--fd", "{}"), "uvicorn", "service:app")
GUNICORN = (("-b", "fd://{}"), "gunicorn", "service:app", "-k", "uvicorn_worker.UvicornWorker")


def lists_numbers(request):
    """A provider whose Anthropic answers with the list that the reranker wants."""
    from mock_provider import anthropic, openai

    if request.path != "/v1/messages":
        return openai.chat(request)
    answer = json.loads(anthropic.messages(request).body)
    return whole({**answer, "content": [{"type": "text", "text": "[2, 0]"}]}, anthropic.headers())


def test_one_question_is_one_group_of_two_calls(place):
    place.provider.answer = lists_numbers
    with serving(place, *UVICORN) as url:
        status, answer = ask(url, user_id="u1", conversation_id="c1")
    assert (status, answer["answer"]) == (200, "Paris is the capital of France.")

    rows = place.rows()
    assert {row["trace_id"] for row in rows} == {answer["trace_id"]}
    calls = [row for row in rows if row.get("model_name")]
    assert [(row["usage_type"], row["model_provider"], row["status"]) for row in calls] == [
        ("chat_rerank", "anthropic", "ok"),
        ("chat_answer", "openai", "ok"),
    ]
    assert all(row["duration_ms"] > 0 and row["user_id"] == "u1" and row["conversation_id"] == "c1" for row in calls)
    assert calls[1]["ttft_ms"] > 0
    assert calls[1]["output_tokens"] == 7
    (whole_request,) = (row for row in rows if row["operation_type"] == "request")
    assert (whole_request["rag_retrieval_method"], whole_request["service_name"]) == ("keywords", "question-answering")

    shown = place.tracewatch("trace", answer["trace_id"])
    assert "claude-haiku-4-5" in shown
    assert "gpt-4o-mini" in shown
    stats = place.stats()
    assert (stats["total_llm_calls"], stats["total_queries"], stats["total_conversations"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("key", "reason", "of_the_call"),
    [
        ("sk-ok", "Expecting value", "fallback"),  # an answer came, and was no list
        ("sk-400", "max_tokens: must be greater than 0", "error"),
    ],
)
def test_a_reranker_that_falls_back_says_why(place, key, reason, of_the_call):
    with serving(place, *UVICORN, ANTHROPIC_API_KEY=key) as url:
        status, _ = ask(url)
    assert status == 200
    (fallen,) = place.rows("--status", "fallback", "--operation", "step")
    assert fallen["span_name"] == "rerank"
    assert reason in fallen["error_message"]
    (call,) = place.rows("--provider", "anthropic")
    assert call["status"] == of_the_call
    (answered,) = place.rows("--usage-type", "chat_answer", "--operation", "chat")
    assert answered["status"] == "ok"


def test_an_answer_that_fails_is_a_row_and_reaches_the_caller(place):
    with serving(place, *UVICORN, OPENAI_API_KEY="sk-500") as url:
        status, told = ask(url)
    assert status == 502
    assert "The server had an error" in told["detail"]
    (call,) = place.rows("--usage-type", "chat_answer", "--operation", "chat")
    assert (call["status"], call["error_category"], call["retry_count"]) == ("error", "server_error", 1)
    assert call["duration_ms"] > 0
    (whole_request,) = place.rows("--operation", "request")
    assert (whole_request["status"], whole_request["trace_id"]) == ("error", told["trace_id"])


@pytest.mark.parametrize("server", [(*UVICORN, "--workers", "2"), (*GUNICORN, "--workers", "2")])
def test_two_workers_write_one_file(place, server):
    """uvicorn's workers are processes of their own, gunicorn's are forks."""
    with serving(place, *server) as url:
        traces = {ask(url)[1]["trace_id"] for _ in range(20)}
    rows = place.rows("--operation", "request")
    assert {row["trace_id"] for row in rows} == traces
    assert len(rows) == len(traces) == 20
    assert place.stats()["total_llm_calls"] == 40


def test_a_chain_goes_on_to_the_next_and_each_attempt_is_a_row(place):
    said = place.run("inbox/inbox.py", ANTHROPIC_API_KEY="sk-400")
    assert said.splitlines() == [f"m{number}: Paris is the capital of France." for number in (1, 2, 3)]
    rows = place.rows("--where", "model_provider=anthropic,ollama,openai")
    assert [(row["model_provider"], row["status"]) for row in rows] == [
        ("anthropic", "error"),
        ("ollama", "fallback"),
    ] * 3
    assert len({row["trace_id"] for row in rows}) == 3
    assert rows[1]["metadata"]["fallback_from"] == "anthropic"
    assert [row["status"] for row in place.rows("--operation", "request")] == ["fallback"] * 3
    assert place.stats()["total_llm_calls"] == 6


def test_the_chain_ends_with_openai_or_with_nobody(place):
    nobody = f"http://127.0.0.1:{free_port()}"
    place.run("inbox/inbox.py", ANTHROPIC_API_KEY="sk-400", OLLAMA_HOST=nobody)
    first = place.rows("--where", "model_provider=anthropic,ollama,openai")[:3]
    assert [row["status"] for row in first] == ["error", "error", "fallback"]
    assert first[1]["error_category"] == "connection"
    place.run("inbox/inbox.py", code=1, ANTHROPIC_API_KEY="sk-400", OLLAMA_HOST=nobody, OPENAI_API_KEY="sk-401")
    assert len(place.rows("--status", "error", "--operation", "request")) == 3


def test_a_nightly_run_is_summed_up_in_one_row(place):
    place.run("nightly/nightly.py")
    (run,) = place.rows("--operation", "batch", "--limit", "1")
    assert (run["usage_type"], run["model_provider"], run["model_name"]) == ("summaries_batch", "system", "batch")
    assert run["metadata"] == {"extracted": 2, "failed": 0, "skipped": 1}
    assert (run["status"], place.stats()["total_llm_calls"]) == ("ok", 2)
    place.run("nightly/nightly.py", OPENAI_API_KEY="sk-500")
    (last,) = place.rows("--operation", "batch")[1:]
    assert last["metadata"] == {"extracted": 0, "failed": 2, "skipped": 1}
    assert "summaries_batch" in place.tracewatch("traces", "--operation", "batch", "--limit", "1")


def test_an_example_writes_to_a_server_as_well(place):
    command = [TRACEWATCH, "serve", "--db", str(place.db), "--port", "0", "--otlp-port", "0", "--no-detection"]
    process = subprocess.Popen(command, env=place.environ(), stderr=subprocess.PIPE, text=True)
    try:
        found = next(filter(None, (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)))
        place.run("nightly/nightly.py", TRACEWATCH_URL=found[0])
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert not (place.folder / "nightly.db").exists()
    assert place.stats()["total_llm_calls"] == 2
    assert {row["service_name"] for row in place.rows()} == {"nightly"}


def test_the_mock_says_how_to_be_asked(place):
    command = [sys.executable, "-m", "mock_provider"]
    environ = place.environ(PYTHONPATH=str(ROOT / "tests"))
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        told = dict(re.findall(r"(\w+)=(\S+)", "".join(process.stdout.readline() for _ in range(3))))
        place.run("nightly/nightly.py", **told)
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert place.stats()["total_llm_calls"] == 2
