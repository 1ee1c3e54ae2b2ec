"""Streams whose tokens are counted though the host did not ask for it, and hosts that do not notice."""

import asyncio
import gc

import pytest
from asking import CHAT, COUNTED, closing, make

import tracewatch

STREAM = {**CHAT, "stream": True}
ASKED = {"include_usage": True}


@pytest.fixture
def counting(recording):
    tracewatch.instrument(include_usage=True)
    return recording


def named(provider, colour="sync", who="openai"):
    return tracewatch.wrap(make("openai", colour, provider), provider=who)


def pieces(provider, colour, **request):
    """What the host gets, without what differs from answer to answer."""
    client = named(provider, colour)
    if colour == "sync":
        with closing(client):
            found = list(client.chat.completions.create(**request))
    else:

        async def asking():
            async with client:
                return [each async for each in await client.chat.completions.create(**request)]

        found = asyncio.run(asking())
    return [(type(each), each.model_dump(exclude={"id"})) for each in found]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_tokens_are_known_and_the_host_sees_the_same(provider, counting, colour):
    watched = pieces(provider, colour, **STREAM)
    assert provider.requests[-1].body["stream_options"] == ASKED
    tracewatch.uninstrument()
    assert watched == pieces(provider, colour, **STREAM)
    assert "stream_options" not in provider.requests[-1].body
    row, uncounted = counting()
    assert "output_tokens" not in uncounted
    assert (row["input_tokens"], row["output_tokens"], row["status"]) == (19, 7, "ok")
    assert "warning_flags" not in row


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_host_that_counts_itself_gets_its_count(provider, counting, colour):
    assert pieces(provider, colour, **COUNTED)[-1][1]["usage"]["total_tokens"] == 26
    pieces(provider, colour, **STREAM, stream_options={"include_usage": False})
    assert provider.requests[-1].body["stream_options"] == {"include_usage": False}
    assert [each.get("output_tokens") for each in counting()] == [7, None]


def test_the_helper_of_the_client_is_counted_too(provider, counting):
    with closing(named(provider)) as client, client.chat.completions.stream(**CHAT) as stream:
        said = [each.content for each in stream if each.type == "content.done"]
        assert stream.get_final_completion().usage is None
    assert said == ["Paris is the capital of France."]
    assert counting()[0]["output_tokens"] == 7


def test_a_stream_that_is_left_is_closed(provider, counting):
    with closing(named(provider)) as client:
        for number, _ in enumerate(client.chat.completions.create(**STREAM)):
            if number == 2:
                break
    gc.collect()  # the client's stream holds itself
    (row,) = counting()
    assert row["warning_flags"] == ["abandoned"]


def test_who_reads_the_response_itself_reads_what_was_asked_for(provider, counting):
    with closing(named(provider)) as client:
        raw = client.chat.completions.with_raw_response.create(**STREAM)
        assert b"usage" not in raw.http_response.read()
        with client.chat.completions.with_streaming_response.create(**STREAM) as response:
            assert not [line for line in response.iter_lines() if "usage" in line]
    assert not any("stream_options" in each.body for each in provider.requests)


@pytest.mark.parametrize("who", [None, "azure", "my gateway"])
def test_a_server_that_may_not_know_the_question_is_not_asked(provider, counting, who):
    with closing(named(provider, who=who)) as client:
        list(client.chat.completions.create(**STREAM))
    assert "stream_options" not in provider.requests[-1].body


def test_nothing_is_asked_by_default(provider, rows):
    pieces(provider, "sync", **STREAM)
    assert "stream_options" not in provider.requests[-1].body
    tracewatch.instrument(include_usage=True)
    tracewatch.instrument()
    pieces(provider, "sync", **STREAM)
    assert "stream_options" not in provider.requests[-1].body


@pytest.mark.parametrize("library", ["openai", "anthropic", "ollama"])
def test_the_owner_knows_best_who_answers(provider, recording, library):
    from asking import LOCAL, MESSAGE

    asks = {
        "openai": lambda client: client.chat.completions.create(**CHAT),
        "anthropic": lambda client: client.messages.create(**MESSAGE),
        "ollama": lambda client: client.chat(**LOCAL),
    }
    with closing(tracewatch.wrap(make(library, "sync", provider), provider="our gateway")) as client:
        asks[library](client)
        if library == "openai":
            asks[library](client.with_options(max_retries=0))
    assert {each["model_provider"] for each in recording()} == {"our gateway"}
