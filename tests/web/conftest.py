"""A real server in a process of its own, and requests to it over the wire."""

import http.client
import json
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


class Running:
    """One `tracewatch serve` and what can be asked of it."""

    def __init__(self, folder, process, port, said):
        self.db, self.process, self.port, self.said = folder / "w.db", process, port, said

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def post(self, body, headers=None, path="/v1/traces"):
        return self.ask("POST", path, body, PROTOBUF if headers is None else headers)

    def rows(self, what="*", where="1"):
        with closing(sqlite3.connect(self.db, timeout=60)) as connection:
            return connection.execute(f"SELECT {what} FROM llm_traces WHERE {where} ORDER BY seq").fetchall()

    def count(self):
        return self.rows("count(*)")[0][0]

    def stop(self, number=signal.SIGTERM):
        """Ends it and gives what it said and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        said = self.said + self.process.stderr.read()
        return said, self.process.wait(timeout=60)


@contextmanager
def _serving(folder, *options, environ=None, before=()):
    import os

    command = [sys.executable, "-m", "tracewatch", "serve", "--db", str(folder / "w.db"), "--port", "0"]
    process = subprocess.Popen(
        [*before, *command, "--otlp-port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environ or {})},
    )
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            found = re.search(r"serves .* at http://127\.0\.0\.1:(\d+)", line)
            if found:
                break
        else:
            raise AssertionError("".join(said))
        yield Running(folder, process, int(found[1]), "".join(said))
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with the default settings, for all tests of a module."""
    with _serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def serve(tmp_path):
    """Starts a server of one's own: `with serve("--project", "x") as running`."""
    return lambda *options, **how: _serving(tmp_path, *options, **how)


def a_body(spans=3, *, trace="a", attributes=None, resource=None, start_s=1_790_000_000):
    """An OTLP/protobuf body: one chat span after another in one trace."""
    request = ExportTraceServiceRequest()
    program = request.resource_spans.add()
    for name, value in {"service.name": "shop", **(resource or {})}.items():
        _put(program.resource, name, value)
    scope = program.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.openai_v2"
    for number in range(spans):
        span = scope.spans.add()
        span.trace_id = trace.encode().ljust(16, b".")
        span.span_id = (number + 1).to_bytes(8, "big")
        span.name = "chat gpt-4o-mini"
        span.start_time_unix_nano = (start_s + number) * 10**9
        span.end_time_unix_nano = (start_s + number + 2) * 10**9
        given = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.response.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 100,
            **(attributes or {}),
        }
        for name, value in given.items():
            _put(span, name, value)
    return request.SerializeToString()


def as_json(body):
    """The same body as OTLP/JSON."""
    from google.protobuf.json_format import MessageToDict

    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    tree = MessageToDict(request)
    for program in tree["resourceSpans"]:
        for scope in program["scopeSpans"]:
            for span, raw in zip(scope["spans"], request.resource_spans[0].scope_spans[0].spans, strict=True):
                span["traceId"], span["spanId"] = raw.trace_id.hex(), raw.span_id.hex()
    return json.dumps(tree).encode()


def _put(holder, name, value):
    pair = holder.attributes.add()
    pair.key = name
    kind = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}[type(value)]
    setattr(pair.value, kind, value)
