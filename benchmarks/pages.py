"""Server time of every GET route on a store of a million spans: 95th percentile, and size of what is sent.

The routes are those that the application has, so a new page is measured by being there. Times are processor time of the
whole process, from the request to the last byte of the answer, without the network: the machine may do other things
meanwhile. *Cold* is the first time with nothing remembered of the rollups, *p95* of later times, which remember the
hours that are over for a minute, as a server that is looked at does.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fastapi import FastAPI
from starlette.testclient import TestClient

from benchmarks.million import CACHE, million_rows
from tracewatch.records import Anomaly, Incident, Span
from tracewatch.settings import Settings
from tracewatch.stores import Store, open_store
from tracewatch.web import make_app
from tracewatch.web.views import rolled

ROWS = int(os.environ.get("BENCHMARK_ROWS", "1000000"))
TIMES = 20
GOAL_MS = 100 if ROWS <= 1_000_000 else 300
LEFT_OUT = ("/static/", "/events", "/api/v1/events", "/api/v1/export", "/health/")
"""Files, streams without end, and answers that are as long as what is asked for."""
PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


def run() -> Iterator[str]:
    db = _store()
    app = make_app(Settings(db=str(db)), open_without_keys=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        store: Store = app.state.serving.store
        reach = store.extent(Span)
        assert reach is not None
        app.state.serving = dataclasses.replace(app.state.serving, clock=lambda: reach[1] + 30.0)
        known = _known(store)
        yield f"{ROWS:,} spans of {(reach[1] - reach[0]) / 86_400:.0f} days; {TIMES} times each; goal {GOAL_MS} ms"
        yield f"{'':<44} {'cold ms':>8} {'p95 ms':>8} {'kB sent':>8}"
        slow = 0
        for path, accept in _asked(app):
            missing = [name for name in PARAMETER.findall(path) if name not in known]
            if missing:
                yield f"{path:<44} not measured: nothing is known to ask it for as {', '.join(missing)}"
                continue
            cold, p95, size, status = _measured(client, PARAMETER.sub(lambda found: known[found[1]], path), accept)
            over = p95 > GOAL_MS
            slow += over
            said = "" if status == 200 else f"  answered {status}"
            yield f"{path:<44} {cold:8.1f} {p95:8.1f} {size / 1000:8.1f}{'  over the goal' if over else ''}{said}"
        yield f"{slow} over the goal"


def _measured(client: TestClient, path: str, accept: str) -> tuple[float, float, int, int]:
    times, size, status = [], 0, 0
    rolled._kept.clear()
    for _ in range(TIMES + 1):
        began = time.process_time()
        answer = client.get(path, headers={"accept": accept})
        times.append((time.process_time() - began) * 1000)
        size = int(answer.headers.get("content-length", len(answer.content)))
        status = answer.status_code
    later = sorted(times[1:])
    return times[0], later[int(0.95 * (len(later) - 1))], size, status


def _asked(app: FastAPI) -> list[tuple[str, str]]:
    """Each path, with what is asked for there: a page, or what stands in the schema of the API."""
    found: list[tuple[str, str]] = []

    def walk(routes) -> None:
        for each in routes:
            inner = getattr(each, "routes", None) or getattr(getattr(each, "original_router", None), "routes", None)
            if inner:
                walk(inner)
            elif "GET" in (getattr(each, "methods", None) or ()):
                found.append((each.path, "*/*" if getattr(each, "include_in_schema", False) else "text/html"))

    walk(app.routes)
    return [each for each in dict.fromkeys(found) if not each[0].startswith(LEFT_OUT)]


def _known(store: Store) -> dict[str, str]:
    """What stands for the parameters of paths."""
    span = store.page(Span, limit=1).records[0]
    other = store.page(Span, limit=200).records[-1]
    incident = store.page(Incident, limit=1).records[0]
    anomaly = store.page(Anomaly, limit=1).records[0]
    assert isinstance(span, Span)
    assert isinstance(other, Span)
    assert isinstance(incident, Incident)
    assert isinstance(anomaly, Anomaly)
    return {
        "trace_id": span.trace_id, "other_id": other.trace_id, "incident_id": incident.id, "anomaly_id": anomaly.id,
        "metric": "cost_usd", "key": "cost_usd", "name": "extraction_batch", "session_id": str(span.session_id),
        "user_id": str(span.user_id),
    }  # fmt: skip


def _store() -> Path:
    """The store, made once: the rows imported, a day judged, and an incident of each severity."""
    path = CACHE / f"pages-{ROWS}.db"
    if path.exists():
        return path
    making = path.with_suffix(".making")
    for words in (
        ["import", str(million_rows(ROWS)), "--as", "traces"],
        ["detect", "--detector", "spec", "--until", "newest"],
    ):
        subprocess.run([sys.executable, "-m", "tracewatch", *words, "--db", str(making)], check=True)
    with open_store(str(making)) as store:
        reach = store.extent(Span)
        assert reach is not None
        store.add([
            Incident(
                id=f"benchmark00000{number}", severity=severity, title="Calls of chat cost more.", root_id="none",
                metric_name="cost_usd", kind="level_shift", direction="up", slice={"operation_type": "chat"},
                confidence_score=0.9, started_at=reach[1] - 7200 * (number + 1), detected_at=reach[1] - 3600,
                updated_at=reach[1], observed=0.02, expected=0.01, lower=0.005, upper=0.015,
            )
            for number, severity in enumerate(("critical", "high", "medium", "low"))
        ])  # fmt: skip
    making.rename(path)
    return path
