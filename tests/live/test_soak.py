"""Half an hour of traffic through a real server, as fast as it takes it: nothing lost, told once, memory flat."""

import json
import time
from pathlib import Path

import pytest
from web.conftest import _serving, a_body
from workload import DAY, calls

from tracewatch.alerts.checking import read_rule
from tracewatch.records import Anomaly, Headway, Incident, Span
from tracewatch.stores import Filter, open_store

MINUTES, BODIES, SPANS = 30, 20, 12  # requests a minute, spans a request: 7 200 spans
FAILING = range(5, 11)  # minutes
MORE_MB = 60  # that a process may have at the end over what it had when the first half had been judged

# One server for all of these, whichever process runs them.
pytestmark = pytest.mark.xdist_group("soak")


@pytest.fixture(scope="module")
def soaked(tmp_path_factory):
    """A server that learned from nine days, and what it had in memory as the traffic came."""
    folder = tmp_path_factory.mktemp("soaked")
    now = time.time()
    with open_store(str(folder / "w.db"), create=True) as store:
        for batch in calls(start=now - 9 * DAY - 3600, seed=2).to_batches():
            store.add_batch(Span, batch)
        condition = {"threshold": {"metric": "error_rate", "above": 0.02, "window": "1h", "slice": {
            "model_name": ["gpt-4o-mini"]}}}  # fmt: skip
        rule, mistakes = read_rule({"name": "errors", "condition": condition}, project="default", now=now, who="me")
        assert mistakes == []
        store.put([rule])
        with _serving(folder) as running:
            _wait_for(lambda: _has_read_all(store))  # history is learned from first, and takes its room
            memory = []
            for minute in range(MINUTES):
                for number in range(BODIES):
                    body = a_body(
                        SPANS, trace=f"{minute}.{number}", start_s=int(now) - 60 * (MINUTES - minute) + 2 * number,
                        attributes={"error.type": "overloaded"} if minute in FAILING else {},
                    )  # fmt: skip
                    status, _, answer = running.post(body)
                    assert (status, answer) == (200, b"")
                if minute == MINUTES // 2:
                    _wait_for(lambda: _incident_of_rule(store) and _has_read_all(store))
                    memory.append(_memory_mb(running.process.pid))
            _wait_for(lambda: _has_read_all(store))
            memory.append(_memory_mb(running.process.pid))
            ready = json.loads(running.ask("GET", "/health/ready")[2])
            said, code = running.stop()
        yield store, memory, ready, said, code


def _wait_for(is_so):
    deadline = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that within four minutes"


def _incident_of_rule(store):
    return store.exists(Incident, [Filter("rule", "=", ("errors",))])


def _has_read_all(store):
    headway = store.get(Headway, {"project": "default"})
    newest = store.extent(Span)[1]
    return headway is not None and headway.newest_call == newest and store.pending() == 0


def _memory_mb(pid):
    """Of the server and of the processes beside it."""
    found = {}
    for each in [pid, *_children(pid)]:
        try:
            status = Path(f"/proc/{each}/status").read_text()
        except FileNotFoundError:
            continue
        found[each] = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    return found


def _children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_nothing_is_lost(soaked):
    store, _, _, said, code = soaked
    assert code == 0, said
    assert store.count(Span, [Filter("model_name", "=", ("gpt-4o-mini",))]) == MINUTES * BODIES * SPANS
    assert store.pending() == 0


def test_everything_is_told_once(soaked):
    store = soaked[0]
    found = store.page(Anomaly, limit=1000).records
    told = [(each.detector, each.metric_name, json.dumps(each.slice), each.occurred_at) for each in found]
    assert len(told) == len(set(told))
    rules = [each for each in store.page(Incident, limit=1000).records if each.detector == "rules"]
    assert [(each.rule, each.state, each.reopened, each.findings) for each in rules] == [("errors", "open", 0, 1)]


def test_detection_keeps_up(soaked):
    assert soaked[2]["detection"]["state"] == "watching"
    assert soaked[2]["detection"]["waiting_rows"] == 0


def test_memory_is_flat(soaked):
    half, last = soaked[1]
    lasting = half.keys() & last.keys()
    assert len(lasting) >= 2, "the server and detection"
    for process in lasting:
        assert last[process] - half[process] < MORE_MB, soaked[1]
