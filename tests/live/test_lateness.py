"""How long a step waits for its calls, by how late calls have come."""

import numpy as np
import pytest

from tracewatch.live.lateness import ENOUGH, GRACE_S, KEPT, LEAST_S, MARGIN_S, Lateness

NOW = 1_790_000_000.0


def seen(*late, each=ENOUGH):
    lateness = Lateness()
    for seconds in late:
        lateness.see(np.full(each, NOW - seconds), NOW)
    return lateness


def test_until_enough_was_seen_it_is_the_longest():
    assert seen(1.0, each=ENOUGH - 1).grace_s == GRACE_S


@pytest.mark.parametrize(("late", "grace"), [(0.1, LEAST_S), (9.0, 9.0 + MARGIN_S), (300.0, GRACE_S)])
def test_it_is_as_long_as_calls_take_within_bounds(late, grace):
    assert seen(late).grace_s == grace


def test_calls_of_the_past_and_of_the_future_say_nothing():
    assert seen(-5.0, 7200.0, each=10 * ENOUGH).grace_s == GRACE_S


def test_what_came_last_counts():
    assert seen(30.0, *[2.0] * 6, each=KEPT).grace_s == LEAST_S
    assert seen(2.0, *[30.0] * 6, each=KEPT).grace_s == 30.0 + MARGIN_S


def test_a_few_that_take_long_are_left_to_the_next_step():
    lateness = seen(4.0, each=1000)
    lateness.see(np.full(4, NOW - 50.0), NOW)
    assert lateness.grace_s == 5.0
