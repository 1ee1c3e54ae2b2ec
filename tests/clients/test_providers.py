"""Who answers, by the address and by what is answered; and what only some of them tell."""

import doctest
import json

import pytest
from asking import CHAT, closing, make
from mock_provider.base import Answer, events, whole

from tracewatch.capture import headers, providers, reading

ADDRESSES = [
    ("https://api.openai.com/v1/", "openai"),
    ("https://eu.api.openai.com/v1/", "openai"),
    ("http://localhost:11434/v1/", "ollama"),
    ("http://ollama.internal/v1/", "ollama"),
    ("http://vllm:8000/v1/", "vllm"),
    ("http://127.0.0.1:1234/v1/", "lmstudio"),
    ("https://openrouter.ai/api/v1/", "openrouter"),
    ("https://api.groq.com/openai/v1/", "groq"),
    ("https://my-resource.openai.azure.com/openai/", "azure"),
    ("https://my-resource.services.ai.azure.com/openai/v1/", "azure"),
    ("https://api.deepseek.com/", "deepseek"),
    ("https://api.mistral.ai/v1/", "mistral"),
    ("https://api.together.xyz/v1/", "together"),
    ("https://api.fireworks.ai/inference/v1/", "fireworks"),
    ("https://api.x.ai/v1/", "x-ai"),
    ("https://generativelanguage.googleapis.com/v1beta/openai/", "google"),
    ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1/", "aws"),
]


@pytest.mark.parametrize("module", [headers, providers, reading])
def test_examples(module):
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


@pytest.mark.parametrize(("address", "provider"), ADDRESSES)
def test_known_addresses(address, provider):
    assert providers.provider_of(address, "openai") == (provider, None)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://llm.example.com/v1", "llm.example.com"),
        ("http://localhost:8000/v1", "localhost:8000"),  # anybody's port: it may pass calls on to who charges for them
        ("https://notopenai.com/v1", "notopenai.com"),
        ("http://[::1]:9000/v1", "::1:9000"),
        ("https://example.com:wrong/v1", None),
        ("", None),
    ],
)
def test_addresses_that_say_nothing(address, host):
    assert providers.provider_of(address, "openai") == ("openai", host)


def _answering(provider, said, sent=None, stream=False):
    """Asks a provider that answers like this."""
    base = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "some-model"}
    message = {"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}
    piece = {"index": 0, "delta": {"content": "Paris"}, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}

    def answer(_):
        if not stream:
            return whole({**base, "choices": [message], **said}, sent)
        chunk = {**base, "object": "chat.completion.chunk"}
        return events([{**chunk, "choices": [piece]}, {**chunk, "choices": [last], **said}, "[DONE]"], sent)

    provider.answer = answer
    with closing(make("openai", "sync", provider)) as client:
        found = client.chat.completions.create(**CHAT, stream=stream)
        return list(found) if stream else found


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"system_fingerprint": "fp_ollama"}, "ollama"),
        ({"kv_transfer_params": None}, "vllm"),
        ({"prompt_logprobs": None}, "vllm"),
        ({"timings": {"prompt_ms": 3.0, "predicted_ms": 4.0}}, "llamacpp"),
    ],
)
def test_servers_that_are_told_by_their_answers(provider, row, said, name, stream):
    _answering(provider, {"usage": USAGE, **said}, stream=stream)
    assert row()["model_provider"] == name
    if name == "llamacpp":
        assert row()["inference_time_ms"] == 7.0


@pytest.mark.parametrize("stream", [False, True])
def test_groqs_times(provider, row, stream):
    _answering(provider, {"usage": {**USAGE, "queue_time": 0.002, "total_time": 0.003}}, stream=stream)
    assert (row()["queue_time_ms"], row()["inference_time_ms"]) == (2.0, 3.0)
    assert row()["network_time_ms"] > 0


def test_openrouters_price_and_whom_it_asked(provider, row):
    _answering(provider, {"usage": {**USAGE, "cost": 0.00014}, "provider": "Novita"})
    assert (row()["cost_usd"], row()["cost_status"]) == (0.00014, "reported")
    assert row()["metadata"]["upstream_provider"] == "Novita"


def test_openrouters_errors_come_as_answers(provider, row):
    failed = {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min."}, "choices": []}
    provider.answer = lambda _: whole(failed)
    with closing(make("openai", "sync", provider)) as client:
        client.chat.completions.create(**CHAT)
    assert (row()["status"], row()["error_category"]) == ("error", "rate_limit")


def test_deepseeks_cache(provider, row):
    _answering(provider, {"usage": {**USAGE, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2}})
    assert row()["cache_read_input_tokens"] == 8


def test_xais_thinking_belongs_to_the_output(provider, row):
    usage = {**USAGE, "total_tokens": 115, "completion_tokens_details": {"reasoning_tokens": 100}}
    _answering(provider, {"usage": usage})
    assert (row()["output_tokens"], row()["reasoning_tokens"], row()["total_tokens"]) == (105, 100, 115)


def test_thinking_that_comes_first_is_the_first_token(provider, row):
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "some-model"}
    deltas = [{"role": "assistant"}, {"reasoning_content": "Hm"}, {"content": "Paris"}]
    pieces = [{**base, "choices": [{"index": 0, "delta": each, "finish_reason": None}]} for each in deltas]
    last = {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    provider.answer = lambda _: events([*pieces, last, "[DONE]"])
    with closing(make("openai", "sync", provider)) as client:
        list(client.chat.completions.create(**CHAT, stream=True))
    assert row()["chunk_usage"]["count"] == 2


@pytest.mark.parametrize("sent", [{"openai-processing-ms": "much"}, {"x-ratelimit-remaining-tokens": "", "x-a": "é"}])
def test_headers_that_are_no_numbers(provider, row, sent):
    _answering(provider, {"usage": USAGE}, sent)
    assert row()["output_tokens"] == 5
    assert "inference_time_ms" not in row()


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": None},
        {"prompt_tokens": "many", "completion_tokens": -1},
        {"prompt_tokens": True},
        [],
    ],
)
def test_counts_that_are_no_numbers(provider, row, usage):
    _answering(provider, {"usage": usage})
    assert row()["status"] == "ok"
    assert not {"input_tokens", "output_tokens", "total_tokens"} & row().keys()


def test_an_answer_that_is_none(provider, row):
    provider.answer = lambda _: Answer(headers={"content-type": "text/html"}, body=b"<html>Welcome</html>")
    with closing(make("openai", "sync", provider)) as client:
        assert client.chat.completions.create(**CHAT) == "<html>Welcome</html>"
    assert row()["status"] == "ok"


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b"{}", json.dumps({"choices": [None]}).encode()])
def test_answers_of_another_shape(provider, rows, body):
    provider.answer = lambda _: Answer(headers={"content-type": "application/json"}, body=body)
    with closing(make("openai", "sync", provider)) as client:
        client.chat.completions.create(**CHAT)
        client.chat.completions.with_raw_response.create(**CHAT)
    assert [each["status"] for each in rows()] == ["ok", "ok"]
