"""The real ClickHouse engine behind the door that its server has: HTTP on loopback, in a process of its own.

There is no ClickHouse server to install from the packages that tests have, but its engine. What this adds is the door
alone: it takes requests of the real client and hands them to the engine. It can be killed, and started again.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

USER, PASSWORD = "watch", "s3cret"
READER = "reader"  # who has the same password and may write nothing
NOT_SETTINGS = {
    "query", "database", "query_id", "session_id", "wait_end_of_query", "send_progress_in_http_headers",
    "client_protocol_version", "http_headers_progress_interval_ms", "enable_http_compression", "compress",
}  # fmt: skip


class Server:
    """A server on loopback, which can be killed and started again."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tracewatch-clickhouse-server-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self):
        command = [sys.executable, __file__, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "ready"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def end(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database, password=PASSWORD, user=USER):
        return f"clickhouse://{user}:{password}@127.0.0.1:{self.port}/{database}"


class Door(BaseHTTPRequestHandler):
    """One request: a statement, its settings, and the data of an insert."""

    protocol_version = "HTTP/1.1"
    engine = ""

    def do_POST(self):
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self._body()
        if self.headers["Authorization"] not in (_basic(USER, PASSWORD), _basic(READER, PASSWORD)):
            said = f"Code: 516. DB::Exception: {USER}: Authentication failed: password is incorrect."
            return self._answer(403, said.encode(), {"X-ClickHouse-Exception-Code": "516"})
        try:
            return self._answer(
                200, _asked(self.engine, given, body, self.headers["Authorization"] == _basic(READER, PASSWORD))
            )
        except Exception as error:
            code = re.search(r"Code: (\d+)", str(error))
            return self._answer(500, str(error).encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "0"})

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_):
        pass

    def _body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _basic(user, password):
    from base64 import b64encode

    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _asked(folder, given, body, reads_only):
    import chdb

    statement = given.get("query", "").encode()
    inserted = re.match(rb"\s*INSERT INTO (\S+)\s*(\([^)]*\))?\s*FORMAT (\w+)\s*\n?", statement or body)
    connection = chdb.connect(folder)
    try:
        if given.get("database"):
            connection.query(f"USE `{given['database']}`")
        for name, value in given.items():
            if name not in NOT_SETTINGS and not name.startswith("param_"):
                connection.query(f"SET {name} = '{value}'")
        if reads_only:
            connection.query("SET readonly = 2")
        if inserted is None:
            separator = b"\n" if statement and body else b""
            return connection.query(statement + separator + body, "TabSeparated").bytes() or b""
        data = body if statement else body[inserted.end() :]
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            table, names, kind = (part.decode() if part else "" for part in inserted.groups())
            connection.query(f"INSERT INTO {table} {names} FROM INFILE '{file.name}' FORMAT {kind}")
        return b""
    finally:
        connection.close()


def serve(folder, port):
    """Serves until it is killed."""
    import chdb

    kept = chdb.connect(folder)
    Door.engine = folder
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Door)
    server.daemon_threads = True
    print("ready", flush=True)
    with contextlib.closing(kept):
        server.serve_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(*sys.argv[1:])
