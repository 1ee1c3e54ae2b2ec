"""What is told, to whom and when, as an incident takes its course. Nothing is sent here: deciding is pure."""

import dataclasses

import pytest
from hearing import HOUR, MINUTE, NOON, a_channel, a_rule, an_incident
from hypothesis import given
from hypothesis import strategies as st

from tracewatch.alerts.book import Book, called, split
from tracewatch.alerts.deciding import Rules, decide
from tracewatch.alerts.ledger import Ledger
from tracewatch.alerts.matching import Seen, matches
from tracewatch.alerts.states import STATES, state_of, summary
from tracewatch.records import SEVERITIES

BOTH = (a_channel(), a_channel(name="oncall"))


class Course:
    """Decides again and again, as live does, and keeps what was told: event, channel and rule of each."""

    def __init__(self, *rules, channels=BOTH[:1]):
        self.rules, self.book, self.ledger = Rules.of(rules), Book(channels, "", rules), Ledger()

    def at(self, now, *incidents, ours=False):
        seen = [Seen(incident=each, ours=ours) for each in incidents]
        return [(each.event, each.channel, each.rule) for each in decide(self.rules, self.book, seen, self.ledger, now)]

    def state(self, rule, incident, now):
        return state_of(self.rules, rule, Seen(incident=incident), self.ledger, now)


def closed(**odd):
    return an_incident(state="closed", closed_at=NOON, **odd)


def test_without_any_rule_high_and_critical_ones_go_to_every_channel():
    course = Course(channels=BOTH)
    low, high = an_incident(id="low", severity="medium"), an_incident()
    assert course.at(NOON, low, high) == [("opened", "team", "default"), ("opened", "oncall", "default")]
    assert course.at(NOON + MINUTE, low, high) == []


def test_the_default_tells_what_no_other_rule_tells_one_by_one():
    errors = a_rule(name="errors", metrics=("error_rate",), channels=("oncall",))
    weekly = a_rule(name="weekly", digest_s=7 * 86_400.0)
    course = Course(errors, weekly, channels=BOTH)
    assert course.at(NOON, an_incident(metric_name="error_rate")) == [("opened", "oncall", "errors")]
    assert course.at(NOON, an_incident(id="i2")) == [("opened", "team", "default"), ("opened", "oncall", "default")]


def test_a_rule_of_its_name_takes_the_place_of_the_default():
    assert Course(a_rule(name="default", enabled=False)).at(NOON, an_incident(severity="critical")) == []


def test_two_rules_tell_a_channel_of_one_incident_once():
    course = Course(a_rule(name="a"), a_rule(name="b", channels=("team", "oncall")), channels=BOTH)
    told = course.at(NOON, an_incident())
    assert sorted(channel for _, channel, _ in told) == ["oncall", "team"]


def test_the_whole_course_of_an_incident_is_told_once_each():
    rule, course = a_rule(), Course(a_rule())
    assert course.at(NOON, an_incident(severity="medium")) == [("opened", "team", "waits")]
    assert course.at(NOON + 1, an_incident(severity="medium", state="growing", findings=5)) == []
    assert course.at(NOON + 2, an_incident(severity="high", state="growing")) == [("grown", "team", "waits")]
    assert course.at(NOON + 3, an_incident(severity="high", state="recovering")) == []
    assert course.at(NOON + 4, an_incident(severity="high")) == []
    assert course.state(rule, an_incident(), NOON + 4) == "firing"
    assert course.at(NOON + 5, closed()) == [("recovered", "team", "waits")]
    assert course.at(NOON + 6, closed()) == []
    assert course.state(rule, closed(), NOON + 6) == "recovered"
    assert course.at(NOON + 7, an_incident(reopened=1)) == [("reopened", "team", "waits")]
    assert course.at(NOON + 8, an_incident(reopened=1)) == []
    assert course.at(NOON + 9, closed(reopened=1)) == [("recovered", "team", "waits")]


