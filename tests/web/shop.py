"""A small shop whose calls cost four times as much since ten o'clock: what the screens are tried on."""

import dataclasses
import random
from contextlib import contextmanager

import pyarrow as pa
from explained import END, FIRST, ONSET, a_story, ordinary
from fastapi.testclient import TestClient

from tracewatch.explaining import explain
from tracewatch.records import Anomaly, Baseline, Incident, Span
from tracewatch.settings import Settings
from tracewatch.stores import open_store
from tracewatch.web import make_app

NOW = END + 30.0
COSTLY, NEW, OVER = "c0571ec0571e0001", "0e0000000000000f", "0fe40000000000a1"
LONG_NAME = "a-model-with-a-name-that-never-ends-" * 6


def make(path):
    """The store of the shop, with two open incidents, one that is over, and traces of many shapes."""
    rows = ordinary(per_hour=40)
    for row in rows:
        if row["start_time"] >= ONSET and row["operation_type"] == "chat":
            row["cost_usd"] *= 4.1
            row["cache_read_input_tokens"] = 0
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open_store(str(path), create=True) as store:
        store.add_batch(Span, pa.RecordBatch.from_pydict({name: [row.get(name) for row in rows] for name in names}))
        for number in range(40):
            store.add(question(f"question{number:04}", NOW - 3 * 3600 - number * 900))
        store.add(question("0ddtrace00000001", NOW - 600, odd=True))
        store.add(agent("longtrace0000001", NOW - 900, 2_500))
        store.roll_up()
        store.add([costly(store), first_seen(), over()])
        store.add([finding(COSTLY)])
        store.add([baseline()])
    return str(path)


def costly(store):
    """The incident in front, explained from the calls as detection would."""
    story = a_story(
        "cost_usd", slice={"operation_type": "chat"}, observed=0.022, expected=0.0054, lower=0.004, upper=0.007
    )
    why = explain(store, "default", story, END)
    return an_incident(
        COSTLY, "critical", started_at=ONSET, detected_at=ONSET + 900, observed=0.022, expected=0.0054, lower=0.004,
        upper=0.007, calls=why.calls, cost_effect_usd=why.cost_effect_usd, causes=dict(why.causes),
        contributing_factors=why.factors, recommended_actions=why.actions, trace_ids=why.trace_ids,
    )  # fmt: skip


def first_seen():
    return an_incident(
        NEW, "low", metric_name="first_seen_model", kind="first_seen", slice={"model_name": LONG_NAME}, observed=38.0,
        started_at=ONSET + 3600, detected_at=ONSET + 3600, calls=38,
    )  # fmt: skip


def over():
    return an_incident(
        OVER, "high", metric_name="error_rate", kind="rate", slice={"model_provider": "openai"}, state="closed",
        started_at=ONSET - 86_400, detected_at=ONSET - 85_000, closed_at=ONSET - 80_000, observed=0.31, expected=0.002,
        lower=0.0, upper=0.06, calls=51,
    )  # fmt: skip


def an_incident(id, severity, **odd):
    """An ordinary incident of the cost of chat."""
    usual = {
        "metric_name": "cost_usd", "kind": "level_shift", "direction": "up", "slice": {"operation_type": "chat"},
        "confidence_score": 0.97, "updated_at": END, "title": "Something came that was not expected.",
        "root_id": f"root-{id}",
    }  # fmt: skip
    return Incident(id=id, severity=severity, **usual | odd)


def finding(incident_id):
    return Anomaly(
        id=f"root-{incident_id}", anomaly_type="cost", severity="critical", confidence_score=0.97,
        metric_name="cost_usd",
        detected_value=0.022, expected_value=0.0054, threshold_value=0.007, deviation_percentage=307.0,
        statistics={"learning": {"days": 7, "of": 7}}, description="Calls of chat cost more.", detected_at=ONSET + 900,
        occurred_at=ONSET, detector="adaptive", incident_id=incident_id,
    )  # fmt: skip


