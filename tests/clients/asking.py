"""Every way to ask a model through the three clients: WAYS[library][way] is a pair of functions, one for each colour.

Each takes a client and gives back what the host ends up with. `ask` makes the client, asks and closes it again.
"""

import asyncio
import contextlib

import anthropic
import ollama
import openai
from pydantic import BaseModel

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
CHAT = {"model": "gpt-4o-mini", "messages": MESSAGES}
COUNTED = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
RESPONSE = {"model": "gpt-4o-mini", "input": "What is the capital of France?"}
EMBEDDING = {"model": "text-embedding-3-small", "input": ["one", "two"]}
COMPLETION = {"model": "gpt-3.5-turbo-instruct", "prompt": "The capital of France is"}
MESSAGE = {"model": "claude-test", "max_tokens": 99, "messages": MESSAGES}
LOCAL = {"model": "llama3.2", "messages": MESSAGES}
PROMPT = {"model": "llama3.2", "prompt": "The capital of France is"}
TEXTS = {"model": "nomic-embed-text", "input": "one"}
LIBRARIES = ("openai", "anthropic", "ollama")
COLOURS = ("sync", "async")


class City(BaseModel):
    city: str


def make(library, colour, provider, scenario="ok", **options):
    """A client of that library and colour whose key asks for the scenario."""
    if library == "ollama":
        kind = ollama.Client if colour == "sync" else ollama.AsyncClient
        return kind(host=provider.url, headers={"x-mock": f"sk-{scenario}"}, **options)
    module = {"openai": openai, "anthropic": anthropic}[library]
    name = module.__name__.title().replace("Openai", "OpenAI")
    kind = getattr(module, name if colour == "sync" else f"Async{name}")
    url = provider.url + ("/v1" if library == "openai" else "")
    return kind(api_key=f"sk-{scenario}", base_url=url, **options)


def ask(provider, library, way, colour="sync", scenario="ok", **options):
    """What this way of asking gives back; raises what it raises."""
    plain, coroutine = WAYS[library][way]
    if colour == "sync":
        client = make(library, colour, provider, scenario, **options)
        with closing(client):
            return plain(client)

    async def asking():
        client = make(library, colour, provider, scenario, **options)
        try:
            return await coroutine(client)
        finally:
            await (client._client.aclose() if library == "ollama" else client.close())

    return asyncio.run(asking())


@contextlib.contextmanager
def closing(client):
    """Closes a client of any of the libraries."""
    try:
        yield client
    finally:
        (getattr(client, "_client", client)).close()


def _call(find, **request):
    """A plain call."""

    async def coroutine(client):
        return await find(client)(**request)

    return (lambda client: find(client)(**request)), coroutine


def _pieces(find, **request):
    """A call whose answer is an iterator."""

    async def coroutine(client):
        return [each async for each in await find(client)(**request)]

    return (lambda client: list(find(client)(**request))), coroutine


def _helper(find, end, end_async, **request):
    """A call whose answer is a context manager around a stream."""

    def plain(client):
        with find(client)(**request) as stream:
            return end(stream)

    async def coroutine(client):
        async with find(client)(**request) as stream:
            return await end_async(stream)

    return plain, coroutine


def _all(stream):
    return list(stream)


async def _all_async(stream):
    return [each async for each in stream]


def _raw_pieces(find, **request):
    """A raw response of which the host makes the stream."""

    def plain(client):
        return list(find(client)(**request).parse())

    async def coroutine(client):
        raw = await find(client)(**request)
        stream = raw.parse()
        return [each async for each in (await stream if asyncio.iscoroutine(stream) else stream)]

    return plain, coroutine


async def _read(response):
    return await response.read()


async def _parse(response):
    return await response.parse()


async def _lines(response):
    return [line async for line in response.iter_lines()]


def _attribute(path):
    def find(client):
        for name in path.split("."):
            client = getattr(client, name)
        return client

    return find


async def _completion(stream):
    return await stream.get_final_completion()


async def _final_response(stream):
    return await stream.get_final_response()


async def _final_message(stream):
    return await stream.get_final_message()


