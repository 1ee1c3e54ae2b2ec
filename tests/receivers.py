"""Receivers on this machine: an HTTP server that answers what it is told to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """A server that keeps what it got, and answers what is laid ready for it: status, headers, body."""

    url: str = ""
    got: list = field(default_factory=list)
    answers: list = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """An HTTP server on loopback that answers 200 where nothing else is laid ready."""
    kept = Receiver()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kept.got.append((self.path, dict(self.headers), body))
            status, headers, answer = kept.answers.pop(0) if kept.answers else (200, {}, b"ok")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            """Nothing: the test reads what came."""

    class Patient(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            """Nothing: who has heard enough may go."""

    server = Patient(("127.0.0.1", 0), Answering)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield kept
    server.shutdown()
    serving.join()
    server.server_close()
