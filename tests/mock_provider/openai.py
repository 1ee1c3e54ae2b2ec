"""What OpenAI answers."""

from __future__ import annotations

from mock_provider.base import TEXT, WORDS, cut, events, new_id, whole

CREATED = 1_780_000_000
MODELS = {"gpt-4o-mini": "gpt-4o-mini-2024-07-18", "gpt-4o": "gpt-4o-2024-08-06"}
ERRORS = {
    "400": (400, "invalid_request_error", "invalid_value", "Invalid value for 'temperature'."),
    "401": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "context": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192.",
    ),
    "429": (429, "requests", "rate_limit_exceeded", "Rate limit reached for gpt-4o-mini."),
    "quota": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    "500": (500, "server_error", None, "The server had an error while processing your request."),
    "503": (503, "server_error", None, "The engine is currently overloaded, please try again later."),
}


def headers(request):
    """Its own times, the room in its rate limits and the request's id."""
    return {
        "openai-processing-ms": "6",
        "x-envoy-upstream-service-time": "8",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-remaining-tokens": "50000",
        "x-ratelimit-reset-tokens": "6ms",
        "x-request-id": new_id("req_"),
    }


def refused(request):
    """The error of this scenario; None when it has none."""
    if request.scenario not in ERRORS:
        return None
    status, kind, code, message = ERRORS[request.scenario]
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    later = {"retry-after-ms": "20"} if status >= 429 else {}
    return whole(body, {**later, "x-request-id": new_id("req_")}, status)


def usage(scenario):
    """What it counts."""
    given = 1117 if scenario == "cache" else 19
    thought = 64 if scenario == "reason" else 0
    return {
        "prompt_tokens": given,
        "completion_tokens": 7 + thought,
        "total_tokens": given + 7 + thought,
        "prompt_tokens_details": {"cached_tokens": 1024 if scenario == "cache" else 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }


def chat(request):
    """`/chat/completions`."""
    if (error := refused(request)) is not None:
        return error
    body = request.body
    base = {
        "id": new_id("chatcmpl-"),
        "created": CREATED,
        "model": MODELS.get(body["model"], body["model"]),
        "service_tier": "default",
        "system_fingerprint": "fp_51db84afab",
    }
    call = {"id": new_id("call_"), "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    tools, length = bool(body.get("tools")), request.scenario == "length"
    reason = "tool_calls" if tools else "length" if length else "stop"
    if body.get("stream"):
        return events(
            cut(list(_chunks(request, base, call if tools else None, reason)), request.scenario, 4), headers(request)
        )
    text = '{"city": "Paris"}' if "response_format" in body and not length else TEXT
    message = {"role": "assistant", "content": None if tools else text, "refusal": None}
    if tools:
        message["tool_calls"] = [call]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    answer = {**base, "object": "chat.completion", "choices": [choice], "usage": usage(request.scenario)}
    return whole(answer, headers(request))


def _chunks(request, base, call, reason):
    counted = (request.body.get("stream_options") or {}).get("include_usage")

    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**base, "object": "chat.completion.chunk", "choices": [choice]}
        return {**chunk, "usage": None} if counted else chunk

    yield chunk({"role": "assistant", "content": None if call else "", "refusal": None})
    if call:
        yield chunk({"tool_calls": [{"index": 0, **call, "function": {"name": "weather", "arguments": ""}}]})
        for part in ('{"', "city", '":"', "Paris", '"}'):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
    for number, word in enumerate(() if call else WORDS):
        if number == 3 and request.scenario == "errorevent":
            yield {"error": {"message": "The engine is overloaded.", "type": "server_error", "code": "overloaded"}}
            return
        yield chunk({"content": word})
    yield chunk({}, reason)
    if counted:
        yield {**base, "object": "chat.completion.chunk", "choices": [], "usage": usage(request.scenario)}
    yield "[DONE]"


def completion(request):
    """`/completions`, the older way."""
    if (error := refused(request)) is not None:
        return error
    base = {"id": new_id("cmpl-"), "object": "text_completion", "created": CREATED, "model": request.body["model"]}
    if request.body.get("stream"):
        pieces = [{**base, "choices": [_text(word)]} for word in WORDS]
        return events([*pieces, {**base, "choices": [_text("", "stop")]}, "[DONE]"], headers(request))
    return whole({**base, "choices": [_text(TEXT, "stop")], "usage": usage(request.scenario)}, headers(request))


def _text(text, reason=None):
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def responses(request):
    """`/responses`."""
    if (error := refused(request)) is not None:
        return error
    scenario, item_id = request.scenario, new_id("msg_")
    thought = 64 if scenario == "reason" else 0
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    item = {"type": "message", "id": item_id, "status": "completed", "role": "assistant", "content": [part]}
    failed = {"code": "server_error", "message": "The model failed."} if scenario == "failed" else None
    short = {"reason": "max_output_tokens"} if scenario == "length" else None
    answer = {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": CREATED,
        "status": "failed" if failed else "incomplete" if short else "completed",
        "error": failed,
        "incomplete_details": short,
        "instructions": None,
        "metadata": {},
        "model": MODELS.get(request.body["model"], request.body["model"]),
        "output": [item],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 0},
            "output_tokens": 7 + thought,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": 43 + thought,
        },
    }
    if not request.body.get("stream"):
        return whole(answer, headers(request))
    pieces = [(each["type"], {"sequence_number": n, **each}) for n, each in enumerate(_events(answer, item, part))]
    return events(cut(pieces, scenario, 6), headers(request))


def _events(answer, item, part):
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "error": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    empty = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": empty}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for word in WORDS:
        yield {"type": "response.output_text.delta", **at, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": TEXT, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": f"response.{answer['status']}", "response": answer}


def embeddings(request):
    """`/embeddings`."""
    if (error := refused(request)) is not None:
        return error
    given = request.body["input"]
    texts = given if isinstance(given, list) else [given]
    # Four floats of 0.0, as base64 or as they are.
    numbers = "AAAAAAAAAAAAAAAAAAAAAA==" if request.body.get("encoding_format") == "base64" else [0.0] * 4
    data = [{"object": "embedding", "index": index, "embedding": numbers} for index in range(len(texts))]
    counts = {"prompt_tokens": 5 * len(texts), "total_tokens": 5 * len(texts)}
    return whole({"object": "list", "data": data, "model": request.body["model"], "usage": counts}, headers(request))
