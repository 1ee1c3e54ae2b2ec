"""A program that runs OpenTelemetry and sends both its spans and ours to one server: each call counts once."""

import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest
from asking import MESSAGE

from tracewatch.stores import open_store

PROGRAM = """
import json, sys, urllib.request
import anthropic
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

import tracewatch

server, provider, message = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])


class Exporter(SpanExporter):
    def export(self, spans):
        request = ExportTraceServiceRequest()
        for span in spans:
            program = request.resource_spans.add()
            put(program.resource, "service.name", "shop")
            scope = program.scope_spans.add()
            scope.scope.name = span.instrumentation_scope.name
            made = scope.spans.add()
            made.trace_id = span.context.trace_id.to_bytes(16, "big")
            made.span_id = span.context.span_id.to_bytes(8, "big")
            if span.parent:
                made.parent_span_id = span.parent.span_id.to_bytes(8, "big")
            made.name, made.kind = span.name, span.kind.value + 1
            made.start_time_unix_nano, made.end_time_unix_nano = span.start_time, span.end_time
            for name, value in span.attributes.items():
                put(made, name, value)
        body, headers = request.SerializeToString(), {"content-type": "application/x-protobuf"}
        urllib.request.urlopen(urllib.request.Request(server + "/v1/traces", body, headers), timeout=60).close()
        return SpanExportResult.SUCCESS


def put(holder, name, value):
    pair = holder.attributes.add()
    pair.key = name
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    if type(value) in kinds:
        setattr(pair.value, kinds[type(value)], value)
    else:
        for each in value:
            pair.value.array_value.values.add().string_value = str(each)


tracers = TracerProvider(resource=Resource({"service.name": "shop"}))
tracers.add_span_processor(SimpleSpanProcessor(Exporter()))
trace.set_tracer_provider(tracers)
tracewatch.init(server, service="shop")
tracewatch.instrument()
with anthropic.Anthropic(api_key="sk-ok", base_url=provider) as client, tracewatch.trace("ask"):
    client.messages.create(**message)
    with client.messages.stream(**message) as stream:
        stream.get_final_message()
assert tracewatch.flush(30)
tracers.shutdown()
"""


@pytest.fixture
def server(tmp_path):
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-m", "tracewatch", "serve", "--db", str(tmp_path / "w.db"), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--otlp-port", "0", "--no-detection"], stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        yield re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_call_that_both_report_counts_once(provider, server, tmp_path):
    arguments = [sys.executable, "-W", "error", "-c", PROGRAM, server, provider.url, json.dumps(MESSAGE)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with urllib.request.urlopen(f"{server}/health/ready", timeout=60) as ready:
        assert ready.status == 200
    from tracewatch.records import Duplicate, Span

    with open_store(str(tmp_path / "w.db")) as store:
        rows = store.page(Span, [], limit=100).records
        others = store.page(Duplicate, [], limit=100).records
    calls = [each for each in rows if each.operation_type == "chat"]
    assert len(calls) == 2, [(each.instrumentation, each.operation_type, each.response_id) for each in rows]
    assert [(each.input_tokens, each.output_tokens) for each in calls] == [(21, 10)] * 2
    assert all(each.also_reported_by for each in calls)
    assert {each.kept_span_id for each in others} == {each.span_id for each in calls}
    assert {each.matched_by for each in others} == {"response_id"}
