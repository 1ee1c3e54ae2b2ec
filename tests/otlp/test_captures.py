"""What real clients and instrumentations sent, read as it was: the mock's answers are known."""

import json

import pytest
from bodies import call_of, captured, captures

from tracewatch.otlp import RecentCalls, decode
from tracewatch.records import as_dict

ANTHROPIC = [
    ("anthropic-sdk-native", "com.anthropic", "anthropic-sdk"),
    ("openinference-anthropic", "com.anthropic", "anthropic-sdk"),
    ("openinference-anthropic", "openinference", "openinference"),
    ("openllmetry", "opentelemetry.instrumentation.anthropic", "openllmetry"),
    ("openlit", "openlit", "openlit"),
    ("otel-genai", "genai.anthropic", "otel"),
    ("mlflow", "mlflow", "mlflow"),
]
OPENAI = ["otel-genai", "openllmetry", "openinference-openai", "openlit", "mlflow", "otel-openai-v2-default"]
FULL_OPENAI = OPENAI[:-1]
OPENAI_MODEL = "gpt-4o-mini-2024-07-18"
# What the mock sends and what it is asked, wherever it may have been put.
SAID = ("capital", "Paris", "Rome", "France", "Answer briefly", "geo.md", "18C", "Weather", "city")


@pytest.mark.parametrize(("folder", "scope", "convention"), ANTHROPIC)
def test_anthropic(folder, scope, convention):
    call = call_of(f"{folder}/anthropic_messages", scope)
    assert (call.operation_type, call.model_provider, call.status) == ("chat", "anthropic", "ok")
    assert call.model_name.startswith("claude-sonnet-4-5")
    assert (call.input_tokens, call.output_tokens, call.total_tokens) == (21, 10, 31)
    assert call.convention == convention
    assert call.source == "otlp"
    assert call.response_id.startswith("msg_01")
    assert call.service_name == "demo-app"


@pytest.mark.parametrize(("folder", "scope", "convention"), ANTHROPIC)
@pytest.mark.parametrize(("scenario", "read", "written"), [("read", 1024, 0), ("write", 0, 1024)])
def test_input_tokens_include_what_the_cache_gave_and_took(folder, scope, convention, scenario, read, written):
    call = call_of(f"{folder}/anthropic_cache_{scenario}", scope)
    assert (call.input_tokens, call.output_tokens, call.total_tokens) == (1045, 10, 1055)
    assert (call.cache_read_input_tokens or 0, call.cache_creation_input_tokens or 0) == (read, written)
    corrected = convention == "openlit"
    assert ("corrected_tokens" in (call.warning_flags or ())) == corrected
    assert (call.metadata.get("reported_input_tokens") if corrected else 21) == 21


@pytest.mark.parametrize(("folder", "scope", "convention"), ANTHROPIC)
def test_an_anthropic_stream_has_ten_tokens_whatever_openllmetry_adds(folder, scope, convention):
    call = call_of(f"{folder}/anthropic_stream", scope)
    if convention == "mlflow":
        assert call.output_tokens is None  # it records none for this stream
        return
    assert (call.input_tokens, call.output_tokens, call.total_tokens) == (21, 10, 31)
    assert call.streaming_enabled is True
    assert (call.metadata.get("reported_output_tokens") == 11) == (convention == "openllmetry")


@pytest.mark.parametrize(("folder", "scope", "convention"), ANTHROPIC)
def test_an_anthropic_key_that_is_wrong(folder, scope, convention):
    call = call_of(f"{folder}/anthropic_401", scope)
    assert (call.status, call.error_category) == ("error", "auth")
    assert call.error_type in ("AuthenticationError", "authentication_error")
    assert call.model_name == "claude-sonnet-4-5"
    assert (call.input_tokens, call.total_tokens, call.cost_usd) == (None, None, None)


@pytest.mark.parametrize(("folder", "scope", "convention"), [each for each in ANTHROPIC if each[0] != "otel-genai"])
def test_an_anthropic_call_that_times_out(folder, scope, convention):
    call = call_of(f"{folder}/anthropic_timeout", scope)
    assert (call.status, call.error_category) == ("timeout", "timeout")


def test_anthropics_own_spans_tell_of_retries_and_of_the_first_token():
    assert call_of("anthropic-sdk-native/anthropic_429_retry_ok").retry_count == 1
    assert call_of("anthropic-sdk-native/anthropic_stream").ttft_ms == pytest.approx(683.963118)


@pytest.mark.parametrize("folder", OPENAI)
def test_openai(folder):
    call = call_of(f"{folder}/openai_chat", None if folder != "openlit" else "openlit")
    assert (call.operation_type, call.model_provider, call.model_name) == ("chat", "openai", OPENAI_MODEL)
    assert (call.input_tokens, call.output_tokens, call.total_tokens) == (19, 7, 26)
    assert call.response_id.startswith("chatcmpl-")
    assert call.ttft_ms is None


