"""/metrics as Prometheus reads it: its own health, what calls come to, and the bands of each operation and model."""

import re

import pytest
import shop

from tracewatch.access import create_key
from tracewatch.web.views.rolled import CALLS_ALONE

LINE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$')


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    return shop.make(tmp_path_factory.mktemp("prometheus") / "w.db")


@pytest.fixture(scope="module")
def client(db):
    with shop.looking_at(db, now=shop.NOW) as client:
        client.headers["accept"] = "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        yield client


def samples(client, **headers):
    """Name and labels of each sample -> its value; every line must be one of the format."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found, declared = {}, set()
    for line in answer.text.splitlines():
        if line.startswith("#"):
            assert re.match(r"^# (HELP|TYPE) \S+ .+$", line)
            declared.add(line.split()[2])
            continue
        name, labels, value = LINE.match(line).groups()
        key = (name, tuple(sorted(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or ""))))
        assert key not in found, "a series is told once"
        assert {name, re.sub("_(bucket|sum|count)$", "", name)} & declared
        found[key] = float(value)
    return found


def of(found, name, **wanted):
    return [value for (each, labels), value in found.items() if each == name and wanted.items() <= dict(labels).items()]


def test_health_of_the_server(client):
    found = samples(client)
    for name in ("ingest_accepted_spans_total", "ingest_queued_spans", "rollup_pending_spans", "detection_lag_seconds"):
        assert len(of(found, f"tracewatch_{name}")) == 1, name
    assert of(found, "tracewatch_price_table_age_seconds")[0] > 0
    buckets = of(found, "tracewatch_commit_seconds_bucket")
    assert buckets == sorted(buckets)


def test_calls_are_those_of_the_store(client):
    store = client.app.state.serving.store
    step, until = 86_400, shop.NOW + 86_400
    calls = store.rollup(0, until, step_s=step, where=[CALLS_ALONE], measures=("calls",))
    cost = store.rollup(0, until, step_s=step, measures=("cost_usd_sum",))
    found = samples(client)
    assert sum(of(found, "tracewatch_calls_total")) == sum(calls["calls"].to_pylist())
    assert sum(of(found, "tracewatch_cost_usd_total")) == pytest.approx(sum(cost["cost_usd_sum"].to_pylist()))


def test_bands_say_that_the_cost_of_chat_is_beyond_them(client):
    found = samples(client)
    chat = {"anomaly_name": "tracewatch_cost_usd_per_hour", "operation": "chat", "anomaly_strategy": "tracewatch"}
    banded = [labels for name, labels in found if name == "anomaly:upper_band" and chat.items() <= dict(labels).items()]
    assert banded
    assert all(found["anomaly:level", labels] > 2 * found["anomaly:upper_band", labels] for labels in banded)
    lowers = of(found, "anomaly:lower_band")
    assert len(lowers) == len(of(found, "anomaly:upper_band"))
    assert {value for (name, labels), value in found.items() if name.startswith("anomaly:")} != {0.0}


def test_incidents_by_severity(client):
    assert of(samples(client), "tracewatch_open_incidents", severity="critical") == [1.0]


def test_a_browser_is_not_given_the_text(client):
    assert "tracewatch_calls_total" not in client.get("/metrics", headers={"accept": "text/html"}).text


def test_a_key_sees_its_own_project_and_user(tmp_path):
    with shop.looking_at(shop.make(tmp_path / "w.db")) as client:
        client.headers["accept"] = "*/*"
        store = client.app.state.serving.store
        other = create_key(store, project="other", rights=("read",), now=shop.NOW)[1]
        own = create_key(store, project="default", user_id="nobody", rights=("read",), now=shop.NOW)[1]
        assert of(samples(client, **{"x-api-key": other}), "tracewatch_calls_total") == []
        found = samples(client, **{"x-api-key": own})
        assert not of(found, "tracewatch_calls_total")
        assert not of(found, "tracewatch_ingest_accepted_spans_total")
