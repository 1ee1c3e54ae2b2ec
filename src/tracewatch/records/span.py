"""One call, or one step around a call: the row of `llm_traces`, and the registry of all its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Json, Record, Texts, Time, column

STATUSES = ("ok", "error", "fallback", "timeout")
ANSWERED = ("ok", "fallback")
"""The statuses of what ended with an answer."""

COST_STATUSES = (
    "exact",  # the model's own entry in the price table
    "alias",  # found under another name: a gateway prefix, a region, an ARN
    "date_stripped",  # found after the snapshot date was taken off the name
    "override",  # a price the project set itself
    "default_rate",  # the standard price, because the table has none for the service tier that was asked for
    "reported",  # the caller or the provider said what it cost
    "free",  # a local model, or an answer from a cache of the client's
    "unpriced",  # a paid model without a known price: cost_usd is NULL
    "unmetered",  # nothing to price: no tokens were reported, or the row is the old view of a call (MESSAGES_SOURCE)
)

CONTENT_ENTRIES = ("prompt_text", "answer_text")
"""Entries of `metadata` that are content, as the column `reasoning` is: kept only where the owner allows it."""

MESSAGES_SOURCE = "messages"
"""`source` of rows that came from a messages table: the old view of calls that may also be there as traces."""

SCORE = "score"
"""`operation_type` of quality told later: a span in the trace, and below the span, that it is about."""

STEPS = (
    *("request", "step", "agent", "chain", "workflow", "task", "tool", "retrieval", "prompt", "parser", "guardrail"),
    *("evaluation", "memory", "http", "database", "batch", "score", "capture"),
)
"""The operations that are steps around calls of a model. A row is a call unless it is one of these."""

# The app's own label -> what it did; the first word found decides, so that chat_rerank is a rerank.
OPERATION_WORDS = (
    ("rerank", "rerank"),
    ("embed", "embedding"),
    ("retriev", "retrieval"),
    ("chat", "chat"),
)


def operation_of(usage_type: str) -> str | None:
    """The kind of work behind an app's label, where a word in it says so plainly.

    >>> operation_of("chat_rerank"), operation_of("chat_answer"), operation_of("extraction")
    ('rerank', 'chat', None)
    """
    return next((operation for word, operation in OPERATION_WORDS if word in usage_type.lower()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span(Record):
    """One span. Its key is `span_id` inside `trace_id` inside `project`."""

    table: ClassVar[str] = "llm_traces"
    noun: ClassVar[str] = "span"
    newest_by: ClassVar[str] = "start_time"

    # Hot numbers stand first: SQLite decodes a row from the left and stops at the last column asked for.
    start_time: Time = column(
        "When the call began.",
        label="Time",
        aliases=("timestamp", "created_at", "started_at", "time", "ts", "date", "datetime", "start", "start_timestamp"),
    )
    end_time: Time | None = column(
        "When the call ended.",
        default=None,
        label="End",
        aliases=("ended_at", "completed_at", "finished_at", "end", "end_timestamp"),
    )
    duration_ms: float | None = column(
        "How long the call took, to the end of the stream.",
        default=None,
        label="Duration",
        unit="ms",
        aliases=("latency_ms", "latency", "elapsed_ms", "response_time_ms", "total_duration_ms", "duration"),
        watched=True,
        rolled="sketch",
    )
    ttft_ms: float | None = column(
        "Time to the first token of a streamed answer.",
        default=None,
        label="Time to first token",
        unit="ms",
        otel=(
            "gen_ai.response.time_to_first_chunk",
            "gen_ai.client.operation.time_to_first_chunk",
            "gen_ai.server.time_to_first_token",
            "ai.response.msToFirstChunk",
        ),
        aliases=("time_to_first_token_ms", "first_token_ms", "time_to_first_token"),
        watched=True,
        rolled="sketch",
    )
    tokens_per_second: float | None = column(
        "Output tokens per second once the first token had come.",
        default=None,
        label="Throughput",
        unit="tokens/s",
        aliases=("throughput", "tps"),
        watched=True,
        rolled="sketch",
    )
    queue_time_ms: float | None = column(
        "Time the provider kept the call waiting before it worked on it.",
        default=None,
        label="Queue time",
        unit="ms",
        aliases=("queue_ms",),
        watched=True,
        rolled="sketch",
    )
    inference_time_ms: float | None = column(
        "Time the provider worked on the call.",
        default=None,
        label="Inference time",
        unit="ms",
        aliases=("inference_ms", "processing_ms"),
        watched=True,
        rolled="sum",
    )
    network_time_ms: float | None = column(
        "Time on the wire and in the client.",
        default=None,
        label="Network time",
        unit="ms",
        aliases=("network_ms",),
        watched=True,
        rolled="sum",
    )
    input_tokens: int | None = column(
        "Tokens sent to the model, all of them: what came from a cache is included.",
        default=None,
        label="Input tokens",
        unit="tokens",
        otel=(
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.prompt_tokens",
            "llm.token_count.prompt",
            "llm.usage.prompt_tokens",
            "ai.usage.inputTokens",
            "ai.usage.promptTokens",
        ),
        aliases=("prompt_tokens", "tokens_in", "input_token_count", "tokens_input", "prompt_token_count"),
        watched=True,
        rolled="sum",
    )
    output_tokens: int | None = column(
        "Tokens the model answered with, reasoning included.",
        default=None,
        label="Output tokens",
        unit="tokens",
        otel=(
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
            "llm.token_count.completion",
            "llm.usage.completion_tokens",
            "ai.usage.outputTokens",
            "ai.usage.completionTokens",
        ),
        aliases=("completion_tokens", "tokens_out", "output_token_count", "tokens_output", "completion_token_count"),
        watched=True,
        rolled="sum",
    )
    total_tokens: int | None = column(
        "Input and output tokens together.",
        default=None,
        label="Total tokens",
        unit="tokens",
        otel=(
            "gen_ai.usage.total_tokens",
            "llm.usage.total_tokens",
            "llm.token_count.total",
            "ai.usage.totalTokens",
        ),
        aliases=("tokens", "token_count", "tokens_total"),
        watched=True,
        rolled="sum",
    )
    reasoning_tokens: int | None = column(
        "Output tokens spent on thinking.",
        default=None,
        label="Reasoning tokens",
        unit="tokens",
        otel=(
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "gen_ai.usage.details.reasoning_tokens",
            "gen_ai.usage.completion_tokens_details.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
            "llm.usage.reasoning_tokens",
            "ai.usage.reasoningTokens",
        ),
        aliases=("thinking_tokens",),
        watched=True,
        rolled="sum",
    )
    cache_creation_input_tokens: int | None = column(
        "Input tokens written to the provider's prompt cache.",
        default=None,
        label="Cache write tokens",
        unit="tokens",
        otel=(
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "gen_ai.usage.cache_write_tokens",
            "gen_ai.usage.details.cache_write_tokens",
            "gen_ai.usage.prompt_tokens_details.cache_creation_tokens",
            "llm.token_count.prompt_details.cache_write",
        ),
        aliases=("cache_creation_tokens", "cache_write_tokens"),
        watched=True,
        rolled="sum",
    )
    cache_read_input_tokens: int | None = column(
        "Input tokens read from the provider's prompt cache.",
        default=None,
        label="Cache read tokens",
        unit="tokens",
        otel=(
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "gen_ai.usage.cache_read_tokens",
            "gen_ai.usage.input_cached_tokens",
            "gen_ai.usage.details.cache_read_tokens",
            "gen_ai.usage.prompt_tokens_details.cached_tokens",
            "llm.token_count.prompt_details.cache_read",
            "llm.token_count.prompt_details.cache_input",
            "ai.usage.cachedInputTokens",
        ),
        aliases=("cache_read_tokens", "cached_tokens", "input_cached_tokens"),
        watched=True,
        rolled="sum",
    )
    cost_usd: float | None = column(
        "What the call cost. NULL when it is not known, never a silent 0.",
        default=None,
        label="Cost",
        unit="USD",
        otel=("operation.cost", "gen_ai.usage.cost", "gen_ai.cost.total_cost", "litellm.cost.total", "llm.cost.total"),
        aliases=("cost", "total_cost", "price_usd", "cost_in_usd"),
        watched=True,
        rolled="sketch",
    )
    context_tokens: int | None = column(
        "Tokens of context (retrieved text, history) in the prompt.",
        default=None,
        label="Context tokens",
        unit="tokens",
        watched=True,
        rolled="sum",
    )
    retrieval_latency_ms: float | None = column(
        "How long retrieval took before the model was asked.",
        default=None,
        label="Retrieval latency",
        unit="ms",
        aliases=("rag_latency_ms", "retrieval_ms"),
        watched=True,
        rolled="sketch",
    )
    rag_relevance_score: float | None = column(
        "How relevant the retrieved text was, 0 to 1.",
        default=None,
        label="Relevance",
        aliases=("relevance_score", "retrieval_score"),
        watched=True,
        rolled="sum",
    )
    groundedness_score: float | None = column(
        "How far the answer is supported by the retrieved text, 0 to 1.",
        default=None,
        label="Groundedness",
        aliases=("groundedness",),
        watched=True,
        rolled="sum",
    )
    retry_count: int | None = column(
        "How often the client tried again before this answer.",
        default=None,
        label="Retries",
        otel=("http.request.resend_count", "litellm.retry_count"),
        aliases=("retries", "num_retries"),
        watched=True,
        rolled="sum",
    )
    rag_nodes_retrieved: int | None = column(
        "Graph nodes retrieved.",
        default=None,
        label="Nodes retrieved",
        aliases="nodes_retrieved",
        watched=True,
    )
    rag_chunks_used: int | None = column(
        "Chunks of text put into the prompt.",
        default=None,
        label="Chunks used",
        aliases="chunks_used",
        watched=True,
    )
    streaming_enabled: bool | None = column(
        "Whether the answer was streamed.",
        default=None,
        label="Streaming",
        otel=("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming", "litellm.request.streaming"),
        aliases=("streaming", "stream", "is_streaming"),
        sliced=True,
    )
    rag_graph_used: bool | None = column(
        "Whether retrieval walked a graph.", default=None, label="Graph used", aliases="graph_used", sliced=True
    )
    rag_answer_grounded: bool | None = column(
        "Whether the answer was judged to be grounded.", default=None, label="Answer grounded", watched=True
    )
    hallucination_detected: bool | None = column(
        "Whether a hallucination was found in the answer.", default=None, label="Hallucination", watched=True
    )

    status: str = column(
        "How it ended: ok, error, timeout, or fallback when a cheaper substitute was used.",
        default="ok",
        choices=STATUSES,
        aliases=("outcome", "state", "result"),
        sliced=True,
        watched=True,
    )
    operation_type: str | None = column(
        "The kind of work: chat, completion, embedding, rerank, retrieval, tool, agent, batch and so on.",
        default=None,
        label="Operation",
        otel=(
            "gen_ai.operation.name",
            "openinference.span.kind",
            "traceloop.span.kind",
            "mlflow.spanType",
            "langfuse.observation.type",
            "ai.operationId",
            "llm.request.type",
        ),
        aliases=("operation", "op", "request_type", "call_type"),
        sliced=True,
        rolled="slice",
    )
    usage_type: str | None = column(
        "The app's own label for what the call was for, such as chat_answer.",
        default=None,
        label="Usage type",
        aliases=("purpose", "feature", "call_site"),
        sliced=True,
        rolled="slice",
    )
    model_provider: str | None = column(
        "Who answered: anthropic, openai, ollama and so on.",
        default=None,
        label="Provider",
        otel=(
            "gen_ai.provider.name",
            "gen_ai.system",
            "llm.provider",
            "llm.system",
            "mlflow.llm.provider",
            "ai.model.provider",
        ),
        aliases=("provider", "vendor", "llm_provider", "provider_id"),
        sliced=True,
        rolled="slice",
    )
    model_name: str | None = column(
        "The model that answered, as the provider names it.",
        default=None,
        label="Model",
        otel=(
            "gen_ai.response.model",
            "llm.response.model_name",
            "ai.response.model",
            "llm.model_name",
            "embedding.model_name",
            "reranker.model_name",
            "mlflow.llm.model",
            "langfuse.observation.model.name",
            "gen_ai.request.model",
            "llm.request.model_name",
            "ai.model.id",
        ),
        aliases=("model", "model_id", "llm_model", "llm_model_name", "engine", "deployment"),
        sliced=True,
        rolled="slice",
    )
    environment: str | None = column(
        "Where the app ran: production, staging and so on.",
        default=None,
        otel=("deployment.environment.name", "deployment.environment", "langfuse.environment"),
        aliases=("env", "deployment_environment"),
        sliced=True,
        rolled="slice",
    )
    service_name: str | None = column(
        "The program that made the call.",
        default=None,
        label="Service",
        otel="service.name",
        aliases=("service", "app", "app_name", "application"),
        sliced=True,
        rolled="slice",
    )
    app_version: str | None = column(
        "The version of that program.",
        default=None,
        label="Version",
        otel=("service.version", "langfuse.release"),
        aliases=("version", "release"),
        sliced=True,
    )
    source: str | None = column(
        "Where the row came from: sdk, otlp, usage-db, messages or traces.",
        default=None,
        sliced=True,
        rolled="slice",
    )

    project: str = column(
        "The project (tenant) the row belongs to.", default="default", key=True, aliases=("project_id", "tenant_id")
    )
    trace_id: str = column(
        "Groups all spans of one request.",
        key=True,
        label="Trace",
        aliases=("request_group_id", "group_id", "traceid"),
    )
    span_id: str = column("Identifies the span inside its trace.", key=True, label="Span", aliases=("spanid",))
    id: str | None = column("The row's own id where it came from.", default=None, label="Id")
    parent_span_id: str | None = column(
        "The span that caused this one.", default=None, label="Parent span", aliases=("parent_id", "parentspanid")
    )
    parent_trace_id: str | None = column(
        "A trace that caused this trace.", default=None, label="Parent trace", aliases=("linked_trace_id",)
    )
    user_id: str | None = column(
        "The account the call was made for.",
        default=None,
        label="User",
        otel=(
            "user.id",
            "enduser.id",
            "langfuse.user.id",
            "traceloop.association.properties.user_id",
            "ai.telemetry.metadata.userId",
            "mlflow.trace.user",
            "litellm.end_user.id",
            "gen_ai.user",
            "gen_ai.request.user",
            "llm.user",
        ),
        aliases=("user", "account_id", "customer_id", "end_user_id"),
        sliced=True,
    )
    conversation_id: str | None = column(
        "The conversation the call belongs to.",
        default=None,
        label="Conversation",
        otel=(
            "gen_ai.conversation.id",
            "traceloop.association.properties.conversation_id",
            "traceloop.association.properties.chat_id",
            "traceloop.association.properties.thread_id",
        ),
        aliases=("conversation", "thread_id", "chat_id"),
        sliced=True,
    )
    message_id: str | None = column("The message the call produced.", default=None, label="Message")
    session_id: str | None = column(
        "The session of the user.",
        default=None,
        label="Session",
        otel=(
            "session.id",
            "langfuse.session.id",
            "traceloop.association.properties.session_id",
            "ai.telemetry.metadata.sessionId",
            "mlflow.trace.session",
        ),
        aliases=("session",),
        sliced=True,
    )
    session_tag: str | None = column("A free label of the session.", default=None, label="Session tag", sliced=True)
    span_name: str | None = column(
        "What the span is called.", default=None, label="Name", aliases=("name", "operation_name")
    )
    cost_status: str | None = column(
        "How the cost is known. Empty until the row has been priced.",
        default=None,
        label="Cost status",
        choices=COST_STATUSES,
        sliced=True,
    )
    cost_source: str | None = column(
        "Which price made the cost: table, version and entry, or the project's own price.",
        default=None,
        label="Cost source",
    )
    error_type: str | None = column(
        "The error's class or code, as the client names it.",
        default=None,
        label="Error type",
        otel=("error.type", "exception.type"),
        aliases=("exception", "exception_type", "error_code"),
        sliced=True,
    )
    error_category: str | None = column(
        "The error's category, the same for every provider: such as rate_limit or server_error.",
        default=None,
        label="Error category",
        sliced=True,
        watched=True,
    )
    error_message: str | None = column(
        "What the error said, 500 characters at most.",
        default=None,
        label="Error",
        aliases=("error", "error_text", "exception_message"),
    )
    finish_reason: str | None = column(
        "Why the model stopped.",
        default=None,
        label="Finish reason",
        otel=(
            "gen_ai.response.finish_reasons",
            "gen_ai.response.finish_reason",
            "llm.finish_reason",
            "llm.response.finish_reason",
            "anthropic.message.stop_reason",
            "ai.response.finishReason",
        ),
        aliases=("stop_reason", "finish_reasons"),
        sliced=True,
    )
    retry_reason: str | None = column("Why the client tried again.", default=None, label="Retry reason", sliced=True)
    rag_retrieval_method: str | None = column(
        "How text was retrieved: vector, graph, hybrid and so on.",
        default=None,
        label="Retrieval method",
        aliases=("retrieval_method",),
        sliced=True,
    )
    warning_flags: Texts | None = column(
        "Warnings the app or tracewatch attached.", default=None, label="Warnings", aliases=("warnings",), watched=True
    )
    chunk_usage: Json | None = column("Timing of the streamed chunks in summary.", default=None, label="Chunks")
    response_quality_breakdown: Json | None = column(
        "Quality by dimension, each 0 to 1.", default=None, label="Quality", aliases=("quality",), watched=True
    )
    metadata: Json | None = column(
        "Whatever else the app wants to keep. Numeric entries can be watched.",
        default=None,
        aliases=("meta", "extra", "attributes"),
        watched=True,
    )
    reasoning: str | None = column(
        "The model's reasoning text. Not stored unless the owner switches content on.",
        default=None,
        content=True,
    )
    response_id: str | None = column(
        "The provider's id of the answer. A call that is reported twice is known by it.",
        default=None,
        label="Response id",
        otel=("gen_ai.response.id", "ai.response.id"),
        aliases=("completion_id", "provider_response_id"),
    )
    instrumentation: str | None = column(
        "The library that reported the span: the name of its OpenTelemetry scope.",
        default=None,
        aliases=("scope", "otel_scope_name"),
    )
    convention: str | None = column(
        "The convention by which the span's attributes were read: see docs/otlp.md.", default=None
    )
    also_reported_by: Texts | None = column(
        "Other libraries that reported the same call. Their spans are kept as duplicates and counted nowhere.",
        default=None,
        label="Also reported by",
    )
