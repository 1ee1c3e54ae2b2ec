"""Anthropic's client, also on Bedrock, Vertex and Foundry: translated into fields of the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracewatch.capture.calls import Asked, Refusal
from tracewatch.capture.providers import provider_of
from tracewatch.capture.reading import count, present, read, text

PACKAGE = "anthropic"
CLIENTS = ("Anthropic", "AsyncAnthropic")

_MESSAGES = "/v1/messages"
_DELTA, _START, _END, _LAST, _ERROR = (
    *("content_block_delta", "message_start", "message_delta"),
    *("message_stop", "error"),
)


def asked(client: Any, address: str, body: Any) -> Asked | None:
    """What a request asks of a model; None when it asks none (batches, token counts, files)."""
    if not address.partition("?")[0].endswith(_MESSAGES) or not isinstance(body, Mapping):
        return None
    provider, host = provider_of(client.base_url, PACKAGE)
    fields: dict[str, Any] = {
        "operation_type": "chat",
        "model_provider": provider,
        "model_name": body.get("model"),
        "streaming_enabled": bool(body.get("stream")),
        "retry_count": 0,
    }
    if host is not None:
        fields["host"] = host
    system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    return Asked(kind="messages", fields=fields, prompt=[*system, *(body.get("messages") or ())])


def answered(asked: Asked, answer: Any, *, content: bool) -> dict[str, Any]:
    """The fields of the row from a whole message."""
    fields = _message_fields(answer)
    fields["finish_reason"] = text(answer, "stop_reason")
    fields.update(usage_fields(read(answer, "usage")))
    if content:
        blocks = read(answer, "content") or ()
        fields["answer"] = "".join(text(each, "text") or "" for each in blocks) or None
        fields["reasoning"] = "".join(text(each, "thinking") or "" for each in blocks) or None
    return present(fields)


def reader(asked: Asked, *, content: bool) -> MessageReader:
    """What takes in the events of a streamed message."""
    return MessageReader(content=content)


class MessageReader:
    """The events of a streamed message. Counts in `message_delta` are of the whole so far: they replace, never add."""

    def __init__(self, *, content: bool) -> None:
        self.complete = False
        self.refusal: Refusal | None = None
        self._content = content
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._message: Any = None
        self._usage: dict[str, Any] = {}
        self._reason: str | None = None

    def read(self, piece: Any) -> bool:
        """Takes in one event; whether it was part of the answer."""
        kind = piece.get("type") if type(piece) is dict else piece.type
        if kind == _DELTA:
            if self._content:
                self._texts.append(text(piece, "delta", "text") or "")
                self._thoughts.append(text(piece, "delta", "thinking") or "")
            return True
        if kind == _START:
            self._message = read(piece, "message")
            self._usage = _as_dict(read(self._message, "usage"))
        elif kind == _END:
            self._reason = text(piece, "delta", "stop_reason") or self._reason
            self._usage.update(present(_as_dict(read(piece, "usage"))))
        elif kind == _LAST:
            self.complete = True
        elif kind == _ERROR:
            error = read(piece, "error")
            self.refusal = Refusal(text(error, "message") or str(error), text(error, "type"))
        return False

    def fields(self) -> dict[str, Any]:
        """The fields of the row, as far as the answer came."""
        fields = _message_fields(self._message)
        fields["finish_reason"] = self._reason
        usage = usage_fields(self._usage)
        if self._reason is None:  # the only count of the output is the 1 that a stream begins with
            usage.pop("output_tokens", None)
        fields.update(usage)
        if self._content:
            fields["answer"] = "".join(self._texts) or None
            fields["reasoning"] = "".join(self._thoughts) or None
        return present(fields)


def usage_fields(usage: Any) -> dict[str, Any]:
    """Tokens. Anthropic counts the input without what its cache read or wrote; a row counts all of it."""
    fresh = count(usage, "input_tokens")
    written, cached = count(usage, "cache_creation_input_tokens"), count(usage, "cache_read_input_tokens")
    return present(
        {
            "input_tokens": None if fresh is None else fresh + (written or 0) + (cached or 0),
            "output_tokens": count(usage, "output_tokens"),
            "reasoning_tokens": count(usage, "output_tokens_details", "thinking_tokens"),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": cached,
            "cache_creation_5m_input_tokens": count(usage, "cache_creation", "ephemeral_5m_input_tokens"),
            "cache_creation_1h_input_tokens": count(usage, "cache_creation", "ephemeral_1h_input_tokens"),
            "web_search_requests": count(usage, "server_tool_use", "web_search_requests"),
            "service_tier": text(usage, "service_tier"),
            "speed": text(usage, "speed"),
        }
    )


def _message_fields(message: Any) -> dict[str, Any]:
    return {"response_id": text(message, "id"), "model_name": text(message, "model")}


_USAGE = (
    *("input_tokens", "output_tokens", "output_tokens_details", "cache_creation_input_tokens"),
    *("cache_read_input_tokens", "cache_creation", "server_tool_use", "service_tier", "speed"),
)


def _as_dict(usage: Any) -> dict[str, Any]:
    return {name: read(usage, name) for name in _USAGE}
