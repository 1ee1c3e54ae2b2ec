"""We are a guest: what we do wrong stays with us, what we change can be put back, nobody sees more than asked."""

import asyncio
import copy
import logging
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import anthropic
import ollama
import openai
import pytest
from asking import CHAT, COLOURS, LOCAL, MESSAGE, WAYS, ask, closing, make
from written import read_rows

import tracewatch
from tracewatch.capture import anthropic as anthropic_dialect
from tracewatch.capture import noting
from tracewatch.capture import ollama as ollama_dialect
from tracewatch.capture import openai as openai_dialect

DIALECTS = {"openai": openai_dialect, "anthropic": anthropic_dialect, "ollama": ollama_dialect}
PLAIN = {"openai": "create", "anthropic": "create", "ollama": "chat"}
READERS = {
    "openai": openai_dialect.ChatReader,
    "anthropic": anthropic_dialect.MessageReader,
    "ollama": ollama_dialect.LineReader,
}
PATCHED = [
    (openai.OpenAI, "request"),
    (openai.AsyncOpenAI, "request"),
    (openai.OpenAI, "_process_response"),
    (openai.OpenAI, "_sleep_for_retry"),
    (openai.OpenAI, "copy"),
    (openai.OpenAI, "with_options"),
    (anthropic.Anthropic, "request"),
    (anthropic.AsyncAnthropic, "_sleep_for_retry"),
    (ollama.Client, "_request"),
    (ollama.AsyncClient, "_request"),
]


class OurMistake(Exception):
    pass


def _wrong(*_, **__):
    raise OurMistake


@pytest.fixture
def mistakes(caplog, monkeypatch):
    """What the log says of mistakes of ours."""
    monkeypatch.setattr(noting, "_SAID", {})
    caplog.set_level(logging.WARNING, logger="tracewatch")
    return lambda: [each.getMessage() for each in caplog.records if "OurMistake" in each.getMessage()]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("broken", ["asked", "answered", "reader", "read", "fields"])
@pytest.mark.parametrize("library", list(DIALECTS))
def test_a_mistake_in_our_translation_is_ours_alone(provider, rows, mistakes, monkeypatch, library, broken, colour):
    if broken in ("read", "fields"):
        monkeypatch.setattr(READERS[library], broken, _wrong)
    else:
        monkeypatch.setattr(DIALECTS[library], broken, _wrong)
        if library == "ollama":
            monkeypatch.setattr(ollama_dialect._Dialect, broken, staticmethod(_wrong))
    way = PLAIN[library] if broken in ("asked", "answered") else "stream"
    for _ in range(2):
        assert ask(provider, library, way, colour)
    found = rows()
    assert [each["status"] for each in found] == ["ok", "ok"]
    assert all(each["duration_ms"] > 0 and each["model_provider"] == library for each in found)
    assert len(mistakes()) == 1  # and not once for every call


def test_a_mistake_when_a_call_begins(provider, rows, mistakes, monkeypatch):
    monkeypatch.setattr("tracewatch.capture.calls.Call", _wrong)
    assert ask(provider, "openai", "create").choices
    assert (rows(), len(mistakes())) == ([], 1)


def test_instrumenting_twice_counts_once(provider, row):
    tracewatch.instrument()
    tracewatch.instrument("openai")
    ask(provider, "openai", "create")
    assert row()["model_provider"] == "openai"


def test_uninstrument_puts_everything_back(provider, recording):
    def attributes():
        return [next(vars(each)[name] for each in kind.__mro__ if name in vars(each)) for kind, name in PATCHED]

    before = attributes()
    tracewatch.instrument()
    assert not [name for (_, name), was, now in zip(PATCHED, before, attributes(), strict=True) if was is now]
    tracewatch.uninstrument()
    assert attributes() == before
    ask(provider, "openai", "create")
    assert recording() == []
    tracewatch.instrument()
    ask(provider, "openai", "create")
    assert len(recording()) == 1


def test_what_others_have_wrapped_around_us_stays(provider, recording, monkeypatch):
    tracewatch.instrument("ollama")
    ours, seen = ollama.Client._request, []

    def theirs(self, *args, **kwargs):
        seen.append(args)
        return ours(self, *args, **kwargs)

    monkeypatch.setattr(ollama.Client, "_request", theirs)
    tracewatch.uninstrument()
    ask(provider, "ollama", "chat")
    assert (len(seen), recording()) == (1, [])
    monkeypatch.undo()
    tracewatch.uninstrument()


def test_only_what_was_asked_for_is_instrumented(provider, recording):
    tracewatch.instrument("anthropic")
    ask(provider, "openai", "create")
    ask(provider, "anthropic", "create")
    assert [each["model_provider"] for each in recording()] == ["anthropic"]


