"""One user, one version alone is hit: what nobody sees in operations, models and providers."""

import pickle

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Engine, Settings
from tracewatch.detectors.adaptive.alerts import Proof
from tracewatch.detectors.adaptive.channels import C
from tracewatch.detectors.adaptive.incidents import FAMILIES, Incident, Incidents
from tracewatch.detectors.adaptive.knowledge import Knowledge
from tracewatch.detectors.adaptive.stories import Stories

DAY = 86400.0
MONDAY = 1_772_409_600.0  # 2026-03-02
HIT_FROM, HIT_UNTIL = MONDAY + 9 * DAY + 9 * 3600, MONDAY + 9 * DAY + 15 * 3600


def calls(seed=3, days=10, a_day=900):
    """A product with tenants of very different size, one model, and sessions of three calls."""
    rng = np.random.default_rng(seed)
    n = int(days * a_day)
    t = np.sort(MONDAY + rng.uniform(0, days * DAY, n)).round(6)
    size = 1.0 / (1 + np.arange(15))
    session = np.arange(n) // 3
    user = rng.choice(15, session.max() + 1, p=size / size.sum())[session]
    inp, out = rng.lognormal(6, 0.5, n).round(), rng.lognormal(4, 0.5, n).round() + 1
    ttft, generation = (200 + inp / 10) * rng.lognormal(0, 0.2, n), out * 20 * rng.lognormal(0, 0.2, n)
    return {
        "start_time": t,
        "trace_id": np.array([f"t{i}" for i in range(n)], object),
        "session_id": np.array([f"s{i}" for i in session], object),
        "user_id": np.array([f"tenant-{i}" for i in user], object),
        "app_version": np.full(n, "1.0", object),
        "operation_type": np.full(n, "ask", object),
        "model_name": np.full(n, "big", object),
        "model_provider": np.full(n, "cloud", object),
        "status": np.where(rng.random(n) < 0.01, "error", "success").astype(object),
        "ttft_ms": ttft,
        "inference_time_ms": ttft + generation,
        "duration_ms": ttft + generation + 30,
        "input_tokens": inp,
        "output_tokens": out,
        "cost_usd": inp * 1e-6 + out * 4e-6,
    }


def hit(columns, of):
    return of & (columns["start_time"] >= HIT_FROM) & (columns["start_time"] < HIT_UNTIL)


def failing(columns, tenant):
    """One tenant's calls fail, six of ten, for six hours."""
    mask = hit(columns, columns["user_id"] == tenant)
    mask &= np.random.default_rng(9).random(len(mask)) < 0.6
    return columns | {"status": np.where(mask, "error", columns["status"]).astype(object)}


def slow_release(columns, share=0.15):
    """A version that some sessions get, twice as slow."""
    sessions = np.array([int(s[1:]) for s in columns["session_id"]])
    mask = hit(columns, (sessions * 7919) % 100 < 100 * share)
    slower = {
        name: np.where(mask, 2.0, 1.0) * columns[name] for name in ("ttft_ms", "inference_time_ms", "duration_ms")
    }
    return columns | slower | {"app_version": np.where(mask, "1.1", columns["app_version"]).astype(object)}


def run(columns, hours=240):
    engine, out, end = Engine(), [], MONDAY + 10 * DAY
    for low in np.arange(MONDAY, end, hours * 3600):
        high = min(low + hours * 3600, end)
        keep = (columns["start_time"] >= low) & (columns["start_time"] < high)
        engine.feed({name: values[keep] for name, values in columns.items()})
        out += engine.advance(high)
    return out


def during(alerts):
    return [alert for alert in alerts if HIT_FROM <= alert.detected_at <= HIT_UNTIL and alert.kind != "point"]


@pytest.fixture(scope="module")
def stream():
    return calls()


def test_an_even_stream_of_tenants_says_nothing(stream):
    assert [alert for alert in run(stream) if alert.kind != "point"] == []


def test_a_small_tenant_whose_calls_fail_is_named(stream):
    (alert, *more) = during(run(failing(stream, "tenant-3")))
    assert (alert.metric, alert.direction, alert.kind) == ("error_rate", "up", "rate")
    assert alert.slice == {"user_id": "tenant-3"}
    assert alert.observed > 0.4 > alert.upper > 0.05 > alert.expected
    assert abs(alert.since - HIT_FROM) < 2 * 3600
    assert more == []


def test_a_release_that_some_calls_get_is_named(stream):
    found = during(run(slow_release(stream)))
    assert {tuple(alert.slice.items()) for alert in found} == {(("app_version", "1.1"),)}
    assert found[0].metric in ("ttft_ms", "tokens_per_second", "inference_time_ms", "duration_ms")
    assert found[0].n >= 5


def test_a_release_that_changes_nothing_is_no_news(stream):
    sessions = np.array([int(s[1:]) for s in stream["session_id"]])
    mask = hit(stream, sessions % 5 == 0)
    version = np.where(mask, "1.1", stream["app_version"]).astype(object)
    assert during(run(stream | {"app_version": version})) == []


def test_what_hits_everybody_is_no_ones_story(stream):
    mask = hit(stream, np.ones(len(stream["start_time"]), bool))
    slower = {name: np.where(mask, 2.0, 1.0) * stream[name] for name in ("ttft_ms", "inference_time_ms", "duration_ms")}
    found = during(run(stream | slower))
    assert found
    assert not any("user_id" in alert.slice for alert in found)


@pytest.mark.parametrize(("since", "closed", "echo"), [(10, 40, True), (10, 20, False), (60, 90, False)])
def test_what_was_told_of_an_incident_is_no_news_of_a_part(since, closed, echo):
    known = Knowledge(Settings())
    known.slices.extend([{"operation_type": name, "model_name": "big", "model_provider": "cloud"} for name in "ab"])
    incidents = Incidents(known, Stories())
    its = known.slices.labels.index({"operation_type": "a"})
    incidents.past.append(
        Incident(
            slice=its,
            series=C,
            family=FAMILIES.index("failure"),
            sign=1.0,
            level=0.0,
            move=0.5,
            since=since,
            opened=since,
            closed=closed,
            up=True,
            metric="error_rate",
        )
    )
    ticks = np.arange(10, 50)
    proof = Proof(tick=ticks, segment=np.zeros(40, np.int64), gain=np.full(40, 1.0), least=15.0)
    assert incidents.is_echo(proof, [FAMILIES.index("failure")]) == echo
    assert not incidents.is_echo(proof, [FAMILIES.index("latency")])
    other = Proof(tick=ticks, segment=np.ones(40, np.int64), gain=np.full(40, 1.0), least=15.0)
    assert not incidents.is_echo(other, [FAMILIES.index("failure")])


def test_batches_do_not_matter_to_parts(stream):
    columns = failing(slow_release(stream), "tenant-3")
    assert run(columns, hours=5) == run(columns)


def test_parts_survive_pickling(stream):
    columns, middle = slow_release(stream), MONDAY + 9.5 * DAY
    engine = Engine()
    engine.feed(columns)
    first = engine.advance(middle)
    assert first + pickle.loads(pickle.dumps(engine)).advance(MONDAY + 10 * DAY) == run(columns)


def test_a_thousand_versions_a_day_are_bounded(stream):
    n = len(stream["start_time"])
    engine = Engine()
    engine.feed(stream | {"app_version": np.array([f"v{i // 2}" for i in range(n)], object)})
    engine.advance(MONDAY + 10 * DAY)
    assert len(engine.parts.bank.keys) <= 1024
