"""One pass over a store: what it judges, what it finds, and that it keeps each finding once."""

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tracewatch import causes, watch
from tracewatch.findings import grouped
from tracewatch.metrics import TYPE_OF, TYPES
from tracewatch.records import RESOLUTIONS, Anomaly, PriceOverride, Span, key_of
from tracewatch.stores import Filter, open_store
from tracewatch.words import RULE_LABELS

DAY_S = 86400
MIDNIGHT = 1772409600.0  # 2 March 2026
NOON = MIDNIGHT + DAY_S / 2
TEN_KEYS = [
    *("duration", "ttft", "throughput", "tokens", "cache_miss"),
    *("cost", "rag_latency", "rag_relevance", "context_bloat", "queue_time"),
]


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as store:
        yield store


def a_span(number, **odd):
    ordinary = {
        "start_time": NOON - 4000,
        "trace_id": f"trace-{number}",
        "span_id": f"span-{number}",
        "operation_type": "chat",
        "model_name": "gpt-4o",
        "usage_type": "chat_answer",
        "cost_status": "exact",
        "source": "traces",
    }
    return Span(**ordinary | odd)


def usual(name, level=100.0, count=50, **odd):
    """Calls whose values of one field differ a little."""
    return [a_span(number, **{name: level + number % 5} | odd) for number in range(count)]


def kept(store):
    return store.page(Anomaly, limit=1000).records


def detect(store, **odd):
    watch.catch_up(store)
    ordinary = {"project": "default", "since": NOON - DAY_S, "until": NOON, "now": NOON + 60}
    return watch.detect(store, **ordinary | odd)


def found(detection):
    return {key: count for key, count in detection.breakdown.items() if count}


def test_an_empty_store_answers_zeros(store):
    detection = detect(store)
    assert detection.response() == {
        "success": True,
        "analyzed_traces": 0,
        "anomaly_types_analyzed": 10,
        "anomalies_detected": 0,
        "anomalies_saved": 0,
        "breakdown": dict.fromkeys(TEN_KEYS, 0),
    }
    assert list(detection.breakdown) == TEN_KEYS


@pytest.mark.parametrize(
    ("key", "ordinary", "odd"),
    [
        ("duration", {"duration_ms": 900.0}, {"duration_ms": 9000.0}),
        ("ttft", {"ttft_ms": 200.0, "streaming_enabled": True}, {"ttft_ms": 4000.0, "streaming_enabled": True}),
        ("throughput", {"tokens_per_second": 60.0}, {"tokens_per_second": 1.0}),
        ("tokens", {"input_tokens": 500, "output_tokens": 10}, {"input_tokens": 5, "output_tokens": 9000}),
        (
            "cache_miss",
            {"cache_read_input_tokens": 800, "input_tokens": 1000},
            {"cache_read_input_tokens": 0, "input_tokens": 1000},
        ),
        ("cost", {"cost_usd": 0.01}, {"cost_usd": 0.9}),
        ("rag_latency", {"retrieval_latency_ms": 50.0}, {"retrieval_latency_ms": 5000.0}),
        ("rag_relevance", {"rag_relevance_score": 0.8}, {"rag_relevance_score": 0.1}),
        ("context_bloat", {"context_tokens": 2000}, {"context_tokens": 90_000}),
        ("queue_time", {"queue_time_ms": 20.0}, {"queue_time_ms": 2000.0}),
    ],
)
def test_each_type_finds_its_outlier_and_says_where(store, key, ordinary, odd):
    store.add([*(a_span(number, **ordinary) for number in range(50)), a_span(99, user_id="u1", **odd)])
    detection = detect(store)
    assert detection.breakdown[key] == 1
    assert detection.analyzed == 51
    finding = next(each for each in detection.findings if each.anomaly_type == key)
    metric = next(each for each in TYPES if each.key == key)
    assert (finding.metric_name, finding.trace_id, finding.span_id) == (metric.name, "trace-99", "span-99")
    assert (finding.user_id, finding.model_id) == ("u1", "gpt-4o")
    assert finding.statistics["trace_id"] == "trace-99"
    assert finding.statistics["operation_type"] == "chat"
    assert finding.statistics["confidence"] == finding.confidence_score
    ends = finding.statistics["expectedRange"]
    assert ends["lower"] <= finding.expected_value <= ends["upper"]
    assert ends["lower"] >= 0
    assert (finding.detected_value > finding.threshold_value) == (metric.bad == "up")
    assert finding.recommended_actions
    assert finding.description.startswith("Chat on gpt-4o ")
    assert finding in kept(store)