def test_a_library_that_is_not_known(recording, caplog, monkeypatch):
    monkeypatch.setattr(noting, "_SAID", {})
    tracewatch.instrument("gemini")
    assert "not 'gemini'" in caplog.text


@pytest.mark.parametrize("library", list(DIALECTS))
def test_one_client_alone(provider, recording, library):
    way, _ = WAYS[library][PLAIN[library]]
    with closing(make(library, "sync", provider)) as watched, closing(make(library, "sync", provider)) as other:
        assert tracewatch.wrap(watched) is watched
        way(watched)
        way(other)
    assert len(recording()) == 1


@pytest.mark.parametrize("library", ["openai", "anthropic"])
def test_copies_of_a_wrapped_client_are_wrapped(provider, recording, library):
    way, _ = WAYS[library][PLAIN[library]]
    with closing(tracewatch.wrap(make(library, "sync", provider))) as client:
        way(client.with_options(timeout=5))
        way(client.copy().with_options(max_retries=0))
    assert len(recording()) == 2


def test_a_wrapped_client_of_an_instrumented_library_counts_once(provider, row):
    with closing(tracewatch.wrap(make("openai", "sync", provider))) as client:
        client.chat.completions.create(**CHAT)
    assert row()["status"] == "ok"


@pytest.mark.parametrize("thing", [None, 7, "client", object()])
def test_what_is_no_client_is_given_back(thing, caplog, monkeypatch):
    monkeypatch.setattr(noting, "_SAID", {})
    assert tracewatch.wrap(thing) is thing
    assert "tracewatch.wrap() was given" in caplog.text


def test_a_client_made_before(provider, recording):
    with closing(make("openai", "sync", provider)) as client:
        create = client.chat.completions.create
        tracewatch.instrument()
        create(**CHAT)
    assert len(recording()) == 1


def test_nothing_is_recorded_when_recording_is_off(provider, tmp_path):
    tracewatch.init(str(tmp_path / "off.db"), enabled=False)
    tracewatch.instrument()
    try:
        assert ask(provider, "openai", "create").choices
    finally:
        tracewatch.uninstrument()
    assert not (tmp_path / "off.db").exists()


def test_answers_can_be_pickled_and_copied(provider, rows):
    answer = ask(provider, "openai", "create")
    assert pickle.loads(pickle.dumps(answer)) == copy.deepcopy(answer) == answer
    message = ask(provider, "anthropic", "create")
    assert pickle.loads(pickle.dumps(message)) == message


def test_signatures_stay_as_they_were(rows):
    import inspect

    assert "options" in inspect.signature(openai.OpenAI.request).parameters
    assert inspect.iscoroutinefunction(openai.AsyncOpenAI.request)
    assert inspect.iscoroutinefunction(anthropic.AsyncAnthropic._sleep_for_retry)
    assert not inspect.iscoroutinefunction(openai.OpenAI.request)


def test_prompts_and_answers_are_not_kept(provider, rows, tmp_path):
    for way in ("create", "stream", "raw", "response", "response stream"):
        ask(provider, "openai", way)
    for way in ("create", "stream", "text"):
        ask(provider, "anthropic", way)
    ask(provider, "ollama", "stream")
    assert len(rows()) == 9
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("calls.db*"))
    assert b"capital" not in kept


@pytest.mark.parametrize(
    ("library", "way"),
    [
        ("openai", "create"),
        ("openai", "stream"),
        ("openai", "raw stream"),
        ("openai", "response"),
        ("openai", "response stream"),
        ("anthropic", "create"),
        ("anthropic", "stream"),
        ("ollama", "chat"),
        ("ollama", "stream"),
    ],
)
def test_prompts_and_answers_are_kept_where_the_owner_wants_it(provider, tmp_path, library, way):
    path = tmp_path / "content.db"
    tracewatch.init(str(path), capture_content=True)
    tracewatch.instrument()
    try:
        ask(provider, library, way)
        (found,) = read_rows(path)
    finally:
        tracewatch.uninstrument()
        tracewatch.shutdown()
    assert found["metadata"]["answer_text"] == "Paris is the capital of France."
    assert "What is the capital" in str(found["metadata"]["prompt_text"])


