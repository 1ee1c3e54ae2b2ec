"""The yardstick of ingest: a receiver that decodes OTLP and stores it where it can be asked for, and no more.

    python -m benchmarks.bare DB PORT

It does what a receiver cannot do without: it decodes the protobuf with opentelemetry-proto, reads each span's
attributes into a dict, and inserts a row a span (ids, times, status; what is asked for most: operation, provider,
model, tokens, user, conversation; and all attributes as JSON), to be found by its id and by its time. A request is
answered after its commit. It runs on uvicorn with httptools, and SQLite is told what we tell it: the same journal,
cache and checkpoints.

It does not look at who sends, bound what it holds, read other conventions than OpenTelemetry's newest, check values,
find second reports of one call, price, leave text of prompts out (it keeps it: more to write), or index by model and
user. It is one process with one thread.
"""

from __future__ import annotations

import json
import sqlite3
import sys

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

COLUMNS = {
    "operation": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "model": "gen_ai.response.model",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "user": "user.id",
    "conversation": "gen_ai.conversation.id",
}
TABLE = f"""CREATE TABLE spans (trace_id TEXT, span_id TEXT, parent_span_id TEXT, name TEXT, kind INTEGER, service TEXT,
  scope TEXT, start REAL, end REAL, status INTEGER, message TEXT, {", ".join(COLUMNS)}, attributes TEXT,
  PRIMARY KEY (trace_id, span_id))"""
INSERT = f"INSERT OR IGNORE INTO spans VALUES ({', '.join('?' * (12 + len(COLUMNS)))})"
SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA cache_size = -131072",
    "PRAGMA wal_autocheckpoint = 32000",
)


class Receiver:
    """An ASGI application that answers POST with 200 once all spans are committed."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        for sql in (*SETTINGS, TABLE, "CREATE INDEX spans_by_time ON spans (start)"):
            self.database.execute(sql)

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
                rows += [_row(span, service, scope.scope.name) for span in scope.spans]
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany(INSERT, rows)
        self.database.execute("COMMIT")


def _row(span, service, scope):
    attributes = {each.key: _value(each.value) for each in span.attributes}
    return (
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.kind,
        service,
        scope,
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        span.status.code,
        span.status.message,
        *map(attributes.get, COLUMNS.values()),
        json.dumps(attributes),
    )


def _value(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


if __name__ == "__main__":
    uvicorn.run(Receiver(sys.argv[1]), port=int(sys.argv[2]), http="httptools", log_level="error", lifespan="off")