@pytest.mark.parametrize(
    "left_out",
    [
        {"ttft_ms": 9000.0, "streaming_enabled": False},
        {"ttft_ms": 9000.0, "streaming_enabled": None},
        {"ttft_ms": None, "streaming_enabled": True},
    ],
)
def test_first_tokens_count_where_the_answer_was_streamed(store, left_out):
    store.add([*usual("ttft_ms", streaming_enabled=True), a_span(99, **left_out)])
    assert detect(store).breakdown["ttft"] == 0


def test_cache_misses_count_where_cache_tokens_are_reported(store):
    rows = usual("cache_read_input_tokens", 80, input_tokens=100)
    store.add([*rows, a_span(98, input_tokens=100), a_span(99, input_tokens=0, cache_read_input_tokens=0)])
    assert detect(store).breakdown["cache_miss"] == 0


def test_unpriced_calls_are_not_calls_that_cost_nothing(store):
    store.add([*usual("cost_usd", 0.5, count=9), a_span(99, cost_usd=900.0, cost_status="exact")])
    assert detect(store).breakdown["cost"] == 0  # ten values cannot be three deviations apart
    store.add([a_span(number, cost_usd=None, cost_status="unpriced") for number in range(200, 300)])
    assert detect(store).breakdown["cost"] == 0


def test_calls_without_tokens_do_not_count_as_zero_tokens(store):
    store.add([a_span(number, input_tokens=100 + number % 5) for number in range(20)])
    store.add([a_span(number, operation_type="tool") for number in range(20, 400)])
    assert found(detect(store)) == {}


def test_nine_rows_say_nothing(store):
    store.add([*usual("duration_ms", count=8), a_span(99, duration_ms=1e9)])
    assert found(detect(store)) == {}


def test_only_the_window_is_judged_and_its_end_is_not_in_it(store):
    outside = [NOON - DAY_S - 0.001, NOON]
    store.add([a_span(900 + place, start_time=time, duration_ms=1e6) for place, time in enumerate(outside)])
    store.add(usual("duration_ms"))
    store.add([a_span(800, start_time=NOON - DAY_S, duration_ms=5000.0)])
    detection = detect(store)
    assert detection.analyzed == 51
    assert [each.trace_id for each in detection.findings] == ["trace-800"]


def test_running_twice_saves_nothing_and_changes_nothing(store):
    store.add([*usual("duration_ms"), a_span(99, duration_ms=9e3)])
    first = detect(store)
    assert (first.detected, first.saved) == (1, 1)
    before = kept(store)
    second = detect(store, now=NOON + 3600)
    assert (second.detected, second.saved) == (1, 0)
    assert kept(store) == before


@pytest.mark.parametrize("resolution", RESOLUTIONS[1:])
def test_what_people_did_to_a_finding_stays(store, resolution):
    store.add([*usual("duration_ms"), a_span(99, duration_ms=9e3)])
    finding = detect(store).findings[0]
    key = {name: getattr(finding, name) for name in key_of(Anomaly)}
    store.annotate(Anomaly, key, {"resolution_status": resolution, "acknowledged": True})
    detect(store)
    assert [(each.resolution_status, each.acknowledged) for each in kept(store)] == [(resolution, True)]


def test_a_finding_is_another_one_in_another_project(store):
    rows = [*usual("duration_ms"), a_span(99, duration_ms=9e3)]
    other = [*usual("duration_ms", project="other"), a_span(99, duration_ms=9e3, project="other")]
    store.add([*rows, *other])
    one, two = detect(store), detect(store, project="other")
    assert one.analyzed == two.analyzed == 51
    assert one.findings[0].id != two.findings[0].id
    assert len(kept(store)) == 2


