"""What tests of alerting share: incidents, rules, and receivers that misbehave as they are told to."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tracewatch.records import AlertChannel, AlertRule, Anomaly, Incident

NOON, MINUTE, HOUR = 1_772_452_800.0, 60.0, 3600.0  # a Monday


def an_incident(**odd):
    usual = {
        "id": "i1", "severity": "high", "title": "Calls of chat wait 4 s.", "root_id": "r1", "metric_name": "ttft_ms",
        "kind": "spike", "direction": "up", "slice": {"model_name": "gpt-5"}, "confidence_score": 0.9,
        "started_at": NOON - HOUR, "detected_at": NOON - HOUR, "updated_at": NOON, "observed": 4000.0,
        "expected": 1000.0, "lower": 800.0, "upper": 1200.0,
    }  # fmt: skip
    return Incident(**usual | odd)


def a_finding(**odd):
    usual = {
        "id": "r1", "anomaly_type": "ttft", "severity": "high", "confidence_score": 0.9, "metric_name": "ttft_ms",
        "detected_value": 4000.0, "expected_value": 1000.0, "threshold_value": 1500.0, "deviation_percentage": 300.0,
        "statistics": {}, "description": "Calls wait.", "detected_at": NOON - HOUR, "occurred_at": NOON - HOUR,
        "detector": "adaptive", "incident_id": "i1",
    }  # fmt: skip
    return Anomaly(**usual | odd)


def a_rule(**odd):
    return AlertRule(**{"name": "waits", "changed_at": NOON, **odd})


def a_channel(url="http://127.0.0.1:9/", **odd):
    return AlertChannel(**{"name": "team", "url": url, "changed_at": NOON, **odd})


@dataclass
class Heard:
    """What a receiver got, and what it is to do next: a status, headers besides, or a word for something worse."""

    url: str = ""
    messages: list = field(default_factory=list)
    keys: list = field(default_factory=list)
    answers: list = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@contextmanager
def receiver():
    """An HTTP server that takes what comes; `answers` are done one after the other before.

    'drop' hangs up without an answer, 'twice' answers two times, 'hold' waits until `go_on` is set and then takes it.
    """
    heard = Heard()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = heard.answers.pop(0) if heard.answers else 200
            heard.keys.append(self.headers["Idempotency-Key"])
            heard.messages.append(json.loads(body))
            heard.came.set()
            if answer == "drop":
                self.close_connection = True
                return
            if answer == "hold":
                heard.go_on.wait(60)
                answer = 200
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            for _ in range(2 if answer == "twice" else 1):
                self._answer(200 if answer == "twice" else status, headers)

        def _answer(self, status, headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            """Nothing: the test reads what came."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_):
            """Nothing: who was killed has hung up."""

    server = Quiet(("127.0.0.1", 0), Answering)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    serving.start()
    heard.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    try:
        yield heard
    finally:
        heard.go_on.set()
        server.shutdown()
        serving.join()
        server.server_close()
