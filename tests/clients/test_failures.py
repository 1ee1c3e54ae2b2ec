"""A call that fails leaves its row, and the host sees the very exception of the client, at the place where it was."""

import asyncio
import traceback

import anthropic
import httpx
import ollama
import openai
import pytest
from asking import CHAT, COLOURS, LOCAL, MESSAGE, City, ask, closing, make

import tracewatch

REFUSED = [
    ("openai", "create", "400", openai.BadRequestError, "invalid_request"),
    ("openai", "create", "401", openai.AuthenticationError, "auth"),
    ("openai", "create", "context", openai.BadRequestError, "context_length"),
    ("openai", "create", "429", openai.RateLimitError, "rate_limit"),
    ("openai", "create", "quota", openai.RateLimitError, "quota"),
    ("openai", "create", "500", openai.InternalServerError, "server_error"),
    ("openai", "create", "503", openai.InternalServerError, "overloaded"),
    ("openai", "create", "drop", openai.APIConnectionError, "connection"),
    ("openai", "stream", "401", openai.AuthenticationError, "auth"),
    ("openai", "helper", "401", openai.AuthenticationError, "auth"),
    ("openai", "raw", "401", openai.AuthenticationError, "auth"),
    ("openai", "streamed body", "401", openai.AuthenticationError, "auth"),
    ("openai", "response", "429", openai.RateLimitError, "rate_limit"),
    ("openai", "response helper", "401", openai.AuthenticationError, "auth"),
    ("openai", "embedding", "500", openai.InternalServerError, "server_error"),
    ("anthropic", "create", "400", anthropic.BadRequestError, "invalid_request"),
    ("anthropic", "create", "401", anthropic.AuthenticationError, "auth"),
    ("anthropic", "create", "context", anthropic.BadRequestError, "context_length"),
    ("anthropic", "create", "429", anthropic.RateLimitError, "rate_limit"),
    ("anthropic", "create", "529", anthropic.APIStatusError, "overloaded"),
    ("anthropic", "stream", "500", anthropic.InternalServerError, "server_error"),
    ("anthropic", "create", "drop", anthropic.APIConnectionError, "connection"),
    ("anthropic", "helper", "401", anthropic.AuthenticationError, "auth"),
    ("anthropic", "beta", "401", anthropic.AuthenticationError, "auth"),
    ("anthropic", "raw", "401", anthropic.AuthenticationError, "auth"),
    ("ollama", "chat", "404", ollama.ResponseError, "not_found"),
    ("ollama", "chat", "500", ollama.ResponseError, "server_error"),
    ("ollama", "stream", "404", ollama.ResponseError, "not_found"),
    ("ollama", "embed", "500", ollama.ResponseError, "server_error"),
    ("ollama", "chat", "drop", httpx.RemoteProtocolError, "connection"),
]
WITHOUT_RETRIES = {"openai": {"max_retries": 0}, "anthropic": {"max_retries": 0}, "ollama": {}}

BROKEN = [
    ("openai", "stream"),
    ("openai", "helper"),
    ("openai", "raw stream"),
    ("openai", "response stream"),
    ("anthropic", "stream"),
    ("anthropic", "text"),
    ("ollama", "stream"),
]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("library", "way", "scenario", "kind", "category"), REFUSED)
def test_a_refused_call(provider, row, library, way, scenario, kind, category, colour):
    with pytest.raises(kind) as raised:
        ask(provider, library, way, colour, scenario, **WITHOUT_RETRIES[library])
    found = row()
    assert found["status"] == "error"
    assert (found["error_type"], found["error_category"]) == (type(raised.value).__name__, category)
    assert found["error_message"] == str(raised.value)[:500]
    assert found["duration_ms"] > 0
    assert not {"input_tokens", "output_tokens", "cost_usd", "inference_time_ms"} & found.keys()
    if library != "ollama" and scenario != "drop":
        assert found["metadata"]["request_id"].startswith("req_")


