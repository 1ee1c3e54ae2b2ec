"""Rows that no wrapper makes: finished calls, chains of providers, retrieval, batch jobs and later quality."""

import asyncio
import inspect
import json

import pytest

import tracewatch


def test_log_usage_takes_the_words_of_usage_tables(recorded):
    names = "provider model usage_type input_tokens output_tokens cost_usd conversation_id metadata trace_id latency_ms"
    assert list(inspect.signature(tracewatch.log_usage).parameters)[:12] == [*names.split(), "status", "error_message"]
    tracewatch.log_usage(
        "anthropic",
        "claude-haiku-4-5",
        "chat_rerank",
        1200,
        80,
        0.0016,
        "c1",
        {"attempt": 2},
        "t1",
        350.5,
        "fallback",
        "Expecting value: line 1 column 1",
    )
    row = recorded.row()
    assert (row.model_provider, row.model_name, row.usage_type) == ("anthropic", "claude-haiku-4-5", "chat_rerank")
    assert (row.input_tokens, row.output_tokens, row.total_tokens, row.cost_usd) == (1200, 80, 1280, 0.0016)
    assert (row.conversation_id, row.metadata, row.trace_id, row.duration_ms) == ("c1", {"attempt": 2}, "t1", 350.5)
    assert (row.status, row.error_message, row.error_category) == (
        "fallback",
        "Expecting value: line 1 column 1",
        "parse",
    )
    assert row.operation_type == "rerank"
    assert row.end_time == pytest.approx(row.start_time + 0.3505)


def test_a_cost_of_nothing_is_no_cost(recorded):
    tracewatch.log_usage(provider="openai", model="gpt-4o-mini", cost_usd=0.0, input_tokens=5)
    assert recorded.row().cost_usd is None


@pytest.mark.parametrize(
    ("status", "message", "kept"),
    [
        (None, None, "ok"),
        ("success", None, "ok"),
        (None, "boom", "error"),
        ("failed", "boom", "error"),
        ("TIMEOUT", "slow", "timeout"),
        ("fallback", "cheap", "fallback"),
    ],
)
def test_how_a_logged_call_ended(recorded, status, message, kept):
    tracewatch.log_usage("ollama", "llama3", status=status, error_message=message)
    assert recorded.row().status == kept


def test_a_logged_call_belongs_to_the_current_trace(recorded):
    with tracewatch.trace("ask", user_id="u") as ask:
        tracewatch.log_usage("ollama", "llama3", "chat_answer", 5, 6)
        tracewatch.log_usage("ollama", "llama3", trace_id="another")
    row = recorded.row(usage_type="chat_answer")
    assert (row.trace_id, row.parent_span_id, row.user_id) == (ask.trace_id, ask.span_id, "u")
    assert recorded.row(trace_id="another").parent_span_id is None


def test_a_batch_that_is_logged_is_one(recorded):
    tracewatch.log_usage("system", "batch", "extraction_batch", metadata={"extracted": 5}, latency_ms=1000)
    assert (recorded.row().operation_type, recorded.row().usage_type) == ("batch", "extraction_batch")


def test_record_times(recorded):
    tracewatch.record("took", duration_ms=500)
    tracewatch.record("between", start_time=1_790_000_000, end_time=1_790_000_002.5)
    tracewatch.record("at", start_time=1_790_000_000)
    tracewatch.record("now", temperature=0.5)
    rows = {each.span_name: each for each in recorded.rows()}
    assert rows["took"].duration_ms == 500
    assert rows["between"].duration_ms == pytest.approx(2500)
    assert (rows["at"].start_time, rows["at"].duration_ms) == (1_790_000_000, None)
    assert (rows["now"].duration_ms, rows["now"].metadata) == (None, {"temperature": 0.5})


def test_recording_never_raises(recorded):
    tracewatch.record("odd", duration_ms="long", start_time=object(), end_time=[], error_message=3)
    tracewatch.log_usage(provider=3, model=object(), metadata="text", latency_ms="slow")
    tracewatch.score(None, groundedness="high", tone=object())
    assert len(recorded.rows()) == 3


