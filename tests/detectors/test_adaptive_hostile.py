"""Streams that nobody means to send: the engine stays up, keeps its bounds, and says the same of the same calls."""

import math
import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracewatch.detectors.adaptive import Engine, Settings

DAY = 86_400.0
MONDAY = 1_772_409_600.0  # 2026-03-02
DAYS = 5
QUICK = Settings(warmup_days=2)  # a short week is enough for streams without one
FEW = settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
NUMBERS = ("duration_ms", "inference_time_ms", "ttft_ms", "input_tokens", "output_tokens", "cost_usd")
JUNK = (math.nan, math.inf, -math.inf, -5.0, 1e308, 1e-30)


def calls(days=DAYS, a_day=160, seed=3, names=("ask", "sum")):
    """An even stream of two operations, whose answers of the first become three times slower for four hours."""
    rng = np.random.default_rng(seed)
    n = int(days * a_day)
    t = MONDAY + np.sort(rng.integers(0, int(days * 86_400), n)).astype(float)
    n_in, n_out = rng.lognormal(6, 0.4, n).round(), rng.lognormal(4, 0.4, n).round() + 1
    first = rng.integers(0, 2, n) == 0
    late = first & (t > MONDAY + 4.4 * DAY) & (t < MONDAY + 4.6 * DAY)
    ttft, generation = 200 + n_in / 10, n_out * 20 * rng.lognormal(0, 0.15, n) * np.where(late, 4, 1)
    return {
        "start_time": t,
        "trace_id": np.array([f"t{i}" for i in range(n)], object),
        "session_id": np.array([f"s{i // 3}" for i in range(n)], object),
        "user_id": np.array([f"u{i}" for i in rng.integers(0, 9, n)], object),
        "operation_type": np.where(first, *names).astype(object),
        "model_name": np.where(first, *names).astype(object),
        "model_provider": np.full(n, "cloud", object),
        "status": np.full(n, "ok", object),
        "error_category": np.full(n, None, object),
        "duration_ms": ttft + generation + 30,
        "inference_time_ms": ttft + generation,
        "ttft_ms": ttft,
        "input_tokens": n_in,
        "output_tokens": n_out,
        "cost_usd": n_in * 1e-6 + n_out * 4e-6,
    }


def picked(columns, rows):
    return {name: values[rows] for name, values in columns.items()}


def told(columns, until=MONDAY + DAYS * DAY):
    engine = Engine(QUICK)
    engine.feed(columns)
    return engine.advance(until)


def gist(alerts):
    return [(a.detected_at, a.metric, a.direction, tuple(a.slice.items())) for a in alerts]


@pytest.fixture(scope="module")
def stream():
    return calls()


@pytest.fixture(scope="module")
def found(stream):
    alerts = told(stream)
    assert any(a.direction == "up" and a.slice.get("operation_type", "ask") == "ask" for a in alerts)
    return alerts


@FEW
@given(cuts=st.lists(st.integers(0, 799), max_size=12))
def test_any_batches_give_the_same(stream, found, cuts):
    engine, alerts = Engine(QUICK), []
    bounds = [0, *sorted(cuts), len(stream["start_time"])]
    for begin, end in pairwise(bounds):
        engine.feed(picked(stream, slice(begin, end)))
        if end > begin:
            alerts += engine.advance(float(stream["start_time"][end - 1]))
    assert gist(alerts + engine.advance(MONDAY + DAYS * DAY)) == gist(found)


@FEW
@given(seed=st.integers(0, 99))
def test_the_order_within_a_batch_does_not_matter(stream, found, seed):
    order = np.random.default_rng(seed).permutation(len(stream["start_time"]))
    assert gist(told(picked(stream, order))) == gist(found)


@FEW
@given(names=st.permutations(["ask", "sum", "é世", ""]).map(lambda names: tuple(names[:2])))
def test_names_are_names(found, names):
    renamed = told(calls(names=names))
    assert [a.detected_at for a in renamed] == [a.detected_at for a in found]
    words = dict(zip(("ask", "sum"), names, strict=True))
    expected = [{key: words.get(value, value) for key, value in a.slice.items()} for a in found]
    assert [dict(a.slice) for a in renamed] == expected


@FEW
@given(weeks=st.integers(-500, 500))
def test_the_week_it_happens_in_does_not_matter(stream, found, weeks):
    moved = weeks * 7 * DAY
    later = told(stream | {"start_time": stream["start_time"] + moved}, MONDAY + DAYS * DAY + moved)
    expected = [replace(a, detected_at=a.detected_at + moved) for a in found]
    assert gist(later) == gist(expected)


