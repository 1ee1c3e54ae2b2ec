"""Changes near an onset, as candidate causes."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch import changes
from tracewatch.changes import candidate_changes, level_shift
from tracewatch.slices import coded

ONSET = 40 * 3600.0
N = 3000


def calls(seed=1, **odd):
    """Two days of calls, slower from the onset on, in no order."""
    rng = np.random.default_rng(seed)
    times = rng.uniform(0, 48 * 3600, N)
    rng.shuffle(times)
    metric = rng.lognormal(0, 0.3, N) * np.where(times >= ONSET, 3, 1)
    return {"times": times, "metric": metric, "onset_s": ONSET, "values": {}, "sizes": {}} | odd


def since(times, moment, *, share=1.0, seed=2):
    """Calls that carry something new from a moment on."""
    return (times >= moment) & (np.random.default_rng(seed).random(len(times)) < share)


def version(new, names=("1", "2")):
    return coded(np.where(new, names[1], names[0]).tolist())


def found(**given):
    return [change.column for change in candidate_changes(**given)]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(changes).failed == 0
    assert doctest.testmod(changes).attempted > 3


def test_a_version_first_seen_at_the_onset_is_told_with_before_and_after():
    given_calls = calls()
    columns = {"app_version": version(since(given_calls["times"], ONSET - 300))}
    [change] = candidate_changes(**given_calls | {"values": columns})
    assert (change.value, change.was) == ("2", "1")
    assert ONSET - 300 <= change.time_s <= ONSET
    assert change.after / change.before == pytest.approx(3, rel=0.1)
    assert change.coverage == 1
    assert np.isnan(change.without)


def test_the_closer_change_comes_first():
    given_calls = calls()
    times = given_calls["times"]
    columns = {"app_version": version(since(times, ONSET - 4 * 3600)), "model_name": version(since(times, ONSET - 600))}
    assert found(**given_calls | {"values": columns}) == ["model_name", "app_version"]


def test_a_change_after_the_onset_is_worth_less_than_one_before_it():
    """Also where the calls between onset and change are not measured, and so do not speak against it."""
    given_calls = calls()
    times = given_calls["times"]
    between = (times >= ONSET) & (times < ONSET + 900)
    given_calls["metric"] = np.where(between, np.nan, given_calls["metric"])
    columns = {"late": version(since(times, ONSET + 900)), "early": version(since(times, ONSET - 900))}
    assert found(**given_calls | {"values": columns}) == ["early", "late"]


def test_a_change_that_came_when_calls_were_slow_already_is_no_candidate():
    given_calls = calls()
    columns = {"late": version(since(given_calls["times"], ONSET + 3600))}
    scores = [change.score for change in candidate_changes(**given_calls | {"values": columns})]
    assert max(scores, default=0) < 0.02


def test_only_half_as_many_affected_calls_is_half_as_good():
    given_calls = calls()
    times = given_calls["times"]
    columns = {"few": version(since(times, ONSET, share=0.3)), "all": version(since(times, ONSET))}
    assert found(**given_calls | {"values": columns})[0] == "all"


def test_a_change_whose_calls_are_no_worse_than_the_others_is_not_a_candidate():
    given_calls = calls()
    columns = {"app_version": version(since(given_calls["times"], ONSET, share=0.4))}
    scores = [change.score for change in candidate_changes(**given_calls | {"values": columns})]
    assert max(scores, default=0) < 0.05


def test_the_canary_that_is_slow_is_found_among_calls_that_are_not():
    given_calls = calls()
    times = given_calls["times"]
    canary = since(times, ONSET, share=0.2)
    given_calls["metric"] = np.random.default_rng(3).lognormal(0, 0.3, N) * np.where(canary, 3, 1)
    columns = {"rollout": version(since(times, ONSET)), "canary": version(canary)}
    best, *_ = candidate_changes(**given_calls | {"values": columns, "affected": canary})
    assert best.column == "canary"
    assert best.without == pytest.approx(best.before, rel=0.1)


def test_a_value_whose_calls_moved_the_other_way_is_no_candidate():
    given_calls = calls()
    new = since(given_calls["times"], ONSET, share=0.3)
    given_calls["metric"] = np.where(new, 0.2, given_calls["metric"])
    assert found(**given_calls | {"values": {"app_version": version(new)}}) == []


def test_the_first_values_there_are_are_not_new():
    given_calls = calls(times=np.linspace(ONSET - 100, ONSET + 5000, N))
    assert found(**given_calls | {"values": {"model_name": coded(["a"] * N)}}) == []


def test_an_old_value_that_comes_again_is_not_new():
    given_calls = calls()
    times = given_calls["times"]
    again = since(times, ONSET) | (times < 3600)
    assert found(**given_calls | {"values": {"app_version": version(again)}}) == []


def test_prompts_that_grew_are_a_level_shift():
    given_calls = calls()
    rng, grown = np.random.default_rng(5), since(given_calls["times"], ONSET - 900)
    sizes = {"input_tokens": rng.lognormal(7, 0.4, N) * np.where(grown, 1.8, 1)}
    [change] = candidate_changes(**given_calls | {"sizes": sizes})
    assert change.value / change.was == pytest.approx(1.8, rel=0.1)
    assert abs(change.time_s - (ONSET - 900)) < 900
    assert change.coverage > 0.7


def test_prompts_that_did_not_change_are_no_candidate():
    shifts = 0
    for seed in range(100):
        sizes = {"input_tokens": np.random.default_rng(seed).lognormal(7, 0.8, N)}
        shifts += bool(candidate_changes(**calls() | {"sizes": sizes}))
    assert shifts <= 1


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_the_order_of_the_calls_does_not_matter(seed):
    given_calls = calls()
    times = given_calls["times"]
    order = np.random.default_rng(seed).permutation(N)
    new, grown = since(times, ONSET - 600), since(times, ONSET - 300, share=0.9)
    sizes = np.random.default_rng(5).lognormal(7, 0.4, N) * np.where(grown, 2, 1)

    def told(places):
        shuffled = {"times": times[places], "metric": given_calls["metric"][places], "onset_s": ONSET}
        columns = {"values": {"app_version": version(new[places])}, "sizes": {"input_tokens": sizes[places]}}
        return [
            (each.column, each.value, each.time_s, round(each.score, 9))
            for each in candidate_changes(**shuffled | columns)
        ]

    assert told(order) == told(np.arange(N))


def test_no_calls_no_candidates():
    nothing = np.empty(0)
    given_calls = {"times": nothing, "metric": nothing, "onset_s": 0.0}
    assert candidate_changes(**given_calls, values={"app_version": coded([])}, sizes={"input_tokens": nothing}) == ()


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40))
def test_a_level_shift_does_not_depend_on_the_unit(values):
    given_values = np.array(values, float)
    assert level_shift(given_values) == level_shift(given_values * 1000 + 7)
    assert 0 < level_shift(given_values)[0] < len(values) or len(set(values)) == 1
