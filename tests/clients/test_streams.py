"""Streams are what they were, whoever reads them and however far; and each leaves its row."""

import asyncio
import gc
import subprocess
import sys
import types

import anthropic
import ollama
import openai
import pytest
from asking import CHAT, COUNTED, LOCAL, MESSAGE, closing, make
from written import read_rows

import tracewatch


def _open(library, client, **more):
    if library == "openai":
        return client.chat.completions.create(**COUNTED, **more)
    if library == "anthropic":
        return client.messages.create(**MESSAGE, stream=True, **more)
    return client.chat(**LOCAL, stream=True, **more)


def _leave_by_break(stream):
    for number, _ in enumerate(stream):
        if number == 5:
            break
    del stream
    gc.collect()


def _leave_by_close(stream):
    for _ in range(6):
        next(stream)
    stream.close()


def _leave_by_dropping(stream):
    for _ in range(6):
        next(stream)
    del stream
    gc.collect()


LEAVING = [_leave_by_break, _leave_by_close, _leave_by_dropping]
LIBRARIES = ["openai", "anthropic", "ollama"]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_stream_that_is_left_half_way(provider, row, library, leave):
    with closing(make(library, "sync", provider)) as client:
        stack = [_open(library, client)]
        leave(stack.pop())
    found = row()
    assert (found["status"], found["warning_flags"]) == ("ok", ["abandoned"])
    assert found["chunk_usage"]["count"] >= 2
    assert 0 < found["ttft_ms"] <= found["duration_ms"]
    assert "output_tokens" not in found
    assert "finish_reason" not in found


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_asynchronous_stream_that_is_left_half_way(provider, row, library):
    async def asking():
        client = make(library, "async", provider)
        stream = await _open(library, client)
        for _ in range(6):
            await anext(stream)
        await (stream.aclose() if library == "ollama" else stream.close())
        await (client._client.aclose() if library == "ollama" else client.close())

    asyncio.run(asking())
    assert row()["warning_flags"] == ["abandoned"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_asynchronous_stream_that_is_dropped(provider, row, library):
    async def asking():
        client = make(library, "async", provider)
        async for _ in await _open(library, client):
            break
        gc.collect()
        await asyncio.get_running_loop().shutdown_asyncgens()
        await (client._client.aclose() if library == "ollama" else client.close())

    asyncio.run(asking())
    assert row()["warning_flags"] == ["abandoned"]


def test_a_stream_of_a_helper_that_is_left(provider, rows):
    with closing(make("openai", "sync", provider)) as client:
        with client.chat.completions.stream(**CHAT) as stream:
            next(stream)
        with client.responses.stream(model="gpt-4o-mini", input="x") as stream:
            next(stream)
        with client.chat.completions.with_streaming_response.create(**COUNTED) as response:
            next(response.iter_lines())
    with closing(make("anthropic", "sync", provider)) as client, client.messages.stream(**MESSAGE) as stream:
        next(iter(stream.text_stream))
    assert [each["warning_flags"] for each in rows()] == [["abandoned"]] * 4


def test_a_stream_that_nobody_ever_read(provider, rows):
    with closing(make("openai", "sync", provider)) as client:
        client.chat.completions.create(**COUNTED)
        client.chat.completions.with_raw_response.create(**COUNTED)
        gc.collect()
    assert [each["warning_flags"] for each in rows()] == [["abandoned"]] * 2


def test_ollamas_stream_that_nobody_read_was_never_asked_for(provider, rows):
    with closing(make("ollama", "sync", provider)) as client:
        client.chat(**LOCAL, stream=True)
        gc.collect()
    assert (rows(), provider.requests) == ([], [])


def test_an_answer_that_was_all_there_is_not_abandoned(provider, row):
    with closing(make("openai", "sync", provider)) as client:
        for piece in client.chat.completions.create(**CHAT, stream=True):
            if piece.choices[0].finish_reason:
                break
        del piece
        gc.collect()
    assert row()["finish_reason"] == "stop"
    assert "warning_flags" not in row()


def test_streams_keep_their_types(provider, rows):
    with closing(make("openai", "sync", provider)) as client:
        stream = client.chat.completions.create(**COUNTED)
        assert type(stream) is openai.Stream
        assert stream.response.status_code == 200
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert isinstance(next(stream), openai.types.chat.ChatCompletionChunk)
        stream.close()
        assert stream.response.is_closed
    with closing(make("anthropic", "sync", provider)) as client:
        with client.messages.create(**MESSAGE, stream=True) as stream:
            assert type(stream) is anthropic.Stream
        with client.messages.stream(**MESSAGE) as stream:
            assert type(stream) is anthropic.MessageStream
            assert stream.request_id.startswith("req_")
    with closing(make("ollama", "sync", provider)) as client:
        stream = client.chat(**LOCAL, stream=True)
        assert isinstance(stream, types.GeneratorType)
        assert isinstance(next(stream), ollama.ChatResponse)
        stream.close()


def test_asynchronous_streams_keep_their_types(provider, rows):
    async def asking():
        client = make("openai", "async", provider)
        async with await client.chat.completions.create(**COUNTED) as stream:
            assert type(stream) is openai.AsyncStream
        await client.close()
        client = make("anthropic", "async", provider)
        async with await client.messages.create(**MESSAGE, stream=True) as stream:
            assert type(stream) is anthropic.AsyncStream
        await client.close()
        client = make("ollama", "async", provider)
        stream = await client.chat(**LOCAL, stream=True)
        assert isinstance(stream, types.AsyncGeneratorType)
        await stream.aclose()
        await client._client.aclose()

    asyncio.run(asking())


def test_a_slow_reader_makes_no_gaps(provider, row):
    def reads_slowly(stream):
        for _ in stream:
            provider.pause(0.02)

    with closing(make("openai", "sync", provider)) as client:
        reads_slowly(client.chat.completions.create(**COUNTED))
    found = row()["chunk_usage"]
    assert found["consumer_ms"] > 100
    assert found["mean_gap_ms"] < 15  # the pieces lay there already


AT_EXIT = """
import sys
import openai, tracewatch
tracewatch.init(sys.argv[1])
tracewatch.instrument()
client = openai.OpenAI(api_key="sk-ok", base_url=sys.argv[2])
stream = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}], stream=True)
next(stream)
"""


def test_a_stream_that_is_open_when_the_program_ends(provider, tmp_path):
    path = tmp_path / "exit.db"
    arguments = [sys.executable, "-c", AT_EXIT, str(path), f"{provider.url}/v1"]
    subprocess.run(arguments, check=True, capture_output=True, timeout=60)
    tracewatch.init(str(path))
    try:
        (found,) = read_rows(path)
    finally:
        tracewatch.shutdown()
    assert found["warning_flags"] == ["abandoned"]
