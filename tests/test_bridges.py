"""Bridges of cost and of latency: they add up, and each part is what its name says."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch import bridges, unit_prices, waiting
from tracewatch.bridges import COST_PARTS, cost_bridge, shapley
from tracewatch.waiting import latency_bridge

SONNET = np.array([3e-6, 3e-7, 3.75e-6, 15e-6])
HAIKU = np.array([1e-6, 1e-7, 1.25e-6, 5e-6])


@pytest.mark.parametrize("module", [bridges, unit_prices, waiting])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 1


def calls(n=200, *, seed=1, model="sonnet", prices=SONNET, cached=0.8, longer=1.0, written=0.05):
    """Calls of one model, priced by the list."""
    rng = np.random.default_rng(seed)
    sent = np.round(rng.lognormal(8, 0.5, n) * longer)
    read = np.round(sent * np.minimum(cached * rng.uniform(0.9, 1.1, n), 0.95))
    wrote = np.round((sent - read) * written)
    answered = np.round(rng.lognormal(5.5, 0.6, n) * longer)
    cost = np.column_stack([sent - read - wrote, read, wrote, answered]) @ prices
    return {
        "model_name": [model] * n,
        "input_tokens": sent,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": wrote,
        "output_tokens": answered,
        "cost_usd": cost,
    }


def joined(*groups):
    texts = [name for group in groups for name in group["model_name"]]
    numbers = {name: np.concatenate([group[name] for group in groups]) for name in groups[0] if name != "model_name"}
    return {"model_name": texts, **numbers}


def parts(bridge):
    return {part.name: part.change for part in bridge.parts}


def only(bridge, name, tolerance=1e-6):
    """The whole change is this part's."""
    others = {key: change for key, change in parts(bridge).items() if key != name}
    assert all(abs(change) <= tolerance * abs(bridge.change) for change in others.values()), others
    return parts(bridge)[name] == pytest.approx(bridge.change, rel=tolerance * 5)


def adds_up(bridge):
    size = max(abs(bridge.before), abs(bridge.after), 1e-12)
    return abs(sum(part.change for part in bridge.parts) - bridge.change) <= 1e-9 * size


def test_shapley_of_a_game_where_two_are_needed_for_anything():
    assert shapley(lambda joined: 6.0 if {0, 1} <= joined else 0.0, 3) == [3.0, 3.0, 0.0]


def test_twice_the_calls_are_calls():
    assert only(cost_bridge(calls(), joined(calls(), calls())), "calls")


def test_longer_prompts_and_answers_are_tokens_per_call():
    before, after = calls(), calls()
    for name in bridges.TOKENS:
        after[name] = after[name] * 3
    after["cost_usd"] = after["cost_usd"] * 3
    assert only(cost_bridge(before, after), "tokens per call")


def test_a_cache_that_stopped_hitting_is_cache_share():
    before, after = calls(cached=0.9, written=0.0), calls(cached=0.0, written=0.0)
    bridge = cost_bridge(before, after)
    assert only(bridge, "cache share")
    share = next(part for part in bridge.parts if part.name == "cache share")
    assert (share.before, share.after) == (pytest.approx(0.9, abs=0.02), 0)


def test_a_dearer_price_list_is_price():
    assert only(cost_bridge(calls(), calls(prices=SONNET * 1.4)), "price")


def test_one_dearer_kind_of_token_is_price():
    dearer = SONNET * [1, 1, 1, 1.2]
    assert only(cost_bridge(calls(), calls(prices=dearer)), "price", 1e-5)


def test_calls_that_moved_to_a_dearer_model_are_model_mix():
    one, two = calls(300, model="haiku", prices=HAIKU), calls(300)
    before = joined(*([one] * 3), two)
    after = joined(one, *([two] * 3))
    assert only(cost_bridge(before, after), "model mix")


def test_a_new_model_is_model_mix_and_calls():
    found = parts(cost_bridge(calls(100), joined(calls(100), calls(50, model="opus", prices=SONNET * 5, seed=2))))
    assert found["model mix"] > 0
    assert found["calls"] > 0
    assert abs(found["price"]) + abs(found["tokens per call"]) + abs(found["unexplained"]) < 1e-9


def test_a_shorter_period_before_is_scaled():
    bridge = cost_bridge(calls(), joined(calls(), calls()), ratio=2.0)
    assert bridge.change == pytest.approx(0, abs=1e-12)
    assert all(abs(change) < 1e-9 for change in parts(bridge).values())


