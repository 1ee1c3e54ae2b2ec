"""tracewatch notices by itself what it loses, what comes late, and what it cannot price."""

import dataclasses
import shutil

import pytest

from tracewatch import pricing, watch
from tracewatch.capture.losses import loss_of
from tracewatch.checks import Health, Vitals
from tracewatch.checks.health import BEHIND_S
from tracewatch.live.rounds import HEALTH_S, Rounds
from tracewatch.records import Delivery, Headway, Incident, Intake, Span
from tracewatch.stores import open_store
from tracewatch.web.bodies import Room
from tracewatch.web.counters import Counters
from tracewatch.web.reporting import Reporting

NOW = 1_790_000_000.0
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def calls(store, count, *, until=NOW, over=600.0, **odd):
    store.add(
        Span(
            trace_id=f"{until}{odd}{number}", span_id="s", start_time=until - over * number / count,
            model_name="gpt-4o-mini", model_provider="openai", operation_type="chat", status="ok", input_tokens=1000,
            output_tokens=10, **odd,
        )
        for number in range(1, count + 1)
    )  # fmt: skip


def loss(store, rows, at=NOW - 120, service="shop"):
    """The row that the guest writes about what it had to drop."""
    fields = loss_of({"the queue was full": rows}) | {"start_time": at, "end_time": at, "service_name": service}
    store.add([Span(**fields)])


def checked(store, now=NOW, *, headway=None, alone=True, health=None, rows=0):
    watch.catch_up(store)
    vitals = Vitals(headway=headway or Headway(updated_at=now), rows=rows, alone=alone)
    found = (health or Health(store, "default")).checks(vitals, now)
    return {(each.metric, each.slice.get("service_name")): each for each in found}


def test_when_all_is_well_nothing_is_bad(store):
    calls(store, 100, service_name="shop")
    assert [each for each in checked(store, pricing_now()).values() if each.bad] == []


def pricing_now():
    """A moment at which the price table is fresh."""
    import time

    return time.time() - (pricing.table_age_days(time.time()) - 1) * DAY


def test_what_programs_dropped_is_told_with_its_share_and_service(store):
    calls(store, 90, over=100, service_name="shop")
    calls(store, 50, over=100, service_name="other")
    loss(store, 10)
    lost = checked(store)["ingest_loss_rate", "shop"]
    assert lost.bad
    assert lost.observed == pytest.approx(0.1, abs=0.01)
    assert "losing 9.9 % of the rows of shop since" in lost.title
    assert "10 because the queue was full" in lost.factors
    assert ("ingest_loss_rate", "other") not in checked(store)
    assert ("ingest_loss_rate", "shop") not in checked(store, NOW + HOUR)


@pytest.mark.parametrize(("rows", "severity"), [(1, "medium"), (10, "high"), (100, "critical")])
def test_a_larger_loss_is_worse(store, rows, severity):
    calls(store, 90, over=100, service_name="shop")
    loss(store, rows)
    assert checked(store)["ingest_loss_rate", "shop"].severity == severity


def family(store, count, missing, at):
    """Requests of a parent with a child, some of whose parents do not come."""
    for number in range(count):
        trace, start = f"{at} {number}", at + number
        spans = [
            Span(trace_id=trace, span_id="child", parent_span_id="parent", start_time=start, service_name="shop"),
            Span(trace_id=trace, span_id="parent", start_time=start - 1, service_name="shop"),
        ]
        store.add(spans[: 1 if number < missing else 2])


def test_parents_that_do_not_come_are_lost_spans(store):
    part = (NOW - 900) // 600 * 600 - 600
    family(store, 100, 2, part - HOUR)
    family(store, 100, 16, part)
    orphaned = checked(store)["orphan_rate", "shop"]
    assert orphaned.bad
    assert (orphaned.observed, orphaned.expected) == (0.16, 0.02)
    assert "About 14 % of the spans of shop are lost" in orphaned.title


def test_programs_that_never_send_parents_lose_nothing(store):
    part = (NOW - 900) // 600 * 600 - 600
    family(store, 100, 100, part - HOUR)
    family(store, 100, 100, part)
    assert checked(store)["orphan_rate", "shop"].bad is False


