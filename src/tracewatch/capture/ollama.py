"""Ollama's own client: translated into fields of the row, and where its calls pass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tracewatch.capture.calls import Asked, Call, Refusal, begin
from tracewatch.capture.patching import Patch
from tracewatch.capture.providers import provider_of
from tracewatch.capture.reading import count, fields_of, read, text
from tracewatch.capture.wrapping import pieces, pieces_async, wrapped

PACKAGE = "ollama"
CLIENTS = ("Client", "AsyncClient")

_OPERATIONS = {
    "/api/chat": "chat",
    "/api/generate": "completion",
    "/api/embed": "embedding",
    "/api/embeddings": "embedding",
}
_DURATIONS = ("load_duration", "prompt_eval_duration", "eval_duration", "total_duration")
_MS_PER_NS = 1e-6


def asked(client: Any, address: str, body: Any) -> Asked | None:
    """What a request asks of a model; None when it asks none."""
    operation = _OPERATIONS.get(address)
    if operation is None or not isinstance(body, Mapping):
        return None
    _, host = provider_of(client._client.base_url, PACKAGE)
    fields: dict[str, Any] = {
        "operation_type": operation,
        "model_provider": PACKAGE,
        "model_name": body.get("model"),
    }
    if host is not None:
        fields["host"] = host
    if operation != "embedding":
        fields["streaming_enabled"] = bool(body.get("stream"))
    return Asked(kind=operation, fields=fields, prompt=body.get("messages") or body.get("prompt") or body.get("input"))


def answered(asked: Asked, answer: Any, *, content: bool) -> dict[str, Any]:
    """The fields of the row from a whole answer, or from the last piece of a streamed one: tokens and durations."""
    values = fields_of(answer)
    fields = {
        "model_name": text(values.get("model")),
        "finish_reason": text(values.get("done_reason")),
        "input_tokens": count(values.get("prompt_eval_count")),
        "output_tokens": count(values.get("eval_count")),
        **_durations(values),
    }
    if content:
        fields["answer_text"] = _said(values)
        fields["reasoning"] = _thought(values)
    return fields


def reader(asked: Asked, *, content: bool) -> LineReader:
    """What takes in the pieces of a streamed answer."""
    return LineReader(asked, content=content)


class LineReader:
    """The pieces of a streamed answer; the last one has all the counts."""

    def __init__(self, asked: Asked, *, content: bool) -> None:
        self.complete = False
        self.refusal: Refusal | None = None
        self._asked = asked
        self._texts: list[str] | None = [] if content else None
        self._begun = False
        self._last: Any = None

    def read(self, piece: Any) -> bool:
        """Takes in one piece; whether it was part of the answer."""
        self._last = piece
        self.complete = bool(piece.done)
        if self._texts is not None:
            self._texts.append(_said(fields_of(piece)) or "")
        if not self._begun:
            values = fields_of(piece)
            self._begun = bool(_said(values) or _thought(values) or read(values.get("message"), "tool_calls"))
        return self._begun and not self.complete

    def fields(self) -> dict[str, Any]:
        """The fields of the row, as far as the answer came."""
        fields = answered(self._asked, self._last, content=False)
        if self._texts:
            fields["answer_text"] = "".join(self._texts)
        return fields


def patches(module: Any, watched: Callable[[Any], bool]) -> Iterator[Patch]:
    """What to patch so that calls of the module's clients are seen, if `watched` says so of the client."""
    for name in CLIENTS:
        kind = getattr(module, name, None)
        if kind is not None and "_request" in vars(kind):
            yield Patch(kind, "_request", _watching(vars(kind)["_request"], watched))


def _watching(original: Callable[..., Any], watched: Callable[[Any], bool]) -> Callable[..., Any]:
    """`_request`, through which every call goes: a stream's begins when the host asks for its first piece."""

    def start(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        if not watched(client) or len(args) < len(("class", "method", "path")):
            return None
        return begin(_DIALECT, client, args[2], kwargs.get("json"))

    plain = wrapped(original, start, _settle)
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def request_async(client: Any, *args: Any, **kwargs: Any) -> Any:
            if not kwargs.get("stream"):
                return await plain(client, *args, **kwargs)
            source = await original(client, *args, **kwargs)
            return pieces_async(source, Deferred(lambda: start(client, args, kwargs)))

        return request_async

    @functools.wraps(original)
    def request(client: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("stream"):
            return plain(client, *args, **kwargs)
        source = original(client, *args, **kwargs)
        return pieces(source, Deferred(lambda: start(client, args, kwargs)))

    return request


class Deferred:
    """The watcher of a call that is only made when its first piece is asked for."""

    def __init__(self, start: Callable[[], Call | None]) -> None:
        self._start: Callable[[], Call | None] | None = start
        self._call: Call | None = None

    def pulling(self) -> None:
        if self._start is not None:
            self._call, self._start = self._start(), None
            if self._call is not None:
                self._call.streaming()
        if self._call is not None:
            self._call.pulling()

    def arrived(self, piece: Any) -> None:
        if self._call is not None:
            self._call.arrived(piece)

    def finished(self) -> None:
        if self._call is not None:
            self._call.finished()

    def left(self) -> None:
        if self._call is not None:
            self._call.left()

    def failed(self, error: BaseException) -> None:
        if self._call is not None:
            self._call.failed(error)


def _settle(call: Call, result: Any) -> Any:
    call.answered(result)
    return result


def _said(values: Mapping[str, Any]) -> str | None:
    return text(read(values.get("message"), "content")) or text(values.get("response"))


def _thought(values: Mapping[str, Any]) -> str | None:
    return text(read(values.get("message"), "thinking")) or text(values.get("thinking"))


def _durations(values: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama's own times: loading the model (and waiting for it) is the queue, reading and writing the inference."""
    load, prompt, output, total = (_milliseconds(values.get(name)) for name in _DURATIONS)
    tokens = count(values.get("eval_count"))
    inference = (prompt or 0.0) + (output or 0.0) if prompt is not None or output is not None else None
    if inference is None and total is not None:  # an embedding, which tells the whole alone
        inference = max(total - (load or 0.0), 0.0)
    return {
        "queue_time_ms": load,
        "inference_time_ms": inference,
        "tokens_per_second": tokens / output * 1e3 if tokens and output else None,
        "load_ms": load,
        "prompt_eval_ms": prompt,
        "eval_ms": output,
        "provider_total_ms": total,
    }


def _milliseconds(nanoseconds: Any) -> float | None:
    found = count(nanoseconds)
    return None if found is None else found * _MS_PER_NS


class _Dialect:
    """This module, as calls want it."""

    PACKAGE = PACKAGE
    asked = staticmethod(asked)
    answered = staticmethod(answered)
    reader = staticmethod(reader)


_DIALECT = _Dialect()
