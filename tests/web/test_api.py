"""The API through HTTP: exact shapes, pages, dealing with findings, keys, prices, and files."""

import csv
import io
import json

import pyarrow.parquet as pq
import pytest
import shop

from tracewatch.access import Caller
from tracewatch.imports import import_file
from tracewatch.records import STEPS, Anomaly, ApiKey, PriceOverride, Span, columns, iso
from tracewatch.stores import Filter, open_store
from tracewatch.web.api import traces
from tracewatch.web.views import spending
from tracewatch.web.views.summary import of_long, summary

CALL = {
    *("id", "timestamp", "provider", "model", "usage_type", "input_tokens", "output_tokens", "cost_usd"),
    *("trace_id", "latency_ms", "status", "error_message"),
}
TYPES = ("duration", "ttft", "throughput", "tokens", "cache_miss", "cost", "rag_latency", "rag_relevance",
         "context_bloat", "queue_time")  # fmt: skip


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    return shop.make(tmp_path_factory.mktemp("api") / "w.db")


@pytest.fixture(scope="module")
def client(db):
    with shop.looking_at(db) as client:
        client.headers["accept"] = "application/json"
        yield client


@pytest.fixture
def empty(tmp_path):
    with open_store(str(tmp_path / "e.db"), create=True):
        pass
    with shop.looking_at(str(tmp_path / "e.db")) as client:
        client.headers["accept"] = "application/json"
        yield client


@pytest.fixture
def own(tmp_path):
    """A client of a store of one's own, to change things in."""
    with shop.looking_at(shop.make(tmp_path / "w.db")) as client:
        client.headers["accept"] = "application/json"
        yield client


def get(client, path, expect=200, /, **query):
    answer = client.get(path, params=query)
    assert answer.status_code == expect, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_detection_answers_zeros_on_an_empty_store(empty):
    answer = empty.post("/api/analytics/anomalies/detect")
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "analyzed_traces": 0,
        "anomaly_types_analyzed": 10,
        "anomalies_detected": 0,
        "anomalies_saved": 0,
        "breakdown": dict.fromkeys(TYPES, 0),
    }


def test_detection_saves_each_finding_once_with_its_trace(own):
    store = own.app.state.serving.store
    before = store.count(Anomaly)
    first = own.post("/api/analytics/anomalies/detect").json()
    assert list(first) == [
        *("success", "analyzed_traces", "anomaly_types_analyzed", "anomalies_detected", "anomalies_saved", "breakdown")
    ]
    assert tuple(first["breakdown"]) == TYPES
    assert first["anomalies_detected"] == sum(first["breakdown"].values()) > 0
    assert store.count(Anomaly) >= before + first["anomalies_saved"] > before
    again = own.post("/api/analytics/anomalies/detect").json()
    assert (again["anomalies_detected"], again["anomalies_saved"]) == (first["anomalies_detected"], 0)
    found = get(own, "/api/v1/anomalies", detector="spec", limit=200)["data"]
    assert found
    assert all(each["statistics"]["trace_id"] for each in found if each["span_id"])


def test_newest_calls(client):
    calls = get(client, "/api/admin/traces")
    assert len(calls) == 50
    assert all(set(each) == CALL for each in calls)
    times = [each["timestamp"] for each in calls]
    assert times == sorted(times, reverse=True)
    assert len(get(client, "/api/admin/traces", limit=200)) == 200
    assert {each["status"] for each in get(client, "/api/admin/traces", status="error")} == {"error"}
    assert get(client, "/api/admin/traces", since="1s", usage_type="none") == []
    for wrong in (0, 201, "x"):
        assert "limit" in get(client, "/api/admin/traces", 422, limit=wrong)["error"]


def test_calls_of_a_trace_are_the_oldest_first(client):
    calls = get(client, "/api/admin/traces/0ddtrace00000001")
    times = [each["timestamp"] for each in calls]
    assert len(calls) == 7
    assert times == sorted(times)
    assert "no trace 'none'" in get(client, "/api/admin/traces/none", 404)["error"]


