"""The third world of the benchmarks: real arrivals are replayed as they were, and the truth says what was done."""

import json
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.arrivals import case as cases
from benchmarks.arrivals.faults import KINDS, Fault
from benchmarks.arrivals.planning import slice_of
from benchmarks.arrivals.products import product_of
from benchmarks.arrivals.streams import NAMES, replay, stream
from benchmarks.arrivals.world import world_of
from benchmarks.suites import judge

DAY = 86_400.0


@pytest.fixture(scope="module")
def world():
    return world_of(302, days=3, warmup=1)


@pytest.fixture(scope="module")
def calm(world):
    return cases.run_of(world, [], {})


@pytest.fixture(scope="module")
def case():
    return cases.case_of(302, days=7, warmup=2)


@pytest.mark.parametrize("name", NAMES)
def test_replayed_conversations_keep_their_turns_and_their_rate(name):
    source, rng = stream(name), np.random.default_rng(1)
    request, t, talk = replay(source, np.full(2 * 1440, 0.5), rng)
    assert len(request) == pytest.approx(1440, rel=0.35)
    assert (t >= 0).all()
    assert (t < 2 * DAY).all()
    first = np.unique(talk, return_index=True)[1]
    assert set(request[first]) <= set(source.begin)


def test_products_of_seeds_share_no_names():
    one, other = (product_of(seed, 3) for seed in (301, 304))
    assert one.kind == other.kind == "studio"
    assert {m.name for m in one.models} != {m.name for m in other.models}
    assert one.models[0].speed != other.models[0].speed


def test_the_same_seed_is_the_same_case(world, calm):
    again = cases.run_of(world_of(302, days=3, warmup=1), [], {})
    assert again.equals(calm)


def struck(world, kind, **where):
    fault = Fault(id="f00", kind=kind, level=0, since=1.3 * DAY, until=1.7 * DAY, **where)
    fault.slice = slice_of(world.product, fault)
    return fault, cases.run_of(world, [fault], {})


def within(frame, fault):
    return frame[(frame.t >= fault.since + 60) & (frame.t < fault.until - 60)]


def test_a_price_changes_what_calls_cost_and_nothing_else(world, calm):
    fault, frame = struck(world, "price_change", model=0)
    own = within(frame, fault).model_name == world.product.models[0].name
    ratio = (within(frame, fault).cost_usd / within(calm, fault).cost_usd)[own].dropna()
    assert ratio.median() == pytest.approx(KINDS["price_change"].strength[0], rel=1e-3)
    assert frame.drop(columns="cost_usd").equals(calm.drop(columns="cost_usd"))
    outside = (frame.t < fault.since - 60) | (frame.t > fault.until + 60)
    assert frame[outside].cost_usd.equals(calm[outside].cost_usd)


def test_a_killed_cache_reads_nothing(world, calm):
    fault, frame = struck(world, "cache_killed", site=0, step=1)
    rows = within(frame, fault)
    assert rows[rows.operation_type == fault.slice["operation_type"]].cache_read_input_tokens.sum() == 0
    assert calm.cache_read_input_tokens.sum() > 0


def test_an_outage_sends_calls_to_the_other_model(world, calm):
    fault, frame = struck(world, "partial_outage", model=0)
    before, now = (within(each, fault).status.value_counts() for each in (calm, frame))
    assert now["fallback"] > 10 * before.get("fallback", 0) + 10


def test_a_silent_site_leaves_nothing(world):
    fault, frame = struck(world, "site_silent", site=2, step=0)
    rows = within(frame, fault)
    assert not (rows.operation_type == fault.slice["operation_type"]).any()


def test_a_looping_tenant_calls_more(world, calm):
    fault, frame = struck(world, "tenant_loop", site=0, step=1, tenant=3)
    before, now = ((within(each, fault).user_id == fault.slice["user_id"]).sum() for each in (calm, frame))
    assert now > before + 100


def test_parents_are_as_long_as_their_children(calm):
    roots = calm[calm.parent_span_id.isna() & calm.model_name.isna()]
    assert len(roots) > 1000
    children = calm[calm.parent_span_id.notna()].groupby("parent_span_id").duration_ms.sum()
    together = roots.set_index("span_id").duration_ms.sub(children).dropna()
    assert (together > 0).all()


def test_who_knows_the_truth_scores_nearly_everything(case, tmp_path):
    case.traces.to_parquet(tmp_path / "traces.parquet")
    case.labels.to_parquet(tmp_path / "labels.parquet")
    (tmp_path / "truth.json").write_text(json.dumps(case.truth))
    score, read = judge(tmp_path)
    from bench2.ceiling import perfect

    result = score(read, perfect(case.truth))
    assert len(case.truth["incidents"]) >= 3
    assert result["recall"] == 1
    assert result["false"] == 0
    assert result["summary"] > 90


def test_incidents_are_apart_and_stand_out(case):
    incidents = sorted(case.truth["incidents"], key=lambda each: each["start"])
    assert all(one["end"] < other["start"] for one, other in pairwise(incidents))
    for each in incidents:
        assert max(abs(each["effects"][name][0]) for name in each["metrics"]) >= 2.5
        assert set(case.labels[case.labels.incident == each["id"]].removed) <= {True, False}
