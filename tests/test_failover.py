"""A fallback is the failure of the model it stands in for."""

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Engine

DAY, MONDAY = 86400.0, 1_772_409_600.0  # 2026-03-02
DOWN_FROM, DOWN_UNTIL = MONDAY + 9 * DAY + 9 * 3600, MONDAY + 9 * DAY + 12 * 3600


def calls(attempts, operations=("ask", "sum", "tag"), days=10, a_day=700):
    """Three operations use `big`, a fourth uses `spare`; for three hours half of `big`'s calls fall back to `spare`.

    With `attempts`, the failed attempt of `big` is a row of the same trace before it.
    """
    rng = np.random.default_rng(5)
    n = int(days * a_day)
    t = np.sort(MONDAY + rng.uniform(0, days * DAY, n)).round(6)
    operation = np.array([*operations, "draw"], object)[rng.integers(0, len(operations) + 1, n)]
    model = np.where(operation == "draw", "spare", "big").astype(object)
    down = (model == "big") & (t >= DOWN_FROM) & (t < DOWN_UNTIL) & (rng.random(n) < 0.5)
    status = np.where(down, "fallback", "success").astype(object)
    trace = np.array([f"t{i}" for i in range(n)], object)
    columns = {
        "start_time": t,
        "trace_id": trace,
        "session_id": trace,
        "operation_type": operation,
        "model_name": np.where(down, "spare", model).astype(object),
        "model_provider": np.where(down | (model == "spare"), "house", "cloud").astype(object),
        "status": status,
    }
    if not attempts:
        return columns
    failed = {name: values[down] for name, values in columns.items()} | {
        "start_time": t[down] - 1,
        "model_name": np.full(down.sum(), "big", object),
        "model_provider": np.full(down.sum(), "cloud", object),
        "status": np.full(down.sum(), "error", object),
    }
    return {name: np.concatenate([values, failed[name]]) for name, values in columns.items()}


@pytest.mark.parametrize("attempts", [False, True])
def test_the_primary_is_blamed_once(attempts):
    engine = Engine()
    engine.feed(calls(attempts))
    found = engine.advance(MONDAY + 10 * DAY)
    assert len(found) == 1
    assert found[0].slice in ({"model_name": "big"}, {"model_provider": "cloud"})
    assert found[0].metric == ("error_rate" if attempts else "fallback_rate")
    assert found[0].observed > 0.3 > 0.1 > found[0].expected


def test_batches_do_not_matter_to_blame():
    columns = calls(attempts=True)
    whole, engine, parts = Engine(), Engine(), []
    whole.feed(columns)
    for hour in range(0, 240, 5):
        low = MONDAY + hour * 3600
        keep = (columns["start_time"] >= low) & (columns["start_time"] < low + 5 * 3600)
        engine.feed({name: values[keep] for name, values in columns.items()})
        parts += engine.advance(low + 5 * 3600)
    assert parts == whole.advance(MONDAY + 10 * DAY)
