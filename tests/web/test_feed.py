"""The feed of findings, its trends, and the pages of metrics: what they say, filter and do."""

import dataclasses
import json
import re
from datetime import UTC
from html import unescape

import pytest
import shop
from shop import COSTLY, LONG_NAME, NOW, ONSET, looking_at
from test_pages import words

from tracewatch.access import Caller, create_key
from tracewatch.dealing import deeds_about
from tracewatch.records import Anomaly, Span
from tracewatch.stores import open_store
from tracewatch.web.views import feed
from tracewatch.web.views.period import period_of

HOUR_S = 3600.0
PAGES = (
    *("/anomalies", "/anomalies?since=24h", "/anomalies?view=trends", "/anomalies?view=trends&show=table"),
    *("/anomalies?open=spiky&lanes=model_name", "/anomalies?source=messages", "/metrics", "/metrics?since=7d"),
    *("/metrics/cost_usd", "/metrics/cost_usd?operation_type=chat&view=table", "/metrics/trace_depth"),
    *("/metrics/error_rate?since=30d&by=model_provider", "/metrics/call_count?since=1h", "/metrics/first_seen_model"),
)


def a_finding(id, **odd):
    """A call that took long, as the first form finds it."""
    usual = {
        "anomaly_type": "duration", "metric_name": "duration_ms", "severity": "high", "detector": "spec",
        "detected_value": 9840.0, "expected_value": 4100.0, "threshold_value": 6000.0, "deviation_percentage": 140.0,
        "statistics": {"expectedRange": {"lower": 3000.0, "upper": 6000.0}, "operation_type": "chat", "z": 4.2,
                       "trace_id": "0ddtrace00000001"},
        "occurred_at": NOW - 2 * HOUR_S, "detected_at": NOW - HOUR_S, "trace_id": "0ddtrace00000001",
        "model_id": "claude-sonnet-4-5", "incident_id": None, "description": "Chat took 9.84 s.",
        "contributing_factors": ("the answer was long",), "recommended_actions": ("Limit the answer.",),
    }  # fmt: skip
    return dataclasses.replace(shop.finding(COSTLY), id=id, **usual | odd)


def fill(path):
    with open_store(shop.make(path)) as store:
        store.add([
            a_finding("spiky"),
            a_finding("slow-token", anomaly_type="ttft", metric_name="ttft_ms", severity="low"),
            a_finding("long-name", severity="critical", model_id=LONG_NAME, user_id=LONG_NAME),
            a_finding("of-users", user_id="u1", severity="medium", occurred_at=NOW - 30 * HOUR_S),
            a_finding("old-view", source="messages", metric_name="latency_ms", anomaly_type="latency"),
            a_finding("folded-1", incident_id=COSTLY, occurred_at=ONSET + 60),
            a_finding("folded-2", incident_id=COSTLY, occurred_at=ONSET + 120),
        ])  # fmt: skip
    return str(path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    with looking_at(fill(tmp_path_factory.mktemp("feed") / "feed.db")) as client:
        yield client


@pytest.fixture
def own(tmp_path):
    return fill(tmp_path / "own.db")


def rows_of(html):
    return re.findall(r'<tr data-row id="a-([^"]+)"', html)


@pytest.mark.parametrize(
    "given",
    [
        *({"severity": "high,low"}, {"type": "ttft"}, {"metric": "duration_ms"}, {"model": LONG_NAME}),
        *({"resolution": "dismissed"}, {"source": "messages"}, {"detector": "spec"}, {"incident": COSTLY}),
        *({"operation_type": "chat", "severity": "high"}, {"user_id": "u1"}, {"severity": "high", "model": "none"}),
    ],
    ids=str,
)
def test_what_matches_among_all_is_what_the_store_finds(pages, monkeypatch, given):
    store, asked = pages.app.state.serving.store, feed.wanted(given)
    period = period_of({"since": "30d"}, NOW, UTC)
    everything = feed.seen(store, Caller(project="default"), period)
    found = feed.matching(store, Caller(project="default"), period, asked, everything)
    assert bool(found) == ("none" not in given.values() and "dismissed" not in given.values())
    assert len(found) < len(everything)
    assert found == feed.seen(store, Caller(project="default"), period, asked)
    monkeypatch.setattr(feed, "MOST_COUNTED", len(everything))
    assert feed.matching(store, Caller(project="default"), period, asked, everything) == found


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole(pages, path):
    answer = pages.get(path)
    assert answer.status_code == 200
    assert len(answer.content) <= 100_000
    said = words(answer.text)
    assert not re.search(r"\b(None|nan|inf|Undefined|1 findings|1 calls)\b", said)
    assert answer.text.count("<h1") == 1
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style", answer.text)


def test_the_feed_tells_what_came_against_what_is_usual(pages):
    said = words(pages.get("/anomalies").text).replace("\u202f", " ")
    assert "8 findings, last 7 days" in said
    assert "High Duration Spike duration_ms chat · claude-sonnet-4-5 9.84 s 3.00–6.00 s 2.4×" in said


def test_findings_of_an_incident_are_folded_and_unfold(pages):
    html = pages.get("/anomalies").text
    assert len(rows_of(html)) == 6
    assert "+2 more" in html
    assert len(rows_of(pages.get(f"/anomalies?incident={COSTLY}").text)) == 3


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("severity=low", {"slow-token"}),
        ("type=ttft,latency", {"slow-token", "old-view"}),
        ("metric=latency_ms", {"old-view"}),
        (f"model={LONG_NAME}", {"long-name"}),
        ("source=messages", {"old-view"}),
        ("user_id=u1", {"of-users"}),
        ("operation_type=chat&severity=medium", {"of-users"}),
        ("operation_type=nothing", set()),
        ("resolution=resolved", set()),
        ("since=24h&severity=medium", set()),
    ],
)
def test_filters_stand_in_the_address(pages, query, found):
    html = pages.get(f"/anomalies?{query}").text
    assert set(rows_of(html)) == found
    assert ("No finding matches." in html) == (not found)


