"""Calls are looked up only where two instrumentations report, which changes nothing of what is found."""

import dataclasses

import pytest
from bodies import read_one
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch.otlp import RecentCalls

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
SPAN = dataclasses.replace(
    read_one({**CHAT, "gen_ai.usage.input_tokens": 19, "gen_ai.usage.output_tokens": 7}, scope="acme"), ttft_ms=None
)
CALLS = st.lists(
    st.builds(
        lambda number, project, by, at, response_id, parent, convention: dataclasses.replace(
            SPAN,
            span_id=f"{number:016x}",
            project=project,
            instrumentation=by,
            start_time=SPAN.start_time + at,
            end_time=SPAN.start_time + at + 1.0,
            response_id=response_id,
            parent_span_id=parent,
            convention=convention,
            metadata={"stream_duration_ms": 900.0} if convention == "logfire" and number % 2 else None,
            input_tokens=None if convention == "logfire" else 19,
            output_tokens=None if convention == "logfire" else 7,
        ),
        st.integers(1, 12),
        st.sampled_from(["shop", "bank"]),
        st.sampled_from(["one", "one", "one", "two", None]),
        st.sampled_from([0.0, 0.5, 3.0, 40.0]),
        st.sampled_from([None, "r-1", "r-2"]),
        st.sampled_from([None, f"{1:016x}", f"{2:016x}"]),
        st.sampled_from([None, None, "logfire"]),
    ),
    max_size=14,
)


class Everything(set):
    """All projects, so that each call is indexed as soon as it comes."""

    def __contains__(self, project):
        return True


def merged(recent, batches):
    kept = {}
    for spans in batches:
        found = recent.merge(spans, kept.get)
        kept |= {(each.project, each.trace_id, each.span_id): each for each in (*found.spans, *found.changed)}
        yield found


@settings(max_examples=300, deadline=None)
@given(batches=st.lists(CALLS, max_size=4), calls=st.sampled_from([3, 100]))
def test_it_does_not_matter_when_calls_are_indexed(batches, calls):
    eager = RecentCalls(calls)
    eager._indexed = Everything()
    late = RecentCalls(calls)
    late._let_pass = eager._let_pass = lambda rows: False
    assert list(merged(late, batches)) == list(merged(eager, batches))


@settings(max_examples=300, deadline=None)
@given(batches=st.lists(CALLS, max_size=4))
def test_what_is_let_pass_is_found_all_the_same(batches):
    batches = [{(each.project, each.span_id): each for each in spans}.values() for spans in batches]
    strict = RecentCalls()
    strict._let_pass = lambda rows: False

    def told(recent):
        for each in merged(recent, batches):
            yield {span.project + span.span_id: span for span in each.spans}, each.changed, each.duplicates

    assert list(told(RecentCalls())) == list(told(strict))


def test_what_is_let_pass_is_bounded():
    recent = RecentCalls(10)
    recent.remember([dataclasses.replace(SPAN, span_id="ee" * 8)])
    for first in range(1, 100, 4):
        batch = [dataclasses.replace(SPAN, span_id=f"{each:016x}") for each in range(first, first + 4)]
        assert len(recent.merge(batch, lambda key: None).spans) == 4
    assert not recent._calls  # of which more was known, but they came before all others
    late = [dataclasses.replace(SPAN, span_id=f"{each:016x}", instrumentation="two") for each in range(900, 902)]
    recent.merge(late, lambda key: SPAN)
    assert 0 < len(recent._calls) <= 10


def test_a_project_that_one_instrumentation_reports_is_not_indexed():
    recent = RecentCalls()
    numbers = range(1, 500)
    calls = [dataclasses.replace(SPAN, span_id=f"{each:016x}", response_id=f"r-{each}") for each in numbers]
    assert recent.merge(calls, lambda key: None).spans == tuple(calls)
    assert not recent._index
    again = dataclasses.replace(calls[77], span_id="ff" * 8, instrumentation="other")
    (found,) = recent.merge([again], {("default", SPAN.trace_id, calls[77].span_id): calls[77]}.get).duplicates
    assert found.kept_span_id == calls[77].span_id


def numbered(numbers, **given):
    return [dataclasses.replace(SPAN, span_id=f"{each:016x}", response_id=f"r-{each}", **given) for each in numbers]


@pytest.mark.parametrize("odd", ["a second report", "a request over HTTP"])
def test_what_has_long_been_alone_is_let_pass_again(odd):
    recent = RecentCalls(20)
    (first,) = numbered([1])
    if odd == "a second report":
        second = dataclasses.replace(first, span_id="ff" * 8, instrumentation="other")
    else:
        second = dataclasses.replace(first, span_id="ff" * 8, operation_type="http", parent_span_id=first.span_id)
    recent.merge([first, second], lambda key: None)
    passed = []
    for begin in range(100, 160, 5):
        recent.merge(numbered(range(begin, begin + 5)), lambda key: None)
        passed.append(bool(recent._lone._count))
    assert passed == [False] * passed.index(True) + [True] * (len(passed) - passed.index(True))
    assert passed.index(True) in (4, 5)  # after as many as are remembered


SENT = st.lists(
    st.tuples(
        st.sampled_from(["one"] * 6 + ["two", "tool", "http", "again"]),
        st.integers(0, 3),
        st.sampled_from(["shop", "shop", "bank"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(batches=st.lists(SENT, min_size=4, max_size=16), calls=st.sampled_from([4, 9]))
def test_calls_that_are_let_pass_again_are_found_all_the_same(batches, calls):
    """Each batch has calls of its own, second reports of earlier calls, steps below them, and some again."""
    number = 100
    sent = []
    for batch in batches:
        spans = []
        for by, back, project in batch:
            number += 1
            (span,) = numbered([number], project=project, instrumentation=by)
            if by == "two":
                span = dataclasses.replace(span, response_id=f"r-{number - 1 - back}")
            elif by in ("http", "tool"):  # requests come before their calls, steps after what they are below
                above = f"{number + 1 + back if by == 'http' else number - 1 - back:016x}"
                span = dataclasses.replace(span, operation_type=by, parent_span_id=above, response_id=None)
            elif by == "again":
                span = next((each[0] for each in sent[-2 - back % 3 :]), span)
            if span not in spans:
                spans.append(span)
        sent.append(spans)
    strict, quick = RecentCalls(calls), RecentCalls(calls)
    strict._let_pass = lambda rows: False
    for mine, theirs in zip(merged(quick, sent), merged(strict, sent), strict=True):
        assert set(map(str, mine.spans)) == set(map(str, theirs.spans))
        assert (mine.changed, mine.duplicates) == (theirs.changed, theirs.duplicates)
