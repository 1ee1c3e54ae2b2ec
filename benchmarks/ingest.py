"""Ingest against a bare receiver in the same run: spans a second stored at acknowledgement, CPU a span, memory.

Both are fed the same way: spans of 530 bytes, 512 a request, four connections that send as soon as they are answered,
bodies made before the clock starts. Detection goes on beside the server all the time. CPU and memory are told of each
process of the server: the one that receives and stores, those that decode, and the one that detects.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracewatch.stores import open_store

BATCH = 512
SENDERS = 4
SPANS = 200 * BATCH
MILLION = 1_000_000
PARTS = 5
SERVING, DECODING, DETECTING = "server", "decoding", "detection"
ROUNDS = 3
SETTLED_S = 4.0  # until all processes of a server have started, and have looked at the first spans
PHOENIX = 85  # spans/s that Arize Phoenix 20.26 stored on such a machine
MODELS = {
    "openai": ("gpt-4o-mini", "gpt-4o", "gpt-4.1", "o4-mini"),
    "anthropic": ("claude-sonnet-4-5", "claude-haiku-4-5"),
    "ollama": ("llama3.2",),
}
FAILED = 0.1  # of the calls of models
ASKED = "What does the contract say about the notice period when the tenant moves out before the end of the year? " * 4
ANSWERED = "Three months to the end of a quarter; the landlord may agree to a shorter period in writing. " * 2
KINDS = ("invoke_agent", "embeddings", "retrieval", "chat", "execute_tool")
SHARES = (1.0, 0.1, 0.15, 0.7, 0.1)  # of the agent's time


def run() -> Iterator[str]:
    rng = random.Random(7)
    bodies = list(_bodies(rng, SPANS))
    size = sum(map(len, bodies)) / SPANS
    yield f"{SPANS:,} spans of {size:.0f} bytes, {BATCH} a request, {SENDERS} connections, {ROUNDS} rounds each"
    figures: dict[str, list[Figures]] = {"bare": [], "tracewatch": []}
    for _ in range(ROUNDS):
        for name, start in (("bare", _bare), ("tracewatch", _tracewatch)):
            with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as (pid, port, count):
                _send(port, bodies[:8])
                time.sleep(SETTLED_S)
                figures[name].append(_measured(pid, port, bodies[8:]))
                stored = count()
                assert stored == SPANS, f"{name} acknowledged {SPANS} spans and has {stored}"
    best = {name: max(each, key=lambda one: one.speed) for name, each in figures.items()}
    for name, each in figures.items():
        cpu = min((one.cpu for one in each), key=lambda parts: parts.total() - parts[DETECTING])
        yield f"{name:<11} {best[name].speed:8,.0f} spans/s   CPU a span: {_told(cpu, 'µs', 1)}"
    yield f"share of the bare receiver: {best['tracewatch'].speed / best['bare'].speed:.0%} of its speed (goal 80 %)"
    yield f"against Phoenix: {best['tracewatch'].speed / PHOENIX:,.0f} times its {PHOENIX} spans/s (goal 50)"
    yield from _sustained(rng, best["bare"].speed)


def _sustained(rng: random.Random, bare: float) -> Iterator[str]:
    """Speed, CPU and memory over a million spans, all of them fresh, with detection busy beside."""
    with tempfile.TemporaryDirectory() as folder, _tracewatch(Path(folder)) as (pid, port, count):
        took, cpu = 0.0, Counter[str]()
        for part in range(1, PARTS + 1):
            bodies = list(_bodies(rng, MILLION // PARTS))
            measured = _measured(pid, port, bodies)
            took += MILLION / PARTS / measured.speed
            cpu += measured.cpu
            yield (
                f"after {MILLION * part // PARTS:9,} spans: {measured.speed:7,.0f} spans/s, "
                f"{_pending(Path(folder)):7,} not yet counted; memory: {_told(_memory_mb(pid), 'MB', 0)}"
            )
        assert count() == MILLION
        yield f"a million spans: {MILLION / took:,.0f} spans/s, {MILLION / took / bare:.0%} of the bare receiver's best"
        yield f"CPU a span: {_told(Counter({name: each / PARTS for name, each in cpu.items()}), 'µs', 1)}"


@dataclass(frozen=True)
class Figures:
    """What one run was like."""

    speed: float
    """Spans a second."""
    cpu: Counter[str]
    """What each kind of process took, µs a span."""


def _measured(pid: int, port: int, bodies: list[bytes]) -> Figures:
    before = _cpu(pid)
    spans = sum(map(_spans_in, bodies))
    took = _send(port, bodies)
    after = _cpu(pid)
    return Figures(spans / took, Counter({name: (after[name] - before[name]) / spans * 1e6 for name in after}))


def _spans_in(body: bytes) -> int:
    return len(ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans)


def _told(parts: Counter[str], unit: str, digits: int) -> str:
    each = ", ".join(f"{number:.{digits}f} {unit} {name}" for name, number in sorted(parts.items()))
    return each if len(parts) == 1 else f"{each}; {parts.total():.{digits}f} {unit} in all"


def _bodies(rng: random.Random, spans: int) -> Iterator[bytes]:
    while spans > 0:
        yield _body(rng, min(spans, BATCH))
        spans -= BATCH


def _body(rng: random.Random, spans: int) -> bytes:
    """Requests of agents: each an agent's span with four below it."""
    request = ExportTraceServiceRequest()
    program = request.resource_spans.add()
    for name, value in {"service.name": "bench", "telemetry.sdk.language": "python"}.items():
        _put(program.resource, name, value)
    scope = program.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.openai_v2"
    now = time.time_ns()
    for number in range(spans):
        kind = number % len(KINDS)
        if kind == 0:
            trace, root = rng.randbytes(16), rng.randbytes(8)
            begun = now - rng.randrange(3600 * 10**9)
            took = int(min(rng.lognormvariate(6.8, 0.6), 60_000) * 1e6)
            shared = {"gen_ai.conversation.id": f"c{rng.randrange(5000)}", "user.id": f"u{rng.randrange(2000)}"}
        span = scope.spans.add()
        span.trace_id, span.span_id = trace, rng.randbytes(8) if kind else root
        span.parent_span_id = root if kind else b""
        span.name = KINDS[kind]
        span.start_time_unix_nano = begun + kind * 5_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + int(took * SHARES[kind])
        for name, value in {"gen_ai.operation.name": KINDS[kind], **shared, **_attributes(rng, KINDS[kind])}.items():
            _put(span, name, value)
        if KINDS[kind] == "chat" and rng.random() < FAILED:
            _fail(span)
    return request.SerializeToString()


