"""Alerts and endings in, incidents out: what belongs together, where it stands, and how bad it is."""

import pickle
import random

import pytest

from tracewatch import incidents
from tracewatch.detectors.adaptive import Alert, Ending, Return
from tracewatch.incidents import Grouping, identity, severity_of
from tracewatch.records import SEVERITIES

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NOON = 1_772_452_800.0  # 2026-03-02T12:00:00Z
ASK, SUM = {"operation_type": "ask"}, {"operation_type": "sum"}
BIG = {"model_name": "big"}


def an_alert(metric="tokens_per_second", at=0.0, story=1, **odd):
    """An alert some seconds after noon, of something that began ten minutes earlier."""
    moment = NOON + at
    ordinary = {
        "detected_at": moment, "metric": metric, "direction": "down" if metric == "tokens_per_second" else "up",
        "slice": ASK, "severity": 6.0, "kind": "spike", "since": moment - 10 * MINUTE, "observed": 60.0,
        "expected": 100.0, "lower": 80.0, "upper": 120.0, "n": 40, "score": 0.55, "story": story,
    }  # fmt: skip
    return Alert(**ordinary | odd)


def ends(story, at, accepted=False):
    return Ending(story=story, at=NOON + at, accepted=accepted)


def back(story, at):
    return Return(story=story, at=NOON + at)


def changes(alerts, endings=(), until=5 * DAY):
    return Grouping().take(sorted(alerts, key=lambda each: each.detected_at), endings, NOON + until)


def course(found):
    """What happened, and minutes after noon."""
    return [(each.what, (each.at - NOON) / MINUTE) for each in found]


def together(*alerts):
    """How the stories of alerts are put together."""
    homes = {}
    for change in changes(alerts):
        for alert in change.joined:
            homes.setdefault(change.id, set()).add(alert.story)
    return sorted(map(sorted, homes.values()))


def test_one_alert_from_its_opening_to_its_end():
    found = changes([an_alert()], [ends(1, 2 * HOUR)])
    assert course(found) == [("opened", 0), ("recovering", 150), ("closed", 240)]
    assert [each.state for each in found] == ["open", "recovering", "closed"]
    last = found[-1]
    assert (last.since, last.detected) == (NOON - 10 * MINUTE, NOON)
    assert last.recovering == last.closed == NOON + 2 * HOUR  # over when it ended, though known later
    assert len({each.id for each in found}) == 1


def test_a_symptom_is_folded_and_its_incident_grows_for_an_hour():
    found = changes([an_alert(), an_alert("duration_ms", 40 * MINUTE, story=2)])
    assert course(found) == [("opened", 0), ("symptom", 40), ("steady", 100)]
    assert [each.state for each in found] == ["open", "growing", "open"]
    assert [each.metric for each in found[-1].members] == ["tokens_per_second", "duration_ms"]
    assert found[-1].root.story == 1
    assert found[1].joined == (found[-1].members[1],)