def test_one_users_rows_are_judged_by_themselves(store):
    store.add(usual("duration_ms", user_id="slow", level=5000.0))
    store.add([a_span(500 + number, user_id="fast", duration_ms=10.0 + number % 3) for number in range(50)])
    store.add([a_span(700, user_id="fast", duration_ms=400.0)])
    detection = detect(store, user="fast")
    assert detection.analyzed == 51
    assert [each.trace_id for each in detection.findings] == ["trace-700"]


def test_messages_and_traces_are_kept_apart(store):
    messages = usual("duration_ms", source="messages", input_tokens=10)
    store.add([*messages, a_span(99, source="messages", duration_ms=9e3)])
    store.add(
        [
            a_span(1000 + number, duration_ms=900.0 + number % 3, source=None if number % 2 else "otlp")
            for number in range(40)
        ]
    )
    traces, old = detect(store), detect(store, source="messages")
    assert (traces.analyzed, found(traces)) == (40, {})
    assert (old.analyzed, found(old)) == (51, {"latency": 1})
    assert list(old.breakdown) == [*TEN_KEYS, "latency"]
    finding = old.findings[0]
    assert (finding.metric_name, finding.anomaly_type, finding.source) == ("latency_ms", "latency", "messages")
    assert old.response()["anomaly_types_analyzed"] == 2


def test_a_long_answer_is_named_as_the_reason(store):
    rows = [a_span(n, duration_ms=900.0 + n % 7, output_tokens=100, ttft_ms=50.0) for n in range(50)]
    store.add(
        [*rows, a_span(99, duration_ms=9000.0, output_tokens=1000, ttft_ms=50.0, retry_count=2, status="timeout")]
    )
    finding = next(each for each in detect(store).findings if each.anomaly_type == "duration")
    assert finding.contributing_factors == (
        "the call ended as timeout",
        "2 retries before the answer",
        "the answer is 1,000 tokens, 10× the usual 100 tokens of chat on gpt-4o",
    )
    assert "Cap the length of answers with max_tokens." in finding.recommended_actions


def test_a_kind_of_call_that_is_always_slow_is_said_to_be_ordinary(store):
    store.add(usual("duration_ms", count=500))
    batch = [a_span(900 + n, duration_ms=9000.0 + n, operation_type="batch", model_name="big") for n in range(10)]
    store.add(batch)
    factors = {each.contributing_factors for each in detect(store).findings}
    assert factors == {("ordinary for batch on big (its median is 9 s), rare in the mix of all calls",)}


def test_numbers_that_break_nature_are_survived(store):
    store.add(
        [*usual("duration_ms"), a_span(98, duration_ms=-1e300), a_span(99, duration_ms=1e300, input_tokens=2**62)]
    )
    assert detect(store).analyzed == 52


def a_day(days_ago, cost, calls=10, **odd):
    """Calls of one day, from midnight on, that cost so much together."""
    begin = MIDNIGHT - days_ago * DAY_S
    return [
        a_span(f"{days_ago}-{call}", start_time=begin + call, cost_usd=cost / calls, **odd) for call in range(calls)
    ]


def a_week(cost=1.0, **odd):
    return [span for days_ago in range(1, 8) for span in a_day(days_ago, cost, **odd)]


def fired(detection):
    return [each.anomaly_type for each in detection.rules]


def test_normal_days_raise_nothing(store):
    store.add([*a_week(), *a_day(0, 1.2)])
    assert fired(detect(store)) == []


def test_a_day_at_four_times_the_cost_raises_one_critical_finding(store):
    store.add([*a_week(), *a_day(0, 4.0)])
    detection = detect(store)
    assert fired(detection) == ["cost_spike"]
    finding = detection.rules[0]
    assert (finding.severity, finding.detector) == ("critical", "rules")
    assert finding.description == "Calls have cost $4.00 on 2026-03-02, 4× the daily average of $1.00 over 7 days."
    assert finding.occurred_at == MIDNIGHT
    assert finding.statistics["severity"] == "critical"
    assert finding in kept(store)