@FEW
@given(times=st.sampled_from([0.01, 7.3, 1000.0]))
def test_the_currency_does_not_matter(stream, found, times):
    assert gist(told(stream | {"cost_usd": stream["cost_usd"] * times})) == gist(found)


@pytest.mark.parametrize("name", NUMBERS)
def test_junk_in_some_rows_hides_nothing_of_the_others(stream, found, name):
    spoiled = stream[name].copy()
    for i, junk in enumerate(JUNK):
        spoiled[i * 7 :: 170] = junk
    alerts = told(stream | {name: spoiled})
    assert all(math.isfinite(a.observed) and math.isfinite(a.severity) for a in alerts)
    assert {a.direction for a in alerts if a.slice.get("operation_type") == "ask"} >= {"up"}


@pytest.mark.parametrize("name", ["duration_ms", "cost_usd", "model_name", "session_id", "status"])
def test_a_column_that_is_all_null_is_as_none(stream, name):
    nothing = np.full(len(stream["start_time"]), np.nan if name in NUMBERS else None)
    without = {key: values for key, values in stream.items() if key != name}
    assert gist(told(stream | {name: nothing})) == gist(told(without))


def test_rows_of_nothing_but_nulls_are_counted_and_do_no_harm(stream, found):
    at = MONDAY + np.arange(0, DAYS * DAY, 3600.0)
    nulls = {
        name: np.full(len(at), np.nan if name in NUMBERS else None, values.dtype) for name, values in stream.items()
    }
    both = {name: np.concatenate([values, (nulls | {"start_time": at})[name]]) for name, values in stream.items()}
    assert {a.metric for a in found} <= {a.metric for a in told(both)}


def test_a_clock_that_drifts_by_minutes_moves_alerts_by_minutes(stream, found):
    host = np.arange(len(stream["start_time"])) % 2
    drift = (stream["start_time"] / 20_000 % 1 - 0.5) * 240
    alerts = told(stream | {"start_time": stream["start_time"] + host * drift})
    assert alerts[0].metric == found[0].metric
    assert abs(alerts[0].detected_at - found[0].detected_at) <= 1800


def test_rows_that_come_twice_bring_no_new_kind_of_alert(stream, found):
    twice = picked(stream, np.repeat(np.arange(len(stream["start_time"])), 2))
    kinds = {(a.metric, a.direction) for a in told(twice)}
    assert kinds >= {(found[0].metric, found[0].direction)}
    assert "call_count" not in {metric for metric, _ in kinds}


def test_rows_that_come_hours_late_do_not_rewrite_what_was_said(stream):
    engine = Engine(QUICK)
    late = np.arange(len(stream["start_time"])) % 10 == 0
    engine.feed(picked(stream, ~late))
    first = engine.advance(MONDAY + 4.5 * DAY)
    engine.feed(picked(stream, late))
    rest = engine.advance(MONDAY + DAYS * DAY)
    assert all(a.detected_at <= MONDAY + 4.5 * DAY for a in first)
    assert all(a.detected_at > MONDAY + 4.5 * DAY for a in rest)


def test_asking_for_an_earlier_moment_is_no_news(stream, found):
    engine = Engine(QUICK)
    engine.feed(stream)
    assert gist(engine.advance(MONDAY + DAYS * DAY)) == gist(found)
    assert engine.advance(MONDAY) == []
    assert engine.advance(MONDAY + DAYS * DAY) == []


def test_a_stream_that_starts_again_after_years_learns_anew(stream):
    engine = Engine(QUICK)
    engine.feed(stream)
    engine.advance(MONDAY + DAYS * DAY)
    gap = 3650 * DAY
    engine.feed(stream | {"start_time": stream["start_time"] + gap})
    again = engine.advance(MONDAY + DAYS * DAY + gap)
    assert all(a.detected_at > MONDAY + gap + QUICK.warmup_days * DAY for a in again if a.kind != "silence")


def test_a_stream_that_goes_on_takes_no_more_room():
    assert size_after(a_day=1500, days=4) < 1.1 * size_after(a_day=1500, days=2) + 300_000


def test_a_model_for_every_row_takes_no_more_room_than_the_segments_it_keeps_apart():
    few, many = (size_after(a_day=n, days=1, own_model=True) for n in (600, 1800))
    assert many < 1.2 * few + 1200 * 2000  # the rows of the last day are kept as they are, 2 kB each


def size_after(a_day, days=2, own_model=False):
    columns = calls(days=days, a_day=a_day)
    if own_model:
        columns["model_name"] = np.array([f"model {i}" for i in range(len(columns["start_time"]))], object)
    engine = Engine(QUICK)
    engine.feed(columns)
    engine.advance(MONDAY + days * DAY)
    return len(pickle.dumps(engine))
