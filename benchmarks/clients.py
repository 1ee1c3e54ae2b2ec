"""What it costs a program that its clients' calls are recorded: CPU time of the calling thread, with and without us.

The answers come from a transport within the program, so that nothing but the client and we take time. Blocks with and
without us follow each other, and the medians of their calls are compared. What the courier's thread does later is not
in it: the host does not wait for that.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BLOCKS = 24  # with us, and as many without
CALLS = 40  # in a block
PIECES = 1_000  # of a stream
STREAMS = 4  # in a block
MOST_US_A_CALL = 100.0
MOST_US_A_PIECE = 5.0

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
CHAT = {"model": "gpt-4o-mini", "messages": MESSAGES}
MESSAGE = {"model": "claude-test", "max_tokens": 99, "messages": MESSAGES}
HEADERS = {
    "openai-processing-ms": "52",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "199980",
    "x-request-id": "req_0123456789abcdef",
}


def run() -> Iterator[str]:
    """The lines of the result."""
    import tracewatch

    with tempfile.TemporaryDirectory() as folder:
        tracewatch.init(str(Path(folder) / "calls.db"))
        yield f"CPU time of the calling thread, median of {BLOCKS} blocks each with and without recording"
        yield f"{'':34}{'without':>10}{'with':>10}{'ours':>10}{'at most':>10}"
        for name, once, unit, most in _cases():
            without, ours = _compared(once)
            label = f"{name}, us a {unit}"
            yield f"{label:34}{without:10.1f}{without + ours:10.1f}{ours:10.2f}{most:10.0f}"
        tracewatch.uninstrument()
        tracewatch.shutdown()


def _cases() -> Iterator[tuple[str, Callable[[], float], str, float]]:
    """Name, a function that gives the microseconds of one block, the unit, and the most that may be added."""
    openai, anthropic = _openai(), _anthropic()
    ollama = _ollama()
    yield "openai", _calls(lambda: openai.chat.completions.create(**CHAT)), "call", MOST_US_A_CALL
    yield "anthropic", _calls(lambda: anthropic.messages.create(**MESSAGE)), "call", MOST_US_A_CALL
    yield "ollama", _calls(lambda: ollama.chat(**{**CHAT, "model": "llama3.2"})), "call", MOST_US_A_CALL
    yield "openai, async", _calls_async(), "call", MOST_US_A_CALL
    yield (
        "openai stream",
        _streams(lambda: openai.chat.completions.create(**CHAT, stream=True)),
        "piece",
        MOST_US_A_PIECE,
    )
    yield (
        "anthropic stream",
        _streams(lambda: anthropic.messages.create(**MESSAGE, stream=True)),
        "piece",
        MOST_US_A_PIECE,
    )
    yield (
        "ollama stream",
        _streams(lambda: ollama.chat(model="llama3.2", messages=MESSAGES, stream=True)),
        "piece",
        MOST_US_A_PIECE,
    )


def _compared(once: Callable[[], float]) -> tuple[float, float]:
    """The median without us, and the median of the differences of neighbours."""
    import tracewatch

    without, differences = [], []
    for number in range(BLOCKS + 1):
        tracewatch.uninstrument()
        alone = once()
        tracewatch.instrument()
        watched = once()
        if number:  # the first warms up
            without.append(alone)
            differences.append(watched - alone)
        tracewatch.flush()
    return statistics.median(without), statistics.median(differences)


def _calls(do: Callable[[], Any]) -> Callable[[], float]:
    def once() -> float:
        times = []
        for _ in range(CALLS):
            began = time.thread_time_ns()
            do()
            times.append(time.thread_time_ns() - began)
        return statistics.median(times) / 1e3

    return once


def _streams(do: Callable[[], Any]) -> Callable[[], float]:
    def once() -> float:
        times = []
        for _ in range(STREAMS):
            began = time.thread_time_ns()
            for _ in do():
                pass
            times.append(time.thread_time_ns() - began)
        return statistics.median(times) / 1e3 / PIECES

    return once


def _calls_async() -> Callable[[], float]:
    import httpx2
    from openai import AsyncOpenAI

    async def calls() -> float:
        transport = httpx2.MockTransport(_answer(httpx2))
        async with AsyncOpenAI(api_key="x", http_client=httpx2.AsyncClient(transport=transport)) as client:
            times = []
            for _ in range(CALLS):
                began = time.thread_time_ns()
                await client.chat.completions.create(**CHAT)
                times.append(time.thread_time_ns() - began)
        return statistics.median(times) / 1e3

    return lambda: asyncio.run(calls())


def _openai() -> Any:
    import httpx2
    from openai import OpenAI

    return OpenAI(api_key="x", http_client=httpx2.Client(transport=httpx2.MockTransport(_answer(httpx2))))


def _anthropic() -> Any:
    import httpx2
    from anthropic import Anthropic

    return Anthropic(api_key="x", http_client=httpx2.Client(transport=httpx2.MockTransport(_answer(httpx2))))


def _ollama() -> Any:
    import httpx
    from ollama import Client

    return Client(host="http://localhost:11434", transport=httpx.MockTransport(_answer(httpx)))


def _answer(library: Any) -> Callable[[Any], Any]:
    """What the transport answers, made once."""
    streams = {path: b"".join(pieces) for path, pieces in _pieces().items()}
    wholes = {path: json.dumps(each).encode() for path, each in _wholes().items()}

    def answer(request: Any) -> Any:
        path = request.url.path.removeprefix("/v1")
        if b'"stream":true' in request.content.replace(b": ", b":"):
            kind = "application/x-ndjson" if path == "/api/chat" else "text/event-stream"
            return library.Response(200, headers={**HEADERS, "content-type": kind}, content=streams[path])
        return library.Response(200, headers={**HEADERS, "content-type": "application/json"}, content=wholes[path])

    return answer


def _wholes() -> dict[str, Any]:
    text = "Paris is the capital of France. " * 20
    usage = {"prompt_tokens": 19, "completion_tokens": 140, "total_tokens": 159}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    base = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18"}
    counted = {"input_tokens": 21, "output_tokens": 140, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "stop_reason": "end_turn"}
    done = {"done": True, "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 140, "eval_duration": 1_000_000}
    return {
        "/chat/completions": {**base, "choices": [choice], "usage": usage, "service_tier": "default"},
        "/messages": {**message, "content": [{"type": "text", "text": text}], "usage": counted},
        "/api/chat": {"model": "llama3.2", "message": {"role": "assistant", "content": text}, **done},
    }


def _pieces() -> dict[str, list[bytes]]:
    wholes = _wholes()
    choice = {"index": 0, "delta": {"content": " Paris"}, "logprobs": None, "finish_reason": None}
    chunk = {**wholes["/chat/completions"], "object": "chat.completion.chunk", "choices": [choice], "usage": None}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " Paris"}}
    begun = {"type": "message_start", "message": {**wholes["/messages"], "content": []}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    local = {"model": "llama3.2", "message": {"role": "assistant", "content": " Paris"}, "done": False}
    return {
        "/chat/completions": [b"data: %s\n\n" % json.dumps(chunk).encode()] * PIECES + [b"data: [DONE]\n\n"],
        "/messages": [
            b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode())
            for each in (begun, block, *[delta] * PIECES, {"type": "message_stop"})
        ],
        "/api/chat": [json.dumps(local).encode() + b"\n"] * PIECES + [json.dumps(wholes["/api/chat"]).encode()],
    }
