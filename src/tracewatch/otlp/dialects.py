"""What is peculiar to one convention and cannot be said as attribute -> column: one function for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tracewatch.otlp.conventions import OPERATIONS, TokenRule
from tracewatch.otlp.own import object_of, real_of, text_of, truth_of, whole_of
from tracewatch.otlp.timing import moment_ns
from tracewatch.otlp.usage import HOUR, INPUT, OUTPUT, READ, TOTAL, WRITTEN, Values, disjoint, read_usage
from tracewatch.otlp.wire import Attributes, WireSpan

if TYPE_CHECKING:
    from tracewatch.otlp.reading import Program

# Whose input tokens leave out what came from a cache. Seen in captures (OpenLIT: 21 where the others say 1045) and
# reported for OpenInference's Bedrock spans; OpenAI itself always includes it, so OpenLIT's OpenAI spans do.
_EXCLUSIVE = (
    "openlit.instrumentation.anthropic",
    "openlit.instrumentation.bedrock",
    "openinference.instrumentation.bedrock",
)
_SAY_WHY = ("openllmetry", "otel", "anthropic-sdk", "openinference", "pydantic-ai")
"""The conventions that name a finish reason for every stream which came to its end."""

_ID = re.compile(r'"id"\s*:\s*"((?:chatcmpl|cmpl|resp|gen)[-_][\w.\-]{4,100}|msg_01[\w\-]{4,100})"')
_LONGEST = 1_000_000  # characters of an answer that are searched for its id

_LAST_ADDING_ONE = (0, 62)  # the newest OpenLLMetry that was measured

# What OpenLIT writes as asked for when nothing was.
_NEVER_SENT = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 1.0,
    "seed": 0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "max_tokens": -1,
}

Translate = Callable[[WireSpan, Values, Attributes, "Program"], Iterator[str]]


def token_rule(scope: str) -> TokenRule:
    """How spans of that scope count input tokens."""
    return "exclusive" if scope.startswith(_EXCLUSIVE) else "inclusive"


def translate(convention: str, span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    """Fills columns in the way of that convention; yields warnings (see `usage.WARNINGS`)."""
    special = SPECIAL.get(convention)
    if special:
        yield from special(span, values, metadata, program)
    if program.counting == "exclusive" and (values.get(READ) or values.get(WRITTEN)) and INPUT in values:
        metadata["reported_input_tokens"] = values[INPUT]
        yield "corrected_tokens"
    if convention in _SAY_WHY and values.get("streaming_enabled") and "finish_reason" not in values:
        provider = values.get("model_provider", "").lower()
        # OpenLLMetry never names Ollama's, nor OpenInference those of a response; OpenAI's count of tokens comes last.
        is_whole = provider == "ollama" or (provider == "openai" and OUTPUT in values)
        if span.code != 2 and not values.get("error_type") and not is_whole and _answers(values):
            yield "unfinished_stream"


def _answers(values: Values) -> bool:
    return OPERATIONS.get((values.get("operation_type") or "chat").lower()) in ("chat", "completion")


def _openinference(span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    given = span.attributes
    asked = given.get("llm.invocation_parameters")
    if isinstance(asked, str) and "streaming_enabled" not in values:
        found = re.search(r'"stream(?:ing)?"\s*:\s*(true|false)', asked)
        if found:
            values["streaming_enabled"] = found[1] == "true"
    if isinstance(asked, str) and "model_name" not in values:  # a call that failed names what was asked for alone
        named = re.search(r'"model(?:_name)?"\s*:\s*"([^"]{1,200})"', asked)
        if named:
            values["model_name"] = named[1]
    if "response_id" not in values and (values.get("operation_type") or "").upper() == "LLM":
        values["response_id"] = answer_id(given.get("output.value"))
    return iter(())


def _mlflow(span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    given = span.attributes
    _use(given.get("mlflow.chat.tokenUsage"), values, metadata)
    outputs = given.get("mlflow.spanOutputs")
    model_call = (values.get("operation_type") or "").upper() in ("CHAT_MODEL", "LLM")
    if model_call and isinstance(outputs, str):
        values.setdefault("response_id", answer_id(outputs))
        thought = re.search(r'"reasoning_tokens"\s*:\s*(\d{1,12})\b', outputs[:_LONGEST])
        if thought:
            values.setdefault("reasoning_tokens", int(thought[1]))
    said = text_of(given.get("mlflow.message.format"))
    if "model_provider" not in values and said:
        values["model_provider"] = said.strip('"')
    if "streaming_enabled" not in values and model_call:
        values["streaming_enabled"] = truth_of(given.get("stream"))
    asked = text_of(given.get("model"))
    if model_call and "model_name" not in values and asked:  # a call that failed names what was asked for alone
        values["model_name"] = asked.strip('"')
    for name in ("temperature", "max_tokens"):
        number = real_of(given.get(name))
        if number is not None:
            metadata[f"gen_ai.request.{name}"] = number
    return iter(())


def _logfire(span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    given = span.attributes
    _use(given.get("gen_ai.usage.raw"), values, metadata)
    if given.get("logfire.span_type") == "log" and (streamed := real_of(given.get("duration"))) is not None:
        # The record of a stream's end: it lasts no time itself, and says how long the stream took.
        values["streaming_enabled"] = True
        metadata["stream_duration_ms"] = streamed * 1e3
    if "response_id" not in values and isinstance(given.get("response_data"), str):
        values["response_id"] = answer_id(given["response_data"])
    return iter(())


def _openlit(span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    given = span.attributes
    values.pop("cost_usd", None)  # from a price table of its own, and from tokens that leave out the cache
    # Measured from the moment the stream was opened, not from the request: 44 ms where the headers alone took 78 ms.
    first = values.pop("ttft_ms", None)
    if first is not None and values.get("streaming_enabled"):
        metadata["reported_ttft_ms"] = first
    # Without usage from the provider it makes tokens up. It then writes no cache attribute, which it always does else.
    usage_came = any(name.startswith("gen_ai.usage.cache") for name in given)
    if values.get("streaming_enabled") and not usage_came and (INPUT in values or OUTPUT in values):
        for name in (INPUT, OUTPUT, TOTAL):
            number = values.pop(name, None)
            if number is not None:
                metadata[f"estimated_{name}"] = number
        yield "estimated_tokens"
    for name, default in _NEVER_SENT.items():
        if given.get(f"gen_ai.request.{name}") == default:
            metadata[f"gen_ai.request.{name}"] = None


def _openllmetry(span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    # Streams of Anthropic: the one token of message_start is added to the count of message_delta, which includes it.
    affected = program.scope.endswith(".anthropic") and _version(program.version) <= _LAST_ADDING_ONE
    if affected and values.get("streaming_enabled") and values.get(OUTPUT, 0) > 0:
        metadata["reported_output_tokens"] = values[OUTPUT]
        values[OUTPUT] -= 1
        if TOTAL in values:
            values[TOTAL] -= 1
        yield "corrected_tokens"


def _litellm(span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    given = span.attributes
    group, original = (text_of(given.get(f"litellm.{name}")) for name in ("model_group", "original_model_group"))
    if group and original and group != original and span.code != 2:
        values.setdefault("status", "fallback")
        metadata["litellm.original_model_group"] = original
    if truth_of(given.get("litellm.cache_hit")):
        metadata["cache_hit"] = True
    if span.name == "raw_gen_ai_request":  # the provider's call inside litellm_request, which reports it whole
        values["operation_type"] = "step"
        for name in (INPUT, OUTPUT, TOTAL, "model_name"):
            values.pop(name, None)
    return iter(())


def _langfuse(span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    given = span.attributes
    usage = read_usage(given.get("langfuse.observation.usage_details"))
    if disjoint(usage):
        usage[INPUT] = usage.get(INPUT, 0) + usage.get(READ, 0) + usage.get(WRITTEN, 0)
    _fill(usage, values, metadata)
    cost = object_of(given.get("langfuse.observation.cost_details")) or {}
    total = real_of(cost.get("total"))
    if total:
        values.setdefault("cost_usd", total)
    began = text_of(given.get("langfuse.observation.completion_start_time"))
    first = moment_ns(began) if began else None
    if first is not None and first >= span.start_ns:
        values.setdefault("ttft_ms", (first - span.start_ns) / 1e6)
    name = text_of(given.get("langfuse.trace.name"))
    if name:
        values.setdefault("usage_type", name)
    return iter(())


def _anthropic(span: WireSpan, values: Values, metadata: Attributes, program: Program) -> Iterator[str]:
    hour = whole_of(span.attributes.get("anthropic.usage.cache_creation.ephemeral_1h_input_tokens"))
    if hour:
        metadata[HOUR] = hour
    return iter(())


SPECIAL: Mapping[str, Translate] = {
    "openinference": _openinference,
    "mlflow": _mlflow,
    "logfire": _logfire,
    "openlit": _openlit,
    "openllmetry": _openllmetry,
    "litellm": _litellm,
    "langfuse": _langfuse,
    "anthropic-sdk": _anthropic,
}
"""The conventions with a function of their own, which may look at any attribute."""


def answer_id(text: Any) -> str | None:
    """The provider's id of an answer, found in the answer's text, of which nothing else is kept.

    >>> answer_id('{"id": "chatcmpl-4242917ea2eb", "choices": []}')
    'chatcmpl-4242917ea2eb'
    """
    if not isinstance(text, str):
        return None
    found: list[str] = _ID.findall(text[:_LONGEST])
    # An answer of OpenAI's Responses API has messages with ids of their own in it.
    return next((each for each in found if not each.startswith("msg_")), found[0] if found else None)


def _use(given: Any, values: Values, metadata: Attributes) -> None:
    if given is not None:
        _fill(read_usage(given), values, metadata)


def _fill(usage: Values, values: Values, metadata: Attributes) -> None:
    hour = usage.pop(HOUR, None)
    if hour:
        metadata[HOUR] = hour
    for name, number in usage.items():
        values.setdefault(name, number)


def _version(text: str) -> tuple[int, ...]:
    found = re.findall(r"\d+", text)[:2]
    return tuple(int(each[:9]) for each in found) or (0, 0)