def _fail(span) -> None:
    """As instrumentations tell a call that failed."""
    span.status.code, span.status.message = 2, "Error code: 429 - rate limit"
    _put(span, "error.type", "RateLimitError")
    event = span.events.add(name="exception", time_unix_nano=span.end_time_unix_nano)
    _put(event, "exception.type", "openai.RateLimitError")
    _put(event, "exception.message", span.status.message)


def _attributes(rng: random.Random, kind: str) -> dict[str, object]:
    if kind == "embeddings":
        model = "text-embedding-3-small"
        who = {"gen_ai.system": "openai", "gen_ai.provider.name": "openai"}
        return {**who, "gen_ai.request.model": model, "gen_ai.usage.input_tokens": 14}
    if kind == "execute_tool":
        return {"gen_ai.tool.name": "look_up", "gen_ai.tool.call.id": rng.randbytes(8).hex()}
    if kind != "chat":
        return {"gen_ai.agent.name": "support"} if kind == "invoke_agent" else {"gen_ai.data_source.id": "docs"}
    provider = rng.choice(list(MODELS))
    model = rng.choice(MODELS[provider])
    read = int(rng.lognormvariate(6.5, 0.8))
    return {
        "gen_ai.system": provider,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": rng.randbytes(12).hex(),
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.usage.input_tokens": read,
        "gen_ai.usage.cache_read.input_tokens": read // 2 if rng.random() < 0.3 else 0,
        "gen_ai.usage.output_tokens": int(rng.lognormvariate(5, 0.7)),
        "gen_ai.response.finish_reasons": ["stop"],
        "server.address": "127.0.0.1",
        "server.port": 9100,
        "gen_ai.input.messages": ASKED * 2,
        "gen_ai.output.messages": ANSWERED,
    }


def _put(holder, name: str, value: object) -> None:
    pair = holder.attributes.add(key=name)
    if isinstance(value, list):
        for each in value:
            pair.value.array_value.values.add(string_value=each)
        return
    kind = {int: "int_value", float: "double_value", str: "string_value"}[type(value)]
    setattr(pair.value, kind, value)


def _send(port: int, bodies: list[bytes]) -> float:
    """Seconds until all bodies were acknowledged."""
    rest, turn = iter(bodies), threading.Lock()

    def sender() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            while True:
                with turn:
                    body = next(rest, None)
                if body is None:
                    return
                connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status

    started = time.perf_counter()
    senders = [threading.Thread(target=sender) for _ in range(SENDERS)]
    for each in senders:
        each.start()
    for each in senders:
        each.join()
    return time.perf_counter() - started


@contextmanager
def _bare(folder: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.bare", str(folder / "b.db"), str(port)]
    process = subprocess.Popen(command)
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield process.pid, port, lambda: _count(folder / "b.db", "spans")
    finally:
        process.kill()
        process.wait()


@contextmanager
def _tracewatch(folder: Path):
    db = folder / "w.db"
    command = [sys.executable, "-m", "tracewatch", "serve", "--db", str(db), "--port", "0", "--otlp-port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = int(re.search(r":(\d+)$", process.stderr.readline().strip())[1])
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield process.pid, port, lambda: _count(db, "llm_traces")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def _pending(folder: Path) -> int:
    """Spans that detection has not counted yet: its lag."""
    with open_store(str(folder / "w.db")) as store:
        return store.pending()


def _processes(pid: int) -> Iterator[tuple[str, int]]:
    """The process and those it has started, and what each is for (Linux)."""
    yield SERVING, pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text()
            yield DETECTING if "tracewatch.live" in words else DECODING, int(child)


def _cpu(pid: int) -> Counter[str]:
    """CPU seconds of a process and of those it has started."""
    found: Counter[str] = Counter()
    for name, each in _processes(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        found[name] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _memory_mb(pid: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, each in _processes(pid):
        found[name] += int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{each}/status").read_text())[1]) / 1000
    return found
