"""Steps around calls are no calls: every page, route and metric that counts calls comes to the same number."""

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from shop import NOW, a_span, looking_at
from test_pages import words

from tracewatch.access import Caller
from tracewatch.cli import group
from tracewatch.records import Span, iso
from tracewatch.stores import Filter, open_store
from tracewatch.web.views import trace
from tracewatch.web.views.rolled import CALLS_ALONE

DAY = 86_400.0
TODAY, YESTERDAY = 12, 8  # requests
CALLS_A_REQUEST = 2


def a_request(number, at):
    """An agent that looks something up and calls a model twice; the look-up fails, the calls do not."""
    trace = f"request{number:04}"
    whose = {"user_id": "u7", "session_id": "s7", "usage_type": "shop"}
    llm = {
        "operation_type": "chat", "model_name": "gpt-4o", "model_provider": "openai", "input_tokens": 1000,
        "output_tokens": 100, "cost_usd": 0.01, "cost_status": "exact",
    }  # fmt: skip
    return [
        a_span(trace, 0, None, "POST /ask", at, 3.0, operation_type="agent", **whose),
        a_span(trace, 1, 0, "search", at + 0.1, 0.2, operation_type="tool", status="error", **whose),
        a_span(trace, 2, 0, "lookup", at + 0.3, 0.2, operation_type="retrieval", **whose),
        *(a_span(trace, 3 + turn, 0, "chat", at + 0.5 + turn, 0.9, **llm, **whose) for turn in range(CALLS_A_REQUEST)),
    ]


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("calls") / "w.db")
    with open_store(path, create=True) as store:
        for number in range(TODAY):
            store.add(a_request(number, NOW - 1200 - 240 * number))
        for number in range(YESTERDAY):
            store.add(a_request(100 + number, NOW - DAY - 1200 - 240 * number))
        store.roll_up()
    return path


@pytest.fixture(scope="module")
def client(db):
    with looking_at(db) as client:
        yield client


def test_the_store_and_the_screens_mean_the_same(db, client):
    with open_store(db) as store:
        since = Filter("start_time", ">=", (NOW // DAY * DAY,))
        assert store.count(Span, [CALLS_ALONE, since]) == TODAY * CALLS_A_REQUEST
    assert f"Calls today {TODAY * CALLS_A_REQUEST} " in words(client.get("/").text)


@pytest.mark.parametrize(
    ("path", "find"),
    [
        ("/api/v1/stats", lambda told: told["calls"]),
        ("/api/admin/stats", lambda told: told["today_calls"]),
        ("/api/v1/cost?since=24h", lambda told: told["calls"]),
        ("/api/v1/cost?since=24h&by=operation_type", lambda told: sum(each["calls"] for each in told["parts"])),
        ("/api/v1/users?since=24h", lambda told: told["data"][0]["calls"]),
        ("/api/v1/sessions?since=24h", lambda told: told["data"][0]["calls"]),
        ("/api/v1/traces/totals?since=24h", lambda told: told["calls"]),
        ("/api/v1/traces/request0003", lambda told: told["calls"] * TODAY),
    ],
)
def test_routes_count_calls(client, path, find):
    assert find(client.get(path, headers={"accept": "application/json"}).json()) == TODAY * CALLS_A_REQUEST


def test_failed_steps_are_no_failed_calls(client):
    told = client.get("/api/v1/stats", headers={"accept": "application/json"}).json()
    assert told["error_rate"] == 0
    assert client.get("/api/v1/users?since=24h").json()["data"][0]["failed"] == 0


def test_the_bridge_of_cost_counts_calls(client):
    said = words(client.get("/cost?since=24h").text)
    bridge = re.search(r"(more|fewer) calls.*?(\d+) → (\d+)", said)
    assert bridge
    assert bridge.groups() == ("more", str(YESTERDAY * CALLS_A_REQUEST), str(TODAY * CALLS_A_REQUEST))


def test_pages_of_people_count_calls(client):
    for path in ("/users?since=24h", "/sessions?since=24h"):
        assert f'title="{TODAY * CALLS_A_REQUEST}"' in client.get(path).text


def test_the_metric_counts_calls_and_a_step_counts_where_it_is_named(client):
    def total(**slice):
        query = {"since": "24h", **slice}
        told = client.get("/api/v1/metrics/call_count/series", params=query, headers={"accept": "application/json"})
        return sum(each["value"] or 0 for each in told.json()["points"])

    assert total() == TODAY * CALLS_A_REQUEST
    assert total(operation_type="tool") == TODAY


def test_prometheus_counts_calls(client):
    text = client.get("/metrics", headers={"accept": "text/plain"}).text
    counted = [float(each) for each in re.findall(r"^tracewatch_calls_total\{[^}]*\} (\S+)", text, re.MULTILINE)]
    assert sum(counted) == (TODAY + YESTERDAY) * CALLS_A_REQUEST


def test_the_command_of_metrics_counts_calls(db):
    result = CliRunner().invoke(group, ["metrics", "--db", db, "--until", iso(NOW), "--format", "json"])
    typical = {each["metric"]: each["typical"] for each in json.loads(result.stdout)}
    assert typical["call_count"] == typical["calls_per_hour"] > 0


def test_a_trace_too_long_to_be_read_in_full_comes_to_the_same(tmp_path, monkeypatch):
    spans = [replace(each, model_name="gpt-4o") for each in a_request(0, NOW - 60)]  # agents name their model, too
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        store.add(spans)
        for whole in (trace.WHOLE, 0):
            monkeypatch.setattr(trace, "WHOLE", whole)
            told = trace.trace(store, Caller(project="default"), spans[0].trace_id, NOW)
            assert told.summary.calls == CALLS_A_REQUEST
