"""Each convention's own ways, in spans made by hand."""

import json

import pytest
from bodies import a_span, read, read_one

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
USED = {"gen_ai.usage.input_tokens": 19, "gen_ai.usage.output_tokens": 7}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"gen_ai.operation.name": "text_completion"}, "completion"),
        ({"gen_ai.operation.name": "generate_content"}, "chat"),
        ({"gen_ai.operation.name": "embeddings"}, "embedding"),
        ({"gen_ai.operation.name": "execute_tool"}, "tool"),
        ({"gen_ai.operation.name": "invoke_agent"}, "agent"),
        ({"gen_ai.operation.name": "create_agent"}, "agent"),
        ({"gen_ai.operation.name": "retrieval"}, "retrieval"),
        ({"openinference.span.kind": "LLM"}, "chat"),
        ({"openinference.span.kind": "RERANKER"}, "rerank"),
        ({"openinference.span.kind": "RETRIEVER"}, "retrieval"),
        ({"openinference.span.kind": "GUARDRAIL"}, "guardrail"),
        ({"traceloop.span.kind": "workflow"}, "workflow"),
        ({"traceloop.span.kind": "task"}, "task"),
        ({"mlflow.spanType": '"CHAT_MODEL"'}, "chat"),
        ({"mlflow.spanType": '"EMBEDDING"'}, "embedding"),
        ({"langfuse.observation.type": "generation"}, "chat"),
        ({"langfuse.observation.type": "retriever"}, "retrieval"),
        ({"ai.operationId": "ai.generateText"}, "agent"),
        ({"ai.operationId": "ai.streamText.doStream"}, "chat"),
        ({"ai.operationId": "ai.toolCall"}, "tool"),
        ({"llm.request.type": "rerank"}, "rerank"),
        ({"gen_ai.operation.name": "Something New"}, "something new"),
        ({"gen_ai.request.model": "gpt-4o"}, "chat"),
        ({"db.system": "pinecone", "db.operation": "query"}, "retrieval"),
        ({"db.system": "postgresql", "db.operation": "SELECT"}, "database"),
        ({"http.request.method": "POST"}, "http"),
        ({}, "step"),
    ],
)
def test_kinds_of_work(said, meant):
    assert read_one(said).operation_type == meant


@pytest.mark.parametrize(
    ("said", "convention"),
    [
        ({"openinference.span.kind": "LLM"}, "openinference"),
        ({"mlflow.spanType": '"LLM"'}, "mlflow"),
        ({"traceloop.entity.name": "x"}, "openllmetry"),
        ({"llm.request.type": "chat", "gen_ai.system": "Ollama"}, "openllmetry"),
        ({"langfuse.observation.type": "span"}, "langfuse"),
        ({"ai.operationId": "ai.embed"}, "vercel-ai"),
        ({"gen_ai.usage.raw": "{}", "gen_ai.system": "openai"}, "logfire"),
        ({"gen_ai.system": "openai"}, "otel"),
        ({"anything": 1}, None),
    ],
)
def test_a_convention_is_known_by_its_attributes_whoever_wrote_them(said, convention):
    assert read_one(said, scope="my.own.tracer").convention == convention


@pytest.mark.parametrize(
    ("scope", "convention"),
    [
        ("opentelemetry.instrumentation.openai_v2", "otel"),
        ("opentelemetry.util.genai.handler", "otel"),
        ("opentelemetry.instrumentation.openai.v1", "openllmetry"),
        ("opentelemetry.instrumentation.openai_agents", "openllmetry"),
        ("logfire.openai", "logfire"),
        ("pydantic-ai", "pydantic-ai"),
        ("langfuse-sdk", "langfuse"),
        ("ai", "vercel-ai"),
        ("litellm", "litellm"),
    ],
)
def test_a_convention_is_known_by_its_scope(scope, convention):
    span = read_one(CHAT, scope=scope)
    assert (span.convention, span.instrumentation) == (convention, scope)


def test_old_names_of_opentelemetry():
    old = {"gen_ai.system": "az.ai.openai", "gen_ai.usage.prompt_tokens": 19, "gen_ai.usage.completion_tokens": 7}
    span = read_one({**old, "gen_ai.request.model": "gpt-4o"})
    assert (span.input_tokens, span.output_tokens, span.total_tokens) == (19, 7, 26)
    assert (span.model_provider, span.model_name) == ("azure.ai.openai", "gpt-4o")


def test_the_model_that_answered_stands_before_the_one_that_was_asked_for():
    span = read_one({"gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06"})
    assert span.model_name == "gpt-4o-2024-08-06"
    assert span.metadata == {"gen_ai.request.model": "gpt-4o"}


def test_both_names_of_cache_writes():
    for name in ("cache_write", "cache_creation"):
        span = read_one({**CHAT, **USED, f"gen_ai.usage.{name}.input_tokens": 5})
        assert span.cache_creation_input_tokens == 5


