"""The figures of a period: from the rollups, and the same as from the rows."""

import json

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.cli.times import parse_time
from tracewatch.otlp.conventions import MODEL_CALLS, OPERATIONS
from tracewatch.overview import overview
from tracewatch.records import STEPS, Span
from tracewatch.stores import open_store

NOON = parse_time("2026-03-02T12:00:00Z")
ADMIN_STATS = {
    *("total_queries", "avg_latency_ms", "total_conversations", "total_llm_calls", "total_llm_cost"),
    *("today_cost", "today_calls", "cost_alert", "anomalies"),
}


def a_span(number, **odd):
    ordinary = {
        "start_time": NOON - 60 * number,
        "trace_id": f"trace-{number // 2}",
        "span_id": f"span-{number}",
        "conversation_id": f"conversation-{number // 4}",
        "duration_ms": 1000.0 + number,
        "input_tokens": 90,
        "output_tokens": 10,
        "total_tokens": 100,
        "cost_usd": 0.5,
        "cost_status": "exact",
        "model_provider": "openai",
    }
    return Span(**ordinary | odd)


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as opened:
        yield opened


def kept(store, spans):
    store.add(spans)
    store.roll_up()
    return overview(store, project="default", since=NOON - 7200, until=NOON + 60)


def test_calls_money_and_latency_are_those_of_the_rows(store):
    found = kept(store, [a_span(number) for number in range(20)])
    assert (found.totals.calls, found.queries, found.conversations) == (20, 10, 5)
    assert found.totals.cost_usd == pytest.approx(10.0)
    assert found.totals.latency_ms == pytest.approx(1009.5)
    assert found.totals.p95_latency_ms == pytest.approx(1018, rel=0.01)
    assert (found.totals.input_tokens, found.totals.output_tokens) == (1800, 200)


def test_what_lies_outside_the_period_or_in_another_project_is_left_out(store):
    found = kept(store, [a_span(1), a_span(2, start_time=NOON - 86_400), a_span(3, project="other")])
    assert found.totals.calls == found.queries == 1


def test_a_period_is_widened_to_whole_minutes_for_every_figure(store):
    store.add([a_span(0, start_time=NOON + 10)])
    store.roll_up()
    found = overview(store, project="default", since=NOON + 20, until=NOON + 30)
    assert (found.since, found.until) == (NOON, NOON + 60)
    assert found.totals.calls == found.queries == 1


def test_money_that_is_not_known_is_said(store):
    found = kept(store, [a_span(0), a_span(1, cost_usd=None, cost_status="unpriced")])
    assert (found.totals.unpriced_calls, found.totals.priced_share) == (1, 0.5)
    assert found.totals.cost_usd == 0.5


def test_failures_are_counted_by_kind(store):
    found = kept(store, [a_span(0), a_span(1, status="error"), a_span(2, status="timeout"), a_span(3)])
    assert found.totals.by_status == {"ok": 2, "error": 1, "timeout": 1, "fallback": 0}
    assert found.totals.failed_share == 0.5


def test_calls_are_those_of_a_model_and_money_is_that_of_all(store):
    """One request: it retrieves, asks a model, uses a tool that costs. One call, whatever is around it."""
    step = {"model_provider": None, "input_tokens": None, "output_tokens": None, "total_tokens": None}
    step |= {"cost_usd": None, "cost_status": "unmetered"}
    found = kept(
        store,
        [
            a_span(0, operation_type="request", duration_ms=9000.0, status="error", **step),
            a_span(1, operation_type="retrieval", **step),
            a_span(2, operation_type="chat", duration_ms=700.0),
            a_span(3, operation_type="tool", **step | {"cost_usd": 0.25, "cost_status": "reported"}),
            a_span(4, duration_ms=900.0),  # of an app that does not say what it does
        ],
    )
    assert (found.totals.calls, found.totals.failed_share, found.totals.latency_ms) == (2, 0.0, 800.0)
    assert (found.totals.cost_usd, found.totals.input_tokens) == (1.25, 180)
    assert found.response()["total_llm_calls"] == found.today.calls == 2
    assert {name: part.calls for name, part in found.shares["operation_type"].items()} == {
        "chat": 1,
        None: 1,
        "tool": 0,
    }


def test_what_is_no_call_of_a_model_is_a_step():
    assert set(OPERATIONS.values()) <= MODEL_CALLS | set(STEPS)
    assert not MODEL_CALLS & set(STEPS)


def test_messages_are_the_old_view_of_the_same_calls(store):
    found = kept(store, [a_span(0), a_span(1, source="messages"), a_span(2, source="messages")])
    assert (found.totals.calls, found.messages_left_out) == (1, 2)


def test_messages_count_where_there_is_nothing_else(store):
    found = kept(store, [a_span(1, source="messages"), a_span(2, source="messages")])
    assert (found.totals.calls, found.messages_left_out) == (2, 0)


def test_an_empty_store_has_zeros_not_errors(store):
    found = kept(store, [])
    assert found.response() == {
        "total_queries": 0,
        "avg_latency_ms": None,
        "total_conversations": 0,
        "total_llm_calls": 0,
        "total_llm_cost": 0.0,
        "today_cost": 0.0,
        "today_calls": 0,
        "cost_alert": False,
        "anomalies": [],
    }


def test_today_is_the_utc_day_of_the_end(store):
    found = kept(store, [a_span(0), a_span(1, start_time=NOON - 86_400)])
    assert (found.today.calls, found.today.cost_usd) == (1, 0.5)


def test_the_command_prints_what_the_admin_page_gets_and_more(store):
    kept(store, [a_span(number) for number in range(20)])
    words = ["stats", "--db", store.path, "--until", "newest", "--format", "json"]
    document = json.loads(CliRunner().invoke(group, words).stdout)
    assert document.keys() >= ADMIN_STATS
    assert document["by_status"]["ok"] == document["total_llm_calls"] == 20
    assert document["breakdown"]["model_provider"][0]["value"] == "openai"


def test_the_command_says_where_the_calls_are(store):
    kept(store, [a_span(0)])
    result = CliRunner().invoke(group, ["stats", "--db", store.path])
    assert "2026-03-02 12:00:00 UTC" in result.stderr
    assert "--until newest" in result.stderr


def test_an_empty_period_is_refused(store):
    result = CliRunner().invoke(group, ["stats", "--db", store.path, "--since", "2026-03-02", "--until", "2026-03-01"])
    assert "is empty" in str(result.exception)
