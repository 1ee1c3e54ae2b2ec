"""The same call reported twice counts once: in one batch or in two, in one trace or in two, in any order."""

import dataclasses
import itertools
import json

import pytest
from bodies import a_span, read, read_one

from tracewatch.otlp import RecentCalls
from tracewatch.records import Duplicate, Span
from tracewatch.stores import open_store

OTHER = "ab" * 16
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
USED = {"gen_ai.usage.input_tokens": 19, "gen_ai.usage.output_tokens": 7}


def a_call(scope, span_id="00000000000000aa", sets=USED, **odd):
    return read_one({**CHAT, **sets}, scope=scope, span_id=span_id, **odd)


class Kept:
    """A store of a kind: what was written, by key."""

    def __init__(self):
        self.recent = RecentCalls()
        self.spans, self.duplicates = {}, {}

    def fetch(self, key):
        return self.spans.get(key)

    def write(self, *spans):
        merged = self.recent.merge(spans, self.fetch)
        assert not {each.span_id for each in merged.spans} & {each.span_id for each in merged.changed}
        stored = (*merged.spans, *merged.changed)
        self.spans |= {(each.project, each.trace_id, each.span_id): each for each in stored}
        self.duplicates |= {(each.trace_id, each.span_id): each for each in merged.duplicates}
        return merged

    @property
    def tokens(self):
        return sum(each.total_tokens or 0 for each in self.spans.values())


OUTER = a_call(
    "openinference.instrumentation.langchain", "00000000000000aa", {**USED, "gen_ai.response.id": "r-1"}, ms=120
)
INNER = a_call(
    "opentelemetry.instrumentation.openai_v2", "00000000000000ab", {**USED, "gen_ai.response.id": "r-1"}, at=5
)


@pytest.mark.parametrize("spans", list(itertools.permutations([OUTER, INNER])))
@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("trace_id", [OUTER.trace_id, OTHER])
def test_one_id_is_one_call(spans, batches, trace_id):
    spans = [dataclasses.replace(each, trace_id=trace_id) if each is INNER else each for each in spans]
    kept = Kept()
    for batch in [spans] if batches == 1 else [[each] for each in spans]:
        kept.write(*batch)
    assert kept.tokens == 26
    (call,) = kept.spans.values()
    (other,) = kept.duplicates.values()
    assert {call.instrumentation, other.instrumentation} == {OUTER.instrumentation, INNER.instrumentation}
    assert call.also_reported_by == (other.instrumentation,)
    assert other.matched_by == "response_id"


def test_one_id_from_one_library_is_two_calls():
    """A mock, or a cache, that always answers with the same id."""
    kept = Kept()
    kept.write(OUTER, dataclasses.replace(OUTER, span_id="00000000000000ff", start_time=OUTER.start_time + 1))
    assert (kept.tokens, kept.duplicates) == (52, {})


def test_a_constant_id_pairs_each_report_with_the_nearest():
    kept = Kept()
    later = [
        dataclasses.replace(each, span_id=each.span_id[:-2] + "f" + each.span_id[-1], start_time=each.start_time + 2,
                            end_time=each.end_time + 2)
        for each in (OUTER, INNER)
    ]  # fmt: skip
    kept.write(OUTER, INNER, *later)
    assert kept.tokens == 52
    assert {each.kept_span_id for each in kept.duplicates.values()} == {OUTER.span_id, later[0].span_id}


def test_one_id_an_hour_later_is_another_call():
    kept = Kept()
    kept.write(OUTER)
    kept.write(dataclasses.replace(INNER, start_time=INNER.start_time + 3600, end_time=INNER.end_time + 3600))
    assert kept.tokens == 52


def test_without_an_id_by_time_and_tokens():
    kept = Kept()
    kept.write(dataclasses.replace(OUTER, response_id=None), INNER)
    assert kept.tokens == 26
    assert [each.matched_by for each in kept.duplicates.values()] == ["time_and_tokens"]


@pytest.mark.parametrize(
    "odd",
    [
        {"output_tokens": 8},
        {"model_name": "gpt-4o-mini"},
        {"response_id": "r-2"},
        {"start_time": OUTER.start_time + 0.2, "end_time": OUTER.start_time + 0.3},
        {"service_name": "another"},
        {"project": "another"},
    ],
)
def test_what_differs_is_another_call(odd):
    kept = Kept()
    first = OUTER if odd.get("response_id") else dataclasses.replace(OUTER, response_id=None)
    kept.write(first, dataclasses.replace(INNER, **odd))
    assert kept.duplicates == {}


