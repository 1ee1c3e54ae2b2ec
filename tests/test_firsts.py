"""What was never seen before, and when it matters."""

import numpy as np

from tracewatch.detectors.adaptive import Engine

DAY, MONDAY = 86400.0, 1_772_409_600.0  # 2026-03-02
NEW_FROM = MONDAY + 9 * DAY + 9 * 3600


def calls(days=10, a_day=600):
    rng = np.random.default_rng(11)
    n = int(days * a_day)
    t = np.sort(MONDAY + rng.uniform(0, days * DAY, n)).round(6)
    return {
        "start_time": t,
        "session_id": np.array([f"s{i // 2}" for i in range(n)], object),
        "operation_type": np.full(n, "ask", object),
        "model_name": np.full(n, "big-2025", object),
        "model_provider": np.full(n, "cloud", object),
        "status": np.full(n, "success", object),
        "error_type": np.full(n, None, object),
        "cost_status": np.full(n, "priced", object),
    }


def some(columns, share, seed=2):
    return (columns["start_time"] >= NEW_FROM) & (
        np.random.default_rng(seed).random(len(columns["start_time"])) < share
    )


def put(columns, mask, **values):
    changed = {name: columns[name].copy() for name in values}
    for name, value in values.items():
        changed[name][mask] = value
    return columns | changed


def firsts(columns):
    engine = Engine()
    engine.feed(columns)
    return [alert for alert in engine.advance(MONDAY + 10 * DAY) if alert.kind == "first_seen"]


def test_a_new_kind_of_error_that_raises_no_rate():
    columns = calls()
    failing = np.random.default_rng(3).random(len(columns["start_time"])) < 0.08
    columns = put(columns, failing, error_type="Overloaded", status="error")
    (alert,) = firsts(put(columns, failing & some(columns, 0.6), error_type="QuotaExceeded"))
    assert (alert.metric, alert.slice) == ("first_seen_error_type", {"error_type": "QuotaExceeded"})
    assert alert.observed >= alert.upper > alert.expected == 0
    assert NEW_FROM <= alert.since < alert.detected_at


def test_a_snapshot_that_takes_over_is_told_once():
    columns = calls()
    (alert,) = firsts(put(columns, some(columns, 1.0), model_name="big-2026"))
    assert alert.slice == {"operation_type": "ask", "model_name": "big-2026"}
    assert alert.metric == "first_seen_model"


def test_a_paid_model_without_a_price():
    columns = calls()
    (alert,) = firsts(put(columns, some(columns, 0.05), model_name="odd", cost_status="unpriced"))
    assert (alert.metric, alert.slice) == ("unpriced_rate", {"model_name": "odd"})


def test_what_is_merely_new_is_no_news():
    columns = calls()
    rare = put(columns, some(columns, 0.05), model_name="rare")
    assert firsts(rare) == []
    handful = np.flatnonzero(some(columns, 1.0))[:4]
    assert firsts(put(columns, handful, error_type="Odd", status="error")) == []


def test_what_was_there_from_the_beginning_is_not_new():
    columns = calls()
    always = np.arange(len(columns["start_time"])) % 10 == 0
    assert firsts(put(columns, always, error_type="Known", status="error")) == []
