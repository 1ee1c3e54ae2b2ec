"""Which attributes hold text of prompts and answers, and what of the others is kept in metadata, within bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tracewatch.records.bounds import CONTENT_WORDS

CONTENT: Mapping[str, tuple[str, ...]] = {
    "otel": (
        *(
            "gen_ai.input.",
            "gen_ai.output.messages",
            "gen_ai.system_instructions",
            "gen_ai.prompt",
            "gen_ai.completion",
        ),
        *(
            "gen_ai.tool.definitions",
            "gen_ai.tool.call.arguments",
            "gen_ai.tool.call.result",
            "gen_ai.tool.description",
        ),
        *("gen_ai.agent.description", "gen_ai.content.", "gen_ai.event.content", "gen_ai.retrieval.", "db.statement"),
        *("db.query.text", "exception.", "mcp.request.argument", "mcp.response."),
    ),
    "openinference": (
        *("input.", "output.", "llm.input_messages", "llm.output_messages", "llm.prompts", "llm.prompt_template."),
        *("llm.choices", "llm.tools", "llm.function_call", "llm.invocation_parameters", "embedding.embeddings"),
        *("embedding.invocation_parameters", "embedding.text", "retrieval.documents", "reranker.query"),
        *("reranker.input_documents", "reranker.output_documents", "tool.parameters", "tool.description"),
        *("tool.json_schema", "document.", "message.", "message_content."),
    ),
    "openllmetry": (
        *("traceloop.entity.input", "traceloop.entity.output", "traceloop.prompt.template", "llm.request.functions"),
        *("llm.completions", "llm.headers", "gen_ai.headers", "gen_ai.request.structured_output_schema"),
        *("gen_ai.response.reasoning", "db.query.result"),
    ),
    "openlit": ("gen_ai.tool.args", "gen_ai.tool.arguments", "gen_ai.tool.result"),
    "logfire": (
        *(
            "request_data",
            "response_data",
            "events",
            "logfire.msg",
            "logfire.json_schema",
            "all_messages",
            "final_result",
        ),
    ),
    "pydantic-ai": ("pydantic_ai.", "tool_arguments", "tool_response", "model_request_parameters"),
    "mlflow": ("mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chat.tools", "mlflow.chat.messages", "mlflow.chunk."),
    "langfuse": (
        "langfuse.observation.input",
        "langfuse.observation.output",
        "langfuse.trace.input",
        "langfuse.trace.output",
    ),
    "vercel-ai": (
        *("ai.prompt", "ai.response.text", "ai.response.object", "ai.response.toolCalls", "ai.response.reasoning"),
        *("ai.toolCall.args", "ai.toolCall.result", "ai.value", "ai.embedding", "ai.schema", "ai.request."),
    ),
    "litellm": ("llm.openai.", "llm.anthropic.", "llm.azure.", "hidden_params", "guardrail_response"),
}
"""Convention -> beginnings of the names of attributes that hold content; they are dropped whoever sends them."""

# MLflow writes the arguments of the call under their own names.
_ARGUMENTS = frozenset(
    ("system", "tools", "functions", "response_format", "stream_options", "tool_choice", "async", "model")
)

_CONTENT = tuple(dict.fromkeys(begin for names in CONTENT.values() for begin in names))

# What tells nothing about a call, or repeats what has a column.
_USELESS = (
    *("telemetry.", "service.", "process.", "host.", "os.", "thread.", "code.", "container.", "k8s.", "logfire."),
    *("server.port", "url.", "http.url", "http.target", "http.host", "http.user_agent", "http.scheme", "http.flavor"),
    *("http.server_name", "net.", "network.", "user_agent.", "client.", "mlflow.trace", "mlflow.spanLogLevel"),
    *("mlflow.spanFunctionName", "mlflow.message.format", "openlit.agent.version_hash", "gen_ai.sdk.version"),
    *("gen_ai.client.token.usage", "gen_ai.output.type", "deployment.", "sampling.", "otel.", "langfuse.internal."),
    *("langfuse.trace.public", "ai.settings.", "input.mime_type", "output.mime_type", "operation.name"),
    *("langfuse.observation.usage_details", "langfuse.observation.cost_details", "langfuse.trace.name"),
    *("langfuse.observation.completion_start_time", "langfuse.observation.level", "mlflow.chat.tokenUsage"),
    *("langfuse.observation.status_message", "gen_ai.usage.raw"),
    *("resource.name", "openinference.project", "anthropic.organization.id"),
)

KEYS = 48
"""How many entries of metadata are kept of one span."""
TEXT = 256
"""How many characters of a text in metadata are kept; a longer one is dropped whole, for it may be content."""
ALLOWED_TEXT = 16_384
"""How many characters of each attribute with content are kept where content is allowed."""

_KINDS: dict[str, str] = {}
_MOST_KINDS = 8192
_NUMBERS = ("gen_ai.usage.", "gen_ai.request.", "gen_ai.aggregated_usage.", "llm.token_count.", "llm.cost.")
_SPLIT = re.compile(r"[._\-\s]+")


def kind_of(name: str) -> str:
    """What an attribute of this name is: "content", "useless" or "plain".

    >>> kind_of("llm.input_messages.0.message.content"), kind_of("telemetry.sdk.name"), kind_of("app.tenant")
    ('content', 'useless', 'plain')
    """
    kind = _KINDS.get(name)
    if kind is None:
        kind = _kind_of(name)
        if len(_KINDS) < _MOST_KINDS:
            _KINDS[name] = kind
    return kind


def _kind_of(name: str) -> str:
    if name.startswith(_USELESS):
        return "useless"
    if name.startswith(_CONTENT) or name in _ARGUMENTS:
        return "content"
    if name.startswith(
        ("gen_ai.usage.", "gen_ai.request.", "gen_ai.aggregated_usage.", "llm.token_count.", "llm.cost.")
    ):
        return "plain"
    return "content" if len(name) > TEXT or not CONTENT_WORDS.isdisjoint(_SPLIT.split(name.lower())) else "plain"


def plain(value: Any) -> Any:
    """A value as metadata keeps it; None for what is too long, not finite or nested."""
    if isinstance(value, str):
        return value if 0 < len(value) <= TEXT else None
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, (bool, int)):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, list) and len(value) <= 16:
        kept = [each for each in map(plain, value) if each is not None and not isinstance(each, list)]
        return kept or None
    return None


def spoken(value: Any) -> Any:
    """A value with content as metadata keeps it where content is allowed."""
    if isinstance(value, str):
        return value[:ALLOWED_TEXT] or None
    if isinstance(value, (bool, int, float)):
        return plain(value)
    return str(value)[:ALLOWED_TEXT]