def _ask(choice):
    if choice == "anthropic":
        raise RuntimeError("Overloaded")
    return f"answer of {choice}"


def test_primary_fails_and_substitute_answers(recorded):
    with tracewatch.trace("ask", conversation_id="c") as ask:
        for attempt in tracewatch.attempts("answer", ["anthropic", "ollama", "openai"], usage_type="chat_answer"):
            with attempt:
                attempt.set(model_name="m-" + attempt.choice, input_tokens=7)
                answer = _ask(attempt.choice)
    assert answer == "answer of ollama"
    first, second = recorded.rows(span_name="answer")
    assert (first.status, first.error_category, first.model_provider) == ("error", "overloaded", "anthropic")
    assert (second.status, second.model_provider, second.model_name) == ("fallback", "ollama", "m-ollama")
    assert second.metadata == {"attempt": 2, "fallback_from": "anthropic", "fallback_reason": "overloaded"}
    assert second.warning_flags == ("substitute",)
    for each in (first, second):
        assert (each.trace_id, each.parent_span_id, each.conversation_id) == (ask.trace_id, ask.span_id, "c")
        assert (each.usage_type, each.input_tokens) == ("chat_answer", 7)
    whole = recorded.row(span_name="ask")
    assert (whole.status, whole.metadata["fallback_from"]) == ("fallback", "anthropic")


def test_the_first_choice_that_answers_ends_the_chain(recorded):
    for attempt in tracewatch.attempts("answer", ["ollama/llama3.1", "openai"]):
        with attempt:
            _ask(attempt.choice)
    row = recorded.row()
    assert (row.status, row.model_provider, row.model_name) == ("ok", "ollama", "llama3.1")
    assert row.metadata == {"attempt": 1}


def test_the_last_failure_reaches_the_caller(recorded):
    @tracewatch.observe("ask")
    def ask():
        for attempt in tracewatch.attempts("answer", [{"model_provider": "a", "model_name": "x"}, "anthropic"]):
            with attempt:
                _ask("anthropic")

    with pytest.raises(RuntimeError, match="Overloaded"):
        ask()
    first, second = recorded.rows(span_name="answer")
    assert (first.status, second.status) == ("error", "error")
    assert (first.model_name, second.model_provider) == ("x", "anthropic")
    assert recorded.row(span_name="ask").status == "error"


def test_attempts_without_a_trace_share_one(recorded):
    for attempt in tracewatch.attempts("answer", ["anthropic", "ollama"]):
        with attempt:
            _ask(attempt.choice)
    assert len({each.trace_id for each in recorded.rows()}) == 1


def _wrapped(provider, error=None):
    """What a wrapped client does."""
    call = tracewatch.start("chat", model_provider=provider, model_name="m", operation_type="chat")
    try:
        if error:
            raise error
        call.set(output_tokens=5)
    except Exception as failure:
        call.fail(failure)
        raise
    finally:
        call.end()


def test_a_call_that_is_recorded_within_is_the_attempt(recorded):
    with tracewatch.trace("ask"):
        for attempt in tracewatch.attempts("answer", ["anthropic", "ollama"], usage_type="chat_answer"):
            with attempt:
                _wrapped(attempt.choice, RuntimeError("Overloaded") if attempt.number == 1 else None)
    assert [(each.span_name, each.model_provider, each.status) for each in recorded.rows(model_name="m")] == [
        ("chat", "anthropic", "error"),
        ("chat", "ollama", "fallback"),
    ]
    assert len(recorded.rows()) == 3
    assert {each.usage_type for each in recorded.rows(model_name="m")} == {"chat_answer"}


