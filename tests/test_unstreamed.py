"""Calls that stop streaming: who asked waits for the first word as long as for the last."""

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Engine

DAY, HOUR, MONDAY = 86400.0, 3600.0, 1_772_409_600.0  # 2026-03-02
SINCE = MONDAY + 10 * DAY + 9 * HOUR


def calls(*, share=0.6, broken=None, reported=True, days=11, a_day=600, seed=5):
    """Two operations: `ask` streams to so many (from SINCE on to `broken` of them), `sum` to nobody."""
    rng = np.random.default_rng(seed)
    n = int(days * a_day)
    start, ask = np.sort(MONDAY + rng.uniform(0, days * DAY, n)).round(6), rng.integers(0, 2, n) == 0
    wanted = np.full(n, share) if broken is None else np.where(start < SINCE, share, broken)
    streams = ask & (rng.random(n) < wanted)
    ttft, whole = 300 * rng.lognormal(0, 0.2, n), 3000 * rng.lognormal(0, 0.3, n)
    return {
        "start_time": start,
        "trace_id": np.array([f"t{i}" for i in range(n)], object),
        "session_id": np.array([f"s{i // 2}" for i in range(n)], object),
        "user_id": np.array([f"u{i}" for i in rng.integers(0, 10, n)], object),
        "operation_type": np.where(ask, "ask", "sum").astype(object),
        "model_name": np.full(n, "big", object),
        "model_provider": np.full(n, "cloud", object),
        "status": np.full(n, "ok", object),
        "streaming_enabled": streams.astype(object),
        "ttft_ms": np.where(streams, ttft, whole if reported else np.nan),
        "inference_time_ms": whole,
        "duration_ms": whole + 50,
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


@pytest.mark.parametrize(("reported", "metric"), [(True, "ttft_ms"), (False, "unstreamed_rate")])
def test_an_operation_that_stops_streaming_is_told_once_by_what_is_felt(reported, metric):
    found = alerts_of(calls(broken=0.05, reported=reported))
    assert [(alert.metric, alert.direction, alert.slice) for alert in found] == [
        (metric, "up", {"operation_type": "ask"})
    ]
    assert SINCE < found[0].detected_at < SINCE + 4 * HOUR
    assert found[0].observed > found[0].upper > found[0].expected


def test_a_little_less_is_no_news():
    assert not alerts_of(calls(broken=0.5))


def test_who_never_streamed_has_nothing_to_lose():
    assert not alerts_of(calls(share=0.0))


def test_a_new_model_that_does_not_stream_is_no_incident():
    columns = calls()
    new = (columns["operation_type"] == "sum") & (columns["start_time"] >= MONDAY + 8 * DAY)
    columns["model_name"] = np.where(new, "small", columns["model_name"])
    assert not [alert for alert in alerts_of(columns) if alert.metric in ("ttft_ms", "unstreamed_rate")]


def test_the_same_is_told_in_any_batches():
    columns = calls(broken=0.05)
    assert alerts_of(columns) == alerts_of(columns, batches=37)
