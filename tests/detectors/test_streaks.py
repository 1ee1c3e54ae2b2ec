"""What no longer comes: a number that calls used to report, and what goes well where calls are rare or new."""

import pickle

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Engine

DAY, HOUR, MONDAY = 86400.0, 3600.0, 1_772_409_600.0  # 2026-03-02
SINCE = MONDAY + 9 * DAY + 9 * HOUR
DAYS = 11


def calls(*, a_day=300, rare=(), seed=5):
    """Two operations of one model that report what calls report, and `rare` ones: (name, calls a day, failing)."""
    rng = np.random.default_rng(seed)
    names, start, failed = [], [], []
    for name, daily, since in (("ask", a_day // 2, None), ("sum", a_day // 2, None), *rare):
        t = MONDAY + rng.uniform(0, DAYS * DAY, DAYS * daily)
        names += [name] * len(t)
        start.append(t)
        failed.append(np.zeros(len(t), bool) if since is None else t >= since)
    start, failed, names = np.concatenate(start), np.concatenate(failed), np.array(names, object)
    order = np.argsort(start)
    n, start = len(order), start[order].round(6)
    failed, names = failed[order], names[order]
    took = 3000 * rng.lognormal(0, 0.3, n)
    return {
        "start_time": start,
        "trace_id": np.array([f"t{i}" for i in range(n)], object),
        "session_id": np.array([f"s{i}" for i in range(n)], object),
        "operation_type": names,
        "model_name": np.full(n, "big", object),
        "model_provider": np.full(n, "cloud", object),
        "status": np.where(failed, "error", "ok").astype(object),
        "inference_time_ms": np.where(failed, np.nan, took),
        "duration_ms": took + 50,
        "queue_time_ms": np.where(failed, np.nan, 50 * rng.lognormal(0, 0.3, n)),
        "cost_usd": np.where(failed, np.nan, 0.001 * rng.lognormal(0, 0.3, n)),
    }


def without(columns, name, which):
    return columns | {name: np.where(which, np.nan, columns[name])}


def alerts_of(columns, batches=1):
    engine, out = Engine(), []
    edges = np.linspace(0, DAYS * DAY, batches + 1)[1:] // 300 * 300 + MONDAY
    start = columns["start_time"]
    for low, high in zip((-np.inf, *edges[:-1]), edges, strict=True):
        some = (start >= low) & (start < high)
        engine.feed({name: values[some] for name, values in columns.items()})
        out += engine.advance(high)
        engine = pickle.loads(pickle.dumps(engine))
    return out


def lost(columns, *names):
    """The numbers that calls of `ask` no longer report."""
    for name in names:
        columns = without(columns, name, (columns["operation_type"] == "ask") & (columns["start_time"] >= SINCE))
    return columns


def test_a_number_that_is_no_longer_reported_is_told_once():
    found = alerts_of(lost(calls(), "cost_usd"))
    assert [(alert.metric, alert.slice) for alert in found] == [("unreported.cost_usd", {"operation_type": "ask"})]
    assert SINCE < found[0].detected_at < SINCE + 6 * HOUR
    assert abs(found[0].since - SINCE) < HOUR
    assert (found[0].observed, found[0].expected) == (1.0, 0.0)
    assert found[0].n >= 20


def test_numbers_that_stop_together_are_one_story():
    found = alerts_of(lost(calls(), "cost_usd", "queue_time_ms"))
    assert len(found) == 1
    assert found[0].slice == {"operation_type": "ask"}


def test_a_number_that_comes_now_and_then_may_stay_away_for_as_long():
    columns = calls()
    day = (columns["start_time"] - MONDAY) // DAY
    hour = columns["start_time"] % DAY // HOUR
    assert not alerts_of(without(columns, "queue_time_ms", (hour >= 9) & (hour < 14) & (day % 2 == 1)))


def test_a_new_model_whose_numbers_are_not_known_yet_lacks_none():
    columns = lost(calls(), "cost_usd")
    new = (columns["operation_type"] == "ask") & (columns["start_time"] >= SINCE)
    columns["model_name"] = np.where(new, "small", columns["model_name"])
    assert not [alert for alert in alerts_of(columns) if alert.metric.startswith("unreported")]


def test_where_calls_are_rare_failures_in_a_row_are_told_once_over_days():
    found = alerts_of(calls(rare=[("weekly", 2, MONDAY + 5 * DAY)]))
    assert [(alert.metric, alert.slice) for alert in found] == [("error_rate", {"operation_type": "weekly"})]
    assert found[0].n >= 8
    assert abs(found[0].since - (MONDAY + 5 * DAY)) < 2 * DAY


@pytest.mark.parametrize("failing", [True, False])
def test_an_operation_that_fails_from_its_first_call_on_is_told_on_its_first_day(failing):
    columns = calls(rare=[("new", 100, SINCE if failing else None)])
    old = (columns["operation_type"] == "new") & (columns["start_time"] < SINCE)
    found = alerts_of({name: values[~old] for name, values in columns.items()})
    assert [(alert.metric, alert.slice) for alert in found] == [("error_rate", {"operation_type": "new"})] * failing
    assert all(alert.detected_at < SINCE + 6 * HOUR for alert in found)


def test_the_same_streaks_are_told_in_any_batches():
    columns = lost(calls(rare=[("weekly", 2, MONDAY + 5 * DAY), ("new", 100, SINCE)]), "cost_usd")
    assert alerts_of(columns) == alerts_of(columns, batches=37)
