"""200 open streams of events: what they cost while nothing happens, while calls come, and how soon each is told.

CPU is that of the server's own process; detection, which runs beside it, is left out. The listeners are sockets in this
process, half of the JSON stream and half of the stream of a page.
"""

from __future__ import annotations

import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ingest import _cpu, _memory_mb
from tracewatch.records import Incident, Span
from tracewatch.stores import open_store

LISTENERS = 200
IDLE_S = 30.0
BUSY_S = 20.0
PATHS = ("/api/v1/events", "/events?page=/")
WORKLOAD = Path(__file__).resolve().parent.parent / "examples" / "workload.parquet"


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "w.db"
        command = [sys.executable, "-m", "tracewatch", "import", str(WORKLOAD), "--db", str(db)]
        subprocess.run(command, check=True, capture_output=True)
        with _served(db) as (pid, port):
            before = _memory_mb(pid)
            listeners = [_listen(port, PATHS[number % len(PATHS)]) for number in range(LISTENERS)]
            _settle(listeners)
            after = _memory_mb(pid)
            yield f"{LISTENERS} listeners: {after - before:.0f} MB more in the server than without"
            yield f"idle for {IDLE_S:g} s:       {_share(pid, IDLE_S):6.2%} of a core (goal below 5 %)"
            stop = threading.Event()
            writing = threading.Thread(target=_write, args=(db, stop))
            writing.start()
            yield f"two writes a second:  {_share(pid, BUSY_S):6.2%} of a core"
            stop.set()
            writing.join()
            took = _told(db, listeners[:: len(PATHS)])
            yield f"told of an incident:  {took:.2f} s until the last knew"
            for each in listeners:
                each.close()


def _share(pid: int, seconds: float) -> float:
    """Of one core, over that time."""
    cpu, at = _cpu(pid), time.perf_counter()
    time.sleep(seconds)
    return (_cpu(pid) - cpu) / (time.perf_counter() - at)


def _write(db: Path, stop: threading.Event) -> None:
    with open_store(str(db)) as store:
        number = 0
        while not stop.wait(0.5):
            number += 1
            now = time.time()
            store.add([Span(trace_id=f"busy{number}", span_id="1", start_time=now, duration_ms=5.0, status="ok")])
            store.roll_up()


def _told(db: Path, listeners: list[socket.socket]) -> float:
    """Seconds from the write of an incident until each has been told of it."""
    now = time.time()
    incident = Incident(
        id="benchmark0000001", severity="high", title="x", root_id="x", metric_name="cost_usd", kind="spike",
        direction="up", confidence_score=1.0, started_at=now, detected_at=now, updated_at=now,
    )  # fmt: skip
    with open_store(str(db)) as store, selectors.DefaultSelector() as ready:
        began = time.perf_counter()
        store.put([incident])
        for each in listeners:
            ready.register(each, selectors.EVENT_READ)
        waiting = set(listeners)
        while waiting:
            for key, _ in ready.select(30):
                if b"incident.opened" in key.fileobj.recv(1 << 20):
                    waiting.discard(key.fileobj)
        return time.perf_counter() - began


def _listen(port: int, path: str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return stream


def _settle(listeners: list[socket.socket]) -> None:
    """Until each stream is open and all has been read that is told at the beginning."""
    for each in listeners:
        while b": still here" not in each.recv(1 << 20):
            pass
    time.sleep(10)
    for each in listeners:
        each.setblocking(False)
        try:
            while each.recv(1 << 20):
                pass
        except BlockingIOError:
            pass
        each.setblocking(True)


@contextmanager
def _served(db: Path):
    command = [sys.executable, "-m", "tracewatch", "serve", "--db", str(db), "--port", "0", "--otlp-port", "0"]
    process = subprocess.Popen([*command, "--no-detection"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = int(re.search(r":(\d+)$", process.stderr.readline().strip())[1])
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
