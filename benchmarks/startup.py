"""From `tracewatch serve` to the first page: on a new database, and on one that holds calls already.

The clock starts before the process does and stops when the whole page has come. CPU is that of the server's own process
until then; on a machine with other work wall time says little, so the best of some starts is told beside it.
"""

from __future__ import annotations

import http.client
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.ingest import SERVING, _bodies, _cpu, _send, _tracewatch

STARTS = 5
GOAL_S = 2.0
SPANS = 20_480


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as used:
        with _tracewatch(Path(used)) as (_, port, _):
            _send(port, list(_bodies(random.Random(7), SPANS)))
        for what, folder in (("a new database", empty), (f"one with {SPANS:,} spans", used)):
            starts = [_started(Path(folder)) for _ in range(STARTS)]
            walls = sorted(wall for wall, _ in starts)
            yield (
                f"{what}: first page after {walls[0]:.2f} s (best of {STARTS}, median {walls[STARTS // 2]:.2f} s), "
                f"{min(cpu for _, cpu in starts):.2f} s CPU (goal {GOAL_S:.0f} s)"
            )


def _started(folder: Path) -> tuple[float, float]:
    """Seconds until the first page has come, and the CPU seconds that the server has taken by then."""
    began = time.perf_counter()
    with _tracewatch(folder) as (pid, port, _):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            page = answer.read()
        wall, cpu = time.perf_counter() - began, _cpu(pid)[SERVING]
        assert answer.status == 200, answer.status
        assert b"</html>" in page
    return wall, cpu
