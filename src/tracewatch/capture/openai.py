"""OpenAI's client, and all the servers that speak its language: translated into fields of the row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracewatch.capture.calls import Asked, Refusal
from tracewatch.capture.providers import provider_of
from tracewatch.capture.reading import count, fields_of, number, present, read, text

PACKAGE = "openai"
CLIENTS = ("OpenAI", "AsyncOpenAI")

_KINDS = {
    "/chat/completions": "chat",
    "/completions": "completion",
    "/responses": "responses",
    "/embeddings": "embedding",
}

# Words that only one program answers with, whatever address it stands behind.
_OLLAMA_FINGERPRINT = "fp_ollama"
_VLLM_ENTRIES = frozenset(("prompt_logprobs", "kv_transfer_params"))

# Who is known to answer stream_options. Not Azure: its older versions of the API, which hosts choose, refuse it.
_COUNTING = frozenset(("openai", "openrouter", "deepseek", "ollama", "vllm"))

_SAYING = ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "function_call", "audio")
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_FINISHED = {"completed": "stop", "in_progress": None}


def asked(client: Any, address: str, body: Any) -> Asked | None:
    """What a request asks of a model; None when it asks none."""
    kind = _KINDS.get(address) or _KINDS.get(_path(address))
    if kind is None or not isinstance(body, Mapping):
        return None
    provider, host = provider_of(client.base_url, PACKAGE)
    fields: dict[str, Any] = {
        "operation_type": "chat" if kind == "responses" else kind,
        "model_provider": provider,
        "model_name": body.get("model"),
        "retry_count": 0,
    }
    if host is not None:
        fields["host"] = host
    if kind != "embedding":
        fields["streaming_enabled"] = bool(body.get("stream"))
    return Asked(kind=kind, fields=fields, prompt=body.get("messages") or body.get("prompt") or body.get("input"))


def counting(asked: Asked, body: Any) -> dict[str, Any] | None:
    """The body that also asks for the count of a streamed chat; None where the host says something about that itself.

    Servers that do not know the question refuse the call, so it is put only to those that are known to answer it.
    """
    known = asked.fields.get("model_provider") in _COUNTING and (asked.told or "host" not in asked.fields)
    if asked.kind != "chat" or not known or not body.get("stream") or body.get("stream_options") is not None:
        return None
    return {**body, "stream_options": {"include_usage": True}}


def answered(asked: Asked, answer: Any, *, content: bool) -> dict[str, Any]:
    """The fields of the row from a whole answer."""
    values = fields_of(answer)
    if asked.kind == "responses":
        return _response_fields(values, content=content)
    choices = values.get("choices") or ()
    fields = _common(values)
    fields["finish_reason"] = _reasons(fields_of(each).get("finish_reason") for each in choices)
    fields.update(present(usage_fields(values.get("usage"))))
    if content and choices:
        message = read(choices[0], "message")
        fields["answer_text"] = text(read(message, "content")) or text(read(choices[0], "text"))
        fields["reasoning"] = text(read(message, "reasoning_content")) or text(read(message, "reasoning"))
    if not choices and values.get("error"):  # OpenRouter: 200, and the failure of the provider behind it in the body
        fields["refusal"] = _refusal(values["error"])
    return fields


def reader(asked: Asked, *, content: bool) -> ChatReader | ResponsesReader:
    """What takes in the pieces of a streamed answer."""
    return ResponsesReader(content=content) if asked.kind == "responses" else ChatReader(content=content)


class ChatReader:
    """The pieces of a chat completion, or of a plain one."""

    def __init__(self, *, content: bool) -> None:
        self.complete = False
        self.refusal: Refusal | None = None
        self._texts: list[Any] | None = [] if content else None
        self._reasons: list[str] = []
        self._begun = False
        self._telling: list[Any] = []  # the pieces that say more than the next words: the first, and those at the end

    def read(self, piece: Any) -> bool:
        """Takes in one piece; whether it was part of the answer."""
        values = piece if type(piece) is dict else piece.__dict__
        choices = values.get("choices")
        if not self._telling or values.get("usage") is not None:
            self._telling.append(piece)
        if not choices:
            if (error := fields_of(piece).get("error")) is not None:
                self.refusal = _refusal(error)
            return False
        choice = choices[0]
        reason = choice.get("finish_reason") if type(choice) is dict else choice.finish_reason
        if reason:
            self.complete = True
            self._reasons.append(reason)
            self._telling.append(piece)
        if self._texts is not None:
            self._texts.append(read(choice, "delta", "content") or read(choice, "text"))
        if self._begun:
            return not reason
        self._begun = _says(choice)
        return self._begun

    def fields(self) -> dict[str, Any]:
        """The fields of the row, as far as the answer came."""
        fields: dict[str, Any] = {}
        for piece in self._telling:
            values = fields_of(piece)
            fields.update(present(_common(values)))
            fields.update(present(usage_fields(values.get("usage"))))
        fields["finish_reason"] = _reasons(self._reasons)
        if self._texts:
            fields["answer_text"] = "".join(each for each in self._texts if isinstance(each, str))
        return fields


class ResponsesReader:
    """The events of a streamed response."""

    def __init__(self, *, content: bool) -> None:
        self.complete = False
        self.refusal: Refusal | None = None
        self._content = content
        self._response: Any = None

    def read(self, piece: Any) -> bool:
        """Takes in one event; whether it was part of the answer."""
        kind = piece.get("type") if type(piece) is dict else piece.type
        if kind is None:
            return False
        if kind.endswith(".delta"):
            return True
        values = fields_of(piece)
        response = values.get("response")
        if kind == "error":
            self.refusal = _refusal(values.get("error") or piece)
        elif response is not None:
            self._response = response
            self.complete = kind in _ENDS
            if kind == "response.failed":
                self.refusal = _refusal(read(response, "error"))
        return False

    def fields(self) -> dict[str, Any]:
        """The fields of the row, as far as the answer came."""
        fields = _response_fields(fields_of(self._response), content=self._content and self.complete)
        fields.pop("refusal", None)
        return fields


def usage_fields(usage: Any) -> dict[str, Any]:
    """Tokens, and what some providers add to them: times (Groq), money (OpenRouter). Absent stays absent."""
    if usage is None:
        return {}
    values = fields_of(usage)
    given = count(values.get("prompt_tokens", values.get("input_tokens")))
    out = count(values.get("completion_tokens", values.get("output_tokens")))
    total = count(values.get("total_tokens"))
    parts = fields_of(values.get("prompt_tokens_details") or values.get("input_tokens_details"))
    parts_out = fields_of(values.get("completion_tokens_details") or values.get("output_tokens_details"))
    thought = count(parts_out.get("reasoning_tokens"))
    if thought and given is not None and out is not None and total == given + out + thought:
        out += thought  # xAI counts thinking beside the output
    cost = number(values.get("cost"))
    return {
        "input_tokens": given,
        "output_tokens": out,
        "total_tokens": total,
        "reasoning_tokens": thought,
        "cache_read_input_tokens": count(parts.get("cached_tokens", values.get("prompt_cache_hit_tokens"))),
        "cache_creation_input_tokens": count(parts.get("cache_write_tokens")),
        "cost_usd": cost,
        "cost_status": None if cost is None else "reported",
        "queue_time_ms": _milliseconds(values.get("queue_time")),
        "inference_time_ms": _milliseconds(values.get("total_time")),
    }


def _path(address: str) -> str:
    """The path of a request that was written as a whole address, or with more than it needs."""
    path = address.partition("?")[0].rstrip("/")
    return next((each for each in _KINDS if path.endswith(each)), "")


def _common(values: Mapping[str, Any]) -> dict[str, Any]:
    """What whole answers and pieces have alike."""
    fields = {
        "response_id": text(values.get("id")),
        "model_name": text(values.get("model")),
        "service_tier": text(values.get("service_tier")),
        "upstream_provider": text(values.get("provider")),  # OpenRouter: whom it asked
    }
    if values.get("system_fingerprint") == _OLLAMA_FINGERPRINT:
        fields["model_provider"] = "ollama"
    elif not _VLLM_ENTRIES.isdisjoint(values):
        fields["model_provider"] = "vllm"
    elif "timings" in values:
        fields.update(_llamacpp_fields(fields_of(values["timings"])))
    return fields


def _llamacpp_fields(timings: Mapping[str, Any]) -> dict[str, Any]:
    prompt, predicted = number(timings.get("prompt_ms")), number(timings.get("predicted_ms"))
    if predicted is None:
        return {}
    return {"model_provider": "llamacpp", "inference_time_ms": (prompt or 0.0) + predicted}


def _response_fields(values: Mapping[str, Any], *, content: bool) -> dict[str, Any]:
    status = text(values.get("status"))
    fields = _common(values)
    reason = text(read(values.get("incomplete_details"), "reason"))
    fields["finish_reason"] = reason or _FINISHED.get(status or "", status)
    fields.update(present(usage_fields(values.get("usage"))))
    if status == "failed":
        fields["refusal"] = _refusal(values.get("error"))
    if content:
        fields["answer_text"] = "".join(_texts(values)) or None
    return fields


def _texts(values: Mapping[str, Any]) -> Iterator[str]:
    for item in values.get("output") or ():
        for part in read(item, "content") or ():
            yield text(read(part, "text")) or ""


def _says(choice: Any) -> bool:
    """Whether a piece holds a first part of the answer, and no mere frame such as the role."""
    values = fields_of(choice)
    if values.get("delta") is None:
        return bool(values.get("text"))
    delta = fields_of(values["delta"])
    return any(delta.get(name) for name in _SAYING)


def _refusal(error: Any) -> Refusal:
    code = read(error, "code") or read(error, "type")
    message = text(read(error, "message")) or text(error) or "the provider said no more"
    return Refusal(message, None if code is None else str(code))


def _reasons(reasons: Iterable[Any]) -> str | None:
    """Why the model stopped: of several answers each reason once."""
    return ",".join(dict.fromkeys(each for each in reasons if each)) or None


def _milliseconds(seconds: Any) -> float | None:
    found = number(seconds)
    return None if found is None else found * 1e3
