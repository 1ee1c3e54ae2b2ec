"""Parts of the usual lengths that fall empty, and how alike the calls of one session are."""

import tracemalloc

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Engine
from tracewatch.detectors.adaptive.clumps import SERIES, Clumps
from tracewatch.detectors.adaptive.expectations import GRAIN
from tracewatch.detectors.adaptive.intake import WORDS
from tracewatch.detectors.adaptive.memory import CELLS, COLUMNS, Memory, sampled
from tracewatch.detectors.adaptive.rates import R
from tracewatch.detectors.adaptive.series import Series
from tracewatch.detectors.adaptive.windows import HISTORY

DAY = 86400.0
MONDAY = 1_772_409_600.0  # 2026-03-02


def calls(days=10, a_day=300, seed=3):
    """An even stream whose prompts have 200 fixed tokens and a text of very different length."""
    rng = np.random.default_rng(seed)
    n = days * a_day
    prompt, answer = 200 + rng.lognormal(6, 1.2, n).round(), rng.lognormal(5, 0.9, n).round() + 1
    return {
        "start_time": np.sort(MONDAY + rng.uniform(0, days * DAY, n)).round(6),
        "trace_id": np.array([f"t{i}" for i in range(n)], object),
        "session_id": np.array([f"s{i // 3}" for i in range(n)], object),
        "operation_type": np.full(n, "ask", object),
        "model_name": np.full(n, "big", object),
        "model_provider": np.full(n, "cloud", object),
        "status": np.full(n, "success", object),
        "input_tokens": prompt,
        "output_tokens": answer,
    }


def alerts_of(columns):
    engine = Engine()
    engine.feed(columns)
    return engine.advance(MONDAY + 10 * DAY)


def since(columns, day):
    return columns["start_time"] >= MONDAY + day * DAY


def lengths(alerts):
    return [x for x in alerts if x.metric in ("input_tokens", "output_tokens")]


def test_an_even_stream_says_nothing_about_lengths():
    assert lengths(alerts_of(calls())) == []


def test_a_prompt_that_grew_by_less_than_its_spread_is_told_by_its_shortest_calls():
    columns = calls()
    columns["input_tokens"] = columns["input_tokens"] + 160.0 * since(columns, 8)
    alert = lengths(alerts_of(columns))[0]
    assert (alert.metric, alert.direction, alert.kind) == ("input_tokens", "up", "rate")
    assert alert.detected_at < MONDAY + 8.75 * DAY


def test_answers_cut_at_one_length_are_told_by_their_longest_calls():
    columns = calls()
    cut = since(columns, 8)
    columns["output_tokens"] = np.where(cut, np.minimum(columns["output_tokens"], 120.0), columns["output_tokens"])
    alert = lengths(alerts_of(columns))[0]
    assert (alert.metric, alert.direction) == ("output_tokens", "down")
    assert alert.detected_at < MONDAY + 8.5 * DAY


def rows_of(hits, sessions):
    """Calls of one segment with the same outcome in every series; a hit is expected of half of them."""
    n = len(hits)
    return {
        "segment": np.zeros(n, np.int64), "session_id": np.asarray(sessions), "use": np.ones((n, R), bool),
        "hit": np.repeat(np.asarray(hits, bool)[:, None], R, 1), "miss": np.full(n, 0.5),
    }  # fmt: skip


def clumps_of(hits, sessions):
    clumps = Clumps()
    clumps.grow(1)
    clumps.add(rows_of(hits, sessions), np.full((1, R), 0.5))
    clumps.close_day()
    return clumps


def worth(clumps, sizes):
    return clumps.effective(np.ones(1), 0, np.array(sizes))


def test_calls_of_a_session_that_are_all_alike_count_once():
    hits = np.random.default_rng(1).random(2000) < 0.5
    clumps = clumps_of(np.repeat(hits, 4), np.repeat(np.arange(2000), 4))
    assert worth(clumps, [4] * 10) == pytest.approx(10, rel=0.02)


def test_calls_of_a_session_that_are_not_alike_count_each():
    hits = np.random.default_rng(1).random(8000) < 0.5
    assert worth(clumps_of(hits, np.repeat(np.arange(2000), 4)), [4] * 10) == pytest.approx(40, rel=0.05)


def test_before_anything_is_known_calls_of_a_session_are_half_alike():
    clumps = Clumps()
    clumps.grow(1)
    assert worth(clumps, [1, 3]) == pytest.approx(1 + 3 / 2)


def test_batches_of_a_day_add_up_and_segments_are_renumbered():
    rng = np.random.default_rng(2)
    hits, sessions = rng.random(900) < 0.4, rng.integers(0, 200, 900)
    whole, parts = clumps_of(hits, sessions), Clumps()
    parts.grow(2)
    for low in range(0, 900, 130):
        parts.add(rows_of(hits[low : low + 130], sessions[low : low + 130]), np.full((2, R), 0.5))
    parts.close_day()
    assert np.array_equal(parts.sums[0], whole.sums[0])
    parts.keep_segments(np.array([0]))
    assert parts.sums.shape == (1, SERIES, 5)


def test_a_stream_without_names_of_sessions_is_judged_by_its_calls():
    columns = calls()
    columns["input_tokens"] = columns["input_tokens"] + 160.0 * since(columns, 8)
    del columns["session_id"]
    assert lengths(alerts_of(columns))[0].metric == "input_tokens"


def test_what_is_remembered_is_counted_as_it_comes_and_goes():
    memory = Memory()
    for day in range(6):
        tables = {name: np.zeros((9, 30)) for name in COLUMNS}
        words = {name: np.zeros(9, np.int64) for name in (*CELLS, *WORDS)}
        memory.add(tables | words | {"t": np.arange(9.0), "segment": np.arange(9) % (2 + day % 2)})
        memory.close_day(day, 3, 4)
        counted = [1 + sum(len(kept["t"]) for _, kept in memory.days.get(g, ())) for g in range(3)]
        assert memory.traffic(3).tolist() == counted
    memory.keep_segments(np.array([1, 2]))
    assert memory.traffic(2).tolist() == counted[1:]


@pytest.mark.parametrize(("size", "most"), [(1, 5), (5, 5), (9, 5), (1000, 110), (7, 1)])
def test_samples_are_even(size, most):
    place, many = sampled(np.array([3, size]), most)
    assert many.tolist() == [min(3, most), min(size, most)]
    assert place[many[0] :].tolist() == np.linspace(0, size - 1, min(size, most)).astype(int).tolist()


def test_keeping_totals_needs_hardly_more_memory_than_what_is_kept():
    series = Series()
    series.grow(100)
    series.total += np.arange(len(series.total))[:, None, None] ** 2
    tracemalloc.start()
    try:
        state = series.__getstate__()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    kept = state["there"].nbytes + state["grains"].nbytes
    assert series.total[: HISTORY + 1].nbytes / 3 < kept < most < 1.1 * kept


def test_totals_come_back_from_what_changed():
    series, numbers = Series(), np.random.default_rng(1)
    series.grow(5)
    steps = numbers.integers(-3, 4, series.total.shape) * (numbers.random(series.total.shape) < 0.1)
    series.total += np.cumsum(steps, 0) / GRAIN
    series.end = len(series.total) - 1
    found = Series()
    found.__setstate__(series.__getstate__())
    day = series.total[series.end - HISTORY : series.end + 1, :5]
    assert (found.total[: HISTORY + 1, :5] == day - day[0]).all()
    assert found.slices == 5
