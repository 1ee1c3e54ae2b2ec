"""Conditions of people's rules are evaluated as calls come, and become incidents of their own."""

import pytest

from tracewatch import watch
from tracewatch.alerts.checking import read_rule
from tracewatch.checks import RULES, Conditions, settle
from tracewatch.records import AlertRule, Incident, Span
from tracewatch.stores import open_store

NOW = 1_795_305_600.0  # 2026-11-22
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def rule(store, name="mine", **condition):
    """A rule as people write it."""
    read, mistakes = read_rule({"name": name, "condition": condition}, project="default", now=NOW - 30 * DAY, who="me")
    assert mistakes == []
    store.put([read])


def calls(store, count, *, over=600.0, until=NOW, **odd):
    ordinary = {"operation_type": "chat", "model_name": "gpt-4o-mini", "cost_usd": 0.01, "cost_status": "exact"}
    store.add(
        Span(
            trace_id=f"{sorted(odd.items())}{until}{n}", span_id="s", start_time=until - over * n / count,
            **{**ordinary, **odd},
        )
        for n in range(1, count + 1)
    )  # fmt: skip


def checked(store, now=NOW):
    watch.catch_up(store)
    return list(Conditions(store, "default").checks(now))


def test_a_threshold_is_above_or_below(store):
    rule(store, threshold={"metric": "error_rate", "above": 0.2, "window": "15m"})
    calls(store, 70)
    calls(store, 20, status="error")
    (found,) = checked(store)
    assert found.bad
    assert found.observed == pytest.approx(20 / 90)
    assert "above the 20 % of the rule mine" in found.title
    calls(store, 60, model_name="other")
    assert [each.bad for each in checked(store)] == [False]


def test_too_few_calls_say_nothing(store):
    rule(store, threshold={"metric": "error_rate", "above": 0.2, "calls": 5})
    calls(store, 4, status="error")
    assert [each.bad for each in checked(store)] == [None]


def test_of_counts_few_calls_are_what_is_asked_for(store):
    rule(store, threshold={"metric": "call_count", "below": 10, "window": "15m"})
    calls(store, 4)
    assert [(each.bad, each.observed) for each in checked(store)] == [(True, 4)]


def test_a_metric_that_rollups_do_not_have_is_measured_from_the_calls(store):
    rule(store, threshold={"metric": "ttft_ms", "above": 500, "window": "15m"})
    calls(store, 20, ttft_ms=800.0)
    (found,) = checked(store)
    assert (found.bad, found.observed, found.calls) == (True, 800.0, 20)


@pytest.mark.parametrize("column", ["model_name", "user_id"])
def test_each_value_of_a_column_by_itself(store, column):
    rule(store, threshold={"metric": "error_rate", "above": 0.5, "by": column})
    calls(store, 20, **{column: "good"})
    calls(store, 20, status="error", **{column: "bad"})
    found = {each.slice[column]: each.bad for each in checked(store)}
    assert found == {"good": False, "bad": True}


def test_a_slice_of_calls(store):
    rule(store, threshold={"metric": "error_rate", "above": 0.5, "slice": {"model_name": ["bad"]}})
    calls(store, 20)
    calls(store, 20, status="error", model_name="bad")
    (found,) = checked(store)
    assert (found.bad, found.slice, found.calls) == (True, {"model_name": "bad"}, 20)


def spent(store, per_day, days, **odd):
    """So much a day, by the hour, up to now."""
    calls(store, 24 * days, over=days * DAY, cost_usd=per_day / 24, **odd)


def test_a_budget_says_on_which_day_it_is_spent_and_how_sure_that_is(store):
    rule(store, budget={"usd": 50, "per": "month"})
    spent(store, 2.0, 30)
    (found,) = checked(store)
    assert found.bad
    assert "At this pace the $50.00 for November are spent on Nov 2" in found.title
    assert ", between Nov 2" in found.title
    assert "$42.0" in found.title
    assert found.observed - found.limit == pytest.approx(10.0, abs=1.0)
    assert found.cost_effect_usd is None  # nothing is spent beyond it so far


def test_a_budget_that_lasts_is_well(store):
    rule(store, budget={"usd": 500, "per": "month"})
    spent(store, 2.0, 30)
    assert [each.bad for each in checked(store)] == [False]


@pytest.mark.parametrize("by", ["model_name", "user_id"])
def test_a_budget_for_each_value_of_a_column(store, by):
    rule(store, budget={"usd": 50, "per": "month", "by": by})
    spent(store, 4.0, 30, **{by: "much"})
    spent(store, 0.5, 30, **{by: "little"})
    found = {each.slice[by]: each for each in checked(store)}
    assert {value: each.bad for value, each in found.items()} == {"much": True, "little": False}
    assert "of much for November were spent on Nov 13, 18d before its end" in found["much"].title


