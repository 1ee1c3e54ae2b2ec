"""What becomes of incidents that people dealt with: snoozed, settled, and back again."""

import dataclasses

import pytest

from tracewatch.dealing import come_back, deal, deeds_about, is_awake_again, is_snoozed
from tracewatch.errors import BadDeed
from tracewatch.records import Anomaly, Incident
from tracewatch.stores import open_store

NOON, HOUR = 1_772_452_800.0, 3600.0


def an_incident(**odd):
    usual = {
        "id": "i1", "severity": "high", "title": "Calls wait.", "root_id": "r1", "metric_name": "ttft_ms",
        "kind": "spike", "direction": "up", "slice": {}, "confidence_score": 0.8, "started_at": NOON - HOUR,
        "detected_at": NOON - HOUR, "updated_at": NOON - 600, "observed": 4000.0, "expected": 1000.0,
    }  # fmt: skip
    return Incident(**usual | odd)


def a_finding(**odd):
    usual = {
        "id": "r1", "anomaly_type": "ttft", "severity": "high", "confidence_score": 0.8, "metric_name": "ttft_ms",
        "detected_value": 4000.0, "expected_value": 1000.0, "threshold_value": 1500.0, "deviation_percentage": 300.0,
        "statistics": {}, "description": "Calls wait.", "detected_at": NOON - HOUR, "occurred_at": NOON - HOUR,
        "detector": "adaptive", "incident_id": "i1",
    }  # fmt: skip
    return Anomaly(**usual | odd)


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        store.add([an_incident()])
        store.add([a_finding()])
        yield store


def now_there(store):
    return store.get(Incident, {"project": "default", "id": "i1"})


def done(store, verb, **how):
    return deal(store, now_there(store), verb, who="anna", now=NOON, **how)


def test_a_snooze_ends_at_its_time(store):
    done(store, "snooze", until=NOON + HOUR)
    it = now_there(store)
    assert is_snoozed(it, NOON + HOUR - 1)
    assert not is_snoozed(it, NOON + HOUR)
    assert (is_awake_again(it, NOON), is_awake_again(it, NOON + HOUR)) == (False, True)
    assert is_snoozed(store.get(Anomaly, {"project": "default", "id": "r1"}), NOON)
    deal(store, it, "acknowledge", who="anna", now=NOON + 2 * HOUR)
    assert not is_awake_again(now_there(store), NOON + 3 * HOUR)


def test_a_snooze_until_it_gets_worse_ends_at_one_and_a_half_times_as_far_off(store):
    done(store, "snooze", until_worse=True)
    it = now_there(store)
    assert is_snoozed(dataclasses.replace(it, observed=5500.0), NOON + 1000 * HOUR)
    assert is_awake_again(dataclasses.replace(it, observed=5501.0), NOON)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({}, "in the future"),
        ({"until": NOON}, "in the future"),
        ({"until": float("inf")}, "in the future"),
        ({"until": float("nan")}, "in the future"),
        ({"until": NOON + 1, "until_worse": True}, "not both"),
    ],
)
def test_a_snooze_that_makes_no_sense(store, how, why):
    with pytest.raises(BadDeed, match=why):
        done(store, "snooze", **how)
    with pytest.raises(BadDeed, match="does not change any more"):
        deal(store, a_finding(), "snooze", who="anna", now=NOON, until_worse=True)


LATER, BEFORE = NOON + 2 * HOUR, NOON - 700


@pytest.mark.parametrize(
    ("verb", "reason", "seen", "why"),
    [
        ("resolve", "fixed", {"back": LATER}, "regressed"),
        ("resolve", None, {"back": LATER}, "regressed"),
        ("resolve", "fixed", {"worse": LATER}, "worse"),
        ("resolve", "fixed", {"back": BEFORE}, None),
        ("resolve", "fixed", {}, None),
        ("dismiss", "expected_once", {"back": LATER}, "regressed"),
        ("dismiss", "expected_once", {"worse": LATER}, None),
        ("dismiss", "too_small", {"worse": LATER}, "worse"),
        ("dismiss", "too_small", {"back": LATER}, None),
        ("dismiss", None, {"back": LATER, "worse": LATER}, None),
        ("acknowledge", None, {"back": LATER, "worse": LATER}, None),
    ],
)
def test_what_was_settled_comes_back_when_it_is_back(store, verb, reason, seen, why):
    done(store, verb, reason=reason)
    there = now_there(store)
    times = {"back": None, "worse": None} | seen
    for _ in range(2):  # a replay of the same changes does nothing more
        came = come_back(store, now_there(store), dataclasses.replace(there, updated_at=LATER), **times)
    assert not came
    last = deeds_about(store, "default", ["i1"])[0]
    if why is None:
        assert now_there(store) == there
        assert last.verb == verb
    else:
        again = now_there(store)
        assert (again.resolution_status, again.acknowledged, again.regressed_at) == ("pending", False, LATER)
        assert (last.verb, last.reason, last.done_by) == ("reopen", why, "tracewatch")


def test_what_was_settled_comes_back_when_it_is_more_severe(store):
    done(store, "dismiss", reason="noise")
    there = now_there(store)
    worse = dataclasses.replace(there, severity="critical", updated_at=LATER)
    assert come_back(store, there, worse, back=None, worse=None)
    assert now_there(store).resolution_status == "pending"