def test_alerts_of_one_moment_are_one_change():
    found = changes([an_alert(), an_alert("cost_usd", story=2, observed=1.1, expected=1.0)])
    assert [(each.what, len(each.members)) for each in found] == [("opened", 2)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (an_alert(), an_alert("duration_ms", 20 * HOUR, story=2)),  # drives it, on the same calls
        (an_alert(slice=BIG), an_alert("duration_ms", 40 * MINUTE, story=2)),  # drives it, on calls in common
        (an_alert(), an_alert("output_tokens", 50 * MINUTE, story=2)),  # began together on the same calls
        (an_alert(), an_alert("ttft_ms", 20 * MINUTE, slice=ASK | BIG, story=2)),  # on some of the calls
        (an_alert("error_rate"), an_alert("error_rate", 15 * MINUTE, slice=SUM, story=2)),  # an outage of both
        (an_alert("error_rate"), an_alert("fallback_rate", 15 * MINUTE, slice=SUM, story=2)),
        (an_alert("cost_usd", observed=1.06, expected=1),
         an_alert("cost_usd", 9 * HOUR, slice=SUM, observed=2.13, expected=2, story=2)),  # one price of two operations
        (an_alert("call_count", slice={"session_id": "s"}, since=None),
         an_alert("input_tokens", 40 * MINUTE, story=2)),  # a session that runs away fills the prompts of its calls
        (an_alert("call_count", slice={"session_id": "s"}, since=None),
         an_alert("call_count", 15 * MINUTE, slice={"user_id": "u"}, story=2)),
        (an_alert("call_count", direction="down", kind="silence"),
         an_alert("call_count", 3 * HOUR, direction="down", kind="silence", slice={}, story=2)),  # first one, then all
    ],
)  # fmt: skip
def test_what_can_have_one_cause_is_one_incident(old, new):
    assert together(old, new) == [[1, 2]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (an_alert(), an_alert("output_tokens", 3 * HOUR, story=2)),  # the same calls, unrelated, later
        (an_alert(slice=BIG), an_alert("duration_ms", 4 * HOUR, story=2)),  # calls in common, later
        (an_alert(), an_alert("groundedness_score", slice=SUM, story=2)),  # other calls, unrelated
        (an_alert(), an_alert("tokens_per_second", 9 * HOUR, slice=SUM, observed=20.0, story=2)),  # another factor
        (an_alert("retry_rate", slice=BIG), an_alert("call_count", story=2)),  # volume says little of other slices
        (an_alert("error_rate", slice=BIG), an_alert("call_count", slice={"session_id": "s"}, story=2)),
        (an_alert("error_rate"), an_alert("error_rate", 10 * MINUTE, direction="down", slice=SUM, story=2)),
        (an_alert("call_count", direction="down", kind="silence"),
         an_alert("call_count", 10 * MINUTE, direction="down", kind="silence", slice=SUM, story=2)),
        (an_alert("output_tokens"), an_alert("rag_relevance_score", 5 * HOUR, direction="down", story=2)),  # too late
    ],
)  # fmt: skip
def test_what_cannot_is_two(old, new):
    assert together(old, new) == [[1], [2]]


def test_alerts_of_one_moment_take_each_other_along():
    price = an_alert("cost_usd", observed=1.06, expected=1.0)
    same_price = an_alert("cost_usd", 9 * HOUR, slice=SUM, observed=2.12, expected=2.0, story=3)
    slow = an_alert(at=9 * HOUR, slice=SUM, story=2)
    assert together(price, slow) == [[1], [2]]
    assert together(price, slow, same_price) == together(price, same_price, slow) == [[1, 2, 3]]


def test_causes_do_not_chain_through_symptoms():
    outage, symptom = an_alert("error_rate", slice=BIG), an_alert("fallback_rate", 10 * MINUTE, story=2)
    slow = an_alert(at=20 * MINUTE, slice=SUM, story=3)  # which a fallback might drive, were it of the same calls
    assert together(symptom, slow) == [[2, 3]]
    assert together(outage, symptom, slow) == [[1, 2], [3]]


def test_the_cause_takes_the_front_whenever_it_is_found():
    symptom, cause = an_alert("duration_ms", score=0.9), an_alert("error_rate", 3 * HOUR, since=NOON, story=2)
    found = changes([symptom, cause])
    assert [each.root.metric for each in found] == ["duration_ms", "error_rate", "error_rate"]
    assert found[0].id == found[-1].id


def test_what_began_well_after_is_not_the_cause():
    assert together(an_alert("duration_ms"), an_alert("error_rate", 5 * HOUR, story=2)) == [[1], [2]]
    early = an_alert("duration_ms", since=NOON - 5 * HOUR)
    last = changes([early, an_alert("error_rate", 5 * MINUTE, story=2)])[-1]
    assert (last.root.metric, len(last.members)) == ("duration_ms", 2)


def test_early_on_what_hurts_most_takes_the_front():
    price = an_alert("cost_usd", observed=1.06, expected=1.0, score=0.9)
    assert changes([price, an_alert(at=30 * MINUTE, story=2)])[-1].root.metric == "tokens_per_second"
    later = an_alert(at=80 * MINUTE, since=NOON, story=2)
    assert changes([price, later])[-1].root.metric == "cost_usd"


def test_a_wider_slice_and_a_worse_value_are_growth():
    wider = an_alert(at=2 * HOUR, slice={}, story=2)
    narrow = an_alert(at=2 * HOUR, slice=ASK | BIG, story=2, observed=58.0)
    worse = an_alert(at=2 * HOUR, slice=ASK | BIG, story=2, observed=40.0)
    assert [course(changes([an_alert(slice=ASK), each]))[1][0] for each in (narrow, worse)] == ["joined", "worse"]
    near = an_alert(slice=ASK, at=110 * MINUTE)
    assert course(changes([near, wider]))[1][0] == "wider"


