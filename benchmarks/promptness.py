"""How soon a receiver hears: from the commit of the calls that make it true to the alert at its webhook.

A real server with its detection beside it and a webhook as its channel, fed by a writer of its own, timed by the wall
clock of one machine. *Checked*: a rule about failures, from the commit of the calls that make it true. *Judged*: a step
of five minutes may be judged when the calls that began in it have had time to come (the grace that is learned); from
that moment on it is timed until it is noted as judged. Whatever is judged then is told as the rule is.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tracewatch.alerts.checking import read_rule
from tracewatch.records import Headway, Span
from tracewatch.stores import Store, open_store

ROUNDS = 8
RATE = 5  # calls a second, each a second long and sent when it ended
STEPS = 2  # ends of a step that are waited for
GOAL_S = 5.0


def run() -> Iterator[str]:
    heard = _Heard()
    with tempfile.TemporaryDirectory() as folder, heard.listening() as address:
        db = Path(folder) / "w.db"
        with open_store(str(db), create=True) as store, _served(db, address):
            stop = threading.Event()
            writing = threading.Thread(target=_write, args=(db, stop))
            writing.start()
            try:
                while store.get(Headway, {"project": "default"}) is None:  # detection has begun
                    time.sleep(0.1)
                took = [_checked(store, heard, number) for number in range(ROUNDS)]
                yield _line("a rule that comes true, from the commit to the webhook", took)
                lags, graces = zip(*_judged(store), strict=True)
                yield _line("a step that may be judged, until it is", list(lags))
                yield f"grace that was learned for calls of a second: {graces[-1]:.1f} s (60 s before it was learned)"
            finally:
                stop.set()
                writing.join()


def _line(what: str, took: list[float]) -> str:
    worst = max(took)
    return (
        f"{what}: median {statistics.median(took):.2f} s, longest {worst:.2f} s of {len(took)} "
        f"(goal {GOAL_S:g} s{'' if worst <= GOAL_S else ', missed'})"
    )


def _write(db: Path, stop: threading.Event) -> None:
    """Calls as they happen."""
    with open_store(str(db)) as store:
        number = 0
        while not stop.wait(1 / RATE):
            number += 1
            now = time.time()
            store.add([_call(f"busy{number}", now - 1.0)])


def _call(trace: str, start: float, **odd: object) -> Span:
    ordinary: dict[str, object] = {
        "operation_type": "chat", "model_name": "gpt-4o-mini", "model_provider": "openai", "status": "ok",
        "duration_ms": 1000.0, "end_time": start + 1.0, "input_tokens": 100, "output_tokens": 10,
    }  # fmt: skip
    return Span(trace_id=trace, span_id="s", start_time=start, **{**ordinary, **odd})  # type: ignore[arg-type]


def _checked(store: Store, heard: _Heard, number: int) -> float:
    """Seconds from the commit of calls that make a rule true until the listener is told of the incident."""
    kind = f"kind{number}"
    condition = {"threshold": {"metric": "error_rate", "above": 0.5, "slice": {"operation_type": [kind]}}}
    given = {"name": kind, "condition": condition}
    rule, mistakes = read_rule(given, project="default", now=time.time(), who="benchmark")
    assert rule is not None, mistakes
    store.put([rule])
    time.sleep(1.7 * (number + 1) % 15)  # rounds have a beat: begin anywhere in it
    now = time.time()
    store.add([_call(f"{kind}{n}", now - 1.0 - n / 10, operation_type=kind, status="error") for n in range(10)])
    committed = time.time()
    return heard.wait(kind) - committed


def _judged(store: Store) -> Iterator[tuple[float, float]]:
    """For some steps: seconds from when it may be judged until it is noted as judged, and the grace."""
    seen, left = _headway(store).judged_until, STEPS
    while left:
        now = _headway(store)
        if now.judged_until is not None and seen is not None and now.judged_until > seen:
            yield time.time() - (now.judged_until + now.grace_s), now.grace_s
            left -= 1
        seen = now.judged_until
        time.sleep(0.05)


def _headway(store: Store) -> Headway:
    found = store.get(Headway, {"project": "default"})
    assert isinstance(found, Headway), "detection has run"
    return found


@contextmanager
def _served(db: Path, address: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tracewatch", "serve", "--db", str(db), "--port", "0", "--otlp-port", "0"]
    environ = {**os.environ, "TRACEWATCH_ALERT_CHANNELS": address}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ)
    assert process.stderr is not None
    assert re.search(r":\d+$", process.stderr.readline().strip()), "it serves"
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


class _Heard:
    """A webhook, and when it was told of what."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._news = threading.Condition()

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Within, it listens; gives its address."""
        heard = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                heard.hear(self.rfile.read(int(self.headers["content-length"])).decode())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}/hook"
            server.shutdown()

    def hear(self, text: str) -> None:
        now = time.time()
        with self._news:
            for kind in re.findall(r"kind\d+", text):
                self._at.setdefault(kind, now)
            self._news.notify_all()

    def wait(self, kind: str) -> float:
        """When it was told of that."""
        with self._news:
            if not self._news.wait_for(lambda: kind in self._at, timeout=120):
                raise SystemExit(f"nothing was heard of {kind} within two minutes")
            return self._at[kind]
