"""When a budget will be spent: right where it is certain, and honest about how far it may be off."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tracewatch.checks.budgets import burn, period_of

DAY, HOUR = 86_400, 3600
NOVEMBER = 1_793_491_200.0  # 2026-11-01
HISTORY = 14


def hours(per_day, until, since=NOVEMBER - HISTORY * DAY, seed=None, noise=0.0):
    """So much a day, evenly or with chance in it, up to a moment."""
    rng = np.random.default_rng(seed)
    at = np.arange(since, until, HOUR)
    amounts = np.full(len(at), per_day / 24) * np.exp(rng.normal(0, noise, len(at)) - noise**2 / 2)
    return dict(zip(at.tolist(), amounts.tolist(), strict=True))


def stands(per_day, budget, now, **how):
    return burn(hours(per_day, now, **how), budget, "month", period_of("month", now, "UTC"), now)


@pytest.mark.parametrize(
    ("per", "zone", "since", "until", "name"),
    [
        ("day", "UTC", "2026-11-21T00:00", "2026-11-22T00:00", "Nov 21"),
        ("week", "UTC", "2026-11-16T00:00", "2026-11-23T00:00", "the week of Nov 16"),
        ("month", "UTC", "2026-11-01T00:00", "2026-12-01T00:00", "November"),
        ("day", "Asia/Tokyo", "2026-11-21T15:00", "2026-11-22T15:00", "Nov 22"),
        ("month", "Europe/Berlin", "2026-10-31T23:00", "2026-11-30T23:00", "November"),
    ],
)
def test_periods_are_those_of_the_calendar_of_a_zone(per, zone, since, until, name):
    found = period_of(per, np.datetime64("2026-11-21T20:30").astype("datetime64[s]").astype(float), zone)
    assert found.name == name
    assert (found.since, found.until) == tuple(
        np.datetime64(each).astype("datetime64[s]").astype(float) for each in (since, until)
    )


def test_at_an_even_pace_the_day_is_told_and_lies_within_its_range():
    now = NOVEMBER + 10 * DAY
    found = stands(2.5, 50.0, now)
    assert found.spent == pytest.approx(25.0)
    assert found.total == pytest.approx(75.0, rel=0.01)
    assert found.spent_at == pytest.approx(NOVEMBER + 20 * DAY, abs=2 * HOUR)
    assert found.earliest < found.spent_at < found.latest
    assert found.is_bad


def test_a_budget_that_lasts_is_not_bad():
    found = stands(1.0, 50.0, NOVEMBER + 10 * DAY)
    assert (found.spent_at, found.is_bad) == (None, False)
    assert found.sure < 0.05


def test_what_is_spent_is_told_with_the_hour_it_was():
    found = stands(2.5, 20.0, NOVEMBER + 10 * DAY)
    assert found.is_bad
    assert found.spent_at == pytest.approx(NOVEMBER + 8 * DAY, abs=2 * HOUR)


def test_a_burst_that_is_over_is_not_told():
    now = NOVEMBER + 10 * DAY
    given = hours(1.0, now)
    for hour in range(3):
        given[now - (20 + hour) * HOUR] = 3.0
    found = burn(given, 50.0, "month", period_of("month", now, "UTC"), now)
    assert not found.is_bad


def test_a_new_pace_is_told_while_it_goes_on():
    now = NOVEMBER + 10 * DAY
    given = hours(1.0, now)
    given |= {hour: 0.25 for hour in given if hour >= now - 2 * DAY}
    period = period_of("month", now, "UTC")
    assert burn(given, 60.0, "month", period, now).is_bad
    given |= {hour: 1 / 24 for hour in given if hour >= now - 12 * HOUR}
    assert not burn(given, 60.0, "month", period, now).is_bad


def test_with_too_little_known_only_what_is_spent_is_told():
    now = NOVEMBER + 5 * HOUR
    given = hours(24.0, now, since=NOVEMBER)
    period = period_of("month", now, "UTC")
    assert burn(given, 50.0, "month", period, now).total is None
    assert burn(given, 4.0, "month", period, now).is_bad
    assert burn({}, 4.0, "month", period, now).spent == 0


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_four_of_five_ranges_hold_what_comes(noise):
    now, end = NOVEMBER + 12 * DAY, NOVEMBER + 30 * DAY
    held = 0
    for seed in range(60):
        month = hours(2.0, end, seed=seed, noise=noise)
        known = {hour: amount for hour, amount in month.items() if hour < now}
        found = burn(known, 1e9, "month", period_of("month", now, "UTC"), now)
        held += found.low <= sum(amount for hour, amount in month.items() if hour >= NOVEMBER) <= found.high
    assert held >= 48


def test_the_hours_of_the_day_count():
    now = NOVEMBER + 10 * DAY + 9 * HOUR  # before the working day
    given = {NOVEMBER + HOUR * hour: 1.0 if 9 <= hour % 24 < 17 else 0.0 for hour in range(-24 * HISTORY, 24 * 10 + 9)}
    found = burn(given, 6.0, "day", period_of("day", now, "UTC"), now)
    assert found.spent == 0
    assert found.total == pytest.approx(8.0, abs=1.5)
    assert found.spent_at == pytest.approx(now + 6 * HOUR, abs=HOUR)


def berlin(text):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


def office(now):
    """A dollar an hour from 9 to 17 by the clock of Berlin, on working days of the five weeks before."""
    found = {}
    for hour in np.arange(now // HOUR * HOUR - 35 * DAY, now, HOUR).tolist():
        local = datetime.fromtimestamp(hour, ZoneInfo("Europe/Berlin"))
        found[hour] = 1.0 if local.weekday() < 5 and 9 <= local.hour < 17 else 0.0
    return found


@pytest.mark.parametrize("monday", ["2026-03-30", "2026-10-26", "2026-06-15"])
@pytest.mark.parametrize("clock", ["08:30", "09:00", "10:00", "11:00", "16:00"])
def test_after_clocks_change_the_same_day_is_expected_by_the_clock(monday, clock):
    now = berlin(f"{monday}T{clock}")
    found = burn(office(now), 12.0, "day", period_of("day", now, "Europe/Berlin"), now)
    assert found.total == pytest.approx(8.0, abs=0.3)
    assert not found.is_bad


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23), ("Europe/Berlin", "2026-10-25", 25),
        ("America/Santiago", "2026-09-06", 23),
        ("America/Santiago", "2026-04-04", 25), ("America/Havana", "2026-11-01", 25),
        ("Atlantic/Azores", "2026-10-25", 25),
        ("Africa/Cairo", "2026-04-24", 23), ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ],
)  # fmt: skip
def test_days_in_which_clocks_change_are_one_day_without_a_gap(zone, day, hours):
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)).timestamp()
    found = period_of("day", noon, zone)
    assert (found.until - found.since) / HOUR == hours
    within = {period_of("day", at, zone) for at in np.arange(found.since, found.until, 600.0).tolist()}
    assert within == {found}
    assert period_of("day", found.since - 1, zone).until == found.since
    assert period_of("day", found.until, zone).since == found.until
    month = period_of("month", noon, zone)
    assert {period_of("month", at, zone) for at in np.arange(found.since, found.until, 600.0).tolist()} <= {
        month, period_of("month", found.since, zone),
    }  # fmt: skip
    assert period_of("month", month.until, zone).since == month.until


def test_what_is_spent_counts_to_the_day_that_the_calendar_says():
    change = berlin("2026-10-25T00:00")
    hours = {change + hour * HOUR: 1.0 for hour in range(-24, 49)}
    for day, spent in (("2026-10-24", 24), ("2026-10-25", 25)):
        period = period_of("day", berlin(f"{day}T12:00"), "Europe/Berlin")
        assert burn(hours, 1e9, "day", period, period.until).spent == spent
