"""OTLP over HTTP, as exporters send it."""

import base64
import gzip
import json
import re
import zlib

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from web.conftest import JSON, PROTOBUF, a_body, as_json


def test_what_is_acknowledged_is_stored_and_priced(server):
    status, headers, answer = server.post(a_body(trace="first"))
    assert (status, headers["content-type"], answer) == (200, "application/x-protobuf", b"")
    trace = b"first".ljust(16, b".").hex()
    rows = server.rows("service_name, model_name, total_tokens, cost_usd, cost_status", f"trace_id = '{trace}'")
    assert rows == [("shop", "gpt-4o-mini", rows[0][2], pytest.approx(0.00021), "exact")] * 3


def test_json_is_answered_in_json(server):
    before = server.count()
    status, headers, answer = server.post(as_json(a_body(trace="json")), {"content-type": "application/json; x=y"})
    assert (status, headers["content-type"], json.loads(answer)) == (200, "application/json", {})
    assert server.count() == before + 3


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
        ("identity", bytes),
    ],
)
def test_packed_bodies_are_unpacked(server, encoding, pack):
    before = server.count()
    body = pack(a_body(trace=f"{id(pack) % 10**9}"))
    assert server.post(body, {**PROTOBUF, "content-encoding": encoding})[0] == 200
    assert server.count() == before + 3


def test_the_same_spans_again_are_kept_once(server):
    body = a_body(trace="twice")
    assert [server.post(body)[0], server.post(body)[0]] == [200, 200]
    assert len(server.rows("1", f"trace_id = '{b'twice'.ljust(16, b'.').hex()}'")) == 3


def test_spans_that_can_never_be_stored_are_named(server):
    before = server.count()
    tree = json.loads(as_json(a_body(trace="partly")))
    tree["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["traceId"] = "none"
    status, _, answer = server.post(json.dumps(tree).encode(), JSON)
    partial = json.loads(answer)["partialSuccess"]
    assert (status, partial["rejectedSpans"]) == (200, "1")
    assert "trace id" in partial["errorMessage"]
    assert server.count() == before + 2


def test_rejected_spans_in_protobuf(server):
    body = a_body(trace="partly2").replace(b"partly2".ljust(16, b"."), bytes(16))
    status, _, answer = server.post(body)
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    assert (status, partial.rejected_spans) == (200, 3)
    assert "trace id" in partial.error_message


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs", "/api/public/otel/v1/metrics"])
def test_metrics_and_logs_are_taken_and_not_kept(server, path):
    assert server.post(b"whatever", path=path)[::2] == (200, b"")
    status, headers, answer = server.post(b"{}", JSON, path=path)
    assert (status, headers["content-type"], answer) == (200, "application/json", b"{}")


def test_the_path_of_langfuse_with_basic(serve, tmp_path):
    from tracewatch.access import create_key
    from tracewatch.stores import open_store

    with open_store(str(tmp_path / "w.db"), create=True) as store:
        _, key = create_key(store, project="shop", rights=("write",), now=0.0)
    with serve() as running:
        pair = base64.b64encode(f"pk-lf-1:{key}".encode()).decode()
        headers = {**PROTOBUF, "authorization": f"Basic {pair}"}
        assert running.post(a_body(), headers, path="/api/public/otel/v1/traces")[0] == 200
        assert running.rows("DISTINCT project") == [("shop",)]


@pytest.mark.parametrize(
    ("headers", "resource", "project"),
    [
        ({}, {}, "default"),
        ({}, {"tracewatch.project": "told"}, "told"),
        ({"x-tracewatch-project": "asked"}, {"tracewatch.project": "told"}, "asked"),
    ],
)
def test_whose_project_it_is(server, headers, resource, project):
    trace = f"of-{project}"
    assert server.post(a_body(trace=trace, resource=resource), {**PROTOBUF, **headers})[0] == 200
    found = server.rows("DISTINCT project", f"trace_id = '{trace.encode().ljust(16, b'.').hex()}'")
    assert found == [(project,)]


def test_the_default_project_is_that_of_the_command(serve):
    with serve("--project", "mine") as running:
        assert running.post(a_body())[0] == 200
        assert running.rows("DISTINCT project") == [("mine",)]


def test_a_call_that_two_libraries_report_is_counted_once(server):
    first = a_body(1, trace="first report", attributes={"gen_ai.response.id": "chatcmpl-1"})
    second = a_body(1, trace="second report", attributes={"gen_ai.response.id": "chatcmpl-1", "user.id": "u7"})
    second = second.replace(b"instrumentation.openai_v2", b"instrumentation.openai_v3")
    assert [server.post(each)[0] for each in (first, second, second, first)] == [200] * 4
    rows = server.rows("trace_id, user_id, round(cost_usd, 6)", "response_id = 'chatcmpl-1'")
    assert rows == [(b"first report".ljust(16, b".").hex(), "u7", 0.00021)]


def test_without_a_key_projects_cannot_be_made_up_without_end(serve, tmp_path):
    from tracewatch.access import create_key
    from tracewatch.stores import open_store

    def put(running, project, trace):
        status, _, answer = running.post(a_body(trace=trace, resource={"tracewatch.project": project}))
        assert status == 200
        return ExportTraceServiceResponse.FromString(answer).partial_success

    few = {"TRACEWATCH_MAX_PROJECTS": "2"}
    with serve(environ=few) as running:
        assert [put(running, each, each).rejected_spans for each in ("one", "two", "three", "default")] == [0, 0, 3, 0]
        why = put(running, "four", "four").error_message
        assert re.fullmatch(r"3 rejected: a project that is new, .* 2 already, .* TRACEWATCH_MAX_PROJECTS.*", why)
    with serve(environ=few) as running:  # what is there is known after a restart, and goes on
        assert [put(running, each, f"{each} again").rejected_spans for each in ("two", "five")] == [0, 3]
        with open_store(str(tmp_path / "w.db")) as store:
            _, key = create_key(store, project="six", rights=("write",), now=0.0)
        assert running.post(a_body(trace="six"), {**PROTOBUF, "x-api-key": key})[::2] == (200, b"")
        assert running.rows("DISTINCT project", "project <> 'default'") == [("one",), ("two",), ("six",)]