def test_the_counts_of_both_sources_stand_beside_each_other(pages):
    said = words(pages.get("/anomalies").text)
    assert "All 8" in said
    assert "llm_traces 7" in said
    assert "messages 1" in said


def test_a_mark_of_a_lane_leads_to_the_findings_of_that_time(pages):
    html = pages.get("/anomalies?severity=low").text
    mark = unescape(re.search(r'<a class="at" href="([^"]+)"', html)[1])
    assert rows_of(pages.get(mark).text) == ["slow-token"]


def test_a_row_opens_with_its_course_its_numbers_and_its_trace(pages):
    html = pages.get("/anomalies?open=spiky").text
    said = words(html).replace("\u202f", " ")
    assert "the answer was long" in said
    assert "Limit the answer." in said
    assert "Expected 4.10 s" in said
    assert "Z 4.2" in said
    assert "/traces/0ddtrace00000001" in html
    assert re.search(r'<svg[^>]*role="img"[^>]*Chat took 9\.84', html)
    part = pages.get("/anomalies/spiky?part=more&back=/anomalies").text
    assert "the answer was long" in part
    assert "<html" not in part
    assert pages.get("/anomalies/spiky", follow_redirects=False).headers["location"].endswith("open=spiky#a-spiky")
    assert pages.get("/anomalies/nothere").status_code == 404


def test_a_link_to_a_finding_shows_it_however_many_came_after_it(own):
    with open_store(own) as store:
        store.add([a_finding(f"later-{number}", occurred_at=NOW - HOUR_S + number) for number in range(60)])
    with looking_at(own) as client:
        html = client.get("/anomalies/spiky").text
        assert rows_of(html)[0] == "spiky"
        assert "the answer was long" in html


def test_findings_are_dealt_with_one_by_one_and_together(own):
    with looking_at(own) as client:
        for verb, more in (
            ("acknowledge", {}),
            ("resolve", {"reason": "fixed"}),
            ("dismiss", {"reason": "too_small"}),
            ("snooze", {"until": str(NOW + 60)}),
            ("note", {"text": "looked at it"}),
        ):
            sent = {"verb": verb, "back": "/anomalies?severity=high", **more}
            answer = client.post("/anomalies/spiky", data=sent, follow_redirects=False)
            assert answer.status_code == 303
            assert answer.headers["location"] == f"/anomalies?severity=high&done={verb}&about=spiky#a-spiky"
        assert "looked at it" in client.get("/anomalies?open=spiky").text
        client.post("/anomalies", data={"verb": "resolve", "id": ["slow-token", "long-name", "no such"]})
        assert client.post("/anomalies/spiky", data={"verb": "snooze", "until": "soon"}).status_code == 400
        assert set(rows_of(client.get("/anomalies?resolution=resolved").text)) == {"slow-token", "long-name"}
    with open_store(own) as store:
        done = deeds_about(store, "default", ["spiky"])
        assert {each.verb for each in done} == {"acknowledge", "resolve", "dismiss", "snooze", "note"}
        assert {each.done_by for each in done} == {"this machine"}