def test_calls_without_a_cost_are_unexplained():
    after = calls()
    lost = float(after["cost_usd"][:50].sum())
    after["cost_usd"] = np.where(np.arange(200) < 50, np.nan, after["cost_usd"])
    bridge = cost_bridge(calls(), after)
    assert only(bridge, "unexplained")
    assert bridge.change == pytest.approx(-lost)


def test_a_few_calls_priced_otherwise_do_not_become_a_price_change():
    after = calls()
    after["cost_usd"] = np.where(np.arange(200) % 10 == 0, after["cost_usd"] * 7, after["cost_usd"])
    assert only(cost_bridge(calls(), after), "unexplained", 1e-4)


def test_a_model_never_priced_is_left_out():
    free = calls(500, model="local")
    free["cost_usd"] = np.full(500, np.nan)
    bridge = cost_bridge(calls(), joined(calls(), free))
    assert bridge.change == pytest.approx(0)
    assert all(abs(change) < 1e-9 for change in parts(bridge).values())


def test_costs_rounded_to_the_hundredth_of_a_cent_are_no_price_change():
    before, after = calls(400, cached=0.8), calls(400, seed=5, cached=0.1)
    for group in (before, after):
        group["cost_usd"] = np.round(group["cost_usd"], 4)
    found = cost_bridge(before, after)
    assert abs(parts(found)["price"]) < 1e-9
    assert abs(parts(found)["unexplained"]) < 0.01 * found.change


def test_entries_that_stand_for_many_calls_give_the_same_bridge():
    def added_up(group, size=8):
        whole = {name: np.asarray(values).reshape(-1, size) for name, values in group.items() if name != "model_name"}
        sums = {name: values.sum(axis=1) for name, values in whole.items()}
        return sums | {"model_name": group["model_name"][::size], "calls": np.full(len(sums["cost_usd"]), size)}

    before, after = calls(200), calls(320, seed=2, longer=1.3, cached=0.2)
    one, other = cost_bridge(before, after), cost_bridge(added_up(before), added_up(after))
    assert other.before == pytest.approx(one.before)
    assert [part.change for part in other.parts] == pytest.approx([part.change for part in one.parts], abs=1e-6)


def test_before_there_was_nothing_everything_is_calls():
    nothing = {name: [] if name == "model_name" else np.empty(0) for name in calls()}
    assert only(cost_bridge(nothing, calls()), "calls")
    assert cost_bridge(nothing, nothing).change == 0


