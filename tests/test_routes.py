"""Calls that go to a model which is not theirs, a user's loop in one operation, calls far slower, drops of traffic."""

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Engine
from tracewatch.detectors.adaptive.channels import IX
from tracewatch.detectors.adaptive.evidence import Candidate, moved
from tracewatch.detectors.adaptive.volume import roots_apart, shortfall

DAY, HOUR, MONDAY = 86400.0, 3600.0, 1_772_409_600.0  # 2026-03-02
SINCE = MONDAY + 10 * DAY + 9 * HOUR


def calls(days=11, a_day=600, seed=5):
    """Two operations, each with a model of its own, by ten users."""
    rng = np.random.default_rng(seed)
    n = int(days * a_day)
    kind = rng.integers(0, 2, n)
    ttft = 300 * rng.lognormal(0, 0.2, n)
    return {
        "start_time": np.sort(MONDAY + rng.uniform(0, days * DAY, n)).round(6),
        "trace_id": np.array([f"t{i}" for i in range(n)], object),
        "session_id": np.array([f"s{i // 2}" for i in range(n)], object),
        "user_id": np.array([f"u{i}" for i in rng.integers(0, 10, n)], object),
        "operation_type": np.array(("ask", "sum"), object)[kind],
        "model_name": np.array(("big", "small"), object)[kind],
        "model_provider": np.full(n, "cloud", object),
        "status": np.full(n, "ok", object),
        "ttft_ms": ttft,
        "duration_ms": ttft + 50,
    }


def alerts_of(columns, batches=1):
    engine, out = Engine(), []
    edges = np.linspace(0, 11 * DAY, batches + 1)[1:] // 300 * 300 + MONDAY
    start = columns["start_time"]
    for low, high in zip((-np.inf, *edges[:-1]), edges, strict=True):
        some = (start >= low) & (start < high)
        engine.feed({name: values[some] for name, values in columns.items()})
        out += engine.advance(high)
    return out


def misrouted(share):
    columns = calls()
    some = (columns["operation_type"] == "ask") & (columns["start_time"] >= SINCE)
    some &= np.random.default_rng(8).random(len(some)) < share
    return columns | {"model_name": np.where(some, "small", columns["model_name"])}


def test_calls_that_go_to_the_model_of_others_are_told_once():
    found = [alert for alert in alerts_of(misrouted(0.5)) if alert.metric == "call_count"]
    assert [alert.slice for alert in found] == [{"operation_type": "ask", "model_name": "small"}]
    assert found[0].direction == "up"
    assert SINCE < found[0].detected_at < SINCE + 5 * HOUR
    assert found[0].observed > found[0].upper > found[0].expected


def test_a_few_calls_elsewhere_are_no_news():
    assert not alerts_of(misrouted(0.06))


def test_the_same_is_told_in_any_batches():
    columns = misrouted(0.5)
    assert alerts_of(columns) == alerts_of(columns, batches=37)


def test_a_loop_of_one_user_in_one_operation_among_his_many_calls():
    columns = calls(a_day=8000)  # so many that neither his calls nor those of the operation are a surge
    rng = np.random.default_rng(3)
    busy = (columns["operation_type"] == "ask") & (rng.random(len(columns["start_time"])) < 0.4)
    columns["user_id"] = np.where(busy, "u1", columns["user_id"])
    extra, at = 110, np.flatnonzero(columns["operation_type"] == "sum")[0]
    more = {name: np.repeat(values[at], extra) for name, values in columns.items()}
    more |= {
        "start_time": SINCE + np.sort(rng.uniform(0, HOUR, extra)).round(6),
        "user_id": np.full(extra, "u1", object),
        "session_id": np.array([f"loop{i}" for i in range(extra)], object),
    }
    found = alerts_of({name: np.concatenate([columns[name], more[name]]) for name in columns})
    told = [alert for alert in found if "user_id" in alert.slice and alert.metric == "call_count"]
    assert [alert.slice for alert in told] == [{"user_id": "u1"}]


def test_a_part_of_the_calls_that_is_far_slower():
    columns = calls(a_day=3000)
    some = (columns["start_time"] >= SINCE) & (np.random.default_rng(2).random(len(columns["start_time"])) < 0.25)
    ttft = columns["ttft_ms"] * np.where(some, 12, 1)
    found = alerts_of(columns | {"ttft_ms": ttft, "duration_ms": ttft + 50})
    found = [alert for alert in found if alert.kind != "point"]
    assert found
    assert found[0].metric == "ttft_ms"
    assert SINCE < found[0].detected_at <= SINCE + HOUR


def test_what_matters_in_ms_is_what_the_calls_took():
    queue = Candidate(slice=0, series=IX["queue_time_ms"], w=2, width=12, n=9, s=27, z=7)
    assert moved(queue, np.full(9, np.log(1500)), np.full(9, 5000.0))
    assert not moved(queue, np.full(9, np.log(4)), np.full(9, 12.0))


@pytest.mark.parametrize("phi", [0.01, 0.2, 1.0])
def test_a_shortfall_of_traffic_goes_on_growing(phi):
    mean, phi = np.array([10.0, 100.0, 1000.0, 10_000.0]), np.full(4, phi)
    z = shortfall(np.zeros(4), mean, phi)
    assert (np.diff(z) > 0).all()
    assert (z >= -roots_apart(np.zeros(4), mean, phi)).all()
    assert (shortfall(2 * mean, mean, phi) == 0).all()