def test_an_answer_that_cannot_be_used_is_an_attempt_that_failed(recorded):
    for attempt in tracewatch.attempts("extract", ["anthropic", "ollama"]):
        with attempt:
            _wrapped(attempt.choice)
            json.loads("no json" if attempt.number == 1 else "{}")
    assert [(each.span_name, each.status, each.error_category) for each in recorded.rows()] == [
        ("extract", "error", "parse"),
        ("chat", "ok", None),
        ("chat", "fallback", None),
    ]


def test_attempts_of_coroutines(recorded):
    async def ask(choice):
        await asyncio.sleep(0)
        return _ask(choice)

    async def main():
        for attempt in tracewatch.attempts("answer", ["anthropic", "ollama"]):
            async with attempt:
                answer = await ask(attempt.choice)
        return answer

    assert asyncio.run(main()) == "answer of ollama"
    assert [each.status for each in recorded.rows()] == ["error", "fallback"]


def test_what_is_cancelled_is_not_tried_again(recorded):
    def ask():
        for attempt in tracewatch.attempts("answer", ["anthropic", "ollama"]):
            with attempt:
                raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        ask()
    assert recorded.row().error_category == "cancelled"


def test_a_reranker_that_falls_back_leaves_its_error(recorded):
    with tracewatch.trace("ask"), tracewatch.span("rerank", operation_type="rerank", usage_type="chat_rerank"):
        try:
            json.loads("[0.9, 0.")
        except ValueError as error:
            tracewatch.fallback(error, documents=12)
    row = recorded.row(span_name="rerank")
    assert (row.status, row.error_type, row.error_category) == ("fallback", "JSONDecodeError", "parse")
    assert row.error_message.startswith("Expecting")
    assert row.metadata == {"documents": 12}
    assert recorded.row(span_name="ask").status == "ok"


@pytest.mark.parametrize("stored", [True, False])
def test_the_call_whose_answer_was_of_no_use_has_fallen_back_too(recorded, stored):
    """Or else no more than half of the rerank calls could ever fall back: the call itself went well."""
    with tracewatch.trace("ask"), tracewatch.span("rerank", usage_type="chat_rerank"):
        _wrapped("openai")
        tracewatch.observe("inner")(lambda: _wrapped("anthropic"))()
        if stored:
            assert recorded.row(model_provider="anthropic").status == "ok"
        tracewatch.fallback(ValueError("no JSON"))
    call = recorded.row(model_provider="anthropic")
    assert (call.status, call.error_message, call.output_tokens) == ("fallback", "no JSON", 5)
    assert recorded.row(span_name="rerank").status == "fallback"
    assert recorded.row(model_provider="openai").status == "ok"
    assert recorded.rows(operation_type="score") == []


def test_a_fallback_with_a_name_or_without_a_span_is_a_row_of_its_own(recorded):
    tracewatch.fallback("the index was cold")
    with tracewatch.trace("ask") as ask:
        tracewatch.fallback("similarity scores were used", name="rerank", usage_type="chat_rerank")
    assert recorded.row(span_name="fallback").error_message == "the index was cold"
    row = recorded.row(span_name="rerank")
    assert (row.status, row.parent_span_id, row.usage_type) == ("fallback", ask.span_id, "chat_rerank")
    assert recorded.row(span_name="ask").status == "ok"


def test_retrieval(recorded):
    with tracewatch.trace("ask") as ask:
        with tracewatch.retrieval(index="wiki"):
            tracewatch.log_usage("openai", "text-embedding-3-small", "embed", 5)
            tracewatch.rag(method="hybrid", chunks=4, nodes=2, relevance=0.81, graph=True, context_tokens=900)
        tracewatch.rag(groundedness=0.7, grounded=True, hallucination=False, reviewed="no")
    row = recorded.row(span_name="ask")
    retrieve = recorded.row(span_name="retrieve")
    assert (row.rag_retrieval_method, row.rag_chunks_used, row.rag_nodes_retrieved) == ("hybrid", 4, 2)
    assert (row.rag_relevance_score, row.rag_graph_used, row.context_tokens) == (0.81, True, 900)
    assert (row.groundedness_score, row.rag_answer_grounded, row.hallucination_detected) == (0.7, True, False)
    assert row.metadata == {"reviewed": "no"}
    assert row.retrieval_latency_ms == pytest.approx(retrieve.duration_ms)
    assert (retrieve.operation_type, retrieve.metadata, retrieve.parent_span_id) == (
        "retrieval",
        {"index": "wiki"},
        ask.span_id,
    )
    assert recorded.row(usage_type="embed").parent_span_id == retrieve.span_id


