"""Conditions tried on the past say what they would have made of it, and what they could not be tried on."""

import pytest

from tracewatch import watch
from tracewatch.alerts.book import Book
from tracewatch.alerts.checking import read_rule
from tracewatch.alerts.deciding import Rules
from tracewatch.alerts.history import past_of, pasts
from tracewatch.alerts.planning import plan
from tracewatch.checks import RULES, Conditions, settle
from tracewatch.checks.trying import days_of, tried
from tracewatch.records import Incident, Span
from tracewatch.stores import open_store

NOW = 1_795_305_600.0  # 2026-11-22
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def a_condition(name="mine", **condition):
    read, mistakes = read_rule({"name": name, "condition": condition}, project="default", now=NOW, who="me")
    assert mistakes == []
    return read


def calls(store, count, *, over=600.0, until=NOW, **odd):
    ordinary = {"operation_type": "chat", "model_name": "gpt-4o-mini", "cost_usd": 0.01, "cost_status": "exact"}
    store.add(
        Span(
            trace_id=f"{sorted(odd.items())}{until}{n}", span_id="s", start_time=until - over * n / count,
            **{**ordinary, **odd},
        )
        for n in range(1, count + 1)
    )  # fmt: skip


def course(incident):
    return incident.state, round(incident.started_at), incident.closed_at and round(incident.closed_at)


@pytest.mark.parametrize("metric", ["error_rate", "call_count"])
def test_the_past_says_what_was_made_of_it_live(store, metric):
    limit = {"error_rate": 0.2, "call_count": 100}[metric]
    rule = a_condition(threshold={"metric": metric, "above": limit, "window": "15m"})
    store.put([rule])
    calls(store, 600, over=6 * HOUR, until=NOW)
    calls(store, 100, over=10 * MINUTE, until=NOW - 3 * HOUR, status="error")
    watch.catch_up(store)
    conditions = Conditions(store, "default")
    for minute in range(-5 * 60, 0):
        at = NOW + minute * MINUTE + 59  # the minute is not over yet
        settle(store, "default", RULES, conditions.checks(at), at)
    (live,) = store.page(Incident).records
    (found,) = tried(store, [rule], NOW - 5 * HOUR, NOW)
    (past,) = found.pasts
    assert found.why == ""
    assert (past.incident.title, past.incident.severity) == (live.title, live.severity)
    assert (past.incident.state, live.state) == ("closed", "closed")
    assert past.incident.started_at == pytest.approx(live.started_at, abs=MINUTE)
    assert past.incident.closed_at == pytest.approx(live.closed_at, abs=MINUTE)
    assert past.times[0] == pytest.approx(live.detected_at, abs=MINUTE)


def test_what_is_measured_from_the_calls_themselves_is_tried_as_well(store):
    rule = a_condition(threshold={"metric": "ttft_ms", "above": 500, "window": "15m", "by": "user_id"})
    calls(store, 300, over=5 * HOUR, user_id="ada", ttft_ms=100.0)
    calls(store, 100, over=HOUR, until=NOW - 2 * HOUR, user_id="eve", ttft_ms=900.0)
    ((past,),) = (each.pasts for each in tried(store, [rule], NOW - DAY, NOW))
    assert past.incident.slice == {"user_id": "eve"}
    assert past.incident.started_at == pytest.approx(NOW - 3 * HOUR, abs=10 * MINUTE)
    assert past.incident.closed_at == pytest.approx(NOW - 2 * HOUR + 15 * MINUTE, abs=10 * MINUTE)


def test_a_long_window_is_read_from_the_hours_that_are_kept_for_ever(store):
    rule = a_condition(threshold={"metric": "cost_per_day", "above": 5, "window": "24h"})
    calls(store, 700, over=7 * DAY)
    calls(store, 1000, over=12 * HOUR, until=NOW - 3 * DAY)
    watch.catch_up(store)
    store.retain(NOW - 2 * DAY)
    (found,) = tried(store, [rule], NOW - 7 * DAY, NOW)
    assert (len(found.pasts), found.why) == (1, "")
    minutes = a_condition(threshold={"metric": "error_rate", "above": 0.5})
    (found,) = tried(store, [minutes], NOW - 7 * DAY, NOW)
    assert "not stored any more" in found.why


def test_a_budget_of_the_past(store):
    rule = a_condition(budget={"usd": 50, "per": "month"})
    calls(store, 24 * 50, over=50 * DAY, cost_usd=1.0 / 24)
    calls(store, 24, over=DAY, until=NOW - 8 * DAY, cost_usd=1.25)
    watch.catch_up(store)
    (found,) = tried(store, [rule], NOW - 30 * DAY, NOW)
    november = [each for each in found.pasts if "November" in each.incident.title]
    assert len(november) == 1
    severities = list(dict.fromkeys(each.incident.severity for each in november[0].phases))
    assert severities == ["high", "critical"]  # told before it was spent, and when it was
    assert NOW - 10 * DAY < november[0].times[0] < NOW - 7 * DAY


