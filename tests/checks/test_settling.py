"""Checks become incidents: once, by the words of all others, and over by themselves."""

from dataclasses import replace

import pytest

from tracewatch import dealing
from tracewatch.checks import SELF, Check, settle
from tracewatch.checks.settling import QUIET_S
from tracewatch.course import BACK, CALM
from tracewatch.records import Anomaly, Incident
from tracewatch.stores import open_store

NOW = 1_790_000_000.0
LOST = Check(
    detector=SELF, metric="ingest_loss_rate", bad=True, observed=0.1, severity="medium", since=NOW - 60,
    title="Rows are lost.", actions=("Look.",), slice={"service_name": "shop"},
)  # fmt: skip
WELL = replace(LOST, bad=False, observed=0.0)


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def after(store, check, now, *others):
    return settle(store, "default", SELF, (check, *others), now)


def incident(store):
    (found,) = store.page(Incident).records
    return found


def test_what_is_bad_opens_an_incident_with_its_finding_once(store):
    opened = after(store, LOST, NOW)
    assert [each.title for each in opened.incidents] == ["Rows are lost."]
    assert [each.incident_id for each in opened.new] == [incident(store).id]
    again = after(store, replace(LOST, since=NOW - 30), NOW + 15)
    assert (again.new, again.incidents) == ((), ())
    (finding,) = store.page(Anomaly).records
    assert (finding.id, finding.detector, finding.metric_name) == (incident(store).root_id, SELF, "ingest_loss_rate")
    assert incident(store).slice == {"service_name": "shop"}


def test_it_recovers_and_closes_by_itself(store):
    after(store, LOST, NOW)
    after(store, WELL, NOW + 60)
    assert (incident(store).state, incident(store).recovering_at) == ("recovering", NOW + 60)
    after(store, WELL, NOW + 60 + QUIET_S - 1)
    assert incident(store).state == "recovering"
    after(store, WELL, NOW + 60 + QUIET_S)
    assert (incident(store).state, incident(store).closed_at) == ("closed", NOW + 60)
    assert store.page(Anomaly).records[0].ended_at == NOW + 60


def test_what_crosses_its_limit_to_and_fro_is_one_incident(store):
    for step in range(8):
        after(store, WELL if step % 2 else LOST, NOW + 60 * step)
    assert (incident(store).reopened, store.count(Anomaly)) == (0, 1)


def test_what_is_back_within_a_day_is_the_same_and_later_another_one(store):
    after(store, LOST, NOW)
    after(store, WELL, NOW + 60)
    after(store, WELL, NOW + 60 + QUIET_S)
    after(store, replace(LOST, since=NOW + 7200), NOW + 7200)
    assert (incident(store).state, incident(store).reopened, incident(store).closed_at) == ("open", 1, None)
    after(store, WELL, NOW + 7300)
    after(store, WELL, NOW + 7300 + QUIET_S)
    later = NOW + 7300 + QUIET_S + BACK + 60
    after(store, replace(LOST, since=later), later)
    assert store.count(Incident) == 2


def test_it_grows_when_it_gets_worse_and_is_calm_after_a_while(store):
    after(store, LOST, NOW)
    after(store, replace(LOST, observed=0.3, severity="critical", title="Worse."), NOW + 60)
    assert (incident(store).state, incident(store).severity, incident(store).title) == ("growing", "critical", "Worse.")
    after(store, replace(LOST, observed=0.3), NOW + 60 + CALM)
    assert (incident(store).state, incident(store).severity) == ("open", "critical")


def test_what_cannot_be_told_leaves_all_as_it_is(store):
    assert after(store, replace(LOST, bad=None), NOW).incidents == ()
    after(store, LOST, NOW)
    assert after(store, replace(LOST, bad=None), NOW + 2 * QUIET_S).incidents == ()
    assert incident(store).state == "open"


def test_what_is_checked_no_more_is_over(store):
    after(store, LOST, NOW)
    settle(store, "default", SELF, (), NOW + 60)
    settle(store, "default", SELF, (), NOW + 60 + QUIET_S)
    assert incident(store).state == "closed"


def test_two_slices_and_two_detectors_are_apart(store):
    other = replace(LOST, slice={"service_name": "batch"})
    after(store, LOST, NOW, other)
    settle(store, "default", "rules", (replace(LOST, detector="rules", rule="mine"),), NOW)
    assert store.count(Incident) == 3
    after(store, LOST, NOW + 60, replace(other, bad=False))
    assert {(each.detector, each.state) for each in store.page(Incident).records} == {
        ("self", "open"), ("self", "recovering"), ("rules", "open"),
    }  # fmt: skip


def test_what_people_settled_stays_until_it_is_back(store):
    after(store, LOST, NOW)
    dealing.deal(store, incident(store), "resolve", who="me", now=NOW + 30, reason="fixed")
    after(store, replace(LOST, observed=0.12), NOW + 60)
    assert incident(store).resolution_status == "resolved"
    after(store, WELL, NOW + 90)
    after(store, WELL, NOW + 90 + QUIET_S)
    after(store, LOST, NOW + 7200)
    assert incident(store).resolution_status == "pending"
    assert incident(store).regressed_at == NOW + 7200
