"""The whole way: a program that records to a real `tracewatch serve`, which may be killed meanwhile."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from reading import Recorded

import tracewatch
from tracewatch.capture import courier


@contextmanager
def _serving(path, port=0):
    """A server over that file; gives its process and its port."""
    command = [sys.executable, "-m", "tracewatch", "serve", "--db", str(path), "--port", str(port), "--otlp-port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    try:
        first = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", first)
        assert found, first
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(courier, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(courier, "LONGEST_WAIT_S", 0.2)


def test_rows_scores_and_fallbacks_reach_the_servers_store(tmp_path):
    path = tmp_path / "served.db"
    with _serving(path) as (_, port):
        tracewatch.init(f"http://127.0.0.1:{port}", service="shop", environment="test")
        with tracewatch.trace("ask", trace_id="my own id", user_id="u1") as ask:
            tracewatch.score(ask.trace_id, span_id=ask.span_id, tone=0.5)  # before its span
            assert tracewatch.flush(60)
            with tracewatch.span("rerank", usage_type="chat_rerank"):
                tracewatch.log_usage("anthropic", "claude-haiku-4-5", "chat_rerank", 1000, 100, latency_ms=300)
                assert tracewatch.flush(60)
                tracewatch.fallback(ValueError("no JSON"))
        tracewatch.score(ask.trace_id, groundedness=0.75)
        assert tracewatch.flush(60)
        assert tracewatch.shutdown()
        found = Recorded(path)
        call = found.row(model_name="claude-haiku-4-5")
        assert (call.status, call.error_message, call.groundedness_score) == ("fallback", "no JSON", 0.75)
        assert call.cost_usd == pytest.approx(0.0015)
        whole = found.row(span_name="ask")
        assert (whole.trace_id, whole.user_id, whole.service_name) == ("my own id", "u1", "shop")
        assert whole.response_quality_breakdown == {"tone": 0.5}
        assert found.rows(operation_type="score") == []
        assert len(found.rows()) == 3


def test_a_server_that_is_killed_and_comes_back_has_every_row_once(tmp_path):
    path = tmp_path / "served.db"
    with _serving(path) as (process, port):
        tracewatch.init(f"http://127.0.0.1:{port}")
        for number in range(3000):
            tracewatch.record("call", number=number)
            if number == 500:
                assert tracewatch.flush(60)
            if number == 1500:
                process.kill()
                process.wait()
    acknowledged = {each.metadata["number"] for each in Recorded(path).rows()}
    assert acknowledged >= set(range(501))
    assert not tracewatch.flush(0.3)
    with _serving(path, port):
        assert tracewatch.flush(60)
        assert tracewatch.shutdown()
        found = [each.metadata["number"] for each in Recorded(path).rows()]
    assert sorted(found) == list(range(3000))