def test_an_agents_sums_are_not_counted_again():
    summed = {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-4o", "operation.cost": 0.5}
    agent = read_one({**summed, "gen_ai.aggregated_usage.input_tokens": 100, **USED}, scope="pydantic-ai", kind=1)
    assert (agent.input_tokens, agent.output_tokens, agent.total_tokens, agent.cost_usd) == (None,) * 4
    assert agent.model_name is None
    assert agent.metadata["reported_input_tokens"] == 19
    assert agent.metadata["gen_ai.aggregated_usage.input_tokens"] == 100


def test_vercels_outer_span_repeats_the_tokens_of_the_inner_one():
    used = {"ai.usage.promptTokens": 19, "ai.usage.completionTokens": 7, "ai.model.id": "gpt-4o"}
    inner = {**used, "ai.response.msToFirstChunk": 80.0, "ai.model.provider": "openai.chat", "ai.response.id": "r-1"}
    outer, call = read(
        a_span("00000000000000aa", sets={**used, "ai.operationId": "ai.streamText"}),
        a_span("00000000000000ab", sets={**inner, "ai.operationId": "ai.streamText.doStream"}),
        scope="ai",
    )
    assert (outer.total_tokens, call.total_tokens) == (None, 26)
    assert (call.ttft_ms, call.streaming_enabled, call.model_provider) == (80.0, True, "openai")
    assert call.response_id == "r-1"


def test_pydantic_ai():
    sets = {
        **CHAT,
        **USED,
        "gen_ai.system": "openai",
        "gen_ai.usage.details.reasoning_tokens": 3,
        "gen_ai.client.operation.time_to_first_chunk": 0.05,
        "operation.cost": 0.0005202,
        "gen_ai.conversation.id": "c-1",
        "gen_ai.agent.name": "support",
        "model_request_parameters": "{}",
    }
    span = read_one(sets, scope="pydantic-ai")
    assert (span.reasoning_tokens, span.ttft_ms, span.streaming_enabled) == (3, 50.0, True)
    assert (span.cost_usd, span.conversation_id) == (0.0005202, "c-1")
    assert span.metadata == {"gen_ai.agent.name": "support"}


def test_logfires_raw_usage():
    raw = {"prompt_tokens": 1117, "completion_tokens": 71, "total_tokens": 1188}
    raw["prompt_tokens_details"] = {"cached_tokens": 1024}
    raw["completion_tokens_details"] = {"reasoning_tokens": 64}
    used = {"gen_ai.usage.input_tokens": 1117, "gen_ai.usage.output_tokens": 71}
    span = read_one({**CHAT, **used, "gen_ai.usage.raw": json.dumps(raw)}, scope="logfire.openai")
    assert (span.input_tokens, span.cache_read_input_tokens, span.reasoning_tokens) == (1117, 1024, 64)
    assert span.total_tokens == 1188


def test_logfires_placeholders_are_not_kept():
    assert read(a_span(sets={**CHAT, "logfire.span_type": "pending_span"}), scope="logfire") == ()


def test_a_status_that_was_left_unset_although_an_exception_was_thrown():
    thrown = ("exception", 50.0, {"exception.type": "httpx.RemoteProtocolError", "exception.message": "peer closed"})
    span = read_one(CHAT, scope="logfire.openai", events=[thrown])
    assert (span.status, span.error_type, span.error_category) == ("error", "RemoteProtocolError", "connection")
    handled = read_one(CHAT, events=[thrown], status={"code": 1})
    assert (handled.status, handled.error_type) == ("ok", None)


def test_langfuse():
    usage = {"input": 93, "output": 7, "total": 1124, "input_cached_tokens": 1024}
    sets = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-4o",
        "langfuse.observation.usage_details": json.dumps(usage),
        "langfuse.observation.cost_details": json.dumps({"input": 0.1, "total": 0.25}),
        "langfuse.observation.completion_start_time": '"2026-11-22T01:46:12.060Z"',
        "langfuse.observation.metadata.plan": "pro",
        "langfuse.observation.input": "What is the capital of France?",
        "langfuse.trace.tags": ["beta"],
        "langfuse.trace.name": "answer",
        "langfuse.environment": "staging",
        "session.id": "s-1",
        "user.id": "u-1",
    }
    span = read_one(sets, scope="langfuse-sdk")
    assert (span.input_tokens, span.cache_read_input_tokens, span.total_tokens) == (1117, 1024, 1124)
    assert (span.cost_usd, span.ttft_ms, span.usage_type) == (0.25, 60.0, "answer")
    assert (span.environment, span.session_id, span.user_id) == ("staging", "s-1", "u-1")
    assert span.metadata == {"plan": "pro", "tags": ["beta"]}
    failed = read_one({"langfuse.observation.level": "ERROR", "langfuse.observation.status_message": "no key"})
    assert (failed.status, failed.error_message) == ("error", "no key")