def test_two_days_of_history_raise_nothing(store):
    store.add([*a_day(2, 1.0), *a_day(1, 1.0), *a_day(0, 40.0)])
    assert fired(detect(store)) == []


def test_the_eighth_day_before_is_not_history(store):
    store.add([*a_day(8, 1.0), *a_day(2, 1.0), *a_day(1, 1.0), *a_day(0, 40.0)])
    assert fired(detect(store)) == []


def test_a_rule_that_fired_today_is_kept_once(store):
    store.add([*a_week(), *a_day(0, 4.0)])
    assert detect(store).rules_saved == 1
    again = detect(store, until=NOON + 3600)
    assert (fired(again), again.rules_saved) == (["cost_spike"], 0)


def test_the_day_of_a_window_that_ends_at_midnight_is_the_one_before(store):
    store.add([*a_week(), *a_day(0, 4.0)])
    assert fired(detect(store, until=MIDNIGHT + DAY_S)) == ["cost_spike"]
    assert fired(detect(store, until=MIDNIGHT + DAY_S + 1)) == []


def test_calls_after_the_end_of_the_window_are_not_seen(store):
    later = [a_span(f"later-{n}", start_time=NOON + n, cost_usd=100.0, status="error") for n in range(50)]
    store.add([*a_week(), *a_day(0, 1.0), *later])
    assert fired(detect(store)) == []
    assert set(fired(detect(store, until=NOON + 50))) == {"cost_spike", "call_spike", "high_error_rate"}


def test_one_usage_type_that_is_called_more_often_is_named(store):
    store.add([*a_week(cost=0.0, calls=4), *a_day(0, 0.0, calls=13)])
    store.add([a_span(f"new-{n}", start_time=MIDNIGHT + n, usage_type="new") for n in range(50)])
    detection = detect(store)
    assert fired(detection) == ["call_spike"]
    assert detection.rules[0].statistics["usage_type"] == "chat_answer"
    assert detection.rules[0].severity == "high"


def test_errors_of_the_last_hour_are_judged_by_themselves(store):
    def an_hour(failed, begin, **odd):
        return [
            a_span(f"{begin}-{n}", start_time=begin + n, status="timeout" if n < failed else "ok", **odd)
            for n in range(10)
        ]

    store.add(an_hour(10, NOON - 3611))
    store.add(an_hour(2, NOON - 3600))
    assert fired(detect(store)) == []
    store.add([a_span("one-more", start_time=NOON - 1, status="error")])
    finding = detect(store).rules[0]
    assert (finding.anomaly_type, finding.trace_id) == ("high_error_rate", "trace-one-more")
    assert finding.detected_value == pytest.approx(3 / 11)


def test_reranks_that_fell_back_are_judged_over_the_day(store):
    odd = {"usage_type": "chat_rerank", "status": "fallback"}
    store.add([a_span(f"r{n}", start_time=MIDNIGHT + n, **odd) for n in range(2)])
    store.add([a_span("other", start_time=MIDNIGHT, status="fallback")])
    assert fired(detect(store)) == []
    store.add([a_span("r3", start_time=NOON - 5000, operation_type="Rerank", status="ok")])
    detection = detect(store)
    assert fired(detection) == ["high_fallback_rate"]
    assert detection.rules[0].detected_value == pytest.approx(2 / 3)


def test_requests_around_calls_neither_fail_nor_water_down_the_rules(store):
    """Six of ten calls fail, within twenty requests; requests alone that fail are no failing calls."""
    around = {"operation_type": "request", "model_name": None, "start_time": NOON - 100}
    store.add([a_span(f"well {number}", **around) for number in range(20)])
    store.add([a_span(f"ill {number}", start_time=NOON - 90, status="error") for number in range(6)])
    store.add([a_span(f"fine {number}", start_time=NOON - 80) for number in range(4)])
    finding = detect(store).rules[0]
    assert (finding.anomaly_type, finding.detected_value) == ("high_error_rate", 0.6)