def test_calls_that_run_at_the_same_time_are_told_apart():
    kept = Kept()
    pairs = []
    for number in range(10):
        for span, scope in ((OUTER, "a"), (INNER, "b")):
            span_id = f"{number:014x}{scope}0"
            pairs.append(
                dataclasses.replace(span, span_id=span_id, start_time=span.start_time + number / 50, response_id=None,
                                    end_time=span.end_time + number / 50)
            )  # fmt: skip
    kept.write(*pairs)
    assert kept.tokens == 260
    assert {(each.span_id[:14], each.kept_span_id[:14]) for each in kept.duplicates.values()} == {
        (f"{number:014x}",) * 2 for number in range(10)
    }


def test_the_more_reliable_numbers_are_kept_and_what_is_missing_is_filled_in():
    wrong = a_call("openlit.instrumentation.openai", "00000000000000aa", {**USED, "gen_ai.usage.output_tokens": 9,
                   "gen_ai.usage.cache_read.input_tokens": 0, "gen_ai.response.id": "r-1"}, ms=120)  # fmt: skip
    right = dataclasses.replace(INNER, ttft_ms=40.0, finish_reason="stop", reasoning_tokens=3)
    kept = Kept()
    kept.write(wrong)
    kept.write(right)
    (call,) = kept.spans.values()
    assert (call.output_tokens, call.total_tokens, call.reasoning_tokens) == (7, 26, 3)
    assert (call.ttft_ms, call.finish_reason) == (40.0, "stop")
    assert "reports_disagree" in call.warning_flags


def test_a_call_that_was_priced_is_priced_again_when_its_tokens_change():
    kept = Kept()
    kept.write(dataclasses.replace(OUTER, output_tokens=None, total_tokens=19, cost_usd=0.1, cost_status="exact"))
    kept.write(INNER)
    (call,) = kept.spans.values()
    assert (call.output_tokens, call.cost_usd, call.cost_status) == (7, None, None)


def test_an_error_that_one_of_them_missed():
    broken = a_call("openinference.instrumentation.openai", "00000000000000ab", {**USED, "gen_ai.response.id": "r-1"},
                    status={"code": 2, "message": "peer closed connection"})  # fmt: skip
    kept = Kept()
    kept.write(OUTER, broken)
    (call,) = kept.spans.values()
    assert (call.status, call.error_category) == ("error", "connection")


def test_a_child_of_a_duplicate_hangs_on_what_is_kept():
    inner = dataclasses.replace(INNER, parent_span_id=OUTER.span_id)
    sets = {"http.request.method": "POST"}
    (request,) = read(a_span("00000000000000ac", sets=sets, parentSpanId=inner.span_id, at=6))
    kept = Kept()
    kept.write(request, inner, OUTER)
    assert {each.span_id: each.parent_span_id for each in kept.spans.values()} == {
        OUTER.span_id: None,
        request.span_id: OUTER.span_id,
    }


def test_a_parent_that_comes_later_and_is_the_duplicate_gives_its_place():
    grandparent = "00000000000000f0"
    kept = Kept()
    kept.write(dataclasses.replace(INNER, parent_span_id=OUTER.span_id))
    kept.write(dataclasses.replace(OUTER, parent_span_id=grandparent))
    (call,) = kept.spans.values()
    assert (call.span_id, call.parent_span_id) == (INNER.span_id, grandparent)


def test_orphans_and_late_spans_are_kept_as_they_are():
    kept = Kept()
    orphan = dataclasses.replace(OUTER, parent_span_id="00000000000000f0")
    kept.write(orphan)
    kept.write(read_one({"gen_ai.operation.name": "invoke_agent"}, span_id="00000000000000f0", ms=500))
    assert len(kept.spans) == 2
    assert kept.spans[(orphan.project, orphan.trace_id, orphan.span_id)].parent_span_id == "00000000000000f0"


def test_a_batch_that_comes_again_changes_nothing():
    kept = Kept()
    for batch in ([OUTER], [INNER], [INNER], [OUTER], [OUTER, INNER]):
        kept.write(*batch)
        before = dict(kept.spans)
    kept.write(OUTER, INNER)
    assert kept.spans == before
    assert (len(kept.spans), len(kept.duplicates), kept.tokens) == (1, 1, 26)