def test_retrieval_outside_of_a_span(recorded):
    tracewatch.rag("vector", relevance=0.5, latency_ms=20)
    with tracewatch.retrieval("search"):
        pass
    row = recorded.row(span_name="retrieve")
    assert (row.rag_retrieval_method, row.rag_relevance_score, row.retrieval_latency_ms) == ("vector", 0.5, 20)
    assert recorded.row(span_name="search").operation_type == "retrieval"


def test_a_batch_job_has_one_summary(recorded):
    with tracewatch.batch("inbox_batch", environment="production") as run:
        for number in range(10):
            tracewatch.log_usage("anthropic", "claude-haiku-4-5", "extraction", 10, 5)
            run.extracted() if number % 3 else run.skipped()
        run.failed(2)
        run.count(mails=12)
    row = recorded.row(model_name="batch")
    assert (row.model_provider, row.operation_type, row.usage_type) == ("system", "batch", "inbox_batch")
    assert row.metadata == {"extracted": 6, "failed": 2, "skipped": 4, "mails": 12}
    assert (row.status, row.environment) == ("ok", "production")
    assert row.duration_ms > 0
    assert len(recorded.rows(usage_type="extraction", trace_id=row.trace_id, parent_span_id=row.span_id)) == 10


def test_a_batch_job_that_breaks_has_failed(recorded):
    run = tracewatch.batch("nightly")
    run.extracted(3)
    with pytest.raises(ConnectionError), run:
        raise ConnectionError("the mail server is gone")
    row = recorded.row()
    assert (row.status, row.metadata["extracted"]) == ("error", 3)


def test_quality_joins_the_last_call_of_the_trace(recorded):
    with tracewatch.trace("ask") as ask:
        tracewatch.record("rerank", model_name="haiku", start_time=1_790_000_000)
        tracewatch.record(
            "answer", model_name="sonnet", start_time=1_790_000_001, response_quality_breakdown={"tone": 1}
        )
    assert tracewatch.flush()
    tracewatch.score(ask.trace_id, groundedness=0.9, hallucination=False, helpfulness=0.8, metadata={"by": "judge"})
    row = recorded.row(span_name="answer")
    assert (row.groundedness_score, row.hallucination_detected) == (0.9, False)
    assert row.response_quality_breakdown == {"tone": 1, "helpfulness": 0.8}
    assert row.metadata == {"by": "judge"}
    assert [each.groundedness_score for each in recorded.rows()].count(None) == 2


def test_quality_of_one_span(recorded):
    with tracewatch.trace("ask") as ask:
        with tracewatch.span("draft", model_name="m") as draft:
            pass
        with tracewatch.span("final", model_name="m"):
            pass
    tracewatch.score(ask.trace_id, span_id=draft.span_id, relevance=0.25)
    assert recorded.row(span_name="draft").rag_relevance_score == 0.25
    assert recorded.row(span_name="final").rag_relevance_score is None


def test_quality_of_a_trace_without_calls_is_of_its_root(recorded):
    with tracewatch.trace("ask") as ask, tracewatch.span("step"):
        pass
    tracewatch.score(ask.trace_id, tone=0.5)
    assert recorded.row(span_name="ask").response_quality_breakdown == {"tone": 0.5}


def test_quality_that_comes_before_its_span_waits_for_it(recorded):
    with tracewatch.trace("ask") as ask:
        tracewatch.score(ask.trace_id, groundedness=0.4)
        assert recorded.row(operation_type="score").groundedness_score == 0.4  # safe already
    assert recorded.row().groundedness_score == 0.4