def test_thinking_is_content(provider, tmp_path):
    path = tmp_path / "content.db"
    tracewatch.init(str(path), capture_content=True)
    tracewatch.instrument()
    try:
        with closing(make("anthropic", "sync", provider)) as client:
            request = {**MESSAGE, "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
            client.messages.create(**request)
            list(client.messages.create(**request, stream=True))
        found = read_rows(path)
    finally:
        tracewatch.uninstrument()
        tracewatch.shutdown()
    assert [each["reasoning"] for each in found] == ["The user asks for a capital."] * 2


def test_a_call_belongs_to_the_span_around_it(provider, rows):
    with tracewatch.trace("ask", user_id="anna", trace_id="t-1"), tracewatch.span("answer") as step:
        ask(provider, "openai", "stream")
    call = next(each for each in rows() if each["operation_type"] == "chat")
    assert (call["trace_id"], call["parent_span_id"], call["user_id"]) == ("t-1", step.span_id, "anna")


def test_threads_have_calls_of_their_own(provider, rows):
    def question(number):
        with tracewatch.trace("ask", trace_id=f"t-{number}"), closing(make("openai", "sync", provider)) as client:
            start.wait()
            client.chat.completions.create(**CHAT)

    start = threading.Barrier(6)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(question, range(6)))
    calls = [each for each in rows() if each["operation_type"] == "chat"]
    assert sorted(each["trace_id"] for each in calls) == [f"t-{number}" for number in range(6)]


def test_tasks_have_calls_of_their_own(provider, rows):
    async def question(client, number):
        with tracewatch.trace("ask", trace_id=f"t-{number}"):
            async for _ in await client.messages.create(**MESSAGE, stream=True):
                pass

    async def questions():
        client = make("anthropic", "async", provider)
        await asyncio.gather(*(question(client, number) for number in range(6)))
        await client.close()

    asyncio.run(questions())
    calls = [each for each in rows() if each["operation_type"] == "chat"]
    assert sorted(each["trace_id"] for each in calls) == [f"t-{number}" for number in range(6)]
    assert {each["output_tokens"] for each in calls} == {10}


def test_one_provider_fails_and_another_answers(provider, rows):
    with tracewatch.trace("ask"):
        with pytest.raises(anthropic.APIStatusError):
            ask(provider, "anthropic", "create", scenario="529", max_retries=0)
        assert ask(provider, "ollama", "chat").message.content
    failed, answered, asked = sorted(rows(), key=lambda each: each["operation_type"] == "request")
    assert failed["trace_id"] == answered["trace_id"] == asked["trace_id"]
    assert (failed["model_provider"], failed["status"]) == ("anthropic", "error")
    assert (answered["model_provider"], answered["status"]) == ("ollama", "ok")
    assert failed["duration_ms"] > 0


def test_an_answer_that_raises_leaves_its_latency_and_reaches_the_caller(provider, row):
    with pytest.raises(openai.InternalServerError, match="Error code: 500"):
        ask(provider, "openai", "create", scenario="500", max_retries=0)
    assert row()["status"] == "error"
    assert row()["duration_ms"] > 5


LATER = """
import sys
import tracewatch
tracewatch.init(sys.argv[1])
tracewatch.instrument()
assert not {"openai", "anthropic", "ollama", "httpx", "httpx2", "pydantic"} & set(sys.modules)
import anthropic, ollama, openai
from importlib import reload
openai.api_key, openai.base_url = "sk-ok", sys.argv[2] + "/v1/"
messages = [{"role": "user", "content": "x"}]
openai.chat.completions.create(model="gpt-4o-mini", messages=messages)
ollama.chat(model="llama3.2", messages=messages)
ollama.embed(model="nomic-embed-text", input="x")
with anthropic.Anthropic(api_key="sk-ok", base_url=sys.argv[2]) as client:
    client.messages.create(model="claude-test", max_tokens=9, messages=messages)
"""


def test_libraries_that_are_imported_later_and_their_functions(provider, tmp_path):
    path = tmp_path / "later.db"
    arguments = [sys.executable, "-c", LATER, str(path), provider.url]
    environment = {**os.environ, "OLLAMA_HOST": provider.url}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    tracewatch.init(str(path))
    try:
        found = read_rows(path)
    finally:
        tracewatch.shutdown()
    assert [each["model_provider"] for each in found] == ["openai", "ollama", "ollama", "anthropic"]


def test_opentelemetry_beside_us_can_be_told_apart(provider, row):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    with closing(make("anthropic", "sync", provider, open_telemetry={"tracer_provider": tracers})) as client:
        client.messages.create(**MESSAGE)
    (theirs,) = exporter.get_finished_spans()
    assert row()["response_id"] == theirs.attributes["gen_ai.response.id"]


def test_calls_within_a_call_are_not_mixed_up(provider, rows):
    """A retry asks for a new key, as a client whose keys are short-lived does."""
    with closing(make("ollama", "sync", provider)) as other:

        class Asking(openai.OpenAI):
            def _prepare_options(self, options):
                other.chat(**LOCAL)
                return super()._prepare_options(options)

        client = Asking(api_key="sk-429once-within", base_url=provider.url + "/v1")
        with closing(client):
            client.chat.completions.create(**CHAT)
    found = {each["model_provider"]: each for each in rows()}
    assert len(rows()) == 3
    assert found["openai"]["retry_count"] == 1
    assert "retry_count" not in found["ollama"]