def baseline(**odd):
    usual = {
        "detector": "adaptive", "part": 0, "parts": 1, "revision": 1, "version": "1", "checksum": "", "size": 0,
        "updated_at": NOW, "learned_rows": 1, "learned_until": NOW - 60, "cursor": "", "state": b"",
    }  # fmt: skip
    return Baseline(**usual | odd)


def a_span(trace, number, parent, name, start, length_s, **odd):
    """An ordinary step of a question."""
    usual = {
        "trace_id": trace, "span_id": f"{trace}-{number}", "span_name": name, "start_time": start, "source": "sdk",
        "parent_span_id": None if parent is None else f"{trace}-{parent}", "duration_ms": length_s * 1000,
        "user_id": "u1", "session_id": "s1", "app_version": "2.8.0", "service_name": "shop",
    }  # fmt: skip
    return Span(**usual | odd)


def question(trace, at, *, odd=False):
    """A question: rewritten, retrieved for, answered; an odd one after two attempts and a fallback."""
    chance = random.Random(trace)
    llm = {"operation_type": "chat", "model_provider": "anthropic", "cost_status": "exact"}
    length = 1.9 + chance.random() * 0.3
    spans = [
        a_span(
            trace, 1, 0, "rewrite", at + 0.1, 0.6, **llm, model_name="claude-haiku-4-5", ttft_ms=300.0, cost_usd=0.0008
        ),
        a_span(trace, 2, 0, "retrieve", at + 0.8, 2.9 if odd else 0.5, operation_type="retrieval"),
    ]
    answer_at = at + 1.4
    if odd:
        bad = {"operation_type": "rerank", "model_name": "rerank-3", "model_provider": "cohere"}
        spans += [
            a_span(trace, 3, 2, "rerank", at + 0.9, 1.0, **bad, status="error", error_category="overloaded"),
            a_span(trace, 4, 2, "rerank", at + 2.2, 1.4, **bad, status="timeout", error_message="gave up after 1.4 s"),
            a_span(trace, 5, 2, "rerank", at + 3.61, 0.02, model_name="similarity", status="fallback"),
        ]
        answer_at, length = at + 3.8, 4.2
    tokens = {"input_tokens": 14_000, "output_tokens": 300, "cache_read_input_tokens": 0 if odd else 12_000}
    cost = 0.0589 if odd else 0.0148
    answer = a_span(
        trace,
        6,
        0,
        "answer",
        answer_at,
        length,
        **llm,
        **tokens,
        model_name="claude-sonnet-4-5",
        ttft_ms=900.0,
        cost_usd=cost,
    )
    whole = answer_at + length - at
    return [a_span(trace, 0, None, "POST /ask", at, whole + 0.05), *spans, answer]


def agent(trace, at, count):
    """An agent that searches again and again."""
    spans, clock = [], at
    for number in range(1, count):
        fails = number % 400 == 0
        spans.append(
            a_span(
                trace, number, 0, "tool.search", clock, 0.02, operation_type="tool", status="error" if fails else "ok"
            )
        )
        clock += 0.021
        if number % 50 == 0:
            spans.append(
                a_span(trace, f"c{number}", 0, "plan", clock, 0.3, operation_type="chat", model_name="claude-haiku-4-5")
            )
            clock += 0.31
    return [a_span(trace, 0, None, "agent", at, clock - at, operation_type="agent"), *spans]


@contextmanager
def looking_at(db, now=NOW, **settings):
    """A client of the server of that database, at that time."""
    app = make_app(Settings(db=db, **settings), open_without_keys=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        app.state.serving = dataclasses.replace(app.state.serving, clock=lambda: now)
        client.headers["accept"] = "text/html"
        yield client


__all__ = ["COSTLY", "END", "FIRST", "NEW", "NOW", "ONSET", "OVER"]