def test_crossing_the_line_and_coming_back_does_not_flap():
    news = [ends(1, 60 * MINUTE), back(1, 65 * MINUTE), ends(1, 70 * MINUTE), back(1, 90 * MINUTE)]
    assert course(changes([an_alert()], news)) == [("opened", 0)]


def test_what_returns_while_recovering_is_open_again():
    found = changes([an_alert()], [ends(1, HOUR), back(1, 2 * HOUR), ends(1, 5 * HOUR)])
    assert course(found) == [("opened", 0), ("recovering", 90), ("back", 120), ("recovering", 330), ("closed", 420)]
    assert found[-1].reopened == 0


def test_what_returns_within_a_day_is_the_same_incident_reopened():
    found = changes([an_alert()], [ends(1, HOUR), back(1, 20 * HOUR), ends(1, 21 * HOUR)])
    assert [each.what for each in found] == ["opened", "recovering", "closed", "reopened", "recovering", "closed"]
    assert {each.id for each in found} == {found[0].id}
    assert found[-1].reopened == 1
    assert (found[3].state, found[3].closed) == ("open", None)


def test_so_is_a_new_alert_of_the_same_movement():
    again = an_alert(at=20 * HOUR, story=2, observed=70.0)
    found = changes([an_alert(), again], [ends(1, HOUR), ends(2, 22 * HOUR)])
    assert [each.what for each in found] == ["opened", "recovering", "closed", "reopened", "recovering", "closed"]
    assert found[-2].at == NOON + 22.5 * HOUR


@pytest.mark.parametrize(
    "odd", [{"at": 26 * HOUR}, {"direction": "up"}, {"slice": SUM}, {"observed": 99.0}, {"metric": "cost_usd"}]
)
def test_another_movement_is_another_incident(odd):
    other = an_alert(**{"at": 20 * HOUR, "story": 2, "direction": "down", "slice": ASK, "observed": 60.0} | odd)
    assert len({each.id for each in changes([an_alert(), other], [ends(1, HOUR)])}) == 2


def test_a_symptom_alone_neither_heals_nor_reopens_an_incident():
    alerts = [an_alert(), an_alert("duration_ms", 20 * MINUTE, story=2)]
    one = changes(alerts, [ends(2, HOUR)])
    assert course(one)[-1] == ("steady", 80)
    both = changes(alerts, [ends(2, HOUR), ends(1, 2 * HOUR), back(2, 20 * HOUR)])
    assert both[-1].what == "closed"


def test_with_its_root_healed_an_incident_recovers_and_waits_for_its_symptoms():
    alerts = [an_alert(), an_alert("duration_ms", 20 * MINUTE, story=2)]
    found = changes(alerts, [ends(1, 2 * HOUR), ends(2, 6 * HOUR)])
    assert course(found)[-2:] == [("recovering", 150), ("closed", 480)]


def test_an_accepted_level_closes_it_and_is_said_once():
    news = [ends(1, 3 * DAY, accepted=True), back(1, 3 * DAY + HOUR), ends(1, 3 * DAY + 2 * HOUR, accepted=True)]
    found = changes([an_alert()], news)
    assert [(each.what, each.state, each.accepted) for each in found] == [
        ("opened", "open", False), ("accepted", "closed", True),
    ]  # fmt: skip


def a_point(at, story, **odd):
    ordinary = {"kind": "point", "slice": ASK | BIG, "trace_ids": (f"t{story}",), "n": 1, "observed": 900.0}
    return an_alert("inference_time_ms", at, story, **ordinary | odd)


def test_single_calls_are_folded_under_what_goes_on_with_their_kind_of_call():
    slow = an_alert("inference_time_ms")
    assert together(slow, a_point(5 * HOUR, 2)) == [[1, 2]]
    assert together(slow, a_point(5 * HOUR, 2, slice=SUM | BIG)) == [[1], [2]]
    assert changes([a_point(0, 1), an_alert("inference_time_ms", 20 * MINUTE, 2)])[-1].root.story == 2


