"""Spans, and which one is current: through blocks, threads, tasks, executors and processes."""

import asyncio
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracewatch
from tracewatch.capture.carrying import parse_traceparent


def test_one_question_is_one_group(recorded):
    with tracewatch.trace("ask", user_id="u1", session_id="s1", conversation_id="c1", usage_type="chat_answer") as ask:
        assert tracewatch.current() is ask
        with tracewatch.span(
            "rerank", usage_type="chat_rerank", model_name="haiku", model_provider="anthropic"
        ) as rerank:
            rerank.set(input_tokens=10, output_tokens=2)
        with tracewatch.span("answer", model_name="sonnet", operation_type="chat") as answer:
            assert tracewatch.current() is answer
    assert tracewatch.current() is None
    rows = {each.span_name: each for each in recorded.rows()}
    assert {each.trace_id for each in rows.values()} == {ask.trace_id}
    assert rows["rerank"].parent_span_id == rows["answer"].parent_span_id == rows["ask"].span_id
    assert rows["ask"].parent_span_id is None
    assert {(each.user_id, each.session_id, each.conversation_id) for each in rows.values()} == {("u1", "s1", "c1")}
    assert (rows["answer"].usage_type, rows["rerank"].usage_type) == ("chat_answer", "chat_rerank")
    assert rows["rerank"].total_tokens == 12
    assert [each.operation_type for each in (rows["ask"], rows["rerank"], rows["answer"])] == [
        "request",
        "step",
        "chat",
    ]
    assert {(each.service_name, each.source, each.status) for each in rows.values()} == {("app", "sdk", "ok")}
    assert rows["ask"].duration_ms >= rows["rerank"].duration_ms + rows["answer"].duration_ms
    assert rows["ask"].end_time == pytest.approx(rows["ask"].start_time + rows["ask"].duration_ms / 1e3)


def test_trace_ids_are_the_callers(recorded):
    with tracewatch.trace("ask", trace_id="request 7/ä"), tracewatch.span("step"):
        pass
    assert {each.trace_id for each in recorded.rows()} == {"request 7/ä"}


def test_a_trace_within_a_trace_is_a_step_of_it_unless_it_has_its_own_id(recorded):
    with tracewatch.trace("outer", user_id="u") as outer:
        with tracewatch.trace("inner") as inner:
            assert (inner.trace_id, inner.parent_span_id) == (outer.trace_id, outer.span_id)
        with tracewatch.trace("job", trace_id="job-1") as job:
            assert (job.trace_id, job.parent_span_id) == ("job-1", None)
    assert recorded.row(span_name="job").parent_trace_id == outer.trace_id
    assert recorded.row(span_name="job").user_id == "u"


def test_an_exception_fails_the_span_and_reaches_the_caller(recorded):
    with pytest.raises(ValueError, match="no such"), tracewatch.trace("ask"), tracewatch.span("answer"):
        raise ValueError("no such thing " + "x" * 600)
    for row in recorded.rows():
        assert (row.status, row.error_type, row.error_category) == ("error", "ValueError", "unknown")
        assert len(row.error_message) == 500
        assert row.duration_ms > 0


def test_timeouts_and_cancellation(recorded):
    with pytest.raises(TimeoutError), tracewatch.span("slow"):
        raise TimeoutError
    with pytest.raises(KeyboardInterrupt), tracewatch.span("stopped"):
        raise KeyboardInterrupt
    with pytest.raises(SystemExit), tracewatch.span("done"):
        raise SystemExit(0)
    rows = {each.span_name: each for each in recorded.rows()}
    assert (rows["slow"].status, rows["slow"].error_category) == ("timeout", "timeout")
    assert (rows["stopped"].status, rows["stopped"].error_category) == ("error", "cancelled")
    assert rows["done"].status == "ok"


def test_only_the_first_end_counts(recorded):
    span = tracewatch.start("call")
    span.end(at=span.start_time + 2)
    span.end(at=span.start_time + 9)
    assert recorded.row().duration_ms == pytest.approx(2000)


def test_a_started_span_is_not_current(recorded):
    with tracewatch.trace("ask") as ask:
        call = tracewatch.start("call")
        assert tracewatch.current() is ask
        with tracewatch.use(call), tracewatch.span("below") as below:
            assert below.parent_span_id == call.span_id
        assert tracewatch.current() is ask
        call.end()
    assert len(recorded.rows()) == 3


def test_fields_and_metadata(recorded):
    with tracewatch.span("call", provider="openai", model="gpt", team="search", metadata={"a": 1}) as call:
        call.set(streaming_enabled="true", ttft_ms=100, output_tokens=50, duration_ms=1100, metadata={"b": 2})
        call.set(warning_flags=["odd"], response_quality_breakdown={"tone": 0.5}, start_over=True).warn("odd", "late")
    row = recorded.row()
    assert (row.model_provider, row.model_name, row.streaming_enabled) == ("openai", "gpt", True)
    assert row.metadata == {"a": 1, "b": 2, "team": "search", "start_over": True}
    assert row.warning_flags == ("odd", "late")
    assert row.response_quality_breakdown == {"tone": 0.5}
    assert row.tokens_per_second == pytest.approx(50)


def test_what_began_before_is_dated_back(recorded):
    began = datetime(2026, 3, 2, 10, tzinfo=UTC)
    tracewatch.start("call", start_time=began).end(at=began.timestamp() + 3)
    row = recorded.row()
    assert (row.start_time, row.duration_ms) == (began.timestamp(), pytest.approx(3000))


