"""Times and durations as people type them, and the conditions that are made of them."""

import pytest

from tracewatch.errors import BadFilter, BadTime, MisspeltColumn, UnknownColumn
from tracewatch.stores import Filter, parse_filter
from tracewatch.times import parse_duration, parse_time, show_time


@pytest.mark.parametrize(
    ("text", "seconds"), [("800ms", 0.8), ("90s", 90), ("30m", 1800), ("5min", 300), ("1.5h", 5400), ("2w", 1_209_600)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)
    assert parse_time(text, now=2e6) == pytest.approx(2e6 - seconds)


@pytest.mark.parametrize("text", ["", "h", "24 hours ago", "-3h", "3y"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(BadTime, match="Write it like"):
        parse_duration(text)


def test_a_time_without_a_zone_is_utc_and_is_shown_so():
    assert parse_time("2026-03-02") == parse_time("2026-03-02T01:00:00+01:00") == parse_time("1772409600")
    assert show_time(1_772_409_600.0) == "2026-03-02 00:00:00"
    with pytest.raises(BadTime):
        parse_time("yesterday")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("latency_ms>800", Filter("duration_ms", ">", (800.0,))),
        ("model=gpt-4o,gpt-4.1", Filter("model_name", "=", ("gpt-4o", "gpt-4.1"))),
        ("Cost>=0.5", Filter("cost_usd", ">=", (0.5,))),
        ("gen_ai.usage.input_tokens<9", Filter("input_tokens", "<", (9.0,))),
        ("status=error", Filter("status", "=", ("error",))),
        ("start_time>2026-03-02", Filter("start_time", ">", (1_772_409_600.0,))),
        ("user_id=", Filter("user_id", "=", (None,))),
    ],
)
def test_a_condition_may_name_a_column_by_any_of_its_names(text, meant):
    assert parse_filter(text) == meant


def test_a_condition_on_a_time_takes_a_duration():
    (value,) = parse_filter("start_time>24h").values
    assert parse_time("25h") < value < parse_time("23h")
    with pytest.raises(BadFilter, match="'noon' is no time"):
        parse_filter("start_time>noon")


def test_a_misspelt_column_is_answered_with_the_one_that_was_meant():
    with pytest.raises(MisspeltColumn, match=r"'duration_mss': did you mean duration_ms\?$"):
        parse_filter("duration_mss>1")
    with pytest.raises(MisspeltColumn, match="did you mean duration_ms"):
        parse_filter("latncy>1")
    with pytest.raises(UnknownColumn, match="its columns are") as told:
        parse_filter("qqqqqq=1")
    assert str(told.value).count(",") < 10
    assert str(told.value).endswith("more. All of them are in docs/fields.md")


def test_entries_of_metadata_are_said_not_to_be_fields():
    with pytest.raises(BadFilter, match="entries of metadata cannot be filtered on yet"):
        parse_filter("metadata.temperature>0.1")