@given(st.lists(st.sampled_from(["open", "growing", "recovering"]), max_size=30), st.sampled_from(SEVERITIES))
def test_an_incident_that_wiggles_is_told_once(states, severity):
    course = Course(a_rule())
    told = [course.at(NOON + step, an_incident(state=each, severity=severity)) for step, each in enumerate(states)]
    assert sum(map(len, told)) == (1 if {"open", "growing"} & set(states) else 0)


@given(st.lists(st.sampled_from(SEVERITIES), max_size=20))
def test_growth_is_told_once_for_each_step_up(severities):
    course, worst, told = Course(a_rule()), -1, []
    for step, each in enumerate(severities):
        worst = max(worst, SEVERITIES.index(each))  # what is kept of an incident is how bad it was at its worst
        told += course.at(NOON + step, an_incident(severity=SEVERITIES[worst]))
    steps = sorted({max(map(SEVERITIES.index, severities[: end + 1])) for end in range(len(severities))})
    assert [event for event, *_ in told] == ["opened", *["grown"] * (len(steps) - 1)][: len(steps)]


def test_growth_is_told_to_more_people():
    course = Course(a_rule(channels=("team",), escalate=("oncall",)), channels=BOTH)
    assert course.at(NOON, an_incident(severity="medium")) == [("opened", "team", "waits")]
    grown = an_incident(severity="critical")
    assert course.at(NOON + 1, grown) == [("grown", "team", "waits"), ("grown", "oncall", "waits")]
    assert course.at(NOON + 2, grown) == []
    assert {channel for _, channel, _ in course.at(NOON + 3, closed(severity="critical"))} == {"team", "oncall"}


@pytest.mark.parametrize(
    ("silenced", "state"),
    [
        ({"resolution_status": "acknowledged", "acknowledged": True}, "acknowledged"),
        ({"resolution_status": "acknowledged", "snoozed_until": NOON + HOUR}, "snoozed"),
        ({"resolution_status": "acknowledged", "snoozed_beyond": 9999.0}, "snoozed"),
        ({"resolution_status": "dismissed"}, "ok"),
        ({"resolution_status": "resolved"}, "ok"),
    ],
)
def test_what_people_have_dealt_with_is_silent(silenced, state):
    course = Course(a_rule())
    assert course.at(NOON, an_incident(**silenced)) == []
    assert course.state(a_rule(), an_incident(**silenced), NOON) == state
    assert course.at(NOON + 1, an_incident(id="i2")) == [("opened", "team", "waits")]
    assert course.at(NOON + 2, an_incident(id="i2", severity="critical", **silenced)) == []


def test_the_end_of_what_somebody_works_on_is_told_and_of_what_was_settled_not():
    course = Course(a_rule())
    course.at(NOON, an_incident(), an_incident(id="i2"), an_incident(id="i3"))
    over = [
        closed(resolution_status="acknowledged"), closed(id="i2", resolution_status="dismissed"),
        closed(id="i3", resolution_status="acknowledged", snoozed_until=NOON + HOUR),
    ]  # fmt: skip
    assert course.at(NOON + 1, *over) == [("recovered", "team", "waits")]
    assert course.at(NOON + HOUR, *over) == [("recovered", "team", "waits")]


def test_a_snooze_that_is_over_is_told_once():
    course, snoozed = Course(a_rule()), {"resolution_status": "acknowledged", "snoozed_until": NOON + HOUR}
    course.at(NOON, an_incident())
    assert course.at(NOON + MINUTE, an_incident(**snoozed)) == []
    assert course.at(NOON + HOUR, an_incident(**snoozed)) == [("reopened", "team", "waits")]
    assert course.at(NOON + 2 * HOUR, an_incident(**snoozed)) == []
    assert course.at(NOON + 3 * HOUR, an_incident()) == []


def test_what_came_back_after_people_had_settled_it_is_told():
    course = Course(a_rule())
    course.at(NOON, an_incident())
    assert course.at(NOON + 1, an_incident(regressed_at=NOON + 1)) == [("reopened", "team", "waits")]
    assert course.at(NOON + 2, an_incident()) == []  # somebody had taken note, and has opened it again


