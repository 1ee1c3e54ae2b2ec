"""ClickHouse away, killed and started again; writers killed; several processes at once: by the client's real door."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import clickhouse_engine  # noqa: F401 (skips loudly where there is no engine)
import pytest
from clickhouse_server import READER, Server
from writing import SPANS_A_BATCH

from tracewatch.errors import StoreUnreadable, StoreUnwritable
from tracewatch.records import Span
from tracewatch.stores import clickhouse_connecting, open_store

sys.path.append(str(Path(__file__).parents[1]))
from web.conftest import _serving, a_body

pytestmark = pytest.mark.xdist_group("clickhouse")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.end()


@pytest.fixture(scope="module")
def store(server):
    with open_store(server.url("watch"), create=True) as store:
        yield store


def start(url, name, batches):
    command = [sys.executable, str(HERE / "writing.py"), "write_to", url, name, str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def counted(store):
    store.roll_up()
    return sum(store.rollup(0, 4e9, step_s=36_000_000, measures=["calls"])["calls"].to_pylist())


def test_writers_of_several_processes_and_one_that_is_killed_lose_nothing_they_said_was_kept(server, store):
    writers = [start(server.url("watch"), "one", 3), start(server.url("watch"), "killed", 1000)]
    said = [writers[1].stdout.readline() for _ in range(2)]
    os.kill(writers[1].pid, signal.SIGKILL)
    kept = len(said) + sum(len(each.communicate()[0].split()) for each in writers)
    assert store.count(Span) >= kept * SPANS_A_BATCH
    assert counted(store) == store.count(Span)


def test_a_server_that_is_killed_is_one_sentence_and_then_it_goes_on(server, store, a_span):
    span = a_span(start_time=5.0)
    store.add([span])
    before = store.count(Span)
    server.kill()
    for ask in (lambda: store.count(Span), lambda: store.add([a_span()]), store.roll_up, store.tip):
        with pytest.raises((StoreUnreadable, StoreUnwritable), match="Connection refused") as told:
            ask()
        assert "clickhouse://watch@127.0.0.1" in str(told.value)
        assert "s3cret" not in str(told.value)
    server.start()
    assert store.count(Span) == before
    assert store.add([span]) == 0
    assert counted(store) == before


def test_a_wrong_password_is_told_and_not_shown(server):
    with pytest.raises(StoreUnreadable, match="Authentication failed") as told:
        open_store(server.url("watch", "wr0ng"))
    assert "wr0ng" not in str(told.value)


def test_a_database_that_is_not_there_is_told(server):
    with pytest.raises(StoreUnreadable, match="nowhere") as told:
        open_store(server.url("nowhere"))
    assert "\n" not in str(told.value)


def test_a_server_that_is_too_old_is_told(server, monkeypatch):
    monkeypatch.setattr(clickhouse_connecting, "OLDEST", (99, 1))
    with pytest.raises(StoreUnreadable, match=r"it is ClickHouse \d+\.\d+\..*, and 99\.1 is the oldest"):
        open_store(server.url("watch"))


def test_a_user_who_may_only_read_is_told_when_something_is_to_be_written(server, store, a_span):
    before = store.count(Span)
    with open_store(server.url("watch", user=READER)) as reader:
        assert reader.count(Span) == before
        with pytest.raises(StoreUnwritable, match="readonly") as told:
            reader.add([a_span(trace_id="of a reader")])
    assert "\n" not in str(told.value)
    assert store.count(Span) == before


def test_a_server_of_ours_goes_on_when_the_database_comes_back(server, store, tmp_path):
    bodies = [a_body(50, trace=f"served {number}") for number in range(4)]
    began = store.count(Span)
    with _serving(tmp_path, "--db", server.url("watch"), "--no-detection") as running:
        assert running.post(bodies[0])[0] == 200
        server.kill()
        status, headers, answer = running.post(bodies[1])
        assert (status, headers["retry-after"]) == (503, "5")
        assert b"Connection refused" in answer
        assert b"s3cret" not in answer
        assert running.ask("GET", "/health/ready")[0] == 503
        assert running.ask("GET", "/health/live")[0] == 200
        server.start()
        assert [running.post(each)[0] for each in (*bodies, bodies[0])] == [200] * 5
        assert running.ask("GET", "/health/ready")[0] == 200
        said, code = running.stop()
    assert code == 0
    assert "s3cret" not in said
    assert "Traceback" not in said
    assert store.count(Span) == began + 200
    assert counted(store) == store.count(Span)


def test_commands_ask_it_by_its_address(server, store):
    command = [sys.executable, "-m", "tracewatch", "doctor", "--db", server.url("watch")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "every page is sound" in told.stdout
    assert "s3cret" not in told.stdout + told.stderr