def test_silence_of_the_past(store):
    rule = a_condition(no_data={"for": "30m"})
    for end in (NOW - 10 * HOUR, NOW - 6 * HOUR, NOW):
        calls(store, 120, over=2 * HOUR, until=end)
    (found,) = tried(store, [rule], NOW - 12 * HOUR, NOW)
    assert [course(each.incident) for each in found.pasts] == [
        ("closed", round(NOW - 10 * HOUR - 60), round(NOW - 8 * HOUR)),
        ("closed", round(NOW - 6 * HOUR - 60), round(NOW - 2 * HOUR)),
    ] or [each.incident.reopened for each in found.pasts] == [1]


def test_time_that_does_not_suffice_is_said(store):
    rule = a_condition(threshold={"metric": "error_rate", "above": 0.2})
    calls(store, 300, over=10 * DAY, status="error")
    (found,) = tried(store, [rule], NOW - 10 * DAY, NOW, seconds=0.0)
    assert found.since == NOW - DAY
    assert "only the time since 2026-11-21T00:00 was tried" in found.why


def test_days_are_told_as_they_are_done(store):
    rules = [a_condition("one", no_data={"for": "30m"}), a_condition("two", budget={"usd": 1})]
    done = []
    tried(store, rules, NOW - 5 * DAY, NOW, progress=done.append)
    assert sum(done) == days_of(rules, NOW - 5 * DAY, NOW) == 10


def test_a_plan_has_what_a_condition_would_have_made_in_place_of_what_it_made(store):
    rule = a_condition(threshold={"metric": "error_rate", "above": 0.2})
    calls(store, 600, over=6 * HOUR)
    calls(store, 100, over=10 * MINUTE, until=NOW - 3 * HOUR, status="error")
    watch.catch_up(store)
    since = NOW - 5 * HOUR
    made = tried(store, [rule], since, NOW)
    stored = Incident(
        id="old", title="Made by a limit of 5 %.", rule="mine", detector=RULES, metric_name="error_rate",
        kind="level_shift", direction="up", severity="high", confidence_score=1.0, root_id="r", started_at=since + 60,
        detected_at=since + 60, updated_at=since + 60,
    )  # fmt: skip
    kept = [past_of(stored, (), ())]
    found = plan(Rules.of([rule]), Book(), kept, since, NOW, made)
    assert found.ruled["mine"].fired == 1
    assert "old" not in found.ruled["mine"].incidents
    assert [each.title for each in found.ruled["mine"].made] == [each.incident.title for each in made[0].pasts]
    assert (found.missed, dict(found.untried), found.silent) == ((), {}, ())
    assert plan(Rules.of([rule]), Book(), kept, since, NOW).ruled["mine"].incidents == ("old",)
    assert pasts(store, "default", since, NOW) == []


def test_what_was_over_within_a_step_of_a_plan_was_told_all_the_same(store):
    """Live it is told to the second; a minute later calls come again."""
    rule = a_condition(no_data={"for": "30m"})
    began = NOW - 6 * HOUR + 89  # so that it is told, and over, between two steps of five minutes
    for end in (began, NOW - 4 * HOUR):
        calls(store, 120, over=2 * HOUR - (31 * MINUTE if end != began else 0), until=end)
    made = tried(store, [rule], NOW - 7 * HOUR, NOW - 4 * HOUR)
    ((opened, *_),) = [each.times for each in made[0].pasts]
    assert opened // 300 == (opened + 120) // 300
    found = plan(Rules.of([rule]), Book(), [], NOW - 7 * HOUR, NOW - 4 * HOUR, made)
    assert (found.ruled["mine"].fired, found.missed) == (1, ())


def test_before_the_first_call_of_all_nothing_is_silent(store):
    calls(store, 240, over=2 * HOUR, until=NOW - HOUR)
    (found,) = tried(store, [a_condition(no_data={"for": "30m"})], NOW - 5 * DAY, NOW)
    assert [(each.incident.state, each.times[0] > NOW - HOUR) for each in found.pasts] == [("open", True)]
    never = a_condition(no_data={"for": "30m", "slice": {"service_name": "nosuch"}})
    (found,) = tried(store, [never], NOW - 5 * DAY, NOW)
    assert [round(each.times[0] - (NOW - 5 * DAY)) for each in found.pasts] == [1801]