def test_a_budget_of_tokens(store):
    rule(store, budget={"tokens": 1000, "per": "day", "zone": "Europe/Berlin"})
    calls(store, 40, input_tokens=20, output_tokens=10)
    (found,) = checked(store)
    assert (found.bad, found.metric) == (True, "total_tokens")
    assert "1,000 tokens for Nov 22 were spent on Nov 22 00:00, 1d before its end" in found.title


def test_what_came_late_is_read_again(store):
    rule(store, budget={"usd": 1, "per": "day"})
    conditions = Conditions(store, "default")
    spent(store, 1.0, 3)
    later = NOW + 3 * HOUR
    watch.catch_up(store)
    before = conditions.checks(later)[0]
    calls(store, 30, until=later, cost_usd=0.1)
    watch.catch_up(store)
    after = conditions.checks(later)[0]
    assert "were spent" not in before.title
    assert "were spent" in after.title


def test_silence_of_a_stream(store):
    rule(store, no_data={"for": "30m", "slice": {"model_name": ["gpt-4o-mini"]}})
    calls(store, 10, until=NOW - 40 * 60)
    calls(store, 10, model_name="other")
    (found,) = checked(store)
    assert (found.bad, found.kind, found.direction) == (True, "silence", "down")
    assert "No call of gpt-4o-mini since Nov 21 23:1" in found.title
    assert [each.bad for each in checked(store, NOW - 20 * 60)] == [False]


def test_a_stream_that_never_was_is_silent_since_the_rule_was_made(store):
    rule(store, no_data={"for": "30m"})
    assert [each.bad for each in checked(store)] == [True]
    assert [each.bad for each in checked(store, NOW - 30 * DAY + 60)] == [False]


def test_its_incident_names_the_rule_and_goes_with_it(store):
    rule(store, no_data={"for": "30m"})
    calls(store, 10, until=NOW - 40 * 60)
    settle(store, "default", RULES, checked(store), NOW)
    (incident,) = store.page(Incident).records
    assert (incident.detector, incident.rule, incident.state) == ("rules", "mine", "open")
    store.annotate(AlertRule, {"project": "default", "name": "mine"}, {"enabled": False})
    settle(store, "default", RULES, checked(store), NOW + 60)
    assert store.page(Incident).records[0].state == "recovering"


def test_it_begins_when_the_limit_is_crossed_and_a_limit_is_not_what_is_usual(store):
    rule(store, threshold={"metric": "error_rate", "above": 0.2, "window": "15m"})
    conditions = Conditions(store, "default")
    calls(store, 60, over=600.0, until=NOW)
    watch.catch_up(store)
    assert [each.bad for each in conditions.checks(NOW)] == [False]
    calls(store, 40, over=60.0, until=NOW + 60, status="error")
    watch.catch_up(store)
    (found,) = conditions.checks(NOW + 60)
    assert (found.bad, found.since, found.expected, found.limit) == (True, NOW + 60, None, 0.2)
    assert conditions.checks(NOW + 120)[0].since == NOW + 60
    settle(store, "default", RULES, [found], NOW + 60)
    (incident,) = store.page(Incident).records
    assert (incident.started_at, incident.expected, incident.upper) == (NOW + 60, None, 0.2)


@pytest.mark.parametrize("metric", ["error_rate", "ttft_ms"])
def test_who_begins_to_watch_looks_back_for_when_it_was_crossed(store, metric):
    rule(store, threshold={"metric": metric, "above": 0.3, "window": "15m"})
    calls(store, 60, over=3600.0, until=NOW - 1200, ttft_ms=0.1)
    calls(store, 200, over=1200.0, until=NOW, status="error", ttft_ms=900.0)
    (found,) = checked(store)
    assert NOW - 1200 <= found.since <= NOW - 600


@pytest.mark.parametrize(("metric", "came"), [("call_count", 30), ("cost_per_hour", 1.2)])
def test_counts_and_money_of_each_value_that_rollups_do_not_tell_apart(store, metric, came):
    rule(store, threshold={"metric": metric, "above": 1, "window": "15m", "by": "user_id"})
    calls(store, 30, user_id="much")
    calls(store, 40, user_id="steps", operation_type="tool")
    (found,) = [each for each in checked(store) if each.slice["user_id"] == "much"]
    assert (found.bad, found.observed) == (True, pytest.approx(came))


def test_what_takes_long_is_evaluated_less_often_and_stays_as_it_was(store, monkeypatch):
    rule(store, threshold={"metric": "error_rate", "above": 0.2})
    calls(store, 30, status="error")
    watch.catch_up(store)
    took, clock = iter((0.0, 1.0, 1.0, 1.0)), iter((0.0, 19.0, 21.0, 21.0))  # a second, and then no time
    monkeypatch.setattr("tracewatch.checks.conditions.time.process_time", lambda: next(took))
    monkeypatch.setattr("tracewatch.checks.conditions.time.monotonic", lambda: next(clock))
    conditions = Conditions(store, "default")
    bad = [[each.bad for each in conditions.checks(NOW + HOUR * step)] for step in range(3)]
    assert bad == [[True], [True], [None]]
