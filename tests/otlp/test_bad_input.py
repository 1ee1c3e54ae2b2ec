"""Whatever comes: spans that can be kept are kept, the others are counted with a reason, and nothing else is raised."""

import json
import math

import pytest
from bodies import CHAT_NAMES, a_body, a_span, attributes, captures, read, read_one
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tracewatch.errors import BadOtlp
from tracewatch.otlp import RecentCalls, content, conventions, decode
from tracewatch.otlp.content import KEYS, TEXT
from tracewatch.otlp.reading import PLACES
from tracewatch.stores.values import to_row

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
NAMES = st.sampled_from([*PLACES, *CHAT_NAMES]) | st.text(max_size=20)
KINDS = ("stringValue", "intValue", "doubleValue", "boolValue", "arrayValue", "kvlistValue", "bytesValue")
VALUES = st.dictionaries(st.sampled_from(KINDS), JSON, max_size=2) | JSON
ATTRIBUTES = st.lists(st.fixed_dictionaries({"key": NAMES | JSON, "value": VALUES}) | JSON, max_size=8) | JSON
TIMES = JSON | st.integers(-(2**70), 2**70).map(str)
EVENT = st.fixed_dictionaries({"name": JSON, "timeUnixNano": TIMES, "attributes": ATTRIBUTES})
SPAN = st.fixed_dictionaries(
    {},
    optional={
        "traceId": st.just("ab" * 16) | JSON,
        "spanId": st.just("cd" * 8) | JSON,
        "parentSpanId": JSON,
        "name": JSON,
        "kind": JSON,
        "startTimeUnixNano": st.just("1795311972000000000") | TIMES,
        "endTimeUnixNano": TIMES,
        "attributes": ATTRIBUTES,
        "status": JSON | st.fixed_dictionaries({"code": JSON, "message": JSON}),
        "events": st.lists(
            st.fixed_dictionaries({"name": JSON, "timeUnixNano": TIMES, "attributes": ATTRIBUTES}), max_size=3
        )
        | JSON,
        "links": st.lists(st.fixed_dictionaries({"traceId": JSON}), max_size=2) | JSON,
    },
)
SCOPES = st.sampled_from(
    ["", "openlit.instrumentation.anthropic", "mlflow", "logfire", "langfuse", "tracewatch", "litellm"]
)
FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)


def fully(body, *, as_json):
    """Everything a server does with a body before it writes: what is kept can be stored."""
    try:
        received = decode(body, json=as_json)
    except BadOtlp:
        return None
    merged = RecentCalls().merge(received.spans, lambda key: None)
    for each in (*merged.spans, *merged.changed, *merged.duplicates):
        to_row(each)
    return received


@FUZZ
@given(st.lists(SPAN | JSON, max_size=4) | JSON, SCOPES, JSON)
def test_any_tree(spans, scope, resource):
    tree = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": scope}, "spans": spans}]}]}
    received = fully(json.dumps(tree).encode("utf-8", "replace"), as_json=True)
    if isinstance(spans, list):
        assert len(received.spans) + received.rejected in (len(spans), len(spans) - len(received.spans))


@FUZZ
@given(JSON)
def test_any_json(tree):
    fully(json.dumps(tree).encode("utf-8", "replace"), as_json=True)


@pytest.mark.parametrize("tree", [{}, {"resourceSpans": []}, {"resource_spans": None}, {"new": 1, "resourceSpans": []}])
def test_an_object_without_spans_may_come(tree):
    assert fully(json.dumps(tree).encode(), as_json=True).rejected == 0


@pytest.mark.parametrize("name", ["resourcespans", "resourceSpan", "bla"])
def test_a_misspelt_body_is_refused_and_not_lost(name):
    with pytest.raises(BadOtlp, match=f"no resourceSpans, but {name}"):
        decode(json.dumps({name: []}).encode(), json=True)


@FUZZ
@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff\xfe{}")
@example(b'{"resourceSpans": ' + b"[" * 100_000)
@example(b'{"a": ' + b"9" * 10_000 + b"}")
def test_any_bytes(body):
    fully(body, as_json=True)
    fully(body, as_json=False)


