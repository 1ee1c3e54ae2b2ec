"""Trees of spans: the critical path is exactly the time of the trace, whatever the spans are like."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracewatch.trees import at_work, critical_path, tree_of

TIMES = st.floats(0, 100).map(lambda value: round(value, 3))
SPANS = st.lists(st.tuples(st.integers(-1, 40), TIMES, TIMES), min_size=1, max_size=40)


def _tree(spans):
    """A tree of those (parent, start, length): parents are given by number, any number, also one's own."""
    ids = [f"s{number}" for number in range(len(spans))]
    parents = [None if parent < 0 else f"s{parent}" for parent, _, _ in spans]
    tree = tree_of(ids, parents, [start for _, start, _ in spans])
    starts = [spans[number][1] for number in tree.numbers]
    ends = [spans[number][1] + spans[number][2] for number in tree.numbers]
    return tree, starts, ends


@given(SPANS)
def test_every_span_stands_once_below_its_parent(spans):
    tree, _, _ = _tree(spans)
    assert sorted(tree.numbers) == list(range(len(spans)))
    for place, parent in enumerate(tree.parents):
        assert parent < place
        if parent >= 0:
            assert tree.depths[place] == tree.depths[parent] + 1
            assert place < tree.ends[parent]


@given(SPANS)
def test_the_critical_path_is_the_time_of_the_trace(spans):
    tree, starts, ends = _tree(spans)
    pieces = critical_path(tree, starts, ends)
    assert sum(end - begin for _, begin, end in pieces) == pytest.approx(ends[0] - starts[0], abs=1e-9)
    for (_, _, before), (_, after, _) in pairwise(pieces):
        assert after == pytest.approx(before, abs=1e-9)


@given(SPANS)
def test_nobody_works_longer_than_it_lasts(spans):
    tree, starts, ends = _tree(spans)
    for place in range(len(spans)):
        alone = sum(end - begin for begin, end in at_work(tree, place, starts, ends))
        assert alone <= ends[place] - starts[place] + 1e-9


def test_whoever_ends_last_is_decisive():
    tree, starts, ends = _tree([(-1, 0.0, 10.0), (0, 1.0, 3.0), (0, 1.0, 6.0), (2, 2.0, 4.0)])
    assert critical_path(tree, starts, ends) == [
        (0, 0.0, 1.0),
        (2, 1.0, 2.0),
        (3, 2.0, 6.0),
        (2, 6.0, 7.0),
        (0, 7.0, 10.0),
    ]


def test_deep_traces_need_no_stack():
    tree, starts, ends = _tree([(number - 1, number * 0.001, 20.0 - number * 0.002) for number in range(5000)])
    assert max(tree.depths) == 4999
    assert len(critical_path(tree, starts, ends)) == 9999
