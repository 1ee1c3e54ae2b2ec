"""How live detection stands is written down by whoever watches, and shown everywhere."""

import dataclasses
import json

import pytest
from click.testing import CliRunner
from web import shop

from tracewatch.cli import group
from tracewatch.judge import TICK_S
from tracewatch.live.pulse import ALIVE_S, BEHIND_S, pulse, pulse_of_all
from tracewatch.records import Headway, Lease
from tracewatch.stores import open_store

NOW = 1_790_000_000.0
JUDGED = NOW - TICK_S - 10.0 - 5.0
LEASE = Lease(name="watching", holder="tracewatch serve on box, process 7", epoch=3, taken_at=NOW - 60, renewed_at=NOW)
HEADWAY = Headway(updated_at=NOW, judged_until=JUDGED, newest_call=NOW - 1, grace_s=10.0, waiting_rows=4, late_rows=2)


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def test_where_nobody_watches_nothing_is_known(store):
    found = pulse(store, "default", NOW)
    assert (found.state, found.holder, found.judged_until, found.behind_s) == ("unwatched", "", None, 0.0)


def test_it_is_behind_from_when_the_next_step_could_have_been_judged(store):
    store.add([LEASE])
    store.add([HEADWAY])
    found = pulse(store, "default", NOW)
    assert (found.state, found.holder, found.behind_s) == ("watching", LEASE.holder, 5.0)
    store.put([dataclasses.replace(HEADWAY, judged_until=JUDGED - BEHIND_S)])
    assert pulse(store, "default", NOW).state == "behind"


def test_calls_of_the_past_are_behind_nothing(store):
    store.add([LEASE])
    store.add([dataclasses.replace(HEADWAY, newest_call=NOW - 7 * 86_400, judged_until=NOW - 7 * 86_400)])
    assert pulse(store, "default", NOW).behind_s == 0.0


def test_a_holder_that_said_nothing_for_long_watches_no_more(store):
    store.add([LEASE])
    assert pulse(store, "default", NOW + ALIVE_S + 1).state == "unwatched"


def test_of_all_projects_the_last_one_counts(store):
    store.add([LEASE])
    store.add([HEADWAY, dataclasses.replace(HEADWAY, project="slow", judged_until=JUDGED - 600)])
    found = pulse_of_all(store, NOW)
    assert (found.behind_s, found.waiting, found.late) == (605.0, 8, 4)


@pytest.fixture
def client(tmp_path):
    """A server that shows a project whose detection is eleven minutes behind."""
    path = shop.make(tmp_path / "shop.db")
    judged = shop.NOW - 660 - TICK_S - 10
    with open_store(path) as store:
        store.put([dataclasses.replace(LEASE, taken_at=shop.NOW, renewed_at=shop.NOW)])
        project = store.page(Headway).records
        assert project == ()
        store.put([dataclasses.replace(HEADWAY, updated_at=shop.NOW, newest_call=shop.NOW - 1, judged_until=judged)])
    with shop.looking_at(path, now=shop.NOW) as client:
        yield client


def test_everybody_who_asks_is_told_that_it_is_behind(client):
    ready = client.get("/health/ready").json()
    assert ready == {"status": "ok", "detection": {"state": "behind", "behind_s": 660.0, "waiting_rows": 4}}
    told = client.get("/api/v1/detection").json()
    assert (told["state"], told["behind_s"], told["holder"]) == ("behind", 660.0, LEASE.holder)
    metrics = client.get("/metrics", headers={"accept": "text/plain"}).text
    assert "\ntracewatch_detection_lag_seconds 660\n" in metrics
    assert "\ntracewatch_detection_watching 1\n" in metrics
    assert "Detection is behind: calls are judged up to" in client.get("/").text
    assert LEASE.holder in client.get("/settings").text


def test_doctor_says_who_watches(store):
    import time

    store.add([dataclasses.replace(LEASE, renewed_at=time.time())])
    store.add([dataclasses.replace(HEADWAY, judged_until=time.time() - 2000, newest_call=time.time())])
    from tracewatch.records import Span

    store.add([Span(trace_id="t", span_id="s", start_time=time.time())])
    said = CliRunner().invoke(group, ["doctor", "--db", store.url, "--format", "json"])
    (found,) = [each for each in json.loads(said.stdout) if each["what"] == "detection"]
    assert found["verdict"] == "warning"
    assert "process 7 watches" in found["found"]
    assert "28 min behind with 4 rows to read" in found["found"]
