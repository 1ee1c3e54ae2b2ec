"""What rules would have told: history as it is kept, gone through by the deciding of every day."""

import pytest
from hearing import HOUR, MINUTE, NOON, a_channel, a_finding, a_rule, an_incident

from tracewatch.alerts.book import Book
from tracewatch.alerts.deciding import Rules
from tracewatch.alerts.history import past_of, pasts
from tracewatch.alerts.planning import NOBODY, plan, replay
from tracewatch.alerts.telling import Alerting
from tracewatch.dealing import deal
from tracewatch.records import Anomaly, Delivery, Headway, Incident
from tracewatch.stores import open_store

BOOK = Book([a_channel()], "")
SINCE, UNTIL = NOON - 48 * HOUR, NOON + 48 * HOUR
OVER = {"state": "closed", "closed_at": NOON, "updated_at": NOON + 2 * HOUR}


def told(rules, *some, book=BOOK, until=UNTIL):
    return [(each.at - NOON, each.event, each.severity) for each in replay(Rules.of(rules), book, some, SINCE, until)]


def test_an_incident_of_the_past_takes_its_course_again():
    findings = [
        a_finding(severity="medium", ended_at=NOON),
        a_finding(id="r2", metric_name="cost_usd", severity="critical", detected_at=NOON - 20 * MINUTE, ended_at=NOON),
    ]
    past = past_of(an_incident(severity="critical", **OVER), findings, [])
    assert told([a_rule()], past) == [
        (-HOUR, "opened", "medium"), (-20 * MINUTE, "grown", "critical"), (2 * HOUR, "recovered", "critical"),
    ]  # fmt: skip
    costs = a_rule(metrics=("cost_usd",))
    assert told([costs, a_rule(name="default", enabled=False)], past)[0] == (-20 * MINUTE, "opened", "critical")


def test_what_came_back_after_its_end_is_told_again():
    findings = [a_finding(ended_at=NOON), a_finding(id="r2", detected_at=NOON + 6 * HOUR, ended_at=NOON + 7 * HOUR)]
    over = {"state": "closed", "closed_at": NOON + 7 * HOUR, "updated_at": NOON + 9 * HOUR, "reopened": 1}
    events = [(at, event) for at, event, _ in told([a_rule()], past_of(an_incident(**over), findings, []))]
    assert events == [
        (-HOUR, "opened"), (2 * HOUR, "recovered"), (6 * HOUR, "reopened"), (9 * HOUR, "recovered"),
    ]  # fmt: skip


def test_rules_wait_in_the_past_as_they_do_now():
    past = past_of(an_incident(**OVER), [a_finding(ended_at=NOON)], [])
    assert told([a_rule(sustained_s=80 * MINUTE)], past)[0] == (20 * MINUTE, "opened", "high")
    assert told([a_rule(sustained_s=2 * HOUR)], past) == []  # by then it looks healed
    night = {"from": "10:00", "until": "12:20", "zone": "UTC", "days": ["mon"]}
    assert told([a_rule(quiet_hours=night)], past)[0] == (20 * MINUTE, "opened", "high")
    weekly = told([a_rule(digest_s=86_400.0), a_rule(name="default", enabled=False)], past)
    assert weekly == [(12 * HOUR, "digest", "high")]


def test_money_is_lost_in_even_steps():
    past = past_of(an_incident(cost_effect_usd=100.0, **OVER), [a_finding(ended_at=NOON)], [])
    only = [a_rule(cost_effect_usd=50.0), a_rule(name="default", enabled=False)]
    assert told(only, past)[0] == (-30 * MINUTE, "opened", "high")
    assert told([a_rule(cost_effect_usd=200.0), only[1]], past) == []


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def test_what_people_did_then_counts(store):
    store.add([an_incident(**OVER), an_incident(id="i2", **OVER)])
    store.add([a_finding(ended_at=NOON), a_finding(id="r2", incident_id="i2", ended_at=NOON)])
    deal(
        store, store.get(Incident, {"project": "default", "id": "i2"}), "acknowledge", who="ada", now=NOON - 45 * MINUTE
    )
    some = pasts(store, "default", SINCE, UNTIL)
    late = [a_rule(sustained_s=80 * MINUTE)]
    assert [event for _, event, _ in told(late, *some)] == ["opened", "recovered"]
    assert len(told([a_rule()], *some)) == 4


