"""Quiet hours are what the clock on the wall shows, also in the nights in which clocks change."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tracewatch.alerts.quiet import DAYS, is_quiet

NIGHT = {"from": "22:00", "until": "07:00", "zone": "Europe/Berlin", "days": list(DAYS)}


def at(text, zone="Europe/Berlin", fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-01-15T21:59", False),
        ("2026-01-15T22:00", True),
        ("2026-01-15T06:59", True),
        ("2026-01-15T07:00", False),
        ("2026-07-15T21:59", False),  # two hours before UTC says so
        ("2026-07-15T22:00", True),
        ("2026-07-15T07:00", False),
    ],
)
def test_a_night_in_winter_and_in_summer(moment, quiet):
    assert is_quiet(NIGHT, at(moment), "high") is quiet


@pytest.mark.parametrize(("evening", "hours"), [("2026-03-28", 8), ("2026-10-24", 10), ("2026-06-01", 9)])
def test_the_nights_in_which_clocks_change_are_an_hour_shorter_and_longer(evening, hours):
    begin = at(f"{evening}T22:00")
    quiet = [is_quiet(NIGHT, begin + minute * 60, "high") for minute in range(-60, 12 * 60)]
    assert quiet == [False] * 60 + [True] * hours * 60 + [False] * (12 - hours) * 60


def test_both_passes_through_the_hour_that_comes_twice_are_one_hour_of_the_clock():
    early = NIGHT | {"from": "02:30", "until": "03:00"}
    assert [is_quiet(early, at("2026-10-25T02:45", fold=fold), "high") for fold in (0, 1)] == [True, True]


def test_a_night_counts_to_its_end_on_the_days_it_begins():
    weekdays = NIGHT | {"days": ["fri"]}
    assert is_quiet(weekdays, at("2026-01-16T23:00"), "high")
    assert is_quiet(weekdays, at("2026-01-17T06:00"), "high")
    assert not is_quiet(weekdays, at("2026-01-16T06:00"), "high")


def test_times_within_a_day_whole_days_and_none():
    noon = NIGHT | {"from": "12:00", "until": "13:00"}
    assert [is_quiet(noon, at(f"2026-01-15T{clock}"), "low") for clock in ("11:59", "12:30", "13:00")] == [
        False, True, False,
    ]  # fmt: skip
    sunday = NIGHT | {"from": "00:00", "until": "00:00", "days": ["sun"]}
    assert is_quiet(sunday, at("2026-01-18T15:00"), "low")
    assert not is_quiet(sunday, at("2026-01-19T00:00"), "low")
    assert not is_quiet(None, 0.0, "low")


def test_what_is_bad_enough_is_told_all_the_same():
    night = NIGHT | {"unless": "high"}
    assert [is_quiet(night, at("2026-01-15T23:00"), each) for each in ("medium", "high", "critical")] == [
        True, False, False,
    ]  # fmt: skip
