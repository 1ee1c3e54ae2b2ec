"""Runs of jobs that do not come, by the jobs' own rhythm."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tracewatch.detectors.adaptive.cadence import LEAST, Cadence

DAY, HOUR = 86_400.0, 3600.0
MONDAY = 1_772_409_600.0


def after(*ends):
    cadence = Cadence()
    for end in ends:
        cadence.come(end)
    return cadence


def deadline(*ends):
    """How long after the last run the next one is missed, in hours."""
    found = after(*ends).deadline()
    return None if found is None else (found - max(ends)) / HOUR


def test_until_a_rhythm_is_known_nothing_is_missed():
    assert deadline(*[hour * HOUR for hour in range(LEAST)]) is None
    assert deadline(*[hour * HOUR for hour in range(LEAST + 1)]) == pytest.approx(1 + 1 / 6)


def test_a_nightly_job_is_known_after_a_weekend():
    assert deadline(*[day * DAY for day in range(8)]) is None
    assert deadline(*[day * DAY for day in range(10)]) == pytest.approx(26.4)


def test_a_job_that_is_often_late_may_be_later():
    ends = [day * DAY + (3 * HOUR if day % 3 == 0 else 0) for day in range(12)]
    assert deadline(*ends) == pytest.approx(24 + 9)


def test_a_job_of_working_days_rests_at_the_weekend():
    weeks = [MONDAY + day * DAY for day in range(19) if day % 7 < 5]  # to the third Friday
    assert deadline(*weeks) == pytest.approx(3 * 24 + 2)
    assert deadline(*weeks[:-1]) == pytest.approx(24 + 2)


def test_chance_has_no_rhythm():
    assert deadline(*[0, HOUR, 5 * HOUR, 5.2 * HOUR, 11 * HOUR, 12 * HOUR, 30 * HOUR, 31 * HOUR]) is None


def test_a_run_that_comes_counts_again():
    cadence = after(*[hour * HOUR for hour in range(8)])
    cadence.missed = True
    cadence.come(8 * HOUR)
    assert not cadence.missed


def nights(zone, since, days, *, on=range(7), seed=3):
    """When a job that starts at five past three was over, by the clock of a zone, taking 10 minutes or so."""
    rng = np.random.default_rng(seed)
    start = datetime.fromisoformat(since).replace(hour=3, minute=5)
    every = [start + timedelta(days=day) for day in range(days)]
    return [
        each.replace(tzinfo=ZoneInfo(zone)).timestamp() + rng.uniform(300, 900)
        for each in every
        if each.weekday() in on
    ]


@pytest.mark.parametrize("change", ["2026-03-29", "2026-10-25"])
@pytest.mark.parametrize("on", [range(7), range(5)], ids=["nightly", "working days"])
@pytest.mark.parametrize("seed", range(5))
def test_no_run_is_missed_because_clocks_change(change, on, seed):
    since = datetime.fromisoformat(change) - timedelta(days=24)
    cadence, known = Cadence(), 0
    for end in nights("Europe/Berlin", since.isoformat(), 50, on=on, seed=seed):
        due = cadence.deadline()
        assert due is None or end < due, datetime.fromtimestamp(end, UTC)
        known += due is not None
        cadence.come(end)
    assert known > 15


@pytest.mark.parametrize("change", ["2026-03-29", "2026-10-25"])
def test_a_run_that_stays_away_after_clocks_changed_is_missed_the_same_day(change):
    since = datetime.fromisoformat(change) - timedelta(days=24)
    runs = nights("Europe/Berlin", since.isoformat(), 26)
    assert deadline(*runs[:-1]) < 29
    weekdays = [each for each in runs if datetime.fromtimestamp(each, UTC).weekday() < 5]
    assert deadline(*weekdays) < 30