@st.composite
def groups(draw):
    """Calls of up to three models with any tokens and any costs, some of them unknown."""
    n = draw(st.integers(0, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers = {name: np.round(rng.lognormal(4, 2, n) * (rng.random(n) < 0.8)) for name in bridges.TOKENS}
    costs = rng.lognormal(-3, 2, n) * (rng.random(n) < 0.9)
    return {
        "model_name": rng.choice(["a", "b", None], n).tolist(),
        "cost_usd": np.where(rng.random(n) < 0.1, np.nan, costs),
        **numbers,
    }


@given(groups(), groups(), st.sampled_from([0.01, 1.0, 12.0]))
@settings(deadline=None, max_examples=40)
def test_any_cost_bridge_adds_up(before, after, ratio):
    bridge = cost_bridge(before, after, ratio=ratio)
    assert adds_up(bridge)
    assert bridge.after == pytest.approx(np.nansum(after["cost_usd"]))
    assert tuple(part.name for part in bridge.parts) == COST_PARTS


@given(groups(), groups())
@settings(deadline=None, max_examples=20)
def test_the_way_back_is_the_way_there_with_the_other_sign(before, after):
    there, back = parts(cost_bridge(before, after)), parts(cost_bridge(after, before))
    size = max(1.0, *(abs(change) for change in there.values()))
    assert all(abs(there[name] + back[name]) <= 1e-6 * size for name in COST_PARTS)


def timed(
    n=400, *, seed=1, queue=50.0, network=30.0, first=400.0, tokens=200.0, speed=80.0, retrieval=0.0, retries=0.0
):
    """Calls whose parts are known, with a little noise in each."""
    rng = np.random.default_rng(seed)
    noise = rng.lognormal(0, 0.2, (6, n))
    answered = np.round(tokens * noise[0])
    tps = speed * noise[1]
    waited, wire, prefill, found = queue * noise[2], network * noise[3], first * noise[4], retrieval * noise[5]
    tried = (np.arange(n) % 10 == 0) * retries
    duration = waited + wire + prefill + answered / tps * 1000 + found + tried * 1500.0
    return {
        "duration_ms": duration,
        "queue_time_ms": waited,
        "network_time_ms": wire,
        "ttft_ms": waited + prefill,
        "output_tokens": answered,
        "tokens_per_second": tps,
        "retrieval_latency_ms": found,
        "retry_count": tried,
    }


@pytest.mark.parametrize(
    ("odd", "name", "change"),
    [
        ({"queue": 1050.0}, "queue", 1000),
        ({"network": 530.0}, "network", 500),
        ({"first": 1400.0}, "first token", 1000),
        ({"tokens": 600.0}, "longer answers", 5000),
        ({"speed": 20.0}, "slower speed", 7500),
        ({"retrieval": 700.0}, "retrieval", 700),
        ({"retries": 2.0}, "retries", 300),
    ],
)
def test_the_part_that_grew_is_named(odd, name, change):
    bridge = latency_bridge(timed(), timed(**odd))
    assert only(bridge, name, 1e-3)
    assert bridge.change == pytest.approx(change, rel=0.08)  # the noise has a mean of 1.02


def test_a_part_nobody_reports_is_no_row_and_its_time_is_unexplained():
    before, after = timed(), timed(queue=1050.0)
    for group in (before, after):
        del group["queue_time_ms"], group["ttft_ms"]
    bridge = latency_bridge(before, after)
    assert [part.name for part in bridge.parts] == [
        "network", "longer answers", "slower speed", "retrieval", "retries", "unexplained",
    ]  # fmt: skip
    assert bridge.share("unexplained") == pytest.approx(1)


def test_a_part_that_is_only_reported_from_now_on_is_no_row():
    before, after = timed(), timed()
    before["network_time_ms"] = np.full(400, np.nan)
    assert "network" not in parts(latency_bridge(before, after))


def test_reporting_more_often_is_not_taking_longer():
    before, after = timed(queue=1000.0), timed(queue=1000.0)
    for group in (before, after):
        group["ttft_ms"] = np.full(400, np.nan)
    before["queue_time_ms"] = np.where(np.arange(400) % 2 == 0, before["queue_time_ms"], np.nan)
    found = parts(latency_bridge(before, after))
    assert abs(found["queue"]) < 30
    assert abs(found["unexplained"]) < 30


def test_retrieval_that_starts_is_a_row_though_no_call_reported_it_before():
    before = timed()
    del before["retrieval_latency_ms"]
    assert only(latency_bridge(before, timed(retrieval=700.0)), "retrieval", 1e-3)


def test_the_inference_time_stands_in_for_a_speed_nobody_reports():
    before, after = timed(), timed(tokens=600.0)
    for group in (before, after):
        group["inference_time_ms"] = group["duration_ms"] - group["queue_time_ms"] - group["network_time_ms"]
        del group["tokens_per_second"]
    assert latency_bridge(before, after).share("longer answers") == pytest.approx(1, abs=0.02)


@st.composite
def durations(draw):
    n = draw(st.integers(0, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kept = [name for name in timed(1) if name == "duration_ms" or draw(st.booleans())]
    return {name: np.where(rng.random(n) < 0.2, np.nan, rng.lognormal(5, 3, n) - 5) for name in kept}


@given(durations(), durations())
@settings(deadline=None, max_examples=80)
def test_any_latency_bridge_adds_up(before, after):
    bridge = latency_bridge(before, after)
    assert adds_up(bridge)
    assert all(part.before is None or part.before >= 0 for part in bridge.parts)
    assert all(np.isfinite(part.change) for part in bridge.parts)


def test_a_single_short_answer_gives_back_no_time_that_its_speed_never_took():
    before, after = timed(tokens=150.0, speed=50.0), timed(n=1, tokens=15.0, speed=1.5)
    halves, own = latency_bridge(before, after), latency_bridge(before, after, own_tokens=True)
    assert parts(halves)["slower speed"] > after["duration_ms"][0]
    assert 0 < parts(own)["slower speed"] < after["duration_ms"][0]
    assert -before["duration_ms"].mean() < parts(own)["longer answers"] < 0
    assert sum(parts(own).values()) == pytest.approx(own.change)