def test_a_component_that_falls_back_because_its_call_fails_fires_the_fallback_rule(store):
    """The call is an error; only the step around it knows that a substitute was used."""
    for number in range(4):
        odd = {"usage_type": "chat_rerank", "trace_id": f"ask-{number}", "start_time": NOON - 7000}
        store.add(
            [
                a_span(f"around {number}", operation_type="step", model_name=None, status="fallback", **odd),
                a_span(f"call {number}", status="error", **odd),
            ]
        )
    assert fired(detect(store)) == ["high_fallback_rate"]


def factors(store, **odd):
    return detect(store, **odd).rules[0].contributing_factors


def test_a_cost_spike_says_which_kind_of_call_made_it_and_how(store):
    ordinary = {"usage_type": "summarize", "model_name": "claude-sonnet-4-5", "input_tokens": 1000}
    chat = {"usage_type": "chat_answer", "input_tokens": 100}
    for days_ago in range(1, 8):
        store.add(a_day(days_ago, 0.5, user_id="u1", **ordinary))
        store.add([replace(each, span_id="chat", user_id="u2") for each in a_day(days_ago, 0.5, **chat)])
    store.add(a_day(0, 3.3, user_id="u1", **ordinary | {"input_tokens": 4100}))
    store.add([replace(each, span_id="chat", user_id="u2") for each in a_day(0, 0.7, **chat)])
    assert factors(store) == (
        "summarize on claude-sonnet-4-5: $2.80 of the extra $3.00 (93.3 %); tokens per call 4.1× the usual; "
        "cost per token 1.6× the usual",
        "model claude-sonnet-4-5: $2.80 of the extra $3.00 (93.3 %)",
        "usage type summarize: $2.80 of the extra $3.00 (93.3 %)",
        "user u1: $2.80 of the extra $3.00 (93.3 %)",
    )


def test_a_kind_of_call_that_is_new_is_said_to_be(store):
    store.add([*a_week(), *a_day(0, 1.0)])
    store.add([replace(each, span_id="new", usage_type="crawl") for each in a_day(0, 9.0, calls=20)])
    assert factors(store)[0] == "crawl on gpt-4o: all of the extra $9.00; none on the days before"


def test_calls_after_the_window_do_not_contribute(store):
    store.add([*a_week(), *a_day(0, 4.0)])
    store.add([a_span(f"later-{n}", start_time=NOON + n, cost_usd=9.0, usage_type="later") for n in range(1, 5)])
    assert factors(store, until=NOON + 0.5) == ("chat_answer on gpt-4o: all of the extra $3.00",)


def test_a_call_spike_says_which_model_and_user_made_it(store):
    store.add(a_week(cost=0.0, user_id="u1"))
    store.add(a_day(0, 0.0, user_id="u1"))
    store.add([replace(each, span_id="x", user_id="u2") for each in a_day(0, 0.0, calls=40, model_name="small")])
    store.add([replace(each, span_id="y", usage_type="other") for each in a_day(0, 0.0, calls=99)])
    assert factors(store) == (
        "chat_answer on small: all of the extra 40 calls; none on the days before",
        "model small: all of the extra 40 calls",
        "user u2: all of the extra 40 calls",
    )


def test_errors_are_told_by_category_model_and_usage_type(store):
    bad = {"status": "error", "error_category": "rate_limit", "model_name": "small", "start_time": NOON - 60}
    store.add([a_span(n, **bad) for n in range(9)])
    store.add([a_span(20 + n, start_time=NOON - 60) for n in range(20)])
    store.add([a_span(50, start_time=NOON - 60, status="timeout")])
    assert factors(store) == (
        "error category rate_limit: 9 of the 10 (90 %) calls that failed",
        "model small: 9 of the 10 (90 %) calls that failed; 100 % of its 9 calls failed, 4.8 % of the others",
        "usage type chat_answer: all 10 calls that failed; it has all 30 calls",
    )


