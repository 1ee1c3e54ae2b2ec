"""Anthropic's client, also on Bedrock, Vertex and Foundry: translated into fields of the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracewatch.capture.calls import Asked, Refusal
from tracewatch.capture.providers import provider_of
from tracewatch.capture.reading import count, fields_of, joined, present, read, text

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
    values = fields_of(answer)
    fields = {**_message_fields(values), "finish_reason": text(values.get("stop_reason"))}
    fields.update(usage_fields(values.get("usage")))
    if content:
        blocks = [fields_of(each) for each in values.get("content") or ()]
        fields["answer_text"] = joined(each.get("text") for each in blocks)
        fields["reasoning"] = joined(each.get("thinking") for each in blocks)
    return fields


def reader(asked: Asked, *, content: bool) -> MessageReader:
    """What takes in the events of a streamed message."""
    return MessageReader(content=content)


class MessageReader:
    """The events of a streamed message. Counts in `message_delta` are of the whole so far: they replace, never add."""

    def __init__(self, *, content: bool) -> None:
        self.complete = False
        self.refusal: Refusal | None = None
        self._content = content
        self._texts: list[Any] = []
        self._thoughts: list[Any] = []
        self._message: Any = None
        self._usage: dict[str, Any] = {}
        self._reason: str | None = None

    def read(self, piece: Any) -> bool:
        """Takes in one event; whether it was part of the answer."""
        kind = piece.get("type") if type(piece) is dict else piece.type
        if kind == _DELTA:
            if self._content:
                self._texts.append(read(piece, "delta", "text"))
                self._thoughts.append(read(piece, "delta", "thinking"))
            return True
        if kind == _START:
            self._message = read(piece, "message")
            self._usage = dict(fields_of(read(self._message, "usage")))
        elif kind == _END:
            self._reason = text(read(piece, "delta", "stop_reason")) or self._reason
            self._usage.update(present(fields_of(read(piece, "usage"))))
        elif kind == _LAST:
            self.complete = True
        elif kind == _ERROR:
            error = read(piece, "error")
            self.refusal = Refusal(text(read(error, "message")) or str(error), text(read(error, "type")))
        return False

    def fields(self) -> dict[str, Any]:
        """The fields of the row, as far as the answer came."""
        fields = {**_message_fields(fields_of(self._message)), "finish_reason": self._reason}
        fields.update(usage_fields(self._usage))
        if self._reason is None:  # the only count of the output is the 1 that a stream begins with
            fields["output_tokens"] = None
        if self._content:
            fields["answer_text"] = joined(self._texts)
            fields["reasoning"] = joined(self._thoughts)
        return fields


def usage_fields(usage: Any) -> dict[str, Any]:
    """Tokens. Anthropic counts the input without what its cache read or wrote; a row counts all of it."""
    values = fields_of(usage)
    fresh = count(values.get("input_tokens"))
    written = count(values.get("cache_creation_input_tokens"))
    cached = count(values.get("cache_read_input_tokens"))
    for_times = fields_of(values.get("cache_creation"))
    return {
        "input_tokens": None if fresh is None else fresh + (written or 0) + (cached or 0),
        "output_tokens": count(values.get("output_tokens")),
        "reasoning_tokens": count(read(values.get("output_tokens_details"), "thinking_tokens")),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "cache_creation_5m_input_tokens": count(for_times.get("ephemeral_5m_input_tokens")),
        "cache_creation_1h_input_tokens": count(for_times.get("ephemeral_1h_input_tokens")),
        "web_search_requests": count(read(values.get("server_tool_use"), "web_search_requests")),
        "service_tier": text(values.get("service_tier")),
        "speed": text(values.get("speed")),
    }


def _message_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"response_id": text(values.get("id")), "model_name": text(values.get("model"))}