def test_of_very_many_incidents_none_is_left_out(store):
    rows = [
        an_incident(id=f"i{each}", root_id=f"r{each}", detected_at=NOON - each, started_at=NOON - each, **OVER)
        for each in range(5_200)
    ]
    store.add(rows)
    store.add([a_finding(id=each.root_id, incident_id=each.id, detected_at=each.detected_at) for each in rows])
    some = pasts(store, "default", SINCE, UNTIL)
    assert {each.incident.id for each in some} == {each.id for each in rows}
    assert all(each.phases[0].metrics == {"ttft_ms"} for each in some)
    found = plan(Rules.of([a_rule()]), BOOK, some, SINCE, UNTIL)
    assert (found.incidents, found.ruled["waits"].fired, found.ruled["waits"].messages) == (5_200, 5_200, 10_400)


def test_a_plan_says_what_is_told_and_what_is_missed():
    some = [
        past_of(an_incident(id="cheap", severity="medium", **OVER), [], []),
        past_of(an_incident(id="worst", severity="critical", **OVER), [], []),
        past_of(an_incident(id="short", **OVER), [], []),
    ]
    rules = [
        a_rule(name="default", enabled=False), a_rule(name="low", severity="low", kinds=("ramp",)),
        a_rule(name="worst", severity="critical"),
    ]  # fmt: skip
    found = plan(Rules.of(rules), Book(), some, SINCE, SINCE + 14 * 86_400.0)
    assert (found.ruled["worst"].fired, found.ruled["worst"].incidents) == (1, ("worst",))
    assert found.a_week("worst") == 1.0  # two messages in two weeks
    assert found.silent == ("low",)
    assert [each.id for each in found.missed] == ["short"]
    assert found.incidents == 3
    assert {each.channel for each in replay(Rules.of(rules), Book(), some, SINCE, UNTIL)} == {NOBODY}


def test_what_came_since_the_last_step_is_told_by_a_plan():
    until = NOON - 20 * MINUTE + 70
    found = plan(Rules.of([a_rule()]), Book(), [past_of(an_incident(detected_at=until - 30), [], [])], SINCE, until)
    assert (found.missed, found.silent, found.ruled["waits"].fired) == ((), (), 1)


def test_a_condition_is_not_said_to_have_told_nothing():
    checking = a_rule(name="checking", condition={"no_data": {"for": "30m"}})
    found = plan(Rules.of([checking]), Book(), [], SINCE, UNTIL)
    assert (found.silent, dict(found.untried)) == ((), {"checking": "it was not tried on the past"})


def test_a_plan_of_the_past_is_what_was_told_live(store):
    """The same incident, live in steps of five minutes and afterwards from what was kept of it."""
    store.add([a_channel()])
    store.add([a_rule()])
    for step in range(-14, 40):
        now = NOON + step * 5 * MINUTE
        store.put([Headway(updated_at=now, judged_until=now)])
        if step == -12:
            store.add([an_incident(severity="medium", updated_at=now)])
            store.add([a_finding(severity="medium")])
        if step == -4:
            store.add([a_finding(id="r2", severity="critical", detected_at=now)])
            store.annotate(Incident, {"project": "default", "id": "i1"}, {"severity": "critical", "updated_at": now})
        if step == 24:
            store.annotate(Incident, {"project": "default", "id": "i1"}, OVER)
            for each in ("r1", "r2"):
                store.annotate(Anomaly, {"project": "default", "id": each}, {"ended_at": NOON})
        Alerting(store, "default").run(now)
    live = sorted((each.created_at - NOON, each.event, each.severity) for each in store.page(Delivery).records)
    assert live == told([a_rule()], *pasts(store, "default", SINCE, UNTIL))
    assert [event for _, event, _ in live] == ["opened", "grown", "recovered"]
