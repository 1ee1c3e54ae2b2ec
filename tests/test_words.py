"""Sentences and numbers as people read them."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracewatch import words
from tracewatch.detectors.spec import CRITICAL, Verdict
from tracewatch.metrics import TYPE_OF

AT_TWO = 1772460120.0  # 14:02 on 2 March 2026


def a_verdict(**odd):
    ordinary = {"value": 4.0, "expected": 1.0, "limit": 3.0, "confidence": 0.9, "level": CRITICAL, "n": 7}
    return Verdict(**ordinary | odd)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(words).failed == 0
    assert doctest.testmod(words).attempted > 5


@pytest.mark.parametrize("key", TYPE_OF)
def test_every_metric_has_a_sentence_without_jargon(key):
    metric = TYPE_OF[key]
    told = words.describe(metric, 0.5, words.usually(metric, 0.2, 0.4), "chat on gpt-4o", AT_TWO)
    assert told.startswith("chat on gpt-4o ")
    assert " at 2026-03-02 14:02:00 UTC, usually " in told
    assert not {"σ", "z", "baseline", "nan"} & set(told.split())


@pytest.mark.parametrize("rule", words.RULE_LABELS)
def test_every_rule_has_a_sentence_and_a_label(rule):
    told = words.describe_rule(rule, a_verdict(value=0.9, expected=0.2), "on 2 Mar", "chat_answer")
    assert "on 2 Mar" in told
    assert words.label_of(rule) != rule


def test_a_cost_spike_says_how_much_and_how_many_times():
    told = words.describe_rule("cost_spike", a_verdict(value=41.2, expected=10.3), "on 2 Mar")
    assert told == "calls have cost $41.20 on 2 Mar, 4× the daily average of $10.30 over 7 days"


def test_calls_without_a_usage_type_are_told_too():
    told = words.describe_rule("call_spike", a_verdict(value=40, expected=10), "on 2 Mar")
    assert told == "calls without a usage type came to 40 on 2 Mar, 4× the daily average of 10 over 7 days"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.42, "ms", "0.42 ms"),
        (999.0, "ms", "999 ms"),
        (59_940.0, "ms", "59.9 s"),
        (3_700_000.0, "ms", "1 h 1 min"),
        (0.0, "USD", "$0.00"),
        (0.05, "USD", "$0.05"),
        (0.00001, "USD", "$0.00001"),
        (1234.5, "USD", "$1,234"),
        (0.0, "share", "0 %"),
        (0.876, "share", "87.6 %"),
        (42.0, "tokens/s", "42 tokens/s"),
        (0.2, "score", "0.20"),
    ],
)
def test_numbers_have_as_many_digits_as_help(value, unit, text):
    assert words.amount(value, unit) == text


UNITS = ["ms", "USD", "share", "tokens", "tokens/s", "score", None]


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(UNITS))
def test_any_number_can_be_said(value, unit):
    assert words.amount(value, unit)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.5, "2 times slower than"), (0.66, "1.5 times slower than"), (1 / 1234, "1,234 times slower than")],
)
def test_what_is_below_the_usual_is_said_as_so_many_times(ratio, text):
    assert words.below(ratio, "slower") == text


def test_a_range_says_its_unit_once():
    assert words.between(200.0, 900.0, "ms") == "200–900 ms"
    assert words.between(200.0, 3100.0, "ms") == "0.2–3.1 s"
    assert words.between(1200.0, 3400.0, "tokens") == "1,200–3,400 tokens"
    assert words.between(0.01, 0.02, "USD") == "$0.01–$0.02"


def test_the_statistics_page_knows_three_severities():
    severities = [words.stats_severity(each) for each in ("low", "medium", "high", "critical")]
    assert severities == ["info", "warning", "warning", "critical"]
