"""OpenAI's client, and all the servers that speak its language: translated into fields of the row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracewatch.capture.calls import Asked, Refusal
from tracewatch.capture.providers import provider_of
from tracewatch.capture.reading import count, first_count, present, read, text

PACKAGE = "openai"
CLIENTS = ("OpenAI", "AsyncOpenAI")

_PATHS = {
    "/chat/completions": "chat",
    "/completions": "completion",
    "/responses": "responses",
    "/embeddings": "embedding",
}
_OPERATIONS = {"responses": "chat"}

# Words that only one program answers with, whatever address it stands behind.
_OLLAMA_FINGERPRINT = "fp_ollama"
_VLLM_ENTRIES = ("prompt_logprobs", "kv_transfer_params")


def asked(client: Any, address: str, body: Any) -> Asked | None:
    """What a request asks of a model; None when it asks none."""
    path = "/" + address.partition("?")[0].rstrip("/").rpartition("/")[2]
    if path == "/completions" and "/chat/" in address:
        path = "/chat/completions"
    kind = _PATHS.get(path)
    if kind is None or not isinstance(body, Mapping):
        return None
    provider, host = provider_of(client.base_url, PACKAGE)
    fields: dict[str, Any] = {
        "operation_type": _OPERATIONS.get(kind, kind),
        "model_provider": provider,
        "model_name": body.get("model"),
        "retry_count": 0,
    }
    if host is not None:
        fields["host"] = host
    if kind != "embedding":
        fields["streaming_enabled"] = bool(body.get("stream"))
    return Asked(kind=kind, fields=fields, prompt=body.get("messages") or body.get("prompt") or body.get("input"))


def answered(asked: Asked, answer: Any, *, content: bool) -> dict[str, Any]:
    """The fields of the row from a whole answer."""
    if asked.kind == "responses":
        return _responses_fields(answer, content=content)
    choices = read(answer, "choices") or ()
    fields = _common(answer)
    fields["finish_reason"] = _joined(text(each, "finish_reason") for each in choices)
    fields.update(usage_fields(read(answer, "usage")))
    if content and choices:
        first = choices[0]
        fields["answer"] = text(first, "message", "content") or text(first, "text")
        fields["reasoning"] = text(first, "message", "reasoning_content") or text(first, "message", "reasoning")
    error = read(answer, "error")  # OpenRouter: 200, and the failure of the provider behind it in the body
    if not choices and error:
        fields["refusal"] = _refusal(error)
    return present(fields)


def reader(asked: Asked, *, content: bool) -> ChatReader | ResponsesReader:
    """What takes in the pieces of a streamed answer."""
    return ResponsesReader(content=content) if asked.kind == "responses" else ChatReader(content=content)


class ChatReader:
    """The pieces of a chat completion, or of a plain one."""

    def __init__(self, *, content: bool) -> None:
        self.complete = False
        self.refusal: Refusal | None = None
        self._content: list[str] | None = [] if content else None
        self._reasons: list[str] = []
        self._begun = False
        self._first: Any = None
        self._usage: Any = None
        self._tier: Any = None

    def read(self, piece: Any) -> bool:
        """Takes in one piece; whether it was part of the answer."""
        if type(piece) is dict:
            choices, usage = piece.get("choices"), piece.get("usage")
            if not choices and piece.get("error"):
                self.refusal = _refusal(piece["error"])
        else:
            choices, usage = piece.choices, getattr(piece, "usage", None)
        if self._first is None:
            self._first = piece
        if usage is not None:
            self._usage = piece
        if not choices:
            return False
        choice = choices[0]
        reason = choice.get("finish_reason") if type(choice) is dict else choice.finish_reason
        if reason:
            self.complete = True
            self._reasons.append(reason)
            self._tier = piece
        if self._content is not None:
            self._content.append(text(choice, "delta", "content") or text(choice, "text") or "")
        if self._begun:
            return not reason
        self._begun = _says(choice)
        return self._begun

    def fields(self) -> dict[str, Any]:
        """The fields of the row, as far as the answer came."""
        fields = _common(self._first)
        fields.update(_common(self._usage))
        fields["service_tier"] = text(self._tier, "service_tier") or fields.get("service_tier")
        fields["finish_reason"] = _joined(self._reasons)
        usage = read(self._usage, "usage")
        fields.update(usage_fields(usage))
        if self._content:
            fields["answer"] = "".join(self._content)
        return present(fields)


class ResponsesReader:
    """The events of a streamed response."""

    def __init__(self, *, content: bool) -> None:
        self.complete = False
        self.refusal: Refusal | None = None
        self._content = content
        self._begun = False
        self._response: Any = None

    def read(self, piece: Any) -> bool:
        """Takes in one event; whether it was part of the answer."""
        kind = piece.get("type") if type(piece) is dict else piece.type
        if kind is None:
            return False
        if kind.endswith(".delta"):
            return True
        if kind == "error" or (kind == "response.failed" and read(piece, "response", "error") is None):
            self.refusal = _refusal(read(piece, "error") or piece)
        elif (response := read(piece, "response")) is not None:
            self._response = response
            self.complete = kind in ("response.completed", "response.incomplete", "response.failed")
            if kind == "response.failed":
                self.refusal = _refusal(read(response, "error"))
        return False

    def fields(self) -> dict[str, Any]:
        """The fields of the row, as far as the answer came."""
        fields = _responses_fields(self._response, content=self._content and self.complete)
        fields.pop("refusal", None)
        return fields


def usage_fields(usage: Any) -> dict[str, Any]:
    """Tokens, and what some providers add to them: times (Groq), money (OpenRouter). Absent stays absent."""
    if usage is None:
        return {}
    given = first_count(usage, ("prompt_tokens",), ("input_tokens",))
    out = first_count(usage, ("completion_tokens",), ("output_tokens",))
    total = count(usage, "total_tokens")
    thought = first_count(
        usage, ("completion_tokens_details", "reasoning_tokens"), ("output_tokens_details", "reasoning_tokens")
    )
    if thought and None not in (given, out, total) and total == (given or 0) + (out or 0) + thought:
        out = (out or 0) + thought  # xAI counts thinking beside the output
    details = read(usage, "prompt_tokens_details") or read(usage, "input_tokens_details")
    cached = first_count(details, ("cached_tokens",))
    cost = read(usage, "cost")
    priced = isinstance(cost, (int, float)) and not isinstance(cost, bool)
    return present(
        {
            "input_tokens": given,
            "output_tokens": out,
            "total_tokens": total,
            "reasoning_tokens": thought,
            "cache_read_input_tokens": count(usage, "prompt_cache_hit_tokens") if cached is None else cached,
            "cache_creation_input_tokens": count(details, "cache_write_tokens"),
            "cost_usd": cost if priced else None,
            "cost_status": "reported" if priced else None,
            "queue_time_ms": _milliseconds(read(usage, "queue_time")),
            "inference_time_ms": _milliseconds(read(usage, "total_time")),
        }
    )


def _common(answer: Any) -> dict[str, Any]:
    """What whole answers and pieces have alike."""
    if answer is None:
        return {}
    fields = {
        "response_id": text(answer, "id"),
        "model_name": text(answer, "model"),
        "service_tier": text(answer, "service_tier"),
        "upstream_provider": text(answer, "provider"),  # OpenRouter: whom it asked
    }
    if text(answer, "system_fingerprint") == _OLLAMA_FINGERPRINT:
        fields["model_provider"] = "ollama"
    elif _has_any(answer, _VLLM_ENTRIES):
        fields["model_provider"] = "vllm"
    timings = read(answer, "timings")
    if read(timings, "predicted_ms") is not None:
        fields["model_provider"] = "llamacpp"
        fields["inference_time_ms"] = (read(timings, "prompt_ms") or 0.0) + read(timings, "predicted_ms")
    return present(fields)


def _responses_fields(answer: Any, *, content: bool) -> dict[str, Any]:
    status = text(answer, "status")
    fields = _common(answer)
    reason = text(answer, "incomplete_details", "reason")
    fields["finish_reason"] = reason or ("stop" if status == "completed" else None if status is None else status)
    if status == "in_progress":
        fields["finish_reason"] = None
    fields.update(usage_fields(read(answer, "usage")))
    if status == "failed":
        fields["refusal"] = _refusal(read(answer, "error"))
    if content:
        fields["answer"] = "".join(_texts(answer)) or None
    return present(fields)


def _texts(answer: Any) -> Iterator[str]:
    for item in read(answer, "output") or ():
        for part in read(item, "content") or ():
            yield text(part, "text") or ""


def _says(choice: Any) -> bool:
    """Whether a piece holds a first part of the answer, and no mere frame such as the role."""
    delta = read(choice, "delta")
    if delta is None:
        return bool(read(choice, "text"))
    names = ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "function_call", "audio")
    return any(read(delta, name) for name in names)


def _has_any(answer: Any, names: tuple[str, ...]) -> bool:
    extra = answer if isinstance(answer, Mapping) else getattr(answer, "model_extra", None) or {}
    return any(name in extra for name in names)


def _refusal(error: Any) -> Refusal:
    code = read(error, "code") or read(error, "type")
    message = text(error, "message") or (error if isinstance(error, str) else "the provider said no more")
    return Refusal(message, None if code is None else str(code))


def _joined(reasons: Any) -> str | None:
    return ",".join(dict.fromkeys(each for each in reasons if each)) or None


def _milliseconds(seconds: Any) -> float | None:
    return seconds * 1e3 if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) else None
