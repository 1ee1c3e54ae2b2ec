"""The slice an excess comes from: found in made-up worlds, told with shares, and the same whatever the order."""

import doctest
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch import attribution, slices
from tracewatch.attribution import attribute
from tracewatch.slices import Evidence, coded

WORLDS = 24  # of each kind
MODELS = {"gpt-4o": "openai", "gpt-4o-mini": "openai", "sonnet": "anthropic", "haiku": "anthropic", "llama": "ollama"}


@pytest.mark.parametrize("module", [attribution, slices])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 1


def calls(rng, n):
    """Calls of a product as it is: models differ by operation, users are of very different size and have sessions."""
    operations = rng.choice(["chat", "rag_answer", "rerank", "extract", "title"], n, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    usual = dict(zip(["chat", "rag_answer", "rerank", "extract", "title"], MODELS, strict=True))
    anything = rng.choice(list(MODELS), n, p=[0.3, 0.2, 0.25, 0.15, 0.1])
    models = np.where(rng.random(n) < 0.5, [usual[each] for each in operations], anything)
    users = np.minimum(rng.zipf(1.5, n), 60)
    sessions = users * 100 + rng.integers(0, 8, n)
    retrieval = np.where(
        operations == "rag_answer", rng.choice(["vector", "graph", "hybrid"], n, p=[0.6, 0.3, 0.1]), ""
    )
    return {
        "operation_type": operations.tolist(),
        "model_name": models.tolist(),
        "model_provider": [MODELS[each] for each in models],
        "app_version": rng.choice(["2.7.1", "2.8.0", "2.6.9"], n, p=[0.55, 0.4, 0.05]).tolist(),
        "user_id": [f"user{each}" for each in users],
        "session_id": [f"session{each}" for each in sessions],
        "usage_type": [f"{each}_call" if each != "chat" else "chat" for each in operations],
        "streaming_enabled": (rng.random(n) < np.where(operations == "chat", 0.9, 0.1)).tolist(),
        "rag_retrieval_method": [each or None for each in retrieval],
        "environment": rng.choice(["production", "staging"], n, p=[0.93, 0.07]).tolist(),
    }


def inside(columns, chosen):
    found = np.ones(len(columns["environment"]), dtype=bool)
    for name, value in chosen.items():
        found &= np.array([each == value for each in columns[name]])
    return found


def a_truth(rng, columns, attributes):
    """A slice of so many attributes, each of which narrows it down, with 2 to 40 % of the calls."""
    names = [name for name in columns if name != "session_id"]
    while True:
        row = rng.integers(len(columns["environment"]))
        chosen = {name: columns[name][row] for name in rng.choice(names, attributes, replace=False)}
        share = inside(columns, chosen).mean()
        wider = [inside(columns, dict(some)).mean() for some in combinations(chosen.items(), attributes - 1)]
        if None not in chosen.values() and 0.02 <= share <= 0.4 and (attributes == 1 or min(wider) >= 1.4 * share):
            return chosen


def a_world(seed, attributes, kind, n=5000):
    """Calls, the slice that is bad and the excess: heavy-tailed times slower by 1.3 to 2.5, or failures."""
    rng = np.random.default_rng(seed)
    columns = calls(rng, n)
    chosen = a_truth(rng, columns, attributes)
    bad = inside(columns, chosen) & (rng.random(n) < rng.uniform(0.6, 1))  # an incident seldom hits every call
    if kind == "time":
        usual = np.array([{"rag_answer": 4.0, "chat": 2.0}.get(each, 0.5) for each in columns["operation_type"]])
        took = usual * np.exp(0.45 * rng.standard_t(4, n)) * np.where(bad, rng.uniform(1.3, 2.5), 1)
        return columns, chosen, np.log(np.maximum(took, 1e-9) / usual)
    usual = np.where(np.array(columns["model_provider"]) == "ollama", 0.05, 0.01)
    return columns, chosen, (rng.random(n) < np.where(bad, rng.uniform(0.1, 0.6), usual)) - usual


def right(columns, chosen, found):
    """The very slice, or another name of exactly the same calls."""
    return found is not None and (
        dict(found.slice) == chosen or np.array_equal(inside(columns, found.slice), inside(columns, chosen))
    )


def told(columns, excess, weights=None):
    return attribute({name: coded(values) for name, values in columns.items()}, np.asarray(excess, float), weights)


@pytest.mark.parametrize(("attributes", "least"), [(1, 0.9), (2, 0.8), (3, 0.6)])
@pytest.mark.parametrize("kind", ["time", "failures"])
def test_the_slice_is_found_in_worlds_of_its_kind(attributes, least, kind):
    hits = 0
    for seed in range(WORLDS):
        columns, chosen, excess = a_world(seed, attributes, kind)
        hits += right(columns, chosen, told(columns, excess).best)
    assert hits / WORLDS >= least


@pytest.mark.parametrize("kind", ["time", "failures"])
def test_an_excess_that_is_spread_over_all_calls_has_no_best_slice(kind):
    blamed = 0
    for seed in range(WORLDS):
        rng = np.random.default_rng(seed)
        columns = calls(rng, 5000)
        excess = 0.4 * rng.standard_t(4, 5000) + 0.5 if kind == "time" else (rng.random(5000) < 0.2) - 0.01
        blamed += told(columns, excess).best is not None
    assert blamed == 0


def test_shares_are_those_of_all_calls_and_of_the_whole_excess():
    columns = {"model_name": ["a"] * 12 + ["b"] * 88, "app_version": ["1", "2"] * 50}
    found = told(columns, [9.3] * 12 + [0.7 * 12 / 88] * 88)
    assert dict(found.best.slice) == {"model_name": "a"}
    assert (found.best.of_excess, found.best.of_calls) == (pytest.approx(0.93), pytest.approx(0.12))
    assert [dict(other.slice) for other in found.others] == [{"app_version": "1"}]


def test_a_second_attribute_that_buys_nothing_is_not_told():
    columns = {"model_name": ["a", "b", "c", "d"] * 100, "environment": (["production"] * 19 + ["staging"]) * 20}
    excess = np.array([1.0, 0, 0, 0] * 100) + np.random.default_rng(1).normal(0, 0.2, 400)
    assert dict(told(columns, excess).best.slice) == {"model_name": "a"}


def test_the_wider_name_wins_where_all_of_it_is_hit():
    rng = np.random.default_rng(3)
    columns = calls(rng, 3000)
    hit = inside(columns, {"model_provider": "openai"})
    found = told(columns, hit * 1.0 + rng.normal(0, 0.3, 3000))
    assert dict(found.best.slice) == {"model_provider": "openai"}
    assert {"model_name": "gpt-4o"} in [dict(each.slice) for each in found.explaining]


def test_one_wild_call_makes_no_slice():
    rng = np.random.default_rng(3)
    columns = calls(rng, 3000)
    excess = rng.normal(0, 1, 3000) + inside(columns, {"app_version": "2.8.0"})
    excess[7] = 1e6
    seen = slices.evidence([coded(values) for values in columns.values()], excess, np.ones(3000))
    assert seen.values(slices.best_slice(seen, slices.single_slices(seen))) == ["2.8.0"]


def test_a_weight_is_as_many_calls():
    rng = np.random.default_rng(8)
    columns, _, excess = a_world(5, 1, "time", 1000)
    weights = rng.integers(1, 4, 1000)
    spelled_out = {
        name: np.repeat(np.array(values, dtype=object), weights).tolist() for name, values in columns.items()
    }
    light, heavy = told(columns, excess, weights.astype(float)), told(spelled_out, np.repeat(excess, weights))
    assert dict(light.best.slice) == dict(heavy.best.slice)
    assert light.best.of_excess == pytest.approx(heavy.best.of_excess)
    assert light.best.of_calls == pytest.approx(heavy.best.of_calls)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_the_order_of_the_calls_does_not_matter(seed):
    columns, _, excess = a_world(seed, 2, "time", 600)
    order = np.random.default_rng(seed + 1).permutation(600).tolist()
    shuffled = {name: [values[place] for place in order] for name, values in columns.items()}
    one, other = told(columns, excess), told(shuffled, excess[order])
    assert [dict(each.slice) for each in one.explaining] == [dict(each.slice) for each in other.explaining]
    assert [dict(each.slice) for each in one.others] == [dict(each.slice) for each in other.others]
    assert [each.of_excess for each in one.explaining] == pytest.approx([each.of_excess for each in other.explaining])


def test_the_unit_does_not_matter():
    columns, _, excess = a_world(11, 2, "time", 2000)
    one, other = told(columns, excess), told(columns, excess * 1e4)
    assert [dict(each.slice) for each in one.explaining] == [dict(each.slice) for each in other.explaining]


def by_hand(columns, excess):
    """The most variance that any slice of up to three attributes explains, by trying every one."""
    codes = [coded(values) for values in columns.values()]
    seen: Evidence = slices.evidence(codes, excess, np.ones(len(excess)))
    best = 0.0
    for size in (1, 2, 3):
        for names in combinations(columns, size):
            for values in {*zip(*(columns[name] for name in names), strict=True)}:
                mask = inside(columns, dict(zip(names, values, strict=True)))
                pull, n = seen.pulls[mask].sum(), mask.sum()
                if None not in values and n >= slices.FEWEST_ROWS and n < len(excess) and pull > 0:
                    best = max(best, pull**2 / n * len(excess) / (len(excess) - n))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_nothing_better_is_left_aside(seed, monkeypatch):
    """With every attribute free to earn its place, the search finds what trying every slice finds."""
    monkeypatch.setattr(slices, "GAIN", 1.0)
    monkeypatch.setattr(slices, "CHANCE", 1e9)
    rng = np.random.default_rng(seed)
    columns = {name: rng.choice(["a", "b", "c", None], 150).tolist() for name in ("w", "x", "y", "environment")}
    excess = rng.normal(0, 1, 150) + 2 * inside(columns, {"w": "a", "y": "b"})
    seen = slices.evidence([coded(values) for values in columns.values()], excess, np.ones(150))
    found = slices.best_slice(seen, slices.single_slices(seen))
    assert found.score == pytest.approx(by_hand(columns, excess))


@pytest.mark.parametrize(
    ("columns", "excess"),
    [
        ({}, []),
        ({"model_name": []}, []),
        ({"model_name": ["a", "b"] * 20}, [np.nan] * 40),
        ({"model_name": ["a", "b"] * 20}, [0.0] * 40),
        ({"model_name": ["a", "b"] * 20}, [-1.0] * 40),
        ({"model_name": ["a"] * 40}, [1.0, 2.0] * 20),
        ({"model_name": [None] * 40}, [1.0, 2.0] * 20),
        ({"session_id": [str(place) for place in range(40)]}, [1.0, 2.0] * 20),
    ],
)
def test_where_there_is_nothing_to_tell_nothing_is_told(columns, excess):
    found = told(columns, excess)
    assert (found.best, found.explaining) == (None, ())


def test_five_thousand_calls_of_ten_columns_are_quick():
    columns, _, excess = a_world(1, 2, "time")
    ready = {name: coded(values) for name, values in columns.items()}
    took = []
    for _ in range(5):
        began = time.perf_counter()
        attribute(ready, excess)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.2  # about 30 ms; the rest is for a busy machine
