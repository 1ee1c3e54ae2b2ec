"""ClickHouse away, killed and started again; writers killed; several processes at once: by the client's real door."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import clickhouse_engine  # noqa: F401 (skips loudly where there is no engine)
import pytest
from clickhouse_server import Server
from writing import SPANS_A_BATCH

from tracewatch.errors import StoreUnreadable, StoreUnwritable
from tracewatch.records import Span
from tracewatch.stores import open_store

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
    return sum(store.rollup(0, 1e6, step_s=3_600_000, measures=["calls"])["calls"].to_pylist())


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


def test_commands_ask_it_by_its_address(server, store):
    command = [sys.executable, "-m", "tracewatch", "doctor", "--db", server.url("watch")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "every page is sound" in told.stdout
    assert "s3cret" not in told.stdout + told.stderr
