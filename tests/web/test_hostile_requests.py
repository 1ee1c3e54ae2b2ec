"""What no exporter should send: an answer that says what is wrong, bounded memory, and the next request is fine."""

import gzip
import json
import math
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from web.conftest import JSON, PROTOBUF, a_body, as_json

from tracewatch.web.storing import LARGE_BYTES

MIB = 2**20
MOST_MIB = 700  # a server at rest takes some 130 MiB


@pytest.fixture(autouse=True)
def _goes_on(server):
    """After each test the server takes the next request, and has kept its memory in bounds."""
    yield
    assert server.post(a_body())[0] == 200
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) < MOST_MIB * 1024


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(body=st.binary(max_size=400))
def test_any_bytes_as_protobuf(server, body):
    status, headers, _ = server.post(body)
    assert (status, headers["content-type"]) in [(200, PROTOBUF["content-type"]), (400, PROTOBUF["content-type"])]


@FUZZ
@given(at=st.integers(0, 500), to=st.binary(min_size=1, max_size=4))
def test_a_body_with_a_mistake_in_it(server, at, to):
    body = a_body()
    assert server.post(body[:at] + to + body[at + len(to) :])[0] in (200, 400)


TREES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["traceId", "spanId", "startTimeUnixNano", "endTimeUnixNano", "name", "kind", "attributes", "events", "status"]


@FUZZ
@given(span=st.dictionaries(st.sampled_from(NAMES), TREES), tree=TREES)
def test_any_json(server, span, tree):
    for each in ({"resourceSpans": [{"scopeSpans": [{"spans": [span, tree]}]}]}, {"resourceSpans": tree}, tree):
        status, headers, _ = server.post(json.dumps(each).encode(), JSON)
        assert status in (200, 400)
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 2**63 - 1, "many", True, ""])
@pytest.mark.parametrize("name", ["gen_ai.usage.input_tokens", "gen_ai.response.model", "gen_ai.request.stream"])
def test_known_attributes_of_another_type(server, name, value):
    assert server.post(a_body(attributes={name: value}))[0] == 200


@pytest.mark.parametrize("start", ["-1", "0", "99999999999999999999999", "soon", -5.5])
def test_times_that_are_none(server, start):
    tree = json.loads(as_json(a_body(1)))
    tree["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["startTimeUnixNano"] = start
    status, _, answer = server.post(json.dumps(tree).encode(), JSON)
    assert status == 200
    assert "start time" in json.loads(answer)["partialSuccess"]["errorMessage"]


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({"content-type": "text/plain"}, 415, "text/plain"),
        ({}, 415, "content-type"),
        ({**PROTOBUF, "content-encoding": "br"}, 415, "br"),
        ({**JSON, "content-encoding": "gzip"}, 400, "unpacked"),
        (JSON, 400, "JSON"),
        (PROTOBUF, 400, "protobuf"),
    ],
)
def test_what_cannot_be_read_is_told(server, headers, status, word):
    found, given, answer = server.post(b"\xff\xff not it", headers)
    assert found == status
    in_protobuf = given["content-type"] == PROTOBUF["content-type"]
    assert word in (_told(answer) if in_protobuf else json.loads(answer)["message"])


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_100_megabytes(server, encoding):
    body = bytes(100 * 10**6) if encoding == "identity" else gzip.compress(bytes(100 * 10**6), 1)
    status, _, answer = server.post(body, {**PROTOBUF, "content-encoding": encoding})
    assert status == 413
    assert "64 MiB" in _told(answer)


def test_a_body_without_a_length_is_stopped(server):
    parts = (bytes(MIB) for _ in range(100))
    assert server.post(parts)[0] == 413


def test_a_gzip_bomb(server):
    zeros = gzip.compress(bytes(64 * MIB), 9)
    assert server.post(zeros * 40, {**PROTOBUF, "content-encoding": "gzip"})[0] == 413


def test_gzip_that_is_cut_off(server):
    body = gzip.compress(a_body())[:-9]
    assert server.post(body, {**PROTOBUF, "content-encoding": "gzip"})[0] == 400


def test_millions_of_empty_spans(server):
    spans = b"\x12\x00" * 6_000_000
    scope = _message(2, spans)
    status, _, answer = server.post(_message(1, scope))
    assert status == 413
    assert "200,000 spans" in _told(answer)


def test_nobody_waits_for_a_body_that_takes_long(server):
    span = _message(1, b"T" * 16) + _message(2, b"S" * 8) + b"\x39" + time.time_ns().to_bytes(8, "little")
    long = _message(1, _message(2, _message(2, span) * 120_000))
    assert LARGE_BYTES < len(long) < 64 * MIB
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(server.post, long)
        answers = [server.post(a_body())[0]]
        passed = 0
        while not under_way.done():
            answers.append(server.post(a_body())[0])
            passed += not under_way.done()
    assert passed > 5
    assert set(answers) == {200}
    assert under_way.result()[0] in (200, 503)  # a slow machine asks for it again, and keeps it once


def test_a_million_attributes(server):
    request = ExportTraceServiceRequest.FromString(a_body(1, trace="million"))
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for number in range(1_000_000):
        span.attributes.add(key=f"key.{number}").value.int_value = number
    status, _, answer = server.post(request.SerializeToString())
    assert (status, b"10,000 attributes" in answer) == (200, True)


def test_deep_nesting(server):
    deep = b'{"resourceSpans":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    status, _, answer = server.post(deep, JSON)
    assert status == 400
    assert "nested" in json.loads(answer)["message"]
    value = b""
    for _ in range(3_000):
        value = _message(6, _message(1, _message(2, value)))  # an AnyValue that is a KeyValueList of one
        if len(value) > 60_000:
            break
    request = a_body(1)
    assert server.post(request + _message(1, _message(1, _message(1, _message(2, value)))))[0] in (200, 400)


def _message(number, content):
    length, head = len(content), bytearray([number << 3 | 2])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes(head + bytes([length])) + content


def _told(status):
    """The message of a google.rpc.Status: its second field, which is a text."""
    at = 2  # behind the code, which is a small number
    assert status[:1] == b"\x08"
    assert status[at : at + 1] == b"\x12"
    return status[at + (2 if status[at + 1] < 128 else 3) :].decode()
