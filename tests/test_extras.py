"""Metrics of one's own: a column of floats and its name are all it takes."""

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Engine, Settings

DAY, MONDAY = 86400.0, 1_772_409_600.0  # 2026-03-02
ODD_FROM, ODD_UNTIL = MONDAY + 9 * DAY + 9 * 3600, MONDAY + 9 * DAY + 15 * 3600


def calls(days=10, a_day=500):
    rng = np.random.default_rng(7)
    n = int(days * a_day)
    t = np.sort(MONDAY + rng.uniform(0, days * DAY, n)).round(6)
    return {
        "start_time": t,
        "session_id": np.array([f"s{i // 2}" for i in range(n)], object),
        "operation_type": np.array(["ask", "sum"], object)[rng.integers(0, 2, n)],
        "model_name": np.full(n, "big", object),
        "status": np.full(n, "success", object),
        "metadata.pages": rng.lognormal(3, 0.8, n).round() + 1,
        "quality.tone": np.clip(rng.normal(0.8, 0.1, n), 0, 1),
        "reasoning_tokens": np.where(rng.random(n) < 0.9, rng.lognormal(5, 0.4, n).round(), np.nan),
    }


def changed(columns, name, times):
    odd = (
        (columns["start_time"] >= ODD_FROM) & (columns["start_time"] < ODD_UNTIL) & (columns["operation_type"] == "ask")
    )
    return columns | {name: np.where(odd, columns[name] * times, columns[name])}


def run(columns, extra=("metadata.pages", "quality.tone"), hours=240):
    engine, out = Engine(Settings(extra=extra)), []
    for low in np.arange(MONDAY, MONDAY + 10 * DAY, hours * 3600):
        high = min(low + hours * 3600, MONDAY + 10 * DAY)
        keep = (columns["start_time"] >= low) & (columns["start_time"] < high)
        engine.feed({name: values[keep] for name, values in columns.items()})
        out += engine.advance(high)
    return out


@pytest.mark.parametrize(
    ("name", "times", "direction"),
    [("metadata.pages", 2.5, "up"), ("quality.tone", 0.7, "down"), ("reasoning_tokens", 2.0, "up")],
)
def test_a_number_that_moves_is_told_with_its_operation(name, times, direction):
    (alert,) = run(changed(calls(), name, times))
    assert (alert.metric, alert.direction, alert.slice) == (name, direction, {"operation_type": "ask"})
    assert ODD_FROM <= alert.detected_at <= ODD_FROM + 4 * 3600
    assert alert.observed / alert.expected == pytest.approx(times, rel=0.25)
    assert alert.lower < alert.expected < alert.upper


def test_numbers_that_stay_as_they_are_say_nothing():
    assert run(calls()) == []


def test_only_named_columns_are_read():
    assert run(changed(calls(), "metadata.pages", 5), extra=()) == []


def test_batches_do_not_matter_to_extras():
    columns = changed(calls(), "metadata.pages", 2.5)
    assert run(columns, hours=5) == run(columns)
