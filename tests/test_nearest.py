"""The driverless scorer: what it must say, and what must not matter to it."""

import math
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch.detectors.gaps import LEARNING, MOST, Gaps
from tracewatch.detectors.nearest import ALARM, QUIET, Nearest, decades, scores, squeezed

STEP_S = 300.0
STATE_BYTES = 64 * 1024  # of one series, stored


def noise(rows, seed=1):
    """Whole numbers around 0, so that moving and doubling them is exact."""
    source = random.Random(seed)
    return [float(round(source.gauss(0, 100))) for _ in range(rows)]


def scored(values, times=None):
    return list(scores(times or [STEP_S * row for row in range(len(values))], values))


def test_a_spike_scores_and_noise_does_not():
    values = noise(3000)
    values[2500] = 5000.0
    found = scored(values)
    assert found.index(max(found)) == 2500
    assert found[2500] > 0.9
    assert sum(score >= ALARM for score in found) <= 3


def test_a_new_level_scores_when_it_begins():
    values = noise(3000)
    values[2500:] = [value + 5000.0 for value in values[2500:]]
    found = scored(values)
    assert found[2500] > 0.9
    assert max(found[2500 + 2 * QUIET :]) < ALARM


def test_what_is_usual_at_its_hour_is_not_usual_at_another():
    times = [1800.0 * row for row in range(48 * 40)]
    source = random.Random(2)
    values = [(100.0 if row % 48 < 24 else 0.0) + source.gauss(0, 1) for row in range(len(times))]
    values[48 * 35 + 12] = 50.0 + source.gauss(0, 1)
    values[48 * 39 + 36] = 99.5  # a value of the day, at night
    found = scored(values, times)
    assert found[48 * 35 + 12] >= ALARM
    assert found[48 * 39 + 36] == max(found[48 * 36 :]) > 0.4


@settings(max_examples=8, deadline=None)
@given(power=st.integers(-20, 20), shift=st.integers(-(10**6), 10**6), seed=st.integers(0, 5))
def test_neither_scale_nor_offset_matters(power, shift, seed):
    values = noise(900, seed)
    values[700] = 1234.0
    plain = scored(values)
    assert scored([value * 2.0**power for value in values]) == plain
    assert scored([value + shift for value in values]) == plain


@settings(max_examples=8, deadline=None)
@given(cut=st.integers(1, 1199))
def test_no_score_knows_what_comes_later(cut):
    values = noise(1200)
    values[1000] = -4000.0
    assert scored(values)[:cut] == scored(values[:cut])


def test_a_constant_series_is_no_surprise_until_it_changes():
    found = scored([7.25] * 1000 + [8.25] * 300)
    assert max(found[:1000]) == 0.0
    assert found[1000] > 0.9
    assert max(found[1001:]) < ALARM


def test_rounding_is_no_change():
    values = [0.3 if row % 3 else 0.1 + 0.2 for row in range(1000)]
    assert max(scored(values)) == 0.0


@pytest.mark.parametrize("absent", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_scores_nothing_and_teaches_nothing(absent):
    values = noise(900)
    values[800] = 3000.0
    plain = scored(values)
    times = [STEP_S * row for row in range(900)]
    series = Nearest()
    with_gaps = []
    for row, (time_s, value) in enumerate(zip(times, values, strict=True)):
        with_gaps.append(series.score(time_s, value))
        if row % 50 == 0:
            assert series.score(time_s, absent) == 0.0
    assert with_gaps == plain


def test_a_gap_in_time_is_no_surprise():
    values = noise(3000)
    times = [STEP_S * row + (40 * 86_400 if row >= 2500 else 0) for row in range(3000)]
    assert max(scored(values, times)[2500:]) < ALARM + 0.1


def test_nothing_is_said_while_little_is_known():
    assert max(scored(noise(LEARNING))) == 0.0
    assert scored([1e300, -1e300] * 10) == [0.0] * 20


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("noise", noise(24_000)),
        ("constant", [4.0] * 12_000),
        ("every magnitude", [1.07 ** (row * 7919 % 20_000 - 10_000) for row in range(12_000)]),
        ("growing for ever", [1.5**row for row in range(1500)] * 2),
        ("two extremes", [1e300, -1e300] * 3000),
        ("integers", [float(row * row % 97) for row in range(12_000)]),
    ],
)
def test_state_stays_small(name, values):
    series = Nearest()
    for row, value in enumerate(values):
        assert 0.0 <= series.score(STEP_S * row, value) < 1.0
    assert len(pickle.dumps(series)) < STATE_BYTES, name


def test_a_stored_series_goes_on_where_it_stood():
    values = noise(9000)
    values[8000] = 4000.0
    series, found = Nearest(), []
    for row, value in enumerate(values):
        if row % 1000 == 500:
            series = pickle.loads(pickle.dumps(series))
        found.append(series.score(STEP_S * row, value))
    assert found == scored(values)


def test_time_may_run_backwards_or_be_absent():
    values = noise(1500)
    values[1200] = 9000.0
    times = [STEP_S * row if row % 3 else -1e15 * row for row in range(1500)]
    assert scored(values, times)[1200] > 0.9
    assert Nearest().score(math.nan, 1.0) == Nearest().score(math.inf, 1.0) == 0.0


def test_what_was_often_seen_long_ago_is_new_again_only_in_part():
    """A level of the past is remembered beyond the 8,000 rows that stand for full memory."""
    values = noise(14_000)
    values[2000:2300] = [value + 5000.0 for value in values[2000:2300]]
    again, strange = [*values, 5000.0], [*values, -5000.0]
    assert scored(again)[-1] < scored(strange)[-1]


def test_a_gap_is_judged_by_the_share_that_were_as_wide():
    gaps = Gaps()
    for number in range(4000):
        gaps.surprise(1.0 + number % 100)
    assert gaps.edge == pytest.approx(95, rel=0.05)
    assert gaps.surprise(50.0) == pytest.approx(math.log10(2), abs=0.03)
    assert gaps.surprise(1e6) == MOST


def test_one_incident_does_not_hide_the_next():
    gaps = Gaps()
    source = random.Random(3)
    for _ in range(3000):
        gaps.surprise(source.expovariate(1.0))
    first = gaps.surprise(30.0)
    for _ in range(3):
        gaps.surprise(1e9)
    assert gaps.surprise(30.0) > first / 2


@given(st.lists(st.floats(), max_size=300))
@settings(max_examples=20, deadline=None)
def test_every_score_lies_between_0_and_1(values):
    history = noise(2 * LEARNING)
    assert all(0.0 <= score < 1.0 for score in scored(history + values))


def test_squeezing_can_be_undone():
    assert decades(squeezed(12.5)) == pytest.approx(12.5)