@pytest.mark.parametrize("folder", OPENAI)
def test_openai_counts_what_is_cached_as_input(folder):
    call = call_of(f"{folder}/openai_chat_cached")
    assert (call.input_tokens, call.total_tokens) == (1117, 1124)
    assert call.cache_read_input_tokens == (None if folder == "otel-openai-v2-default" else 1024)
    assert call.warning_flags is None


@pytest.mark.parametrize("folder", FULL_OPENAI)
def test_reasoning_tokens_are_part_of_the_output(folder):
    call = call_of(f"{folder}/openai_chat_reasoning")
    assert (call.output_tokens, call.total_tokens) == (71, 90)
    assert call.reasoning_tokens == (None if folder == "openlit" else 64)


@pytest.mark.parametrize("folder", FULL_OPENAI)
def test_a_stream_without_usage_has_no_tokens(folder):
    call = call_of(f"{folder}/openai_chat_stream_nousage")
    assert (call.input_tokens, call.output_tokens, call.total_tokens, call.tokens_per_second) == (None,) * 4
    assert call.streaming_enabled is True
    assert ("estimated_tokens" in (call.warning_flags or ())) == (folder == "openlit")


@pytest.mark.parametrize("folder", FULL_OPENAI)
def test_the_first_token_by_attribute_or_by_event(folder):
    call = call_of(f"{folder}/openai_chat_stream_usage")
    assert (call.input_tokens, call.output_tokens) == (19, 7)
    if folder == "openlit":  # it starts the clock when the stream is opened
        assert call.ttft_ms is None
        assert call.metadata["reported_ttft_ms"] == pytest.approx(43.9219, abs=0.001)
    else:
        assert 50 < call.ttft_ms < call.duration_ms
        assert call.tokens_per_second == pytest.approx(7 / (call.duration_ms - call.ttft_ms) * 1e3)


def test_chunk_events_become_a_summary():
    summary = call_of("openllmetry/openai_chat_stream_usage").chunk_usage
    assert summary["count"] == 10
    assert summary["max_gap_ms"] == pytest.approx(26.171, abs=0.001)


@pytest.mark.parametrize("folder", [*FULL_OPENAI[:3], "mlflow"])
def test_a_stream_that_breaks(folder):
    call = call_of(f"{folder}/openai_chat_stream_midfail")
    if folder == "openllmetry":  # it calls it ok; that no finish reason came gives it away
        assert (call.status, call.warning_flags) == ("ok", ("unfinished_stream",))
    else:
        assert (call.status, call.error_category) == ("error", "connection")


@pytest.mark.parametrize("folder", FULL_OPENAI[:3])
def test_a_response_that_was_counted_is_whole(folder):
    assert (
        call_of(f"{folder}/openai_responses_stream").warning_flags is None
    )  # though OpenInference never says why it ended


@pytest.mark.parametrize("folder", FULL_OPENAI[:3])
def test_a_stream_that_is_given_up(folder):
    call = call_of(f"{folder}/openai_chat_stream_abandoned")
    assert call.status == "ok"
    assert call.warning_flags == ("unfinished_stream",)


@pytest.mark.parametrize("folder", FULL_OPENAI)
@pytest.mark.parametrize(
    ("scenario", "kind", "category"),
    [
        ("401", "AuthenticationError", "auth"),
        ("429", "RateLimitError", "rate_limit"),
        ("500", "InternalServerError", "server_error"),
    ],
)
def test_errors_have_one_vocabulary(folder, scenario, kind, category):
    call = call_of(f"{folder}/openai_chat_{scenario}")
    assert (call.status, call.error_type, call.error_category) == ("error", kind, category)
    assert call.error_message
    assert len(call.error_message) <= 500
    assert "Traceback" not in call.error_message
    assert call.model_name.startswith("gpt-4o-mini")


@pytest.mark.parametrize("folder", FULL_OPENAI)
def test_an_openai_call_that_times_out(folder):
    call = call_of(f"{folder}/openai_chat_timeout")
    assert (call.status, call.error_type, call.error_category) == ("timeout", "APITimeoutError", "timeout")


@pytest.mark.parametrize("folder", FULL_OPENAI)
def test_embeddings(folder):
    call = call_of(f"{folder}/openai_embeddings")
    assert (call.operation_type, call.model_provider) == ("embedding", "openai")
    assert call.model_name == "text-embedding-3-small"
    if folder != "mlflow":
        assert (call.input_tokens, call.output_tokens, call.total_tokens) == (10, call.output_tokens, 10)


@pytest.mark.parametrize("folder", FULL_OPENAI)
@pytest.mark.parametrize("scenario", ["openai_responses", "openai_responses_stream"])
def test_the_responses_api(folder, scenario):
    call = call_of(f"{folder}/{scenario}")
    assert (call.input_tokens, call.output_tokens) == (36, 7)
    assert call.response_id.startswith("resp_")


def test_ollama_in_old_names():
    chat, generated = call_of("openllmetry/ollama_chat"), call_of("openllmetry/ollama_generate")
    assert (chat.model_provider, chat.input_tokens, chat.output_tokens, chat.total_tokens) == ("ollama", 26, 7, 33)
    assert (chat.operation_type, generated.operation_type) == ("chat", "completion")
    assert call_of("openllmetry/ollama_404").error_category == "not_found"
    assert call_of("openllmetry/ollama_500").error_category == "server_error"