def test_fallbacks_are_told_among_rerank_calls_alone(store):
    odd = {"usage_type": "chat_rerank", "status": "fallback", "error_type": "ValueError"}
    store.add([a_span(f"r{n}", start_time=MIDNIGHT + n, **odd) for n in range(3)])
    store.add([a_span(f"o{n}", start_time=MIDNIGHT, status="fallback", model_name="other") for n in range(9)])
    assert factors(store) == (
        "error type ValueError: all 3 calls that fell back",
        "model gpt-4o: all 3 calls that fell back; it has all 3 calls",
        "usage type chat_rerank: all 3 calls that fell back; it has all 3 calls",
    )


def test_a_finding_that_is_there_already_is_given_as_it_is_stored(store):
    store.add([*usual("duration_ms"), a_span(99, duration_ms=9e3)])
    first = detect(store)
    assert first.new == first.findings
    slow = [a_span(f"slow-{n}", start_time=NOON - 2 * DAY_S, duration_ms=9e3 + n) for n in range(2)]
    store.add([*usual("duration_ms", start_time=NOON - 2 * DAY_S, count=0), *slow])
    again = detect(store, since=NOON - 3 * DAY_S)
    assert {each.trace_id for each in again.new} == {"trace-slow-0", "trace-slow-1"}
    assert (again.detected, again.saved) == (3, 2)
    assert sorted(again.findings, key=lambda each: each.id) == sorted(kept(store), key=lambda each: each.id)
    assert first.findings[0] in again.findings


def test_many_findings_are_looked_up_in_one_walk(store):
    store.add(usual("duration_ms", count=20_000))
    store.add([a_span(f"odd-{n}", duration_ms=9e3 + n) for n in range(watch.FEW + 1)])
    first = detect(store)
    again = detect(store, since=NOON - 2 * DAY_S)
    assert first.saved == watch.FEW + 1
    assert (again.findings, again.new) == (first.findings, ())


def test_what_is_there_already_is_not_counted_as_new(store):
    store.add([*usual("duration_ms"), a_span(99, duration_ms=9e3)])
    finding = detect(store).findings[0]
    key = {name: getattr(finding, name) for name in key_of(Anomaly)}
    store.annotate(Anomaly, key, {"severity": "low"})
    theirs = store.get(Anomaly, key)
    assert watch.keep(store, [finding]) == ([theirs], [])


def test_a_rule_that_fired_before_is_given_as_it_is_stored(store):
    store.add([*a_week(), *a_day(0, 4.0)])
    first = detect(store)
    store.add([a_span("more", start_time=NOON - 1, cost_usd=5.0)])
    again = detect(store, since=NOON - 3600)
    assert again.rules == first.rules
    assert (again.rules_saved, again.new) == (0, again.findings)


def test_it_is_counted_how_many_values_each_type_had(store):
    store.add([*usual("duration_ms", count=20), a_span(99, queue_time_ms=1.0)])
    detection = detect(store)
    assert {key: count for key, count in detection.used.items() if count} == {"duration": 20, "queue_time": 1}
    assert detection.judged
    assert not detect(store, user="nobody").judged


def test_days_of_history_are_counted_where_rules_are_asked(store):
    store.add([*a_day(2, 1.0), *a_day(1, 1.0)])
    assert detect(store).history_days == 2
    assert detect(store, user="u").history_days is None
    assert detect(store, source="messages").history_days is None


def test_rules_are_about_the_project_not_about_one_user(store):
    store.add([*a_week(user_id="u"), *a_day(0, 4.0, user_id="u")])
    assert fired(detect(store, user="u")) == []


def test_messages_do_not_count_in_the_rules(store):
    store.add([*a_week(source="messages"), *a_day(0, 4.0, source="messages")])
    assert fired(detect(store)) == []