def test_single_calls_alike_are_one_incident_while_the_last_is_fresh():
    points = [a_point(0, 1), a_point(HOUR, 2), a_point(9 * HOUR, 3)]
    found = changes(points, [ends(1, 0), ends(2, HOUR), ends(3, 9 * HOUR)])
    assert [[each.story for each in x.members] for x in found if x.what == "closed"] == [[1, 2], [3]]


def a_stream(seed, n=60):
    """Alerts, endings and returns of two weeks, in any order of metrics and slices."""
    dice = random.Random(seed)
    metrics = ("tokens_per_second", "duration_ms", "cost_usd", "error_rate", "call_count", "inference_time_ms")
    slices = ({}, ASK, SUM, BIG, ASK | BIG, {"session_id": "s"})
    alerts, news, at = [], [], 0.0
    for story in range(1, n + 1):
        at += 300.0 * dice.randrange(0, 60)
        kind = dice.choice(("spike", "rate", "point"))
        alerts.append(
            an_alert(
                dice.choice(metrics), at, story, slice=dice.choice(slices), observed=dice.uniform(1, 400), kind=kind
            )
        )
        until = at + 300.0 * dice.randrange(0, 300)
        news.append(ends(story, until, accepted=dice.random() < 0.1))
        if dice.random() < 0.3:
            news += [back(story, until + 3000), ends(story, until + 6000)]
    return alerts, sorted(news, key=lambda each: each.at)


@pytest.mark.parametrize("seed", range(5))
def test_batches_and_pickling_do_not_matter(seed):
    alerts, news = a_stream(seed)
    end = news[-1].at + DAY
    whole = Grouping().take(alerts, news, end)
    dice, grouping, parts, now = random.Random(seed), Grouping(), [], NOON - 300
    while now < end:
        later = min(now + 300.0 * dice.choice((1, 3, 50, 400)), end)
        some = [each for each in alerts if now < each.detected_at <= later]
        parts += grouping.take(some, [each for each in news if now < each.at <= later], later)
        grouping, now = pickle.loads(pickle.dumps(grouping)), later
    assert parts == whole
    assert [each.at for each in whole] == sorted(each.at for each in whole)
    assert sorted(a.story for each in whole for a in each.joined) == [each.story for each in alerts]


def test_a_flood_of_causes_is_bounded(monkeypatch):
    monkeypatch.setattr(incidents, "MOST_OPEN", 5)
    monkeypatch.setattr(incidents, "MOST_CLOSED", 10)
    grouping = Grouping()
    alerts = [
        an_alert(at=300.0 * i, story=i, slice={"operation_type": f"o{i}"}, observed=1 + 9.0 * i) for i in range(11)
    ]
    found = grouping.take(alerts, [], NOON + HOUR)
    apart = [
        an_alert(
            "groundedness_score", 2 * HOUR + 600.0 * i, 100 + i, slice={"operation_type": f"p{i}"}, observed=2.0**i
        )
        for i in range(40)
    ]
    found += grouping.take(apart, [], NOON + DAY)
    states = [each.state for each in grouping.incidents.values()]
    assert len([each for each in states if each != "closed"]) <= 5
    assert len(states) <= 15
    assert sorted(a.story for each in found for a in each.joined) == [*range(11), *range(100, 140)]


def test_a_flood_of_symptoms_is_counted_and_not_kept():
    points = [a_point(300.0 * i, i) for i in range(80)]
    last = changes(points, until=80 * 300.0)[-1]
    assert (last.findings, len(last.members)) == (80, 50)


def test_an_incident_that_is_full_comes_back_in_order_of_time():
    alerts = [an_alert(at=300.0 * i, story=i) for i in range(50)]
    again = an_alert(at=20 * HOUR, story=99)
    found = changes([*alerts, again], [ends(i, 5 * HOUR) for i in range(50)])
    assert course(found)[-5:] == [
        ("recovering", 330), ("closed", 420), ("reopened", 1200), ("recovering", 1230), ("closed", 1320),
    ]  # fmt: skip


def test_one_that_was_crowded_out_ends_after_all_when_it_is_back(monkeypatch):
    monkeypatch.setattr(incidents, "MOST_OPEN", 1)
    other = an_alert("groundedness_score", HOUR, slice=SUM, story=2)
    again = an_alert(at=4 * HOUR, story=3, since=NOON + 4 * HOUR)
    found = changes([an_alert(), other, again], [ends(1, 2 * HOUR), ends(2, 2 * HOUR), ends(3, 6 * HOUR)])
    mine = [each for each in found if each.id == found[0].id]
    assert course(mine) == [("opened", 0), ("closed", 60), ("reopened", 240), ("recovering", 390), ("closed", 480)]


