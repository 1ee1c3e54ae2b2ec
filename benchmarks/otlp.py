"""What reading OTLP costs: CPU time a span, protobuf of 530 bytes a span in batches of 512, for each step by itself."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracewatch.otlp import RecentCalls, decode
from tracewatch.otlp.protobuf import read_protobuf
from tracewatch.receiving import Decoder, Request
from tracewatch.stores import open_store
from tracewatch.stores.values import to_row

BATCHES, BATCH = 60, 512
TEXT = "The quarterly revenue grew by eleven percent compared with the previous year, driven by subscriptions. " * 3
KINDS = ("invoke_agent", "embeddings", "retrieval", "chat", "execute_tool")
START_NS = 1_795_311_972_000_000_000


def run() -> Iterator[str]:
    bodies = [_body(random.Random(seed)) for seed in range(BATCHES)]
    spans = BATCHES * BATCH
    yield f"{spans:,} spans in batches of {BATCH}, {sum(map(len, bodies)) / spans:.0f} bytes a span"
    decode(bodies[0], json=False)
    _, wire = _timed(lambda: [read_protobuf(body) for body in bodies])
    received, read = _timed(lambda: [decode(body, json=False).spans for body in bodies])
    recent = RecentCalls()
    _, merged = _timed(lambda: [recent.merge(each, lambda key: None) for each in received])
    _, rows = _timed(lambda: [list(map(to_row, each)) for each in received])
    served = _served(bodies)
    yield ""
    for what, seconds in (
        ("protobuf into Python objects", wire),
        ("protobuf into spans (decode, the line above included)", read),
        ("second reports looked for (RecentCalls.merge)", merged),
        ("spans into rows (to_row)", rows),
        ("protobuf into priced and checked rows as a server does, by their shape (Decoder.decode)", served),
    ):
        yield f"{seconds / spans * 1e6:6.1f} µs a span   {what}"


def _served(bodies: list[bytes]) -> float:
    requests = [Request(body=each, json=False, project=None, or_project="default", user_id=None) for each in bodies]
    with tempfile.TemporaryDirectory() as folder, open_store(f"{folder}/o.db", create=True) as store:
        decoder = Decoder(store, content=False)
        decoder.decode(requests[0])
        return _timed(lambda: [decoder.decode(each) for each in requests])[1]


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    made = work()
    return made, time.process_time() - began


def _body(chance: random.Random) -> bytes:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    _put(resource_spans.resource, {"service.name": "bench", "telemetry.sdk.language": "python"})
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "opentelemetry.instrumentation.openai_v2"
    trace_id, root, start = b"", b"", 0
    for number in range(BATCH):
        kind = KINDS[number % len(KINDS)]
        span = scope_spans.spans.add()
        span.span_id = chance.randbytes(8)
        if kind == "invoke_agent":
            trace_id, root = chance.randbytes(16), span.span_id
            start = START_NS + chance.randrange(3_600_000_000_000)
        else:
            span.parent_span_id = root
        span.trace_id, span.name, span.kind = trace_id, f"{kind} x", 3 if kind == "chat" else 1
        span.start_time_unix_nano = start
        span.end_time_unix_nano = start + chance.randrange(10_000_000, 3_000_000_000)
        _put(span, _attributes(kind, chance))
    return request.SerializeToString()


def _attributes(kind: str, chance: random.Random) -> dict[str, Any]:
    held: dict[str, Any] = {"gen_ai.operation.name": kind, "gen_ai.conversation.id": f"c-{chance.randrange(5000)}"}
    held |= {"user.id": f"user-{chance.randrange(2000)}", "gen_ai.agent.name": "support", "server.port": 9100}
    if kind in ("chat", "embeddings"):
        held |= {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
        held |= {"gen_ai.usage.input_tokens": chance.randrange(5000)}
    if kind == "chat":
        held |= {
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.response.id": f"chatcmpl-{chance.getrandbits(96):x}",
            "gen_ai.usage.output_tokens": chance.randrange(1000),
            "gen_ai.usage.cache_read.input_tokens": 0,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.request.max_tokens": 1024,
            "server.address": "127.0.0.1",
            "gen_ai.input.messages": TEXT * 3,
            "gen_ai.output.messages": TEXT,
        }
    return held


def _put(holder: Any, held: dict[str, Any]) -> None:
    for name, value in held.items():
        added = holder.attributes.add()
        added.key = name
        if isinstance(value, int):
            added.value.int_value = value
        elif isinstance(value, float):
            added.value.double_value = value
        else:
            added.value.string_value = value