def test_calls_that_were_written_unpriced_are_priced_first(store):
    odd = {"cost_status": None, "model_name": "gpt-4o-mini", "model_provider": "openai"}
    store.add([a_span(n, input_tokens=1_000_000, output_tokens=0, **odd) for n in range(3)])
    done = watch.catch_up(store)
    assert (done.priced, done.rolled_up) == (3, 3)
    assert len(done.sentences()) == 2
    span = store.trace("default", "trace-0")[0]
    assert (span.cost_usd, span.cost_status) == (pytest.approx(0.15), "exact")
    again = watch.catch_up(store)
    assert (again.priced, again.rolled_up, again.sentences()) == (0, 0, [])


def test_rows_of_every_project_are_priced_each_by_its_own_prices(store):
    store.put([PriceOverride(project="two", pattern="mine", input_per_million=2.0, output_per_million=2.0)])
    odd = {"cost_status": None, "model_name": "mine", "model_provider": "me", "input_tokens": 1_000_000}
    store.add([a_span(1, project="one", **odd), a_span(1, project="two", **odd)])
    assert watch.catch_up(store, project="one").priced == 2
    one, two = (store.trace(project, "trace-1")[0] for project in ("one", "two"))
    assert (one.cost_usd, one.cost_status) == (None, "unpriced")
    assert (two.cost_usd, two.cost_status) == (2.0, "override")


def test_priced_rows_are_in_the_rollups(store):
    odd = {"cost_status": None, "model_name": "gpt-4o-mini", "model_provider": "openai"}
    store.roll_up()
    store.add([a_span(1, input_tokens=1_000_000, output_tokens=0, **odd)])
    watch.catch_up(store)
    rolled = store.rollup(MIDNIGHT, MIDNIGHT + DAY_S, step_s=DAY_S, measures=("cost_usd_sum",))
    assert rolled["cost_usd_sum"].to_pylist() == [pytest.approx(0.15)]


def test_the_newest_call_of_each_source(store):
    assert watch.newest(store, project="default") is None
    store.add([a_span(1, start_time=5.0, source="messages"), a_span(2, start_time=3.0)])
    assert watch.newest(store, project="default") == 3.0
    assert watch.newest(store, project="default", source="messages") == 5.0


def test_the_spread_of_a_window_has_all_its_values(store):
    store.add([*usual("duration_ms"), a_span(99, duration_ms=9e3)])
    detection = detect(store)
    counts, edges = watch.distribution(store, detection.findings[0], NOON - DAY_S, NOON, 10)
    assert (sum(counts), len(edges)) == (51, 11)
    assert edges[-1] == 9e3
    assert counts[-1] == 1


def test_the_spread_of_two_decades_and_more_is_in_logarithms(store):
    store.add([*usual("duration_ms"), a_span(99, duration_ms=1e6)])
    counts, edges = watch.distribution(store, detect(store).findings[0], NOON - DAY_S, NOON, 10)
    assert (edges[0], edges[-1], sum(counts)) == (100.0, 1e6, 51)
    assert edges[1] / edges[0] == pytest.approx(edges[-1] / edges[-2])


def test_a_spread_with_zeros_has_no_logarithms(store):
    store.add([*usual("duration_ms"), a_span(98, duration_ms=0.0), a_span(99, duration_ms=1e6)])
    _, edges = watch.distribution(store, detect(store).findings[0], NOON - DAY_S, NOON, 10)
    assert edges[1] - edges[0] == pytest.approx(edges[-1] - edges[-2])


def test_a_slow_answer_is_so_many_times_slower(store):
    odd = {"duration_ms": 9e3, "tokens_per_second": 2.0}
    store.add([*usual("duration_ms", tokens_per_second=42.0), a_span(99, **odd)])
    finding = next(each for each in detect(store).findings if each.anomaly_type == "duration")
    text = "the answer came at 2 tokens/s, 21 times slower than the usual 42 tokens/s of chat on gpt-4o"
    assert finding.contributing_factors == (text,)


