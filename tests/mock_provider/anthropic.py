"""What Anthropic answers."""

from __future__ import annotations

from mock_provider.base import TEXT, WORDS, cut, events, new_id, whole

MODELS = {"claude-test": "claude-test-20260101"}
ERRORS = {
    "400": (400, "invalid_request_error", "max_tokens: must be greater than 0"),
    "401": (401, "authentication_error", "invalid x-api-key"),
    "context": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "429": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "500": (500, "api_error", "Internal server error"),
    "529": (529, "overloaded_error", "Overloaded"),
}


def headers():
    """The request's id and the room in its rate limits."""
    return {
        "request-id": new_id("req_011"),
        "x-envoy-upstream-service-time": "7",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-input-tokens-limit": "50000",
        "anthropic-ratelimit-input-tokens-remaining": "5000",
        "anthropic-ratelimit-output-tokens-limit": "10000",
        "anthropic-ratelimit-output-tokens-remaining": "9990",
    }


def usage(scenario, output):
    """What it counts: the input without what the cache read or wrote."""
    hour = 300 if scenario == "cachewrite" else 0
    written = 1024 if scenario == "cachewrite" else 0
    return {
        "input_tokens": 21,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": 1024 if scenario == "cache" else 0,
        "cache_creation": {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output,
        "service_tier": "standard",
    }


def messages(request):
    """`/v1/messages`."""
    scenario, body = request.scenario, request.body
    sent = headers()
    if scenario in ERRORS:
        status, kind, message = ERRORS[scenario]
        error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": sent["request-id"]}
        later = {"retry-after-ms": "20"} if status >= 429 else {}
        return whole(error, {"request-id": sent["request-id"], **later}, status)
    base = {
        "id": new_id("msg_01"),
        "type": "message",
        "role": "assistant",
        "model": MODELS.get(body["model"], body["model"]),
    }
    blocks = [{"type": "text", "text": TEXT}]
    if body.get("tools"):
        blocks = [{"type": "tool_use", "id": new_id("toolu_01"), "name": "weather", "input": {"city": "Paris"}}]
    elif (body.get("thinking") or {}).get("type") == "enabled":
        blocks.insert(0, {"type": "thinking", "thinking": "The user asks for a capital.", "signature": "c2ln"})
    reason = "tool_use" if body.get("tools") else "max_tokens" if scenario == "length" else "end_turn"
    if body.get("stream"):
        return events(cut(list(_events(scenario, base, blocks, reason)), scenario, 6), sent)
    ended = {"stop_reason": reason, "stop_sequence": None}
    return whole({**base, "content": blocks, **ended, "usage": usage(scenario, 10)}, sent)


def _events(scenario, base, blocks, reason):
    def event(kind, **rest):
        return kind, {"type": kind, **rest}

    begun = {**base, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage(scenario, 1)}
    yield event("message_start", message=begun)
    for index, block in enumerate(blocks):
        empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
        yield event("content_block_start", index=index, content_block={**block, **empty[block["type"]]})
        if index == 0:
            yield event("ping")
        for number, delta in enumerate(_deltas(block)):
            if number == 3 and scenario == "errorevent":
                yield event("error", error={"type": "overloaded_error", "message": "Overloaded"})
                return
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    counted = {**usage(scenario, 10)}
    del counted["cache_creation"], counted["service_tier"]
    yield event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=counted)
    yield event("message_stop")


def _deltas(block):
    if block["type"] == "text":
        return [{"type": "text_delta", "text": word} for word in WORDS]
    if block["type"] == "thinking":
        signed = {"type": "signature_delta", "signature": "c2ln"}
        return [{"type": "thinking_delta", "thinking": block["thinking"]}, signed]
    return [{"type": "input_json_delta", "partial_json": part} for part in ("", '{"city": ', '"Paris"}')]


def count_tokens(request):
    """`/v1/messages/count_tokens`, which asks no model."""
    return whole({"input_tokens": 21}, headers())