def test_figures(client, empty):
    figures = get(client, "/api/admin/stats")
    assert list(figures) == [
        *("total_queries", "avg_latency_ms", "total_conversations", "total_llm_calls", "total_llm_cost"),
        *("today_cost", "today_calls", "cost_alert", "anomalies"),
    ]
    store = client.app.state.serving.store
    assert figures["total_llm_calls"] == store.count(Span, [Filter("operation_type", "!=", tuple(STEPS))])
    assert all(set(each) == {"type", "severity", "message", "details"} for each in figures["anomalies"])
    assert {each["severity"] for each in figures["anomalies"]} <= {"critical", "warning", "info"}
    assert get(empty, "/api/admin/stats") == {
        **dict.fromkeys(("total_queries", "total_conversations", "total_llm_calls", "today_calls"), 0),
        "avg_latency_ms": None,
        "total_llm_cost": 0.0,
        "today_cost": 0.0,
        "cost_alert": False,
        "anomalies": [],
    }


def test_pages_of_calls_give_each_once(client):
    seen, cursor = [], None
    while True:
        page = get(client, "/api/v1/traces", since="3h", limit=170, **({"cursor": cursor} if cursor else {}))
        seen += [(each["trace_id"], each["span_id"]) for each in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    where = [Filter("start_time", ">=", (shop.NOW - 10_800,)), Filter("start_time", "<", (shop.NOW,))]
    assert len(seen) == len(set(seen)) == client.app.state.serving.store.count(Span, where)


def test_calls_meet_their_conditions(client):
    found = get(client, "/api/v1/traces", status="error,timeout", cost_usd="", since="7d")["data"]
    assert {each["status"] for each in found} == {"error", "timeout"}
    dear = get(client, "/api/v1/traces", cost_usd=">0.05")["data"]
    assert dear
    assert all(each["cost_usd"] > 0.05 for each in dear)
    assert "is a number" in get(client, "/api/v1/traces", 400, cost_usd=">dear")["error"]
    assert get(client, "/api/v1/traces/totals", since="24h")["calls"] > 0


def test_a_trace(client):
    trace = get(client, "/api/v1/traces/0ddtrace00000001")
    assert (trace["name"], trace["failed"], trace["fallbacks"], len(trace["spans"])) == ("POST /ask", 2, 1, 7)


def test_a_trace_of_many_calls_is_told_in_part_and_comes_to_the_same(client, monkeypatch):
    path = "/api/v1/traces/0ddtrace00000001"
    whole = get(client, path)
    monkeypatch.setattr(traces, "MOST_SPANS", 4)
    part = get(client, path)
    assert part["spans"] == whole["spans"][-4:]
    rest = get(client, "/api/v1/traces", trace_id="0ddtrace00000001", cursor=part["next"])
    assert [*reversed(rest["data"]), *part["spans"]] == whole["spans"]
    without = {"spans": None, "next": None}
    assert {**part, **without} == {**whole, **without}


def test_what_a_trace_comes_to_is_the_same_by_columns(client):
    store, caller = client.app.state.serving.store, Caller(project="default")
    for each in ("0ddtrace00000001", "longtrace0000001", "question0003"):
        assert of_long(store, caller, each) == summary(store.trace("default", each))
    assert of_long(store, caller, "none") is None


def test_a_long_trace_of_steps_without_one_above_has_the_name_of_the_longest(tmp_path):
    steps = [("retrieve", 0.0, 50.0), ("answer", 1.0, 4_000.0), ("rate", 6.0, 70.0)]
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        store.add(
            Span(trace_id="t", span_id=name, span_name=name, start_time=1_772_409_600.0 + at, duration_ms=ms)
            for name, at, ms in steps
        )
        told = of_long(store, Caller(project="default"), "t")
        assert told == summary(store.trace("default", "t"))
        assert told.name == "answer"


def test_incidents_are_listed_told_and_dealt_with(own):
    listed = get(own, "/api/v1/incidents", tab="open")["data"]
    assert [each["severity"] for each in listed] == ["critical", "low"]
    assert {each["id"] for each in get(own, "/api/v1/incidents", severity="high")["data"]} == {shop.OVER}
    whole = get(own, f"/api/v1/incidents/{shop.COSTLY}")
    assert [each["id"] for each in whole["anomalies"]] == [f"root-{shop.COSTLY}"]
    path = f"/api/v1/incidents/{shop.COSTLY}/deeds"
    done = own.post(path, json={"verb": "dismiss", "reason": "noise", "text": "too small"})
    assert (done.status_code, done.json()["reason"]) == (201, "noise")
    after = get(own, f"/api/v1/incidents/{shop.COSTLY}")
    assert (after["resolution_status"], after["deeds"][0]["text"]) == ("dismissed", "too small")
    assert after["anomalies"][0]["resolution_status"] == "dismissed"
    assert "verb" in own.post(path, json={"verb": "sing"}).json()["error"]
    assert "future" in own.post(path, json={"verb": "snooze"}).json()["error"]
    assert own.post("/api/v1/incidents/none/deeds", json={"verb": "note", "text": "x"}).status_code == 404


def test_findings_are_dealt_with(own):
    path = f"/api/v1/anomalies/root-{shop.COSTLY}"
    assert own.post(f"{path}/deeds", json={"verb": "acknowledge"}).status_code == 201
    assert get(own, path)["acknowledged"] is True
    assert get(own, "/api/v1/anomalies", severity="critical", since="7d")["data"][0]["id"] == f"root-{shop.COSTLY}"


def test_a_series_lies_beside_its_range(client):
    series = get(client, "/api/v1/metrics/cost_usd/series", since="6h", operation_type="chat")
    last = [each for each in series["points"] if each["value"] is not None][-1]
    assert last["value"] > last["upper"] > last["lower"]
    assert "no series" in get(client, "/api/v1/metrics/nothing/series", 404)["error"]
    assert "cannot ask" in get(client, "/api/v1/metrics/cost_usd/series", 400, colour="red")["error"]
    keys = {each["key"]: each for each in get(client, "/api/v1/metrics")}
    assert keys["cost_usd"]["has_series"]


@pytest.mark.parametrize("by", ["model_name", "user_id"])
def test_cost_adds_up(client, by):
    cost = get(client, "/api/v1/cost", by=by, since="7d")
    assert cost["calls"] > 0
    if by == "model_name":
        assert sum(each["cost_usd"] for each in cost["parts"]) == pytest.approx(cost["cost_usd"])
    else:
        assert "u1" in {each["value"] for each in cost["parts"]}
        assert sum(each["cost_usd"] for each in cost["parts"]) <= cost["cost_usd"] + 1e-9


def test_sessions_and_users(client):
    for path, value in (("sessions", "s1"), ("users", "u1")):
        found = get(client, f"/api/v1/{path}", since="24h", limit=5000)
        (one,) = [each for each in found["data"] if each["value"] == value]
        assert one["first"] < one["last"]
        assert found["total"] == len(found["data"]) == len({each["value"] for each in found["data"]})
        first = get(client, f"/api/v1/{path}", since="24h", limit=1)
        assert first == {"data": found["data"][:1], "total": found["total"]}


def test_what_takes_long_is_not_counted(client, monkeypatch):
    for most in (0, 10_000):
        monkeypatch.setattr(spending, "MOST_COUNTED", most)
        found = get(client, "/api/v1/sessions", since="7d", limit=2)
        assert found["total"] == (
            None if most == 0 else len(get(client, "/api/v1/sessions", since="7d", limit=5000)["data"])
        )


def test_jobs_show_their_last_run(own):
    store = own.app.state.serving.store
    for number, status in enumerate(("ok", "error")):
        store.add([
            Span(
                trace_id=f"job{number}", span_id="1", start_time=shop.NOW - 7200 + number * 3600, status=status,
                model_provider="system", model_name="batch", usage_type="extraction_batch", duration_ms=5000.0,
                metadata={"extracted": 12, "failed": 3, "source": "mail"},
            )
        ])  # fmt: skip
    store.roll_up()
    (job,) = get(own, "/api/v1/jobs")
    assert (job["name"], job["runs"], job["failed_runs"]) == ("extraction_batch", 2, 1)
    assert job["last_run"]["status"] == "error"
    assert job["last_run"]["counts"] == {"extracted": 12.0, "failed": 3.0}
    assert len(get(own, "/api/v1/jobs/extraction_batch/runs")) == 2


def test_prices_of_ones_own(own):
    price = {"pattern": "my-model", "input_per_million": 1.5, "output_per_million": 6}
    assert own.put("/api/v1/prices", json=price).status_code == 200
    assert [each["pattern"] for each in get(own, "/api/v1/prices")] == ["my-model"]
    assert own.put("/api/v1/prices", json={**price, "pattern": "("}).status_code == 400
    assert own.delete("/api/v1/prices", params={"pattern": "my-model"}).json() == {"removed": 1}
    assert own.app.state.serving.store.count(PriceOverride) == 0


def test_projects_say_what_is_kept(own):
    put = own.put("/api/v1/projects/default", json={"content_allowed": True, "retention_days": 90})
    assert put.json()["retention_days"] == 90
    (project,) = get(own, "/api/v1/projects")
    assert (project["project"], project["content_allowed"]) == ("default", True)
    assert own.put("/api/v1/projects/other", json={}).status_code == 403


def test_no_first_key_locks_everybody_out(own):
    refused = own.post("/api/v1/keys", json={"rights": ["read", "write"]})
    assert refused.status_code == 400
    assert "it is the first one" in refused.text
    assert own.get("/api/v1/keys").json() == []
    assert own.post("/api/v1/keys", json={}).json()["rights"] == ["read", "write", "admin"]


def test_keys_are_told_once_and_end_at_once(own):
    made = own.post("/api/v1/keys", json={"name": "admin", "rights": ["admin"]}).json()
    as_admin = {"authorization": f"Bearer {made['key']}"}
    assert own.get("/api/v1/keys").status_code == 401
    listed = own.get("/api/v1/keys", headers=as_admin)
    assert made["key"] not in listed.text
    assert "digest" not in listed.json()[0]
    reader = own.post("/api/v1/keys", json={"rights": ["read"], "user_id": "u1"}, headers=as_admin).json()
    as_reader = {"x-api-key": reader["key"]}
    assert own.get("/api/v1/about", headers=as_reader).json()["user_id"] == "u1"
    assert own.post("/api/analytics/anomalies/detect", headers=as_reader).status_code == 403
    assert own.get("/api/v1/keys", headers=as_reader).status_code == 403
    taken = own.delete(f"/api/v1/keys/{reader['id']}", headers=as_admin)
    assert taken.json()["revoked_at"] is not None
    assert own.get("/api/v1/about", headers=as_reader).status_code == 401
    assert own.app.state.serving.store.count(ApiKey) == 2


def test_what_is_not_there_is_said_in_one_sentence(client):
    assert "/api/v1/nothing" in get(client, "/api/v1/nothing", 404)["error"]
    answer = client.delete("/api/v1/stats")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert "DELETE" in answer.json()["error"]


def test_files_hold_what_is_stored_and_come_back(client, tmp_path):
    query = {"since": "3h", "status": "ok"}
    files = {form: client.get("/api/v1/export", params={"format": form, **query}) for form in ("csv", "jsonl")}
    rows = list(csv.DictReader(io.StringIO(files["csv"].text)))
    lines = [json.loads(line) for line in files["jsonl"].text.splitlines()]
    parquet = client.get("/api/v1/export", params={"format": "parquet", **query})
    table = pq.read_table(io.BytesIO(parquet.content))
    assert len(rows) == len(lines) == table.num_rows > 100
    assert table.column_names == list(rows[0]) == [each.name for each in columns(Span)]
    assert "attachment" in parquet.headers["content-disposition"]
    with open_store(str(tmp_path / "again.db"), create=True) as again:
        (tmp_path / "f.parquet").write_bytes(parquet.content)
        assert import_file(tmp_path / "f.parquet", again, kind="traces").stored == len(rows)


def test_findings_and_incidents_as_files(client):
    for what, expected in (("anomalies", 1), ("incidents", 3)):
        text = client.get("/api/v1/export", params={"what": what, "format": "jsonl", "since": "30d"}).text
        assert len(text.splitlines()) == expected


@pytest.mark.parametrize("path", ["/", "/cost", "/traces", "/api/v1/cost"])
@pytest.mark.parametrize(
    "time",
    ["from=0001-01-01", "to=0001-01-01", "to=9999-12-31", "since=99999999999d", f"since={'9' * 400}h", "since=100000d"],
)
def test_times_beyond_all_calls_are_refused(client, path, time):
    assert client.get(f"{path}?{time}").status_code == 400


def test_ten_years_are_exported_and_two_are_drawn(client):
    assert client.get("/api/v1/export?since=3650d&status=error").status_code == 200
    assert client.get("/traces?since=730d").status_code == 200
    refused = client.get("/traces?since=900d")
    assert (refused.status_code, "800 are the most" in refused.text) == (400, True)


def test_more_conditions_than_can_be_asked_are_refused(client):
    query = "&".join(f"model_name=!{number}" for number in range(1_500))
    refused = client.get(f"/api/v1/traces?{query}")
    assert (refused.status_code, "1,500 conditions" in refused.text) == (400, True)


def test_what_was_taught_is_listed_by_pages_and_taken_back(own):
    for id_ in (shop.COSTLY, shop.OVER):
        own.post(f"/api/v1/incidents/{id_}/deeds", json={"verb": "dismiss", "reason": "too_small"})
    first = get(own, "/api/v1/lessons", limit=1)
    second = get(own, "/api/v1/lessons", limit=1, cursor=first["next"])
    lessons = [*first["data"], *second["data"]]
    assert {each["about"] for each in lessons} == {shop.COSTLY, shop.OVER}
    assert get(own, "/api/v1/lessons", limit=1, cursor=second["next"])["data"] == [] if second["next"] else True
    taken = own.delete(f"/api/v1/lessons/{lessons[0]['id']}").json()
    assert taken["until"] is not None
    assert own.delete(f"/api/v1/lessons/{lessons[0]['id']}").json() == taken
    assert [each["id"] for each in get(own, "/api/v1/lessons", counting=True)["data"]] == [lessons[1]["id"]]
    assert get(own, "/api/v1/lessons/worth")[0]["noise"] >= 1
    assert own.delete("/api/v1/lessons/nothing").status_code == 404


def test_lessons_of_others_are_not_told_to_a_key_of_one_user(own):
    own.post(f"/api/v1/incidents/{shop.COSTLY}/deeds", json={"verb": "dismiss", "reason": "too_small"})
    (lesson,) = get(own, "/api/v1/lessons")["data"]
    owner = own.post("/api/v1/keys", json={}).json()["key"]
    made = own.post("/api/v1/keys", json={"user_id": "u1"}, headers={"x-api-key": owner}).json()
    own.headers["x-api-key"] = made["key"]
    assert get(own, "/api/v1/lessons")["data"] == []
    assert get(own, "/api/v1/lessons/worth") == []
    assert own.delete(f"/api/v1/lessons/{lesson['id']}").status_code == 404


def test_the_bridge_of_cost_adds_up_to_what_the_page_says(client):
    told = get(client, "/api/v1/cost/bridge", since="24h")
    assert told["before_usd"] + sum(each["change_usd"] for each in told["parts"]) == pytest.approx(told["after_usd"])
    assert told["after_usd"] == pytest.approx(get(client, "/api/v1/cost", since="24h")["cost_usd"], rel=0.001)
    assert [each["name"] for each in told["parts"]] == [
        *("calls", "tokens per call", "model mix", "cache share", "price", "unexplained")
    ]
    assert get(client, "/api/v1/cost/bridge", to="2020-01-02T00:00Z")["parts"] == []


def test_the_forecast_reaches_beyond_what_was_spent(client):
    told = get(client, "/api/v1/cost/forecast")
    assert 0 < told["day"]["so_far_usd"] <= told["month"]["so_far_usd"]
    assert told["day"]["so_far_usd"] < told["day"]["low_usd"] < told["day"]["high_usd"]


def test_a_project_that_was_never_described_was_created_with_its_first_call(client):
    (told,) = [each for each in get(client, "/api/v1/projects") if each["project"] == "default"]
    first = client.app.state.serving.store.extent(Span)[0]
    assert told["created_at"] == iso(first)
