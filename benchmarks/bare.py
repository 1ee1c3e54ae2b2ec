"""The yardstick of ingest: the least a receiver can do that decodes OTLP and stores it where it can be asked for.

    python -m benchmarks.bare DB PORT

uvicorn, opentelemetry-proto and one SQLite table with a key and an index by time; nothing is understood, nothing
priced. A request is answered after its commit.
"""

from __future__ import annotations

import json
import sqlite3
import sys

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TABLE = """CREATE TABLE spans (trace_id TEXT, span_id TEXT, parent_span_id TEXT, name TEXT, service TEXT, start REAL,
  end REAL, status INTEGER, attributes TEXT, PRIMARY KEY (trace_id, span_id))"""


class Receiver:
    """An ASGI application that answers POST with 200 once all spans are committed."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        for sql in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA cache_size = -131072", TABLE):
            self.database.execute(sql)
        self.database.execute("CREATE INDEX spans_by_time ON spans (start)")

    async def __call__(self, scope, receive, send):
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        self.store(b"".join(parts))
        headers = [(b"content-type", b"application/x-protobuf"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def store(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        rows = []
        for program in request.resource_spans:
            service = next((a.value.string_value for a in program.resource.attributes if a.key == "service.name"), None)
            for scope in program.scope_spans:
                rows += [_row(span, service) for span in scope.spans]
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany("INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self.database.execute("COMMIT")


def _row(span, service):
    return (
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        service,
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        span.status.code,
        json.dumps({each.key: _value(each.value) for each in span.attributes}),
    )


def _value(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


if __name__ == "__main__":
    uvicorn.run(Receiver(sys.argv[1]), port=int(sys.argv[2]), http="httptools", log_level="error", lifespan="off")