def test_a_substitute_has_its_shares_of_time_like_any_other(provider, rows):
    for attempt in tracewatch.attempts("answer", ["anthropic", "openai"]):
        with attempt:
            ask(provider, attempt.choice, "create", scenario="401" if attempt.choice == "anthropic" else "ok")
    failed, answered = rows()
    assert (failed["status"], answered["status"]) == ("error", "fallback")
    assert {"queue_time_ms", "inference_time_ms", "network_time_ms"} <= answered.keys()
    assert not {"inference_time_ms", "network_time_ms"} & failed.keys()


@pytest.mark.parametrize("library", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("colour", COLOURS)
def test_the_exception_has_the_traceback_it_would_have(provider, recording, library, colour):
    way = "chat" if library == "ollama" else "create"

    def frames():
        scenario = "404" if library == "ollama" else "401"
        with pytest.raises((openai.APIError, anthropic.APIError, ollama.ResponseError)) as raised:
            ask(provider, library, way, colour, scenario)
        trace = traceback.extract_tb(raised.value.__traceback__)
        others = [each for each in trace if "tracewatch" not in each.filename]
        return [(each.filename, each.name) for each in others], repr(raised.value), raised.value.__cause__

    alone = frames()
    tracewatch.instrument()
    frames_watched, text, cause = frames()
    assert frames_watched == alone[0]
    assert text.partition("req_")[0] == alone[1].partition("req_")[0]
    assert cause is alone[2] is None
    assert len(recording()) == 1


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("library", "way"), BROKEN)
def test_a_stream_that_breaks(provider, row, library, way, colour):
    with pytest.raises(Exception, match=r"Connection error|peer closed|incomplete") as raised:  # by version
        ask(provider, library, way, colour, "midfail")
    found = row()
    assert (found["status"], found["error_category"]) == ("error", "connection")
    if way != "raw stream":  # there the client makes its own of the HTTP library's
        assert found["error_type"] == type(raised.value).__name__
    assert "output_tokens" not in found
    if "response" not in way:  # of which nothing but the frame had come
        assert found["chunk_usage"]["count"] == 3
        assert found["ttft_ms"] < found["duration_ms"]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    ("library", "way", "category"),
    [
        ("openai", "stream", "overloaded"),
        ("openai", "raw stream", "overloaded"),
        ("openai", "streamed lines", "overloaded"),
        ("anthropic", "stream", "overloaded"),
        ("anthropic", "text", "overloaded"),
        ("anthropic", "streamed lines", "overloaded"),
        ("ollama", "stream", "unknown"),
    ],
)
def test_an_error_that_comes_as_part_of_a_stream(provider, row, library, way, category, colour):
    if way == "streamed lines":  # the host reads the bytes, and the client looks at nothing
        ask(provider, library, way, colour, "errorevent")
    else:
        with pytest.raises((openai.APIError, anthropic.APIError, ollama.ResponseError)):
            ask(provider, library, way, colour, "errorevent")
    found = row()
    assert (found["status"], found["error_category"]) == ("error", category)
    assert found["chunk_usage"]["count"] == 3