def test_what_is_long_over_is_forgotten():
    grouping = Grouping()
    grouping.take([an_alert()], [ends(1, HOUR)], NOON + 2 * DAY)
    assert (grouping.incidents, grouping.of) == ({}, {})


def test_ids_come_from_what_was_found():
    alert = an_alert(trace_ids=("t",))
    assert identity("p", alert) == identity("p", an_alert(trace_ids=("t",), story=9, severity=7.0))
    others = [an_alert(), an_alert("cost_usd"), an_alert(at=300.0), an_alert(slice=SUM)]
    ids = [identity("p", each) for each in (alert, *others)] + [identity("q", alert), identity("p", alert, "incident")]
    assert len(set(ids)) == len(ids)
    assert changes([alert])[0].id == identity("default", alert, "incident")


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"metric": "error_rate", "observed": 0.6, "expected": 0.01}, "critical"),
        ({"metric": "error_rate", "observed": 0.25, "expected": 0.01}, "high"),
        ({"metric": "error_rate", "observed": 0.04, "expected": 0.001}, "low"),
        ({"metric": "error_rate", "observed": 0.04, "expected": 0.001, "n": 5000}, "medium"),
        ({"metric": "error_rate", "observed": 0.25, "expected": 0.01, "n": 4, "score": 0.51}, "medium"),
        ({"metric": "error_rate", "observed": 0.01, "expected": 0.5, "direction": "down"}, "low"),
        ({"metric": "retry_rate", "observed": 0.9, "expected": 0.01}, "high"),
        ({"metric": "duration_ms", "observed": 60_000.0, "expected": 6000.0}, "critical"),
        ({"metric": "duration_ms", "observed": 6000.0, "expected": 600.0}, "high"),
        ({"metric": "queue_time_ms", "observed": 900.0, "expected": 90.0}, "medium"),
        ({"metric": "ttft_ms", "observed": 90.0, "expected": 9.0}, "low"),
        ({"metric": "duration_ms", "observed": 600.0, "expected": 6000.0, "direction": "down"}, "low"),
        ({"metric": "cost_usd", "observed": 0.0106, "expected": 0.01}, "low"),
        ({"metric": "cost_usd", "observed": 0.06, "expected": 0.01}, "critical"),
        ({"metric": "cache_hit_rate", "observed": 0.0, "expected": 0.7, "direction": "down"}, "high"),
        ({"metric": "groundedness_score", "observed": 0.7, "expected": 0.85, "direction": "down"}, "medium"),
        ({"metric": "call_count", "observed": 0.0, "expected": 300.0, "direction": "down"}, "critical"),
        ({"metric": "call_count", "observed": 60.0, "expected": 100.0, "direction": "down"}, "medium"),
        ({"metric": "call_count", "observed": 40.0, "expected": 2.0, "upper": 39.0, "slice": {"user_id": "u"}}, "low"),
        ({"metric": "inference_time_ms", "observed": 8000.0, "expected": 1000.0, "kind": "point"}, "low"),
        ({"metric": "inference_time_ms", "observed": 15_000.0, "expected": 1000.0, "kind": "point"}, "medium"),
        ({"metric": "inference_time_ms", "observed": 90_000.0, "expected": 1000.0, "kind": "point"}, "high"),
    ],
)  # fmt: skip
def test_severity_is_the_effect_on_people(odd, expected):
    assert severity_of(an_alert(**odd)) == expected


def test_an_incident_is_as_bad_as_it_has_been_at_its_worst():
    mild = an_alert("error_rate", observed=0.07, expected=0.01)
    bad = an_alert("error_rate", 2 * HOUR, 2, slice=ASK | BIG, observed=0.9, expected=0.01)
    found = changes([mild, bad], [ends(1, 3 * HOUR), ends(2, 3 * HOUR)])
    assert [each.severity for each in found if each.what in ("opened", "worse", "closed")] == [
        "medium", "critical", "critical",
    ]  # fmt: skip
    assert severity_of(bad) == SEVERITIES[3]
