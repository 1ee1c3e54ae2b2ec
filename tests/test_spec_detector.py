"""The ten detections and the four rules as functions of numbers."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracewatch.detectors import spec

numbers = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=10, max_size=60)


def found(values, threshold=3.0, bad="up", **bounds):
    return spec.outliers(np.asarray(values, float), threshold, bad, **bounds)


def one_far_out(n=20, far=100.0):
    return [*([0.0, 1.0] * (n // 2)), far]


def rows(values, threshold, bad="up"):
    outliers = found(values, threshold, bad)
    return [] if outliers is None else outliers.rows.tolist()


def away_from_the_threshold(values, threshold):
    """Rounding may decide on the threshold itself, so no property is asked of values that stand on it."""
    z = (values - values.mean()) / values.std()
    return np.all(np.abs(np.abs(z) - threshold) > 1e-6)


def spread(values):
    return values.std() > 1e-3 * max(1.0, np.abs(values).max())


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(spec).failed == 0
    assert doctest.testmod(spec).attempted > 5


@given(numbers, st.sampled_from([1e-9, 1e-3, 7.0, 1e6, 1e100]), st.sampled_from(["up", "down"]))
@settings(deadline=None)
def test_the_unit_does_not_matter(values, scale, bad):
    values = np.array(values)
    assume(spread(values) and away_from_the_threshold(values, 1.5))
    assert rows(values, 1.5, bad) == rows(values * scale, 1.5, bad)


@given(numbers, st.sampled_from([-1e9, -3.0, 1e3, 1e9]))
@settings(deadline=None)
def test_an_offset_does_not_matter(values, offset):
    values = np.round(np.array(values), 1)
    assume(spread(values) and away_from_the_threshold(values, 1.5))
    assert rows(values, 1.5) == rows(values + offset, 1.5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=10, max_size=40), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_does_not_matter(values, random):
    values = np.array(values)
    assume(spread(values) and away_from_the_threshold(values, 1.5))
    order = list(range(len(values)))
    random.shuffle(order)
    assert sorted(order[row] for row in rows(values[order], 1.5)) == rows(values, 1.5)


@given(numbers, st.integers(0, 9))
@settings(deadline=None)
def test_rows_without_a_value_are_not_there(values, gaps):
    values = np.array(values)
    with_gaps = np.concatenate([[np.nan] * gaps, values, [math.inf, -math.inf]])
    alone, among = found(values, 1.5), found(with_gaps, 1.5)
    assert (alone is None) == (among is None)
    if alone is not None:
        assert (among.rows - gaps).tolist() == alone.rows.tolist()
        assert (among.n, among.mean, among.limit) == (alone.n, alone.mean, alone.limit)


def test_the_mean_and_the_deviation_are_those_of_all_used_rows():
    values = one_far_out()
    outliers = found(values)
    assert outliers.mean == pytest.approx(np.mean(values))
    assert outliers.deviation == pytest.approx(np.std(values))
    assert outliers.limit == pytest.approx(np.mean(values) + 3 * np.std(values))
    assert outliers.rows.tolist() == [20]
    assert outliers.z[0] == pytest.approx((100 - np.mean(values)) / np.std(values))


def test_a_large_offset_costs_no_digits():
    values = np.array(one_far_out()) / 1024 + 1e9
    assert found(values).z == pytest.approx(found(np.array(one_far_out()) / 1024).z, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_numbers_at_the_edge_of_what_a_float_holds_neither_overflow_nor_vanish(scale):
    assert found(np.array(one_far_out()) * scale).rows.tolist() == [20]


def test_fewer_than_ten_values_say_nothing_and_ten_do():
    assert found([0.0] * 8 + [9.0], 2.0) is None
    assert found([0.0] * 9 + [9.0], 2.0).rows.tolist() == [9]


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.1])
def test_values_that_do_not_differ_say_nothing(value):
    assert found([value] * 50) is None


def test_no_values_say_nothing():
    assert found([]) is None
    assert found([math.nan] * 50) is None


def test_only_the_bad_direction_counts():
    values = one_far_out()
    assert len(found(values, bad="down").rows) == 0
    assert found([-value for value in values], bad="down").rows.tolist() == [20]


def test_the_threshold_itself_is_not_beyond_it():
    # Mean 0, deviation exactly 1: one value lies two deviations out, the rest makes up for it.
    values = [2.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0]
    assert np.std(values) == 1.0
    assert found(values, 2.0).rows.tolist() == []
    assert found(values, 1.999).rows.tolist() == [0]


def test_the_expected_range_stays_within_what_the_metric_can_be():
    outliers = found([0.0] * 19 + [1.0], lowest=0.0, highest=0.5)
    assert (outliers.lower, outliers.upper) == (0.0, 0.5)
    assert outliers.limit > 0.5


@pytest.mark.parametrize("threshold", [2.0, 3.0])
def test_severity_steps_are_where_they_are_said_to_be(threshold):
    steps = [1.25, 1.75, 2.5]
    at = [threshold * step for step in steps]
    below = [math.nextafter(each, 0) for each in at]
    assert spec.levels(np.array(below), threshold).tolist() == [0, 1, 2]
    assert spec.levels(np.array(at), threshold).tolist() == [1, 2, 3]
    assert spec.levels(-np.array(at), threshold).tolist() == [1, 2, 3]


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(10, 10**7), st.integers(10, 10**7))
def test_confidence_grows_with_distance_and_with_rows(nearer, further, fewer, more):
    nearer, further = sorted((nearer, further))
    fewer, more = sorted((fewer, more))
    low = spec.confidences(np.array([nearer, further]), fewer)
    high = spec.confidences(np.array([nearer, further]), more)
    assert 0 <= low[0] <= low[1] <= high[1] <= 1
    assert low[0] <= high[0]


def test_deviation_from_a_mean_of_nothing_is_in_standard_deviations():
    assert spec.deviations(np.array([3.0]), 0.0, 2.0).tolist() == [150.0]


WEEK = [1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.0]
CALLS = [10] * 7


def test_normal_days_raise_nothing():
    assert spec.cost_spike(1.3, WEEK, CALLS) is None
    assert spec.call_spike(12, CALLS) is None


def test_a_day_at_four_times_the_cost_is_critical():
    verdict = spec.cost_spike(4.0, WEEK, CALLS)
    assert verdict.level == spec.CRITICAL
    assert (verdict.value, verdict.expected, verdict.limit) == (4.0, pytest.approx(1.0), pytest.approx(3.0))


def test_two_days_of_history_raise_nothing_and_three_do():
    assert spec.cost_spike(400.0, [0, 0, 0, 0, 0, 1.0, 1.0], [0, 0, 0, 0, 0, 5, 5]) is None
    assert spec.cost_spike(400.0, [0, 0, 0, 0, 1.0, 1.0, 1.0], [0, 0, 0, 0, 5, 5, 5]).n == 3


def test_days_with_calls_that_cost_nothing_are_history():
    assert spec.cost_spike(4.0, [0, 0, 0, 0, 3.0, 0.0, 3.0], [0, 0, 0, 0, 5, 5, 5]) is None
    assert spec.cost_spike(6.1, [0, 0, 0, 0, 3.0, 0.0, 3.0], [0, 0, 0, 0, 5, 5, 5]).expected == 2.0


def test_free_days_are_no_yardstick():
    assert spec.cost_spike(5.0, [0.0] * 7, CALLS) is None


def test_exactly_three_times_is_not_more():
    assert spec.call_spike(30, CALLS) is None
    assert spec.call_spike(31, CALLS).level == spec.HIGH


@pytest.mark.parametrize("calls", [5, 15, 35, 100, 1005])
def test_an_error_rate_of_exactly_a_fifth_is_not_more(calls):
    assert spec.high_error_rate(calls, calls // 5) is None
    assert spec.high_error_rate(calls, calls // 5 + 1).value == (calls // 5 + 1) / calls


def test_four_calls_are_too_few_for_an_error_rate():
    assert spec.high_error_rate(4, 4) is None


def test_when_most_calls_fail_it_is_critical():
    assert spec.high_error_rate(10, 5).level == spec.HIGH
    assert spec.high_error_rate(10, 6).level == spec.CRITICAL


def test_fallbacks_are_judged_from_three_calls_on_and_beyond_half():
    assert spec.high_fallback_rate(2, 2) is None
    assert spec.high_fallback_rate(4, 2) is None
    assert spec.high_fallback_rate(3, 2).value == pytest.approx(2 / 3)


@given(st.integers(5, 10_000), st.integers(0, 10_000))
def test_a_rate_with_more_hits_is_surer(calls, failed):
    assume(failed < calls)
    fewer, more = spec.high_error_rate(calls, failed), spec.high_error_rate(calls, failed + 1)
    if fewer:
        assert 0.5 <= fewer.confidence <= more.confidence <= 1
