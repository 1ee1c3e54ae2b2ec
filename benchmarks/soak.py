"""Minutes of steady traffic through a real server with detection: memory over time, what it takes, what is lost.

What counts is whether memory goes on growing once caches are full; the processor time is of the server's process and
of detection beside it.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ingest import _cpu, _memory_mb
from tracewatch.records import Headway, Incident, Span
from tracewatch.stores import open_store

MINUTES = int(os.environ.get("SOAK_MINUTES", "10"))
RATE = 200  # spans a second
SPANS = 20  # a request
PROTOBUF = {"content-type": "application/x-protobuf"}


def run() -> Iterator[str]:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from web.conftest import a_body  # the bodies that the tests send

    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "w.db"
        command = [sys.executable, "-m", "tracewatch", "serve", "--db", str(db), "--port", "0", "--otlp-port", "0"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        found = re.search(r":(\d+)$", process.stderr.readline().strip())
        assert found is not None, "it serves"
        threading.Thread(target=process.stderr.read, daemon=True).start()
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
        sent = again = 0
        yield f"{RATE} spans a second for {MINUTES} minutes"
        yield "minute  spans stored  judged s ago  memory, and share of a core, of each process"
        try:
            for minute in range(MINUTES):
                before = _cpu(process.pid)
                began = time.monotonic()
                for number in range(60 * RATE // SPANS):
                    body = a_body(SPANS, trace=f"{minute}.{number}", start_s=int(time.time()) - SPANS - 2)
                    again += _post(connection, body)
                    sent += SPANS
                    time.sleep(max(began + (number + 1) * SPANS / RATE - time.monotonic(), 0))
                yield _line(minute + 1, process.pid, before, time.monotonic() - began, db)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
        with open_store(str(db)) as store:
            incidents = [each.title for each in store.page(Incident).records if isinstance(each, Incident)]
            yield f"sent {sent:,}, stored {store.count(Span):,}, {again} requests sent again because they were refused"
            yield f"incidents: {'; '.join(incidents) or 'none'}"


def _post(connection: http.client.HTTPConnection, body: bytes) -> int:
    """Sends a request as exporters do: what the server cannot take now is sent again. Returns how often it was."""
    refused = 0
    while True:
        connection.request("POST", "/v1/traces", body=body, headers=PROTOBUF)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            return refused
        assert answer.status in (429, 503), answer.status
        refused += 1
        time.sleep(1.0)


def _line(minute: int, server: int, before: Counter[str], seconds: float, db: Path) -> str:
    with open_store(str(db)) as store:
        headway = store.get(Headway, {"project": "default"})
        judged = getattr(headway, "judged_until", None)
        stored = store.count(Span)
    ago = f"{time.time() - judged:.0f}" if judged else "-"
    memory, cpu = _memory_mb(server), _cpu(server) - before
    told = (f"{name} {memory[name]:4.0f} MB {cpu[name] / seconds:6.1%}" for name in sorted(memory))
    return f"{minute:6}  {stored:12,}  {ago:>12}  {', '.join(told)}"
