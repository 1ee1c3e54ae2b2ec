"""A movement that creeps is a ramp, one that steps a level shift; a punctual batch job is missed soon."""

import numpy as np

from tracewatch.detectors.adaptive import Engine
from tracewatch.detectors.adaptive.ramps import creeps
from tracewatch.detectors.adaptive.schedules import LATE, lateness

DAY, HOUR = 86400.0, 3600.0
MONDAY = 1_772_409_600.0  # 2026-03-02


def surprises(shape, seed=1):
    """A day of ticks with about ten calls each, and their sums of surprise."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(10, 288).astype(float)
    return n, n * shape + rng.normal(0, np.sqrt(n))


def test_a_slow_rise_is_a_ramp():
    assert creeps(*surprises(np.maximum(np.arange(288) - 60, 0) / 150))


def test_a_slow_fall_is_a_ramp_too():
    assert creeps(*surprises(-np.maximum(np.arange(288) - 60, 0) / 150))


def test_a_step_is_none_whenever_it_came():
    for at in (30, 100, 200):
        assert not creeps(*surprises((np.arange(288) > at) * 0.8))


def test_a_day_without_calls_is_no_ramp():
    assert not creeps(np.zeros(288), np.zeros(288))


def test_a_punctual_job_is_waited_for_less_than_a_loose_one():
    assert lateness(np.array([60.0, 30.0, 0.0, 90.0])) < lateness(np.array([60.0, 300.0, 0.0, 90.0])) <= LATE


def test_a_job_seen_three_times_is_waited_for_longest():
    assert lateness(np.array([60.0, 30.0, 0.0])) == LATE


def test_starts_an_hour_off_are_those_of_other_clocks():
    assert lateness(np.array([60.0, 30.0, 0.0, 3600.0, 90.0])) == lateness(np.array([60.0, 30.0, 0.0, 90.0]))


def test_a_missing_run_of_a_punctual_job_is_told_within_a_quarter_of_an_hour():
    rng = np.random.default_rng(4)
    due = MONDAY + np.arange(10) * DAY + 2 * HOUR
    runs = [start + np.sort(rng.uniform(0, 1200, 40)) for start in due[:9]]
    people = MONDAY + np.sort(rng.uniform(0, 10 * DAY, 3000))
    t = np.concatenate([*runs, people])
    order = np.argsort(t)
    operation = np.array(["nightly"] * 360 + ["ask"] * 3000, object)[order]
    engine = Engine()
    engine.feed({"start_time": t[order], "operation_type": operation, "status": np.full(len(t), "success", object)})
    missing = [x for x in engine.advance(MONDAY + 10 * DAY) if x.kind == "silence" and "nightly" in x.slice.values()]
    assert len(missing) == 1
    assert due[9] < missing[0].detected_at <= due[9] + 900
