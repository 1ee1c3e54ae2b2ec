"""Self time, critical path and blame in traces, well-formed and not."""

import doctest
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch import blame as room
from tracewatch.blame import arrange, blame, critical_times, self_times


def a_trace(*spans):
    """Spans as (id, parent, start in ms, duration in ms)."""
    ids, parents, starts, durations = zip(*spans, strict=True)
    return arrange(ids, parents, 1.7e9 + np.array(starts, float) / 1000, np.array(durations, float))


def near(values):
    return pytest.approx(values, abs=1e-3)  # of a ms: what epoch seconds in a float can tell


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(room).failed == 0
    assert doctest.testmod(room).attempted > 5


def test_children_in_parallel_count_once():
    family = a_trace(("root", None, 0, 100), ("a", "root", 10, 50), ("b", "root", 20, 60))
    assert self_times(family).tolist() == near([30, 50, 60])


def test_a_child_that_outlasts_its_parent_takes_no_more_than_the_parent_has():
    family = a_trace(("root", None, 0, 100), ("late", "root", 90, 500), ("early", "root", -20, 30))
    assert self_times(family).tolist() == near([80, 500, 30])
    assert critical_times(family).tolist() == near([80, 10, 10])


def test_the_critical_path_takes_the_child_that_was_waited_for():
    family = a_trace(("root", None, 0, 100), ("fast", "root", 0, 30), ("slow", "root", 0, 90), ("sub", "slow", 50, 20))
    assert critical_times(family).tolist() == near([10, 0, 70, 20])


def test_missing_parents_and_cycles_make_roots():
    family = a_trace(("a", "b", 5, 10), ("b", "a", 0, 10), ("c", "gone", 0, 10), ("d", "d", 0, 10), ("e", "a", 6, 3))
    assert family.missing.tolist() == [2]
    assert sorted(family.cyclic.tolist()) == [1, 3]
    assert family.parents.tolist() == [1, -1, -1, -1, 0]


def test_blame_goes_down_to_the_span_that_made_it_slow():
    family = a_trace(
        ("ask", None, 0, 1000),
        ("retrieve", "ask", 0, 800),
        ("rerank", "retrieve", 100, 690),
        ("answer", "ask", 800, 190),
    )
    [found] = blame(family, ["ask", "retrieve", "rerank", "answer"], np.array([300.0, 150, 40, 180]))
    assert (found.span, found.by, found.alike) == (0, 2, (2,))
    assert found.excess_ms == near(700)
    assert found.share == near(650 / 700)


def test_a_span_slow_by_itself_is_its_own_reason():
    family = a_trace(("ask", None, 0, 1000), ("retrieve", "ask", 0, 100), ("answer", "ask", 900, 100))
    [found] = blame(family, ["ask", "retrieve", "answer"], np.array([300.0, 90, 100]))
    assert (found.by, found.share) == (0, 1.0)


def test_who_was_not_waited_for_is_not_blamed():
    family = a_trace(("ask", None, 0, 1000), ("log", "ask", 0, 900), ("answer", "ask", 0, 990))
    [found] = blame(family, ["ask", "log", "answer"], np.array([300.0, 10, 290]))
    assert found.by == 2


def test_many_small_delays_of_one_kind_are_blamed_together():
    searches = [(f"s{number}", "agent", number * 10, 10) for number in range(400)]
    family = a_trace(("agent", None, 0, 4000), *searches)
    [found] = blame(family, ["agent", *["search"] * 400], np.array([500.0, *[1.5] * 400]))
    assert len(found.alike) == 400
    assert found.share == near(3400 / 3500)


def test_an_attempt_that_is_usually_not_there_is_to_blame_for_all_of_its_time():
    family = a_trace(("ask", None, 0, 900), ("try", "ask", 0, 500), ("again", "ask", 500, 400))
    [found] = blame(family, ["ask", "call", "call again"], np.array([400.0, 400, 0]))
    assert found.by == 2


def test_nothing_known_or_nothing_slow_blames_nobody():
    family = a_trace(("ask", None, 0, 900), ("call", "ask", 0, 500))
    assert blame(family, ["ask", "call"], np.full(2, np.nan)) == []
    assert blame(family, ["ask", "call"], np.array([850.0, 490])) == []
    assert blame(arrange([], [], np.empty(0), np.empty(0)), [], np.empty(0)) == []


@st.composite
def forests(draw):
    """Any spans at all: parents that are missing, later, themselves or in a circle, times that make no sense."""
    n = draw(st.integers(1, 25))
    ids = [str(number) for number in range(n)]
    parents = draw(st.lists(st.sampled_from([None, "gone", *ids]), min_size=n, max_size=n))
    times = st.floats(0, 1000)
    starts = draw(st.lists(times, min_size=n, max_size=n))
    durations = draw(st.lists(st.one_of(times, st.just(np.nan), st.just(-5.0)), min_size=n, max_size=n))
    return ids, parents, np.array(starts) / 1000, np.array(durations)


@given(forests())
@settings(deadline=None, max_examples=150)
def test_any_forest_is_arranged_and_its_times_add_up(forest):
    family = arrange(*forest)
    place = {span: number for number, span in enumerate(family.order.tolist())}
    assert sorted(place) == list(range(len(forest[0])))
    assert all(parent < 0 or place[parent] < place[child] for child, parent in enumerate(family.parents.tolist()))
    took = family.ends_ms - family.starts_ms
    own, critical = self_times(family), critical_times(family)
    assert np.all((own >= 0) & (own <= took + 1e-6))
    assert np.all((critical >= -1e-6) & (critical <= own + 1e-6))
    assert critical.sum() == pytest.approx(took[family.parents < 0].sum())


@pytest.mark.parametrize("shape", ["chain", "flat", "random"])
def test_thirty_thousand_spans_take_no_recursion_and_little_time(shape):
    n, rng = 30_000, np.random.default_rng(4)
    above = {
        "chain": np.arange(n) - 1,
        "flat": np.zeros(n, int),
        "random": rng.integers(0, np.maximum(np.arange(n), 1)),
    }
    parents = [None, *(str(parent) for parent in above[shape][1:])]
    starts, durations = np.sort(rng.random(n)), rng.lognormal(3, 1, n)
    began = time.perf_counter()
    family = arrange([str(number) for number in range(n)], parents, starts, durations)
    blame(family, ["span"] * n, np.full(n, 20.0))
    self_times(family)
    assert time.perf_counter() - began < 5  # about half a second; the rest is for a busy machine