def test_findings_are_grouped_by_type_operation_and_model(store):
    store.add([*usual("duration_ms", count=200), a_span(900, duration_ms=9e3), a_span(901, duration_ms=9100.0)])
    store.add([a_span(902, duration_ms=5e3, model_name="other"), a_span(903, duration_ms=5e3, operation_type="tool")])
    groups = grouped(detect(store).findings)
    assert [len(each.findings) for each in groups] == [2, 1, 1]
    assert groups[0].worst.trace_id == "trace-901"
    assert groups[0].period == (NOON - 4000, NOON - 4000)


def test_what_is_stored_is_plain_json(store):
    store.add([*usual("duration_ms"), a_span(99, duration_ms=9e3)])
    detect(store)
    numbers = [value for value in kept(store)[0].statistics.values() if isinstance(value, float)]
    assert numbers
    assert all(math.isfinite(value) for value in numbers)


def test_findings_of_one_type_can_be_asked_for(store):
    store.add([*usual("duration_ms"), a_span(99, duration_ms=9e3)])
    detect(store)
    assert len(store.page(Anomaly, [Filter("anomaly_type", "=", ("duration",))]).records) == 1
    assert store.page(Anomaly, [Filter("anomaly_type", "=", ("cost",))]).records == ()


def test_every_metric_is_documented_as_it_is():
    page = (Path(__file__).parent.parent / "docs" / "detection.md").read_text(encoding="utf-8")
    for each in TYPE_OF.values():
        row = f"| `{each.key}` | {each.label} | `{each.name}` | {each.bad} | {each.threshold:g} | {each.used} |"
        assert row in page


def test_every_rule_is_documented():
    page = (Path(__file__).parent.parent / "docs" / "detection.md").read_text(encoding="utf-8")
    assert all(f"| `{rule}` |" in page for rule in RULE_LABELS)


@pytest.mark.parametrize("metric", TYPE_OF.values(), ids=TYPE_OF)
def test_every_metric_has_causes_and_actions(metric):
    assert causes.actions(metric.key)
    assert metric.key in causes.EXPLAINED_BY
    assert set(causes.EXPLAINED_BY[metric.key]) <= set(causes.DRIVERS)


@pytest.mark.parametrize("rule", RULE_LABELS)
def test_every_rule_has_actions(rule):
    assert causes.actions(rule)


def test_what_an_app_keeps_writing_into_its_usage_table_comes_over(store):
    with closing(sqlite3.connect(store.url)) as app:
        app.execute(
            "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT, "
            "usage_type TEXT, input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL, conversation_id TEXT, "
            "metadata TEXT)"
        )
        row = ("2026-03-02T10:00:00", "openai", "gpt-4o-mini", "chat_answer", 1_000_000, 0)
        insert = (
            "INSERT INTO llm_usage (timestamp, provider, model, usage_type, input_tokens, output_tokens) "
            "VALUES (?, ?, ?, ?, ?, ?)"
        )
        with app:
            app.execute(insert, row)
        first = watch.catch_up(store)
        with app:
            app.execute(insert, row)
        second = watch.catch_up(store)
    assert [(each.brought, each.priced) for each in (first, second)] == [(1, 1), (1, 1)]
    assert first.sentences()[:2] == [
        "watch.db was an app's usage database: 4 columns were added to llm_usage, every row was kept.",
        "New rows of llm_usage brought over: 1.",
    ]
    assert second.sentences()[0] == "New rows of llm_usage brought over: 1."
    assert detect(store).analyzed == 2


def test_rows_that_cannot_come_over_are_said_once_and_stay_known(store):
    with closing(sqlite3.connect(store.url)) as app, app:
        app.execute("CREATE TABLE llm_usage (timestamp TEXT, provider TEXT, model TEXT, usage_type TEXT)")
        app.execute("INSERT INTO llm_usage VALUES ('soon', 'openai', 'gpt-4o-mini', 'chat_answer')")
    first, second = watch.catch_up(store), watch.catch_up(store)
    assert sum(first.refused.values()) == 1
    assert first.sentences()[1].startswith("1 row of llm_usage could not come over: 1 × ")
    assert second.sentences() == []
    assert second.stayed_behind == first.stayed_behind == first.refused