def test_litellm():
    sets = {
        **CHAT,
        **USED,
        "litellm.model_group": "cheap",
        "litellm.original_model_group": "best",
        "litellm.retry_count": 2,
        "litellm.cost.total": 0.01,
        "litellm.end_user.id": "u-1",
        "litellm.metadata.team": "search",
        "gen_ai.cost.total_cost": 0.01,
    }
    span = read_one(sets, scope="litellm", name="litellm_request")
    assert (span.status, span.retry_count, span.cost_usd, span.user_id) == ("fallback", 2, 0.01, "u-1")
    assert span.metadata["litellm.original_model_group"] == "best"
    assert span.metadata["team"] == "search"
    raw = read_one({**CHAT, "llm.openai.messages": "[]"}, scope="litellm", name="raw_gen_ai_request")
    assert (raw.operation_type, raw.model_name) == ("step", None)


def test_traceloops_associations():
    associated = {"user_id": "u-1", "session_id": "s-1", "chat_id": "c-1", "plan": "pro"}
    span = read_one({**CHAT, **{f"traceloop.association.properties.{key}": each for key, each in associated.items()}})
    assert (span.user_id, span.session_id, span.conversation_id) == ("u-1", "s-1", "c-1")
    assert span.metadata == {"plan": "pro"}


def test_scores_of_retrieved_documents():
    documents = {
        "retrieval.documents.0.document.score": 0.9,
        "retrieval.documents.0.document.content": "Paris is the capital of France.",
        "retrieval.documents.1.document.score": 0.5,
    }
    span = read_one({"openinference.span.kind": "RETRIEVER", **documents}, ms=12.0)
    assert (span.rag_chunks_used, span.rag_relevance_score, span.retrieval_latency_ms) == (2, 0.7, 12.0)
    distances = read_one({"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.score": 12.5})
    assert distances.rag_relevance_score is None


def test_our_own_attributes_in_anybodys_span_stand_before_all_others():
    own = {"tracewatch.usage_type": "chat_answer", "tracewatch.input_tokens": 20, "tracewatch.queue_time_ms": 3.5}
    span = read_one({**CHAT, **USED, **own})
    assert (span.usage_type, span.input_tokens, span.queue_time_ms) == ("chat_answer", 20, 3.5)


@pytest.mark.parametrize(
    ("used", "warning"),
    [
        ({"gen_ai.usage.input_tokens": -1}, "negative_tokens"),
        ({**USED, "gen_ai.usage.cache_read.input_tokens": 20}, "cache_exceeds_input"),
        ({**USED, "gen_ai.usage.reasoning.output_tokens": 8}, "reasoning_exceeds_output"),
        ({**USED, "gen_ai.usage.total_tokens": 27}, "total_is_not_sum"),
        ({"gen_ai.response.time_to_first_chunk": 0.5}, "impossible_first_token"),
        ({"gen_ai.response.time_to_first_chunk": 0.0005}, "impossible_first_token"),
    ],
)
def test_numbers_that_cannot_be_true_are_noted(used, warning):
    span = read_one({**CHAT, **used})
    assert span.warning_flags == (warning,)
    assert span.total_tokens in (None, 26)
    assert span.ttft_ms is None


def test_an_end_before_the_beginning():
    span = read_one(CHAT, ms=-5.0)
    assert (span.end_time, span.duration_ms, span.warning_flags) == (None, None, ("ends_before_it_begins",))


def test_a_span_that_does_not_end():
    (span,) = read(a_span(sets=CHAT, endTimeUnixNano="0"))
    assert (span.end_time, span.duration_ms, span.warning_flags) == (None, None, None)


def test_a_first_token_without_a_stream_is_none():
    assert read_one({**CHAT, "gen_ai.request.stream": False, "gen_ai.server.time_to_first_token": 0.05}).ttft_ms is None


def test_a_cost_of_zero_says_nothing():
    assert read_one({**CHAT, "operation.cost": 0.0}).cost_usd is None


def test_what_a_program_says_of_itself():
    resource = {
        "service.name": "shop",
        "service.version": "1.2",
        "deployment.environment": "prod",
        "tracewatch.project": "web",
    }
    (span,) = read(a_span(sets=CHAT), resource=resource)
    assert (span.service_name, span.app_version, span.environment, span.project) == ("shop", "1.2", "prod", "web")
    (other,) = read(a_span(sets=CHAT), resource={**resource, "service.name": "unknown_service:python"}, project="mine")
    assert (other.service_name, other.project) == (None, "mine")


def test_a_link_to_the_trace_that_caused_this_one():
    (span,) = read(a_span(links=[{"traceId": "ab" * 16, "spanId": "cd" * 8}]))
    assert span.parent_trace_id == "ab" * 16


def test_context_errors_are_told_from_bad_requests():
    message = "Error code: 400 - This model's maximum context length is 8192 tokens"
    span = read_one({**CHAT, "error.type": "openai.BadRequestError"}, status={"code": 2, "message": message})
    assert (span.error_type, span.error_category) == ("BadRequestError", "context_length")


def test_unknown_attributes_are_kept_when_they_are_no_text():
    sets = {**CHAT, "app.tenant": "acme", "app.score": 0.5, "app.question": "how?", "app.long": "x" * 300}
    assert read_one(sets).metadata == {"app.tenant": "acme", "app.score": 0.5}