def test_it_is_waited_for_as_long_as_the_rule_says():
    course = Course(a_rule(sustained_s=2 * HOUR))
    assert course.at(NOON, an_incident()) == []
    assert course.state(a_rule(), an_incident(), NOON) == "pending"
    assert course.at(NOON + HOUR, an_incident()) == [("opened", "team", "waits")]
    short = Course(a_rule(sustained_s=2 * HOUR))
    assert short.at(NOON, an_incident()) + short.at(NOON + 2 * HOUR, closed()) == []


def test_in_its_cooldown_a_rule_tells_of_nothing_new_and_afterwards_of_what_lasts():
    course = Course(a_rule(cooldown_s=HOUR, channels=("team", "oncall")), channels=BOTH)
    assert len(course.at(NOON, an_incident())) == 2
    grown, second, third = an_incident(severity="critical"), an_incident(id="i2"), an_incident(id="i3")
    assert course.at(NOON + MINUTE, grown, second, third) == [("grown", "team", "waits"), ("grown", "oncall", "waits")]
    assert len(course.at(NOON + HOUR, grown, second, closed(id="i3"))) == 2


def test_in_quiet_hours_nothing_is_told_and_afterwards_what_lasts():
    hours = {"from": "11:00", "until": "13:00", "zone": "UTC", "days": ["mon"], "unless": "critical"}
    course = Course(a_rule(quiet_hours=hours))
    assert course.at(NOON, an_incident()) == []
    assert course.at(NOON, an_incident(id="i2", severity="critical")) == [("opened", "team", "waits")]
    assert course.at(NOON + HOUR, an_incident()) == [("opened", "team", "waits")]


def test_a_digest_tells_of_everything_in_one_message():
    course = Course(a_rule(name="daily", digest_s=86_400.0), a_rule(name="default", enabled=False))
    day = NOON // 86_400 * 86_400
    some = [an_incident(id=f"i{number}", detected_at=day + number * HOUR) for number in range(3)]
    acknowledged = an_incident(id="i3", detected_at=day + HOUR, resolution_status="acknowledged")
    assert course.at(day + 4 * HOUR, *some, acknowledged) == []
    (told,) = decide(course.rules, course.book, [Seen(incident=each) for each in (*some, acknowledged)], course.ledger,
                     day + 86_400)  # fmt: skip
    assert (told.event, len(told.about)) == ("digest", 4)
    assert course.at(day + 86_400 + MINUTE, *some) == []
    assert course.at(day + 2 * 86_400, *some) == []


def test_low_ones_are_acknowledged_by_themselves_until_they_are_worse():
    course = Course(a_rule(auto_acknowledge="low"))
    assert course.at(NOON, an_incident(severity="low")) == []
    assert course.state(a_rule(), an_incident(severity="low"), NOON) == "acknowledged"
    worse = an_incident(severity="high", resolution_status="acknowledged")
    assert course.at(NOON + 1, worse, ours=True) == [("opened", "team", "waits")]


@pytest.mark.parametrize(
    ("rule", "hit"),
    [
        ({}, True),
        ({"severity": "critical"}, False),
        ({"metrics": ("ttft_ms",)}, True),
        ({"metrics": ("cost_*",)}, True),  # of a symptom
        ({"metrics": ("error_rate",)}, False),
        ({"types": ("ttft",)}, True),
        ({"types": ("cost",)}, False),
        ({"kinds": ("spike",)}, True),
        ({"kinds": ("ramp",)}, False),
        ({"states": ("growing",)}, False),
        ({"confidence": 0.95}, False),
        ({"cost_effect_usd": 5.0}, True),
        ({"cost_effect_usd": 50.0}, False),
        ({"slice": {"model_name": ["gpt-*"]}}, True),
        ({"slice": {"model_name": ["claude"]}}, False),
        ({"slice": {"environment": ["production"]}}, False),
        ({"slice": {"environment": ["production", None]}}, True),
        ({"condition": {"no_data": {"for_s": 60.0}}}, False),
    ],
)
def test_what_a_rule_is_about(rule, hit):
    incident = an_incident(cost_effect_usd=7.0)
    seen = Seen(incident=incident, metrics=frozenset({"cost_usd"}), types=frozenset({"ttft"}))
    assert matches(a_rule(**rule), seen) is hit