@pytest.mark.parametrize("way", ["response", "response stream", "response raw"])
def test_a_response_that_says_it_failed(provider, row, way):
    ask(provider, "openai", way, scenario="failed")
    found = row()
    assert (found["status"], found["error_category"]) == ("error", "server_error")
    assert found["error_message"] == "The model failed."
    assert found["output_tokens"] == 7


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    ("library", "way"),
    [
        ("openai", "stream"),
        ("openai", "raw stream"),
        ("openai", "response stream"),
        ("anthropic", "stream"),
        ("ollama", "stream"),
    ],
)
def test_a_stream_that_ends_before_the_answer_does(provider, row, library, way, colour):
    ask(provider, library, way, colour, "truncated")
    found = row()
    assert (found["status"], found["warning_flags"]) == ("ok", ["truncated"])
    assert "finish_reason" not in found


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("library", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("scenario", ["slow", "stall"])
def test_a_timeout(provider, row, library, scenario, colour):
    way = "chat" if library == "ollama" else "create"
    options = {**WITHOUT_RETRIES[library], "timeout": 0.2}
    with pytest.raises((openai.APITimeoutError, anthropic.APITimeoutError, Exception)) as raised:
        ask(provider, library, "stream" if scenario == "stall" else way, colour, scenario, **options)
    assert "Timeout" in type(raised.value).__name__ or "timed out" in str(raised.value).lower()
    found = row()
    assert (found["status"], found["error_category"]) == ("timeout", "timeout")
    assert found["duration_ms"] >= 190
    assert ("chunk_usage" in found) == (scenario == "stall")


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    ("library", "way", "scenario", "reason"),
    [
        ("openai", "create", "429once", "rate_limit"),
        ("openai", "stream", "500once", "server_error"),
        ("openai", "response", "503once", "overloaded"),
        ("openai", "raw", "droponce", "connection"),
        ("anthropic", "create", "429once", "rate_limit"),
        ("anthropic", "text", "529once", "overloaded"),
        ("anthropic", "create", "droponce", "connection"),
    ],
)
def test_the_clients_own_retries(provider, row, library, way, scenario, reason, colour, request):
    ask(provider, library, way, colour, f"{scenario}-{request.node.name}-{colour}")
    found = row()
    assert (found["status"], found["retry_count"], found["retry_reason"]) == ("ok", 1, reason)
    metadata = found["metadata"]
    assert metadata["retry_reasons"] == [reason]
    assert 0 < metadata["retry_time_ms"] < found["duration_ms"]
    if "network_time_ms" in found:  # of the attempt that was answered
        assert found["network_time_ms"] < found["duration_ms"] - metadata["retry_time_ms"]


@pytest.mark.parametrize("library", ["openai", "anthropic"])
@pytest.mark.parametrize("colour", COLOURS)
def test_retries_that_did_not_help(provider, row, library, colour):
    with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)):
        ask(provider, library, "create", colour, "429", max_retries=2)
    found = row()
    assert (found["status"], found["retry_count"], found["retry_reason"]) == ("error", 2, "rate_limit")


@pytest.mark.parametrize("library", ["openai", "anthropic"])
def test_a_retry_after_a_timeout(provider, row, library):
    with pytest.raises((openai.APITimeoutError, anthropic.APITimeoutError)):
        ask(provider, library, "create", scenario="slow", timeout=0.1, max_retries=1)
    assert (row()["retry_count"], row()["retry_reason"], row()["status"]) == (1, "timeout", "timeout")


@pytest.mark.parametrize("library", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("scenario", ["slow", "stall"])
def test_a_task_that_is_cancelled(provider, row, library, scenario):
    requests = {
        "openai": lambda client, **more: client.chat.completions.create(**CHAT, **more),
        "anthropic": lambda client, **more: client.messages.create(**MESSAGE, **more),
        "ollama": lambda client, **more: client.chat(**LOCAL, **more),
    }

    async def asking():
        client = make(library, "async", provider, scenario)
        begun = asyncio.Event()

        async def read():
            if scenario == "slow":
                asyncio.get_running_loop().call_later(0.05, begun.set)
                await requests[library](client)
            async for _ in await requests[library](client, stream=True):
                begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await (client._client.aclose() if library == "ollama" else client.close())

    asyncio.run(asking())
    found = row()
    assert (found["status"], found["error_type"], found["error_category"]) == ("error", "CancelledError", "cancelled")


def test_an_answer_that_the_client_cannot_use_has_been_paid_for(provider, row):
    with closing(make("openai", "sync", provider, "length")) as client, pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**CHAT, response_format=City)
    found = row()
    assert (found["status"], found["error_category"]) == ("error", "parse")
    assert (found["output_tokens"], found["finish_reason"]) == (7, "length")


def test_a_server_that_is_not_there(provider, row):
    client = openai.OpenAI(api_key="sk-ok", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with closing(client), pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**CHAT)
    assert (row()["status"], row()["error_category"]) == ("error", "connection")


def test_ollama_that_is_not_there(row):
    with closing(ollama.Client(host="http://127.0.0.1:9")) as client, pytest.raises(ConnectionError):
        client.chat(**LOCAL)
    assert (row()["model_provider"], row()["error_category"]) == ("ollama", "connection")
