"""On the way to a server: OTLP/JSON over a kept connection, patience, and honesty about what it refuses."""

import base64
import gzip
import json
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import tracewatch
from tracewatch.capture import courier, noting
from tracewatch.otlp import decode


class Server:
    """A server that keeps what it takes; `answers` are statuses with headers and bodies to be given before 200s."""

    def __init__(self, port=0):
        self.spans, self.requests, self.connections = [], [], set()
        self.answers = []
        self.least = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.connections.add(self.client_address)
                status, headers, answer = outer._take(self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def _take(self, path, headers, body):
        with self.least:
            spans = decode(gzip.decompress(body), json=True, content=True).spans
            self.requests.append((path, headers, len(spans), time.monotonic()))
            found = self.answers.pop(0) if self.answers else 200
            found = found(spans) if callable(found) else found
            status, extra, answer = found if isinstance(found, tuple) else (found, {}, b"{}")
            if status == 200:
                self.spans += spans
            self.least.notify_all()
            return status, extra, answer

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    tracewatch.shutdown(5)
    made.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(noting, "_SAID", {})
    monkeypatch.setattr(courier, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(courier, "LONGEST_WAIT_S", 0.05)


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_every_column_arrives(server):
    tracewatch.init(server.url, project="shop", service="web", environment="test", version="3", api_key="secret")
    with tracewatch.trace("ask", trace_id="my own id", user_id="u") as ask:
        ask.set(metadata={"a": [1, None]}, warning_flags=("x",), response_quality_breakdown={"tone": 0.5})
        with tracewatch.span("answer", operation_type="chat", model="gpt-4o-mini", provider="openai") as call:
            call.set(input_tokens=10, output_tokens=5, ttft_ms=12.5, finish_reason="stop", streaming_enabled=True)
            call.fall_back("the primary was overloaded")
    assert tracewatch.flush(20)
    answer, whole = server.spans
    assert (answer.trace_id, whole.trace_id, answer.parent_span_id) == ("my own id", "my own id", whole.span_id)
    assert (whole.metadata, whole.warning_flags, whole.user_id) == ({"a": [1, None]}, ("x",), "u")
    assert (answer.model_name, answer.model_provider, answer.ttft_ms, answer.input_tokens) == (
        "gpt-4o-mini",
        "openai",
        12.5,
        10,
    )
    assert (answer.status, answer.error_category, answer.finish_reason) == ("fallback", "overloaded", "stop")
    assert (whole.project, whole.service_name, whole.environment, whole.app_version) == ("shop", "web", "test", "3")
    assert answer.duration_ms == pytest.approx((answer.end_time - answer.start_time) * 1e3, abs=0.001)
    ((path, headers, _, _),) = server.requests
    assert path == "/v1/traces"
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Authorization"] == "Bearer secret"


def test_one_connection_is_kept(server):
    tracewatch.init(server.url)
    for _ in range(5):
        tracewatch.record("call")
        assert tracewatch.flush(20)
    assert len(server.spans) == len(server.requests) == 5
    assert len(server.connections) == 1


def test_a_connection_that_the_server_ended_is_made_again(server, caplog):
    tracewatch.init(server.url)
    server.answers = [(200, {"Connection": "close"}, b"{}")]
    for _ in range(2):
        tracewatch.record("call")
        assert tracewatch.flush(20)
    assert (len(server.spans), len(server.connections)) == (2, 2)
    assert caplog.text == ""


def test_batches_are_of_500_rows_at_most(server):
    tracewatch.init(server.url)
    for _ in range(1300):
        tracewatch.record("call")
    assert tracewatch.flush(20)
    assert len(server.spans) == 1300
    assert max(rows for _, _, rows, _ in server.requests) == 500


def test_a_server_that_is_down_for_a_while_gets_everything(tmp_path, caplog):
    caplog.set_level(logging.INFO, "tracewatch")
    port = _free_port()
    tracewatch.init(f"http://127.0.0.1:{port}")
    for number in range(1200):
        tracewatch.record("before", number=number)
    assert not tracewatch.flush(0.5)
    server = Server(port)
    try:
        for number in range(300):
            tracewatch.record("after", number=number)
        assert tracewatch.flush(20)
        assert sorted(each.metadata["number"] for each in server.spans if each.span_name == "before") == list(
            range(1200)
        )
        assert len(server.spans) == 1500
        assert caplog.text.count("cannot bring rows") == 1
        assert caplog.text.count("takes rows again") == 1
    finally:
        tracewatch.shutdown()
        server.close()


def test_what_a_server_did_not_acknowledge_is_sent_again(server):
    tracewatch.init(server.url)
    server.answers = [503, 502, 429, 500, 401]
    tracewatch.record("call")
    assert tracewatch.flush(20)
    assert (len(server.requests), len(server.spans)) == (6, 1)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server, form):
    tracewatch.init(server.url)
    wait = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    server.answers = [(429, {"Retry-After": wait}, b"busy")]
    tracewatch.record("call")
    for _ in range(3):
        tracewatch.flush(0.1)  # does not hurry a server that asked for time
    assert tracewatch.flush(20)
    first, second = (at for *_, at in server.requests)
    assert second - first >= 0.95


def test_a_batch_that_is_too_large_is_divided(server):
    tracewatch.init(server.url)
    server.answers = [lambda spans: 413 if len(spans) > 30 else 200] * 100
    for _ in range(100):
        tracewatch.record("call")
    assert tracewatch.flush(20)
    assert len({each.span_id for each in server.spans}) == 100


def test_a_row_that_is_refused_does_not_stop_the_others(server, caplog):
    tracewatch.init(server.url)
    refused = (400, {}, b"no such thing as 13")
    server.answers = [lambda spans: refused if any(each.metadata == {"number": 13} for each in spans) else 200] * 100
    for number in range(20):
        tracewatch.record("call", number=number)
    assert not tracewatch.flush(20)  # one of them is not safe
    server.answers = []
    assert tracewatch.flush(20)
    assert sorted(each.metadata["number"] for each in server.spans if each.span_name == "call") == [
        *range(13),
        *range(14, 20),
    ]
    (loss,) = (each for each in server.spans if each.operation_type == "capture")
    assert loss.metadata["rows_dropped"] == 1
    assert "no such thing as 13" in caplog.text


def test_a_server_that_refuses_everything_is_not_asked_for_ever(server, caplog):
    tracewatch.init(server.url, exit_timeout=1)
    server.answers = [400] * 1000
    for number in range(500):
        tracewatch.record("call", number=number)
    assert not tracewatch.flush(20)
    assert len(server.requests) < 40
    tracewatch.shutdown()
    assert "rows were dropped" in caplog.text


def test_what_a_server_refuses_in_part_is_counted(server):
    tracewatch.init(server.url)
    answer = json.dumps({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "ids"}}).encode()
    server.answers = [(200, {"Content-Type": "application/json"}, answer)]
    for _ in range(5):
        tracewatch.record("call")
    assert not tracewatch.flush(20)
    assert tracewatch.flush(20)
    (loss,) = (each for each in server.spans if each.operation_type == "capture")
    assert loss.metadata["rows_dropped"] == 2