def test_retries_are_counted_by_the_requests_below_a_call():
    spans = captured("openlit/openai_chat_429_retry_ok")
    stored = RecentCalls().merge(spans, lambda key: None).spans
    (call,) = [each for each in stored if each.operation_type == "chat"]
    assert (call.retry_count, call.retry_reason, call.status) == (1, "rate_limit", "ok")
    (single,) = [
        each
        for each in RecentCalls().merge(captured("openlit/openai_chat"), lambda key: None).spans
        if each.operation_type == "chat"
    ]
    assert single.retry_count is None


def test_a_chain_of_langchain():
    spans = captured("openinference-langchain/langchain_rag")
    kinds = [each.operation_type for each in spans]
    assert sorted(kinds) == ["chain", "chain", "chain", "chain", "chat", "prompt", "retrieval"]
    assert sum(each.total_tokens or 0 for each in spans) == 26
    assert {each.session_id for each in spans} == {"sess-1"}
    assert {each.user_id for each in spans} == {"u-1"}
    (found,) = [each for each in spans if each.operation_type == "retrieval"]
    assert (found.rag_chunks_used, found.rag_relevance_score) == (2, None)
    assert found.retrieval_latency_ms == found.duration_ms
    assert len({each.span_id for each in spans} | {each.parent_span_id for each in spans}) == 8


def test_an_error_passes_up_a_chain():
    spans = captured("openinference-langchain/langchain_rag_500")
    failed = [each for each in spans if each.status == "error"]
    assert {each.operation_type for each in failed} == {"chat", "chain"}
    assert {each.error_category for each in failed} == {"server_error"}
    assert all("Traceback" not in each.error_message for each in failed)


def test_a_retrieval_of_mlflow():
    kinds = {each.operation_type: each for each in captured("mlflow/manual_rag")}
    assert set(kinds) == {"retrieval", "chat", "chain"}
    assert kinds["retrieval"].rag_chunks_used == 1


def test_session_user_tags_and_metadata():
    call = call_of("openinference-openai/openai_chat_using_attributes")
    assert (call.session_id, call.user_id) == ("sess-1", "u-1")
    assert (call.metadata["tags"], call.metadata["tier"]) == (["a", "b"], "pro")


def test_defaults_that_nobody_sent_are_not_kept():
    held = call_of("openlit/openai_chat_stream_usage").metadata
    assert not {"gen_ai.request.temperature", "gen_ai.request.top_p", "gen_ai.request.seed"} & set(held)


@pytest.mark.parametrize("name", sorted(captures()))
def test_no_text_of_a_prompt_or_an_answer_is_kept(name):
    for span in captured(name):
        kept = as_dict(span)
        kept.pop("error_message")
        text = json.dumps(kept, ensure_ascii=False)
        assert not [word for word in SAID if word in text], text


def test_content_is_kept_where_it_is_allowed():
    (span,) = decode(captures()["openllmetry/openai_chat"], json=False, content=True).spans
    assert "What is the capital of France?" in span.metadata["gen_ai.input.messages"]


@pytest.mark.parametrize("name", sorted(captures()))
def test_json_says_the_same_as_protobuf(name):
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    body = captures()[name]
    tree = MessageToDict(ExportTraceServiceRequest.FromString(body))  # ids in base64, as protobuf itself writes them
    snake = MessageToDict(ExportTraceServiceRequest.FromString(body), preserving_proto_field_name=True)
    spans = decode(body, json=False).spans
    assert decode(json.dumps(tree).encode(), json=True).spans == spans
    assert decode(json.dumps(snake).encode(), json=True).spans == spans


@pytest.mark.parametrize(
    "name",
    [name for name in sorted(captures()) if name.startswith(("openllmetry/anthropic", "openinference-anthropic"))],
)
def test_two_instrumentations_report_one_call(name):
    spans = captured(name)
    assert len(spans) == 2
    merged = RecentCalls().merge(spans, lambda key: None)
    (call,), (other,) = merged.spans, merged.duplicates
    assert {call.instrumentation, other.instrumentation} == {each.instrumentation for each in spans}
    assert call.also_reported_by == (other.instrumentation,)
    assert (other.kept_trace_id, other.kept_span_id) == (call.trace_id, call.span_id)
    failed = name.endswith(("401", "timeout"))
    assert other.matched_by == ("time_and_tokens" if failed else "response_id")
    if not failed:
        assert (call.output_tokens, call.total_tokens) == (10, call.input_tokens + 10)
    if "stream" in name:
        assert call.ttft_ms is not None  # only one of the two has it
    if "retry" in name:
        assert call.retry_count == 1


def test_only_captures_with_two_instrumentations_hold_duplicates():
    twice = set()
    for name in captures():
        if RecentCalls().merge(captured(name), lambda key: None).duplicates:
            twice.add(name.partition("/")[0])
    assert twice == {"openllmetry", "openinference-anthropic"}