def test_without_anything_to_compare_with_nothing_is_said_of_orphans(store):
    family(store, 100, 50, (NOW - 900) // 600 * 600 - 600)
    assert checked(store)["orphan_rate", "shop"].bad is None


def test_rows_that_come_too_late_are_told(store):
    health, headway = Health(store, "default"), Headway(updated_at=NOW)
    checked(store, health=health, headway=headway, rows=1000)
    late = dataclasses.replace(headway, late_rows=100)
    found = checked(store, NOW + 600, health=health, headway=late, rows=1900)["late_rate", None]
    assert found.bad
    assert found.observed == 0.1
    over = checked(store, NOW + 2 * HOUR, health=health, headway=late, rows=9000)
    assert not over["late_rate", None].bad


def test_detection_that_is_behind_is_told(store):
    behind = Headway(updated_at=NOW, behind_s=BEHIND_S + 300)
    assert "20 min behind" in checked(store, headway=behind)["detection_lag_s", None].title


def test_calls_without_a_price_are_told_with_their_models(store):
    calls(store, 60)
    store.add(
        Span(trace_id=f"u{n}", span_id="s", start_time=NOW - n, model_name="nobody-knows", model_provider="acme",
             operation_type="chat", input_tokens=10, output_tokens=1)
        for n in range(40)
    )  # fmt: skip
    found = checked(store)["unpriced_share", None]
    assert found.bad
    assert found.observed == pytest.approx(0.4)
    assert found.factors == ("40 calls of nobody-knows",)


@pytest.mark.parametrize(
    ("free", "bad", "severity"), [(20, False, "medium"), (9, True, "medium"), (4, True, "high"), (1, True, "critical")]
)
def test_a_disk_that_fills_up_is_told_before_it_is_full(store, monkeypatch, free, bad, severity):
    usage = shutil.disk_usage("/")._replace(total=100 * 10**9, used=(100 - free) * 10**9, free=free * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    found = checked(store)["disk_used_share", None]
    assert (found.bad, found.severity) == (bad, severity)
    assert f"{free}.0 GB are left" in found.title
    assert ("disk_used_share", None) not in checked(store, alone=False)


def test_an_old_price_table_is_told_in_one_project(store):
    later = pricing_now() + 40 * DAY
    assert checked(store, later)["price_table_age_days", None].bad
    assert ("price_table_age_days", None) not in checked(store, later, alone=False)


def test_rounds_open_and_close_what_is_found(store):
    calls(store, 90, over=100, service_name="shop")
    loss(store, 10)
    rounds = Rounds(store)
    passed = rounds.go(NOW)["default"]
    lost = [each for each in passed.new if each.metric_name == "ingest_loss_rate"]
    assert [each.detector for each in lost] == ["self"]
    assert rounds.go(NOW + HEALTH_S)["default"].new == ()
    for step in range(1, 5):
        rounds.go(NOW + 900 * step)
    states = {each.metric_name: each.state for each in store.page(Incident).records}
    assert states["ingest_loss_rate"] == "closed"


def test_requests_that_a_server_could_not_take_are_told_while_that_lasts(store):
    health = Health(store, "default")
    server = Intake(server="box 7", updated_at=NOW, requests=1000)
    store.put([server])
    checked(store, health=health)
    store.put([dataclasses.replace(server, requests=1900, refused_requests=100, updated_at=NOW + 60, queue_share=0.9)])
    found = checked(store, NOW + 60, health=health)
    assert found["ingest_refused_rate", None].bad
    assert found["ingest_refused_rate", None].observed == 0.1
    assert found["ingest_queue_share", None].bad
    later = checked(store, NOW + 60 + 900, health=health)
    assert not later["ingest_refused_rate", None].bad
    assert not later["ingest_queue_share", None].bad


def test_a_server_writes_what_it_counted(store):
    counters = Counters()
    reporting = Reporting(store, counters, Room(1000, counters), clock=lambda: NOW)
    reporting.report()
    counters.requests, counters.queued_bytes = 5, 500
    counters.refuse("full")
    counters.refuse("access")
    reporting.report()
    (found,) = store.page(Intake).records
    assert (found.requests, found.refused_requests, found.queue_share) == (5, 1, 0.5)


def test_alerts_that_reach_nobody_are_told(store):
    sent = Delivery(
        key="a", state="dead", channel="pager", rule="mine", event="opened", severity="high", title="x", message={},
        created_at=NOW - 60, due_at=NOW, attempts=8, answer="410 Gone",
    )  # fmt: skip
    store.put([sent, dataclasses.replace(sent, key="b", state="failed", attempts=1)])
    watch.catch_up(store)
    found = Health(store, "default").checks(Vitals(headway=Headway(updated_at=NOW), rows=0, alone=False), NOW)
    (told,) = [each.title for each in found if each.metric == "failed_deliveries"]
    assert told == "1 alert does not reach pager: 410 Gone"