async def _text(stream):
    return "".join([each async for each in stream.text_stream])


def _texts(stream):
    return "".join(stream.text_stream)


_chat, _answers = _attribute("chat.completions.create"), _attribute("responses.create")
_messages, _beta = _attribute("messages.create"), _attribute("beta.messages.create")
_streamed_chat = _attribute("chat.completions.with_streaming_response.create")
_streamed_message = _attribute("messages.with_streaming_response.create")

WAYS = {
    "openai": {
        "create": _call(_chat, **CHAT),
        "parse": _call(_attribute("chat.completions.parse"), **CHAT, response_format=City),
        "stream": _pieces(_chat, **COUNTED),
        "uncounted": _pieces(_chat, **CHAT, stream=True),
        "tools": _pieces(_chat, **COUNTED, tools=[{"type": "function", "function": {"name": "weather"}}]),
        "helper": _helper(
            _attribute("chat.completions.stream"),
            lambda stream: stream.get_final_completion(),
            _completion,
            **CHAT,
            stream_options={"include_usage": True},
        ),
        "raw": _call(_attribute("chat.completions.with_raw_response.create"), **CHAT),
        "raw stream": _raw_pieces(_attribute("chat.completions.with_raw_response.create"), **COUNTED),
        "streamed body": _helper(_streamed_chat, lambda response: response.read(), _read, **CHAT),
        "streamed object": _helper(_streamed_chat, lambda response: response.parse(), _parse, **CHAT),
        "streamed lines": _helper(_streamed_chat, lambda response: list(response.iter_lines()), _lines, **COUNTED),
        "response": _call(_answers, **RESPONSE),
        "response stream": _pieces(_answers, **RESPONSE, stream=True),
        "response helper": _helper(
            _attribute("responses.stream"), lambda stream: stream.get_final_response(), _final_response, **RESPONSE
        ),
        "response raw": _call(_attribute("responses.with_raw_response.create"), **RESPONSE),
        "embedding": _call(_attribute("embeddings.create"), **EMBEDDING),
        "embedding raw": _call(_attribute("embeddings.with_raw_response.create"), **EMBEDDING),
        "completion": _call(_attribute("completions.create"), **COMPLETION),
        "completion stream": _pieces(_attribute("completions.create"), **COMPLETION, stream=True),
    },
    "anthropic": {
        "create": _call(_messages, **MESSAGE),
        "stream": _pieces(_messages, **MESSAGE, stream=True),
        "helper": _helper(_attribute("messages.stream"), _all, _all_async, **MESSAGE),
        "text": _helper(_attribute("messages.stream"), _texts, _text, **MESSAGE),
        "final": _helper(
            _attribute("messages.stream"), lambda stream: stream.get_final_message(), _final_message, **MESSAGE
        ),
        "tools": _pieces(
            _messages, **MESSAGE, stream=True, tools=[{"name": "weather", "input_schema": {"type": "object"}}]
        ),
        "raw": _call(_attribute("messages.with_raw_response.create"), **MESSAGE),
        "raw stream": _raw_pieces(_attribute("messages.with_raw_response.create"), **MESSAGE, stream=True),
        "streamed body": _helper(_streamed_message, lambda response: response.read(), _read, **MESSAGE),
        "streamed lines": _helper(
            _streamed_message, lambda response: list(response.iter_lines()), _lines, **MESSAGE, stream=True
        ),
        "beta": _call(_beta, **MESSAGE, betas=["files-api-2025-04-14"]),
        "beta stream": _pieces(_beta, **MESSAGE, stream=True),
        "beta helper": _helper(_attribute("beta.messages.stream"), _texts, _text, **MESSAGE),
    },
    "ollama": {
        "chat": _call(_attribute("chat"), **LOCAL),
        "stream": _pieces(_attribute("chat"), **LOCAL, stream=True),
        "generate": _call(_attribute("generate"), **PROMPT),
        "generate stream": _pieces(_attribute("generate"), **PROMPT, stream=True),
        "embed": _call(_attribute("embed"), **TEXTS),
    },
}