def test_a_score_is_a_span_that_names_what_it_is_about(server):
    tracewatch.init(server.url)
    with tracewatch.trace("ask") as ask:
        pass
    tracewatch.score(ask.trace_id, span_id=ask.span_id, groundedness=0.5, tone=0.25)
    assert tracewatch.flush(20)
    score = next(each for each in server.spans if each.operation_type == "score")
    assert (score.trace_id, score.parent_span_id) == (ask.trace_id, ask.span_id)
    assert (score.groundedness_score, score.response_quality_breakdown) == (0.5, {"tone": 0.25})


def test_the_address_may_have_a_path_and_a_login(server):
    tracewatch.init(f"{server.url.replace('://', '://pk:s%3Ak@')}/otel/", headers={"X-Team": "search"})
    tracewatch.record("call")
    assert tracewatch.flush(20)
    path, headers, *_ = server.requests[0]
    assert path == "/otel/v1/traces"
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"pk:s:k").decode()
    assert headers["X-Team"] == "search"


def test_the_endpoint_of_opentelemetry(server, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=a%20b, x-other=1")
    tracewatch.init()
    tracewatch.record("call")
    assert tracewatch.flush(20)
    assert server.requests[0][1]["x-api-key"] == "a b"


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_an_endpoint_that_speaks_grpc_is_not_ours(monkeypatch, tmp_path, environment):
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracewatch.init()
    tracewatch.record("call")
    assert tracewatch.flush(20)
    assert (tmp_path / "tracewatch.db").exists()


def test_the_caller_does_not_wait_for_a_server_that_hangs():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tracewatch.init(f"http://127.0.0.1:{silent.getsockname()[1]}", exit_timeout=0.1)
        began = time.perf_counter()
        for _ in range(1000):
            tracewatch.record("call")
        assert time.perf_counter() - began < 1
        assert not tracewatch.flush(0.1)
        began = time.perf_counter()
        assert not tracewatch.shutdown()
        assert time.perf_counter() - began < 5


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path, caplog):
    with socket.socket() as plain:
        plain.bind(("127.0.0.1", 0))
        plain.listen()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        thread = threading.Thread(target=_refuse, args=(plain, context))
        thread.start()
        tracewatch.init(f"https://127.0.0.1:{plain.getsockname()[1]}", exit_timeout=0.1)
        tracewatch.record("call")
        assert not tracewatch.flush(0.5)
        tracewatch.shutdown()
    thread.join(30)
    assert "cannot bring rows to https://" in caplog.text


def _refuse(plain, context):
    """Takes one connection and breaks its handshake."""
    taken, _ = plain.accept()
    with taken, suppress(OSError):
        context.wrap_socket(taken, server_side=True).close()


def test_a_forked_child_has_a_connection_of_its_own(server, program):
    program(
        f"""
        import os, tracewatch
        tracewatch.init({server.url!r})
        tracewatch.record("parent")
        assert tracewatch.flush(20)
        if os.fork() == 0:
            tracewatch.record("child")
            os._exit(0 if tracewatch.flush(20) else 1)
        assert os.wait()[1] == 0
        tracewatch.record("parent")
        """
    )
    assert sorted(each.span_name for each in server.spans) == ["child", "parent", "parent"]
    assert len(server.connections) == 3
