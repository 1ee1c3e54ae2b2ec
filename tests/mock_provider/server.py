"""The server: which answer a request gets, and how it goes over the wire."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mock_provider import anthropic, ollama, openai
from mock_provider.base import BREAK, STOP, Answer, Request

ROUTES = {
    "/v1/chat/completions": openai.chat,
    "/v1/completions": openai.completion,
    "/v1/responses": openai.responses,
    "/v1/embeddings": openai.embeddings,
    "/v1/messages": anthropic.messages,
    "/v1/messages/count_tokens": anthropic.count_tokens,
    "/api/chat": ollama.chat,
    "/api/generate": ollama.generate,
    "/api/embed": ollama.embed,
}
STEP_S = 0.004  # between two pieces of a stream
THINKS_S = 0.01  # before an answer begins
SLOW_S = 30.0  # longer than any client of the tests waits


class Provider:
    """Serves on a free port of loopback as long as the `with` block lasts."""

    def __init__(self):
        self.requests: list[Request] = []
        self.answer = None  # a function from request to answer that stands in for all routes
        self.stopping = threading.Event()
        self._attempts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.provider = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self):
        """Where it is, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def pause(self, seconds):
        """Waits, but not longer than the server lives."""
        self.stopping.wait(seconds)

    def answer_to(self, request):
        """What a request gets."""
        self.requests.append(request)
        if self.answer is not None:
            return self.answer(request)
        route = ROUTES.get(request.path)
        return (
            route(request) if route else Answer(404, {"content-type": "application/json"}, b'{"error": "no such path"}')
        )

    def attempt(self, key):
        """How often this key has been used, this time included."""
        with self._lock:
            self._attempts[key] = self._attempts.get(key, 0) + 1
            return self._attempts[key]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    provider: Provider

    def handle_error(self, request, client_address):
        """Clients that leave half way are what is tested."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_):
        """Says nothing."""

    def do_POST(self):
        provider = self.server.provider
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        key = headers.get("x-mock") or headers.get("x-api-key") or headers.get("authorization", "")[len("Bearer ") :]
        scenario, attempt = key.removeprefix("sk-"), provider.attempt(key)
        if "once" in scenario:  # 429once-7: fails at the first attempt alone
            scenario = scenario.partition("once")[0] if attempt == 1 else "ok"
        body = json.loads(self.rfile.read(length) or b"{}")
        if scenario == "drop":
            self._break()
            return
        provider.pause(SLOW_S if scenario == "slow" else THINKS_S)
        request = Request(self.path.partition("?")[0], headers, body, scenario, attempt)
        self._write(provider.answer_to(request), compressed=scenario == "gzip", stalls=scenario == "stall")

    def _write(self, answer, compressed, stalls):
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.pieces is None:
            body = gzip.compress(answer.body) if compressed else answer.body
            if compressed:
                self.send_header("content-encoding", "gzip")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, piece in enumerate(answer.pieces):
            if piece is BREAK:
                self._break()
                return
            if piece is STOP:
                break
            self.server.provider.pause(SLOW_S if stalls and number == 5 else STEP_S)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _break(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