@FUZZ
@given(st.sampled_from(sorted(captures())), st.data())
def test_a_real_body_that_was_damaged(name, data):
    body = bytearray(captures()[name])
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    fully(bytes(body[: data.draw(st.integers(0, len(body)))]), as_json=False)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"traceId": "abc"}, "the trace id"),
        ({"traceId": "0" * 32}, "the trace id"),
        ({"traceId": None}, "the trace id"),
        ({"traceId": "zz" * 16}, "the trace id"),
        ({"spanId": "ab" * 9}, "the span id"),
        ({"startTimeUnixNano": "-5"}, "the start time"),
        ({"startTimeUnixNano": "soon"}, "the start time"),
        ({"startTimeUnixNano": str(10**25)}, "the start time"),
    ],
)
def test_a_span_that_cannot_be_kept_does_not_stop_the_others(odd, why):
    spans = [a_span("00000000000000aa"), {**a_span("00000000000000ab"), **odd}, 7]
    received = decode(json.dumps(a_body(*spans)).encode(), json=True)
    assert [each.span_id for each in received.spans] == ["00000000000000aa"]
    assert received.rejected == 2
    assert any(each.startswith(why) for each in received.reasons)
    assert received.message.startswith("1 refused: ")


def test_ids_in_capitals_are_the_same_ids():
    (span,) = read(a_span("00F067AA0BA902B7"))
    assert span.span_id == "00f067aa0ba902b7"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "many", [1, 2], True, 2**70, ""])
def test_a_number_that_is_none(value):
    sets = dict.fromkeys(("gen_ai.usage.input_tokens", "gen_ai.response.time_to_first_chunk"), value)
    body = a_body(a_span(sets={"gen_ai.operation.name": "chat", **sets}))
    (span,) = decode(json.dumps(body).encode(), json=True).spans
    assert (span.input_tokens, span.ttft_ms) == (None, None)


def test_numbers_as_texts():
    span = read_one(
        {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": "19", "gen_ai.request.stream": "true"}
    )
    assert (span.input_tokens, span.streaming_enabled) == (19, True)


def test_nesting():
    value = {"stringValue": "deep"}
    for _ in range(100):
        value = {"arrayValue": {"values": [value]}}
    span = a_span()
    span["attributes"] = [{"key": "gen_ai.response.model", "value": value}, *attributes({"app.x": 1})]
    (found,) = read(span)
    assert (found.model_name, found.metadata) == (None, {"app.x": 1})


def test_a_million_names_of_attributes():
    for begin in range(0, 1_000_000, 250_000):
        names = ",".join(
            f'{{"key":"app.key{number}","value":{{"intValue":"1"}}}}' for number in range(begin, begin + 250_000)
        )
        span = json.dumps(a_body({**a_span(), "attributes": "here"})).replace('"here"', f"[{names}]")
        (found,) = decode(span.encode(), json=True).spans
        assert len(found.metadata) == KEYS
    # What is remembered about names has an end as well.
    assert len(content._KINDS) <= content._MOST_KINDS
    assert len(conventions._MARKED) <= conventions._MOST_MARKED


def test_texts_without_end():
    long = "x" * 5_000_000
    sets = {"gen_ai.response.model": long, "user.id": long, "app.note": long, "gen_ai.operation.name": long}
    (span,) = read(a_span(sets=sets, name=long, status={"code": 2, "message": long}))
    assert max(len(str(value)) for value in to_row(span) if isinstance(value, str)) <= 500
    assert (span.model_name, span.user_id) == (None, None)
    assert TEXT < 500


def test_an_answer_without_end_is_searched_for_its_id_no_further_than_a_megabyte():
    sets = {"openinference.span.kind": "LLM", "output.value": '{"id": ' * 1_000_000}
    assert read_one(sets).response_id is None


def test_a_body_that_is_not_otlp_says_so():
    with pytest.raises(BadOtlp, match="cannot read this as OTLP/JSON: it holds a list where an object"):
        decode(b"[]", json=True)
    with pytest.raises(BadOtlp, match="cannot read this as OTLP/protobuf: "):
        decode(b"\x0a\xff\xff", json=False)


def test_an_empty_body_holds_nothing():
    assert decode(b"", json=False).spans == ()
    assert decode(b"{}", json=True).spans == ()
