"""Spans that are understood by their shape are what they are when each is read by itself."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue
from otlp.bodies import CHAT_NAMES, captures

from tracewatch.errors import BadRecord
from tracewatch.otlp import decode_rows
from tracewatch.otlp.conventions import CONVENTIONS
from tracewatch.otlp.reading import PLACES
from tracewatch.receiving import Decoder, Request, decoding, shapes
from tracewatch.records import PriceOverride, Span
from tracewatch.stores import open_store
from tracewatch.stores.values import to_values

START = 1_795_311_972_000_000_000
SCOPES = ("", "tracewatch", "acme", *(each.scopes[0] for each in CONVENTIONS), "openlit.instrumentation.anthropic")
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini",
}
VARIED = {
    "gen_ai.response.id": "resp-{}",
    "user.id": "user-{}",
    "gen_ai.conversation.id": "c-{}",
    "gen_ai.tool.call.id": "t-{}",
    "gen_ai.input.messages": "What is {} plus {}?",
}
ODD = st.sampled_from(
    [
        *("", "x" * 300, "a\x00b", "zwei\nZeilen", "ä", "7", "true", "chat", "gpt-4o", "claude-sonnet-4-5", "ERROR"),
        *(0, 1, 7, 100, 200, 50_000, -1, 2**40, 2**63 - 1, True, False, 0.0, 0.25, 1e-9, 1e300),
        *(float("nan"), float("inf"), -0.5, ["a", "b"], [], '{"input_tokens": 5, "total_tokens": 9}', None),
    ]
)
NAMES = st.sampled_from(sorted({*PLACES, *CHAT_NAMES, *CALL, *VARIED, "app.tenant", "tracewatch.duration_ms", "note"}))
SHAPES = st.lists(st.tuples(NAMES, st.lists(ODD, min_size=1, max_size=4)), max_size=7)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with open_store(str(tmp_path_factory.mktemp("shapes") / "s.db"), create=True) as store:
        yield store


def put(span, name, value):
    pair = span.attributes.add(key=name)
    if isinstance(value, list):
        pair.value.array_value.CopyFrom(ArrayValue(values=[AnyValue(string_value=each) for each in value]))
    elif value is not None:
        kind = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}[type(value)]
        setattr(pair.value, kind, value)


def a_body(spans, scope="", resource=()):
    """A body with these spans: the fields of each, and its attributes by themselves."""
    request = ExportTraceServiceRequest()
    program = request.resource_spans.add()
    for name, value in dict(resource).items():
        program.resource.attributes.add(key=name).value.string_value = value
    scope_spans = program.scope_spans.add()
    scope_spans.scope.name = scope
    for number, (fields, attributes) in enumerate(spans):
        plain = {"trace_id": b"t" * 16, "span_id": (number + 1).to_bytes(8, "big"), "start_time_unix_nano": START}
        span = scope_spans.spans.add(**plain | {"end_time_unix_nano": START + number * 10**8} | fields)
        for name, value in attributes:
            put(span, name, value)
    return request.SerializeToString()


def asked(body, **who):
    return Request(body=body, json=False, **{"project": None, "or_project": "shop", "user_id": None} | who)


def by_themselves(decoder, request):
    """The rows of a body, and why others are not kept, each span read as any."""
    rows, reasons = [], Counter()
    received = decode_rows(request.body, json=False, project=request.project)
    reasons.update(received.reasons)
    for row in received.rows:
        if request.project is None and row.get("project", "default") == "default":
            row["project"] = request.or_project
        if request.user_id is not None:
            row["user_id"] = request.user_id
        try:
            rows.append(to_values(Span, decoding.priced(row, decoder._prices())))
        except BadRecord as error:
            reasons[str(error)] += 1
    return rows, reasons


def is_the_same(store, body, **who):
    request, decoder = asked(body, **who), Decoder(store, content=False)
    rows, reasons = by_themselves(decoder, request)
    for _ in range(2):  # the second time all shapes are known
        decoded = decoder.decode(request)
        assert decoded.rows == rows
        assert repr(decoded.rows and [sorted(each.items()) for each in decoded.rows]) == repr(
            rows and [sorted(each.items()) for each in rows]
        )
        assert decoded.reasons == reasons


@settings(max_examples=400, deadline=None)
@given(
    scope=st.sampled_from(SCOPES),
    shape=SHAPES,
    call=st.booleans(),
    fields=st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["chat gpt-4o-mini", "raw_gen_ai_request", "GET /"]),
            "kind": st.integers(0, 5),
            "parent_span_id": st.sampled_from([b"", b"p" * 8, b"p", b"\0" * 8]),
            "trace_id": st.sampled_from([b"u" * 16, b"u", b"\0" * 16]),
            "start_time_unix_nano": st.sampled_from([0, 1, START, START + 10**9, 2**64 - 1]),
        },
    ),
    who=st.sampled_from([{}, {"project": "p"}, {"user_id": "account-1"}]),
    seed=st.integers(0, 1000),
)
def test_spans_of_any_shape(store, scope, shape, call, fields, who, seed):
    chance = random.Random(seed)
    spans = []
    for _ in range(6):
        attributes = [*(CALL.items() if call else ())]
        attributes += [(name, chance.choice(values)) for name, values in shape]
        spans.append((fields if chance.random() < 0.7 else {}, attributes))
    is_the_same(store, a_body(spans, scope), **who)


@settings(max_examples=150, deadline=None)
@given(
    tokens=st.dictionaries(
        st.sampled_from([name for name, place in PLACES.items() if place.column.endswith("tokens")]),
        st.lists(st.integers(0, 9) | st.integers(-3, 10**11), min_size=1, max_size=3),
        max_size=6,
    ),
    first=st.none() | st.floats(0, 1.0),
    seed=st.integers(0, 1000),
)
def test_tokens_add_up_and_first_tokens_come_in_time(store, tokens, first, seed):
    chance = random.Random(seed)
    spans = []
    for _ in range(8):
        attributes = [*CALL.items(), *((name, chance.choice(values)) for name, values in tokens.items())]
        if first is not None:
            attributes.append(("gen_ai.response.time_to_first_chunk", first * chance.random()))
        spans.append(({}, attributes))
    is_the_same(store, a_body(spans))


@pytest.mark.parametrize("name", sorted(captures()))
def test_what_instrumentations_send(store, name):
    is_the_same(store, captures()[name])


def ordinary(numbers):
    for number in numbers:
        varied = {name: text.format(number, number) for name, text in VARIED.items()}
        counted = {"gen_ai.usage.input_tokens": 100 + number, "gen_ai.usage.output_tokens": number}
        said = {"gen_ai.response.finish_reasons": ["stop"], "gen_ai.request.stream": number % 2 == 0}
        yield {"parent_span_id": b"p" * 8}, [*{**CALL, **varied, **counted, **said}.items()]


def test_most_spans_are_not_read_by_themselves(store, monkeypatch):
    body = a_body(ordinary(range(shapes.MANY_VALUES * 3)), resource={"service.name": "shop"})
    is_the_same(store, body)
    decoder = Decoder(store, content=False)
    decoder.decode(asked(body))
    monkeypatch.setattr(decoding, "row_of", lambda *_, **__: pytest.fail("a span was read by itself"))
    new = a_body(ordinary(range(5_000, 5_100)), resource={"service.name": "shop"})
    rows = decoder.decode(asked(new)).rows
    assert [each["response_id"] for each in rows] == [f"resp-{number}" for number in range(5_000, 5_100)]
    assert {each["cost_status"] for each in rows} == {"exact"}
    assert len({each["metadata"] for each in rows}) == 100


def test_what_is_remembered_is_bounded(store, monkeypatch):
    for name in ("MOST_PARTS", "MOST_VALUES", "MOST_SHAPES"):
        monkeypatch.setattr(shapes, name, 8)
    monkeypatch.setattr(decoding, "MOST_PROGRAMS", 2)
    decoder = Decoder(store, content=False)
    for service in ("a", "b", "c"):
        spans = [
            (fields, [*given, (f"app.n{place % 20}", place)])
            for place, (fields, given) in enumerate(ordinary(range(60)))
        ]
        request = asked(a_body(spans, resource={"service.name": service}))
        for _ in range(2):
            assert decoder.decode(request).rows == by_themselves(decoder, request)[0]
    assert len(decoder._shapes) <= 2
    for each in decoder._shapes.values():
        assert max(map(len, (each._known, each._values, each._templates, each._seen))) <= 8


def test_prices_that_change_are_those_of_the_moment(store, monkeypatch):
    monkeypatch.setattr(decoding, "PRICES_S", 0.0)
    decoder, body = Decoder(store, content=False), a_body(ordinary([1] * 4))
    before = [each["cost_source"] for each in decoder.decode(asked(body)).rows]
    store.put([PriceOverride(project="shop", pattern="gpt-.*", input_per_million=1.0, output_per_million=2.0)])
    after = decoder.decode(asked(body)).rows
    assert len(set(before)) == 1
    assert {each["cost_source"] for each in after} == {"override 'gpt-.*'"}
    assert [each["cost_usd"] for each in after] == pytest.approx([(101 * 1.0 + 1 * 2.0) / 1e6] * 4)
