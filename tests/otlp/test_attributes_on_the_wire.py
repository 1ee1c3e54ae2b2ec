"""Attributes read from their bytes are what protobuf itself reads, in whatever form they were written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from tracewatch.errors import BadOtlp
from tracewatch.otlp.protobuf import read_protobuf

texts = st.one_of(st.text(max_size=200), st.integers(0, 20_000).map(lambda size: "ä" * size))
plain = st.one_of(
    texts.map(lambda value: AnyValue(string_value=value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
    st.floats().map(lambda value: AnyValue(double_value=value)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
    st.binary(max_size=20).map(lambda value: AnyValue(bytes_value=value)),
    st.just(AnyValue()),
)
values = st.one_of(
    plain,
    st.lists(plain, max_size=3).map(lambda held: AnyValue(array_value=ArrayValue(values=held))),
    st.lists(plain, max_size=3).map(
        lambda held: AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=each) for each in held]))
    ),
)
pairs = st.builds(lambda key, value: KeyValue(key=key, value=value), texts, values)


def _body(attributes):
    """A span with these attributes, and a resource with the same ones, which protobuf reads."""
    request = ExportTraceServiceRequest()
    program = request.resource_spans.add()
    program.resource.attributes.extend(attributes)
    program.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, attributes=attributes)
    return request.SerializeToString()


@settings(max_examples=300, deadline=None)
@given(attributes=st.lists(pairs, max_size=4))
def test_an_attribute_of_any_form(attributes):
    body = _body(attributes)
    for _ in range(2):  # the second time some are remembered
        (group,) = read_protobuf(body)
        assert repr(group.spans[0].attributes) == repr(group.scope.resource)  # repr: NaN is not equal to itself


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (b"\x12\x05\x0a\x03abc", b"\x12\x05\x0a\x03ab\xff"),  # no UTF-8
        (b"\x0a\x01k", b"\x0a\x01\xff"),
        (b"\x12\x05\x0a\x03abc", b"\x12\x05\x0a\x09abc"),  # longer than the message
        (b"\x12\x05\x0a\x03abc", b"\x12\x05\x0b\x03abc"),  # a group that does not end
    ],
)
def test_an_attribute_that_is_broken(written, instead):
    body = _body([])  # a resource without any
    request = ExportTraceServiceRequest.FromString(body)
    request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="k").value.string_value = "abc"
    whole = request.SerializeToString()
    assert whole.count(written) == 1
    with pytest.raises(BadOtlp):
        read_protobuf(whole.replace(written, instead))


def test_fields_written_twice_or_in_another_order_are_read_as_protobuf_reads_them():
    twice = b"\x0a\x01k\x12\x03\x0a\x01a\x12\x03\x0a\x01b"
    turned = b"\x12\x03\x0a\x01c\x0a\x01l"
    span = b"".join(b"\x4a" + bytes([len(each)]) + each for each in (twice, turned))
    scope = b"\x12" + bytes([len(span)]) + span
    program = b"\x12" + bytes([len(scope)]) + scope
    (group,) = read_protobuf(b"\x0a" + bytes([len(program)]) + program)
    assert group.spans[0].attributes == {"k": "b", "l": "c"}
