"""Spans that we send ourselves arrive as they were, column by column."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracewatch.otlp import decode, encode
from tracewatch.otlp.own import nanoseconds, seconds
from tracewatch.records import STATUSES, Span, columns

FULL = {
    "text": "a text é",
    "integer": 2**53 + 1,
    "real": 0.1 + 0.2,
    "boolean": False,
    "time": 1_795_311_972.4167311,
    "json": {"score": 0.5, "nested": {"list": [1, None, "x"]}},
    "list": ("one", "two"),
}


def a_full_span(**odd):
    values = {each.name: FULL[each.kind] for each in columns(Span)}
    values |= {"status": "fallback", "cost_status": "reported", "trace_id": "ab" * 16, "span_id": "cd" * 8}
    return Span(**{**values, "parent_span_id": "ef" * 8, **odd})


def arrived(*spans, **how):
    received = decode(encode(spans), json=True, **how)
    assert received.reasons == {}
    return received.spans


@pytest.mark.parametrize("status", STATUSES)
def test_every_column_arrives_as_it_was(status):
    span = a_full_span(status=status)
    assert all(getattr(span, each.name) is not None for each in columns(Span))
    assert arrived(span, content=True) == (span,)


@pytest.mark.parametrize("name", [each.name for each in columns(Span) if not each.required and not each.key])
def test_an_empty_column_arrives_empty(name):
    empty = next(each.default for each in dataclasses.fields(Span) if each.name == name)
    span = a_full_span(**{name: empty})
    assert arrived(span, content=True) == (span,)


def test_the_least_span_arrives():
    span = Span(start_time=0.25, trace_id="question-7", span_id="1")
    assert arrived(span) == (span,)


def test_ids_of_other_forms_arrive_and_stay_together_on_the_wire():
    root = Span(start_time=1.0, trace_id="question-7", span_id="root", project="a")
    call = Span(start_time=2.0, trace_id="question-7", span_id="call", parent_span_id="root", project="b")
    assert arrived(root, call) == (root, call)
    sent = [s["scopeSpans"][0]["spans"][0] for s in json.loads(encode([root, call]))["resourceSpans"]]
    assert sent[0]["traceId"] == sent[1]["traceId"]
    assert sent[0]["spanId"] == sent[1]["parentSpanId"]


def test_standard_names_are_used_where_there_are_any():
    attributes = json.loads(encode([a_full_span()]))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    names = {each["key"] for each in attributes}
    assert {"gen_ai.usage.input_tokens", "gen_ai.response.model", "gen_ai.conversation.id", "error.type"} <= names
    assert "gen_ai.response.time_to_first_chunk" in names
    assert "tracewatch.input_tokens" not in names


def test_reasoning_text_is_dropped_unless_content_is_allowed():
    span = a_full_span(reasoning="the capital is Paris")
    assert arrived(span) == (dataclasses.replace(span, reasoning=None),)


def test_prompt_and_answer_are_dropped_unless_content_is_allowed():
    span = a_full_span(reasoning=None, metadata={"prompt_text": "capital?", "answer_text": "Paris", "kept": 1})
    assert arrived(span) == (dataclasses.replace(span, metadata={"kept": 1}),)
    assert arrived(span, content=True) == (span,)


def test_a_project_that_is_given_stands_before_the_one_that_is_said():
    assert arrived(a_full_span(project="theirs"), project="ours")[0].project == "ours"


@given(st.floats(0.001, 9e10, allow_subnormal=False))
def test_times_come_back_as_the_same_float(time_s):
    assert seconds(nanoseconds(time_s)) == pytest.approx(time_s, abs=5e-10)
    assert time_s < 1e6 or seconds(nanoseconds(time_s)) == time_s


def test_numbers_that_are_none_are_left_out():
    odd = a_full_span(cost_usd=math.nan, queue_time_ms=math.inf, metadata={"x": math.nan, 1: object})
    (span,) = arrived(odd)
    assert (span.cost_usd, span.queue_time_ms) == (None, None)
    assert span.metadata["x"] == "nan"