class _Hostile:
    """A value whose every use raises."""

    def _raise(self, *_):
        raise RuntimeError("hostile")

    __str__ = __repr__ = __float__ = __int__ = __bool__ = __iter__ = __eq__ = __len__ = _raise
    __hash__ = None


def test_values_that_fit_no_column_are_told_and_stop_nothing(recorded):
    with tracewatch.span("call", input_tokens=_Hostile(), cost_usd="dear", start_time="yesterday") as call:
        call.set(output_tokens=float("nan"), status="strange", ttft_ms=[1], model_name=b"gpt\xff", thing=_Hostile())
        call.set(warning_flags=7, streaming_enabled="perhaps", message_id=12, end_time=1e300)
    row = recorded.row()
    assert row.message_id == "12"
    assert row.start_time == pytest.approx(time.time(), abs=60)
    assert row.model_name == "gpt\ufffd"
    assert (row.status, row.input_tokens, row.cost_usd, row.output_tokens) == ("ok", None, None, None)
    assert "bad_value" in row.warning_flags
    assert row.metadata["start_time_given"] == "yesterday"
    bad = row.metadata["bad_values"]
    assert bad["cost_usd"] == "'dear'"
    assert set(bad) >= {"input_tokens", "cost_usd", "output_tokens", "status", "ttft_ms", "streaming_enabled"}


class _Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def test_an_error_without_words(recorded):
    with pytest.raises(_Unspeakable), tracewatch.span("call"):
        raise _Unspeakable
    assert (recorded.row().error_type, recorded.row().status) == ("_Unspeakable", "error")


def test_async_blocks_and_tasks_keep_their_own_current_span(recorded):
    async def answer(question):
        async with tracewatch.trace("ask", user_id=question) as ask:
            await asyncio.sleep(0)
            async with tracewatch.span("step") as step:
                await asyncio.sleep(0)
                assert step.parent_span_id == ask.span_id
                return await asyncio.to_thread(lambda: tracewatch.current().span_id == step.span_id)

    async def main():
        return await asyncio.gather(*(answer(f"u{number}") for number in range(20)))

    assert all(asyncio.run(main()))
    rows = recorded.rows()
    assert len(rows) == 40
    assert all(
        len({each.user_id for each in rows if each.trace_id == trace}) == 1 for trace in {e.trace_id for e in rows}
    )


def test_executors_and_threads(recorded):
    def work(number):
        with tracewatch.span(f"work {number}"):
            return tracewatch.current().trace_id

    with tracewatch.trace("ask") as ask, ThreadPoolExecutor(4) as executor:
        assert set(executor.map(tracewatch.in_context(work), range(8))) == {ask.trace_id}
        assert executor.submit(work, 9).result() != ask.trace_id  # which is why in_context is there
        carried = tracewatch.carry()

    def elsewhere():
        with tracewatch.resume(carried), tracewatch.span("thread"):
            pass

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert recorded.row(span_name="thread").parent_span_id == ask.span_id
    assert {each.parent_span_id for each in recorded.rows(trace_id=ask.trace_id)} == {None, ask.span_id}


def _in_another_process(carried, path):
    tracewatch.init(path)
    with tracewatch.resume(carried), tracewatch.span("elsewhere"):
        pass


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_processes(recorded, method):
    with tracewatch.trace("ask", trace_id="my own", user_id="ü, =;%") as ask:
        context = multiprocessing.get_context(method)
        process = context.Process(target=_in_another_process, args=(tracewatch.carry(), recorded.path))
        process.start()
        process.join(60)
    row = recorded.row(span_name="elsewhere")
    assert process.exitcode == 0
    assert (row.trace_id, row.parent_span_id, row.user_id) == ("my own", ask.span_id, "ü, =;%")


def test_what_is_carried_are_headers_of_the_standards(recorded):
    assert tracewatch.carry() == {}
    assert tracewatch.traceparent() is None
    with tracewatch.trace("ask", session_id="s 1") as ask:
        carried = tracewatch.carry()
        assert carried == {
            "traceparent": f"00-{ask.trace_id}-{ask.span_id}-01",
            "baggage": "tracewatch.session_id=s%201",
        }
    headers = {"TraceParent": carried["traceparent"].encode(), "BAGGAGE": f"other=1,{carried['baggage']};p=1"}
    with tracewatch.resume(headers):
        assert tracewatch.current() is None
        with tracewatch.trace("there") as there:
            assert (there.trace_id, there.parent_span_id) == (ask.trace_id, ask.span_id)
            assert there.fields["session_id"] == "s 1"
    with tracewatch.resume(carried["traceparent"]), tracewatch.span("again") as again:
        assert again.trace_id == ask.trace_id


@settings(deadline=None)
@given(
    st.one_of(st.text(), st.none(), st.dictionaries(st.text() | st.sampled_from(["traceparent", "baggage"]), st.text()))
)
def test_what_cannot_be_carried_on_begins_anew(carried):
    with tracewatch.resume(carried):
        assert len(tracewatch.start("call").span_id) == 16


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ],
)
def test_headers_that_are_no_traceparent(header):
    assert parse_traceparent(header) is None


def test_later_versions_of_traceparent_are_read():
    assert parse_traceparent(" cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes ") == (
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00f067aa0ba902b7",
    )


def test_a_block_left_in_another_task_harms_nobody(recorded):
    async def main():
        block = tracewatch.span("moved")

        async def enter():
            block.__enter__()

        await asyncio.create_task(enter())
        block.__exit__(None, None, None)

    asyncio.run(main())
    assert recorded.row().span_name == "moved"
