"""Large bodies cut into small ones hold the same spans."""

from collections import Counter

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from web.conftest import a_body

from tracewatch.errors import BadOtlp, TooManySpans
from tracewatch.otlp import decode
from tracewatch.receiving.pieces import MOST_SPANS, pieces

BODY = a_body(40, trace="one") + a_body(7, trace="two", resource={"service.name": "other"})


@pytest.mark.parametrize("size", [1, 300, 1000, 5000, 10**6])
def test_nothing_is_lost_and_nothing_comes_twice(size):
    whole = decode(BODY, json=False).spans
    found = [span for each in pieces(BODY, Counter(), size) for span in decode(each, json=False).spans]
    assert found == list(whole)
    assert len({span.service_name for span in found}) == 2


def test_pieces_are_small():
    assert max(map(len, pieces(BODY, Counter(), 1000))) < 1500


@pytest.mark.parametrize("cut", [1, 2, 3, 50, 333])
def test_what_is_cut_off_is_told(cut):
    with pytest.raises(BadOtlp):
        list(pieces(BODY[:-cut], Counter(), 100))


def test_too_many_spans_are_told_before_they_are_parsed():
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for _ in range(MOST_SPANS + 1):
        spans.add()
    with pytest.raises(TooManySpans):
        list(pieces(request.SerializeToString(), Counter(), 1000))