def test_what_a_condition_found_is_told_by_its_rule_alone():
    budget = a_rule(name="budget", condition={"budget": {"usd": 5.0}}, channels=("oncall",))
    course = Course(budget, a_rule(name="all", channels=("team",)), channels=BOTH)
    assert course.at(NOON, an_incident(rule="budget", detector="rules")) == [("opened", "oncall", "budget")]
    silence = an_incident(id="i2", rule="budget", kind="silence")
    course.at(NOON, silence)
    assert course.state(budget, silence, NOON) == "no_data"


def test_of_many_incidents_a_rule_has_the_worst_state():
    assert summary(a_rule(), ["ok", "firing", "recovered"], learning=True) == "firing"
    assert summary(a_rule(), [], learning=True) == "learning"
    assert summary(a_rule(), ["recovered"], learning=False) == "recovered"
    assert summary(a_rule(enabled=False), ["firing"], learning=False) == "paused"
    assert {"ok", "learning", "firing", "acknowledged", "snoozed", "recovered", "no_data"} <= set(STATES)


def test_what_was_told_outlives_the_process():
    course, again = Course(a_rule()), Course(a_rule())
    for telling in decide(course.rules, course.book, [Seen(incident=an_incident())], course.ledger, NOON):
        again.ledger.add(dataclasses.replace(telling))
    assert again.at(NOON + 1, an_incident()) == []


def test_one_telling_has_one_key_whoever_decides_it():
    keys = set()
    for rule in ("a", "b"):
        course = Course(a_rule(name=rule))
        (told,) = decide(course.rules, course.book, [Seen(incident=an_incident())], course.ledger, NOON + len(keys))
        keys.add(told.key("default"))
    assert len(keys) == 1


def test_channels_go_by_names_that_show_no_secret():
    token = "https://hooks.example.com/services/T0AA/B0BB/s3cr3t"
    book = Book(
        [a_channel(enabled=False)], f"{token}, ${{SLACK}} mailto://me:pw@example.com", [a_rule(escalate=(token,))]
    )
    assert split("a://b,c c://d , mailto:e") == ["a://b,c", "c://d", "mailto:e"]
    assert called("${SLACK}") == "${SLACK}"
    assert len(book.everybody) == 3
    assert len(book.names) == 4
    assert not any("s3cr3t" in each or "pw" in each for each in book.names)
    assert book.meant(["team", token]) == (called(token),)


def test_what_began_in_a_future_that_no_clock_means_is_not_waited_for():
    course = Course(a_rule(sustained_s=10 * MINUTE))
    assert course.at(NOON, an_incident(started_at=NOON + MINUTE, severity="low")) == []
    assert course.at(NOON, an_incident(started_at=NOON + 48 * HOUR, severity="low")) == [("opened", "team", "waits")]


def test_the_first_digest_has_what_quiet_hours_held_up():
    night = {"from": "22:00", "until": "07:00", "zone": "UTC", "days": ["mon", "tue"]}
    rule = a_rule(digest_s=HOUR, quiet_hours=night, changed_at=NOON - 24 * HOUR)
    course = Course(rule, a_rule(name="default", enabled=False))
    late = an_incident(detected_at=NOON + 10.5 * HOUR)
    assert course.at(NOON + 11 * HOUR, late) == []
    assert course.at(NOON + 19 * HOUR + MINUTE, late) == [("digest", "team", "waits")]
    assert course.at(NOON + 20 * HOUR + MINUTE, late) == []