def test_a_batch_whose_writing_failed_is_merged_again():
    recent = RecentCalls()
    once = recent.merge([OUTER, INNER], lambda key: None)
    again = recent.merge([OUTER, INNER], lambda key: None)
    assert again == once
    assert len(once.duplicates) == 1


def test_memory_is_bounded():
    recent = RecentCalls(calls=100)
    for number in range(1000):
        span_id = f"{number:016x}"
        span = dataclasses.replace(OUTER, span_id=span_id, response_id=f"r-{number}")
        request = dataclasses.replace(OUTER, span_id=span_id[1:] + "f", operation_type="http", parent_span_id=span_id)
        recent.merge([span, request], lambda key: None)
    held = [len(each) for each in vars(recent).values() if hasattr(each, "__len__")]
    assert max(held) <= 200


STREAM = {**CHAT, "gen_ai.response.model": "gpt-4o"}


def a_stream(parent="00000000000000f0", log_trace=OUTER.trace_id):
    ended = {"logfire.span_type": "log", "duration": 0.2, **STREAM, **USED, "gen_ai.response.id": "r-9"}
    begins = a_span("00000000000000aa", sets=STREAM, ms=80, parentSpanId=parent)
    ends = a_span("00000000000000ab", trace_id=log_trace, sets=ended, at=281, ms=0, parentSpanId=parent)
    (request,), (log,) = (read(each, scope="logfire.openai") for each in (begins, ends))
    return request, log


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("parent", ["00000000000000f0", None])
def test_logfires_request_and_the_record_of_its_stream_are_one_call(order, batches, parent):
    both = a_stream(parent, log_trace=OUTER.trace_id if parent else OTHER)
    kept = Kept()
    spans = [both[place] for place in order]
    for batch in [spans] if batches == 1 else [[each] for each in spans]:
        kept.write(*batch)
    (call,) = kept.spans.values()
    (other,) = kept.duplicates.values()
    assert other.matched_by == "stream"
    assert (call.input_tokens, call.output_tokens, call.total_tokens, call.response_id) == (19, 7, 26, "r-9")
    assert call.streaming_enabled is True
    assert call.start_time == pytest.approx(both[0].start_time)
    assert call.duration_ms == pytest.approx(281, abs=0.01)


def test_streams_of_other_parents_are_not_joined():
    request, log = a_stream()
    kept = Kept()
    kept.write(request, dataclasses.replace(log, parent_span_id="00000000000000f1"))
    assert kept.duplicates == {}


def test_after_a_restart_by_what_is_stored(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as store:
        first = RecentCalls().merge([OUTER], lambda key: None)
        store.put(first.spans)
        recent = RecentCalls()
        recent.remember(store.page(Span).records)

        def fetch(key):
            return store.get(Span, dict(zip(("project", "trace_id", "span_id"), key, strict=True)))

        merged = recent.merge([INNER], fetch)
        assert (store.add(merged.spans), store.put(merged.changed), store.put(merged.duplicates)) == (0, 1, 1)
        (call,) = store.page(Span).records
        (other,) = store.page(Duplicate).records
        assert (store.count(Span), call.also_reported_by) == (1, (INNER.instrumentation,))
        assert (other.kept_span_id, other.matched_by) == (OUTER.span_id, "response_id")
        rolled = store.roll_up() and store.rollup(OUTER.start_time, OUTER.start_time + 1)
        assert (rolled["calls"].to_pylist(), rolled["total_tokens_sum"].to_pylist()) == ([1], [26.0])


def test_a_kept_call_that_is_gone_is_replaced_by_the_next_report():
    recent = RecentCalls()
    recent.merge([OUTER], lambda key: None)
    merged = recent.merge([INNER], lambda key: None)  # retention has deleted the first
    assert (merged.spans, merged.changed, merged.duplicates) == ((INNER,), (), ())


def test_our_own_spans_beside_opentelemetrys():
    ours = dataclasses.replace(OUTER, instrumentation=None, convention=None, source="sdk", warning_flags=None)
    kept = Kept()
    kept.write(ours, INNER)
    assert (kept.tokens, len(kept.duplicates)) == (26, 1)
    assert json.dumps(next(iter(kept.spans.values())).also_reported_by) == json.dumps([INNER.instrumentation])