def test_one_users_key_sees_only_that_users_findings_and_deals_with_no_other(own):
    with open_store(own) as store:
        _, secret = create_key(store, project="default", rights=("read", "write"), now=NOW, user_id="u1")
    with looking_at(own) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        html = client.get("/anomalies").text
        assert rows_of(html) == ["of-users"]
        assert "1 finding, last 7 days" in words(html)
        assert LONG_NAME not in client.get("/anomalies?view=trends&lanes=user_id").text
        assert client.get("/anomalies/spiky").status_code == 404
        client.post("/anomalies/spiky", data={"verb": "resolve"})
    with open_store(own) as store:
        found = store.get(Anomaly, {"project": "default", "id": "spiky"})
        assert found.resolution_status == "pending"


def test_trends_show_each_model_and_type_over_time_and_add_up(pages):
    html = pages.get("/anomalies?view=trends").text
    said = words(html)
    assert "By model" in said
    assert "By type" in said
    models = html[html.index(">By model<") : html.index(">By type<")]
    assert "claude-sonnet-4-5" in models
    bars = re.findall(r'title="(\d+) findings?, worst', html[: html.index(">By model<")])
    assert sum(map(int, bars)) == 8


def test_nothing_found_says_what_was_watched(own):
    with open_store(own) as store:
        store.remove(Anomaly, [])
    with looking_at(own) as client:
        said = words(client.get("/anomalies").text)
        assert re.search(r"Nothing unusual in the last 7 days: [\d,]+ calls, \d+ kinds of call watched\.", said)


def test_metrics_stand_in_the_order_of_how_unusual_they_were(pages):
    html = pages.get("/metrics").text
    names = re.findall(r'class="row" href="/metrics/([a-z_]+)"', html)
    assert names[0] == "cost_usd"
    assert {"duration_ms", "error_rate", "call_count"} <= set(names)
    said = words(html).replace("\u202f", " ")
    assert "outside the usual, last 24 hours" in said
    assert re.search(
        r"cost_usd [\d.]+¢ (?:[\d.]+–[\d.]+¢|not known yet) \d+ % of the time as calls come Critical", said
    )


def test_a_metric_says_how_it_stands_and_lies_apart_by_slice(pages):
    html = pages.get("/metrics/cost_usd?by=operation_type").text
    said = words(html).replace("\u202f", " ")
    assert re.search(
        r"Cost per call: [\d.]+¢ in the last 24 hours(?:, usually [\d.]+–[\d.]+¢)?; outside of it \d+ %", said
    )
    assert 'operation_type=chat" title="chat"' in html
    numbers = json.loads(unescape(re.search(r'data-u="([^"]+)"', html)[1]))
    assert len(numbers["values"]) == len(numbers["low"]) == len(numbers["tips"])
    sliced = words(pages.get("/metrics/cost_usd?operation_type=chat").text)
    assert "of operation chat" in sliced
    assert "uplot" not in pages.get("/metrics/cost_usd?view=table").text
    assert pages.get("/metrics/nothere").status_code == 404


def test_the_page_of_metrics_is_for_browsers_alone(pages):
    assert pages.get("/metrics").headers["content-type"].startswith("text/html")
    other = pages.get("/metrics", headers={"accept": "text/plain"})
    assert not other.headers["content-type"].startswith("text/html")


def test_an_old_database_shows_its_last_days(own):
    with looking_at(own, now=NOW + 90 * 24 * HOUR_S) as client:
        assert len(rows_of(client.get("/anomalies").text)) == 6
        assert "No calls since" in words(client.get("/metrics").text)


def test_an_empty_database_has_nothing_to_show_and_says_so(tmp_path):
    with looking_at(str(tmp_path / "new.db")) as client:
        for path in ("/anomalies", "/metrics", "/traces"):
            said = client.get(path).text
            assert "No calls yet. Add two lines to your program" in words(said)
            assert 'href="/">Show me the lines' in said
    with open_store(str(tmp_path / "new.db")) as store:
        assert store.count(Span) == 0
