"""What was acknowledged is stored, whatever happens to the server, its file and its disk."""

import resource
import signal
import sqlite3
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException

import pytest
from web.conftest import PROTOBUF, a_body

from tracewatch.errors import DiskShort
from tracewatch.web.bodies import Room
from tracewatch.web.counters import Counters
from tracewatch.web.sparing import Disk

SPANS = 200
SENDERS = 4


class Load:
    """Senders that post as fast as they are answered, and what they were told is stored."""

    def __init__(self, running, enough):
        self.running, self.enough = running, enough
        self.acknowledged, self.answers = [], []
        self.reached, self._turn = threading.Event(), threading.Lock()

    def send(self, sender):
        """Posts one body after another until the server is gone."""
        with suppress(OSError, HTTPException):
            for number in range(10_000):
                trace = f"{sender}-{number}"
                status = self.running.post(a_body(SPANS, trace=trace))[0]
                with self._turn:
                    self.answers.append(status)
                    if status == 200:
                        self.acknowledged.append(trace.encode().ljust(16, b".").hex())
                    if len(self.acknowledged) >= self.enough:
                        self.reached.set()


def _under_load(running, number):
    """Ends the server by that signal in the middle of it all. Gives the load, what it said and its exit code."""
    load = Load(running, enough=12)
    with ThreadPoolExecutor(SENDERS) as senders:
        for sender in range(SENDERS):
            senders.submit(load.send, sender)
        assert load.reached.wait(60)
        said, code = running.stop(number)
    return load, said, code


def _stored(running):
    return dict(running.rows("trace_id, count(*)", "1 GROUP BY trace_id"))


def test_killed_under_load_it_loses_nothing_it_has_acknowledged(serve):
    with serve() as running:
        load, _, code = _under_load(running, signal.SIGKILL)
        assert code == -signal.SIGKILL
        stored = _stored(running)
        assert {stored.get(trace) for trace in load.acknowledged} == {SPANS}
        assert set(stored.values()) == {SPANS}  # a request is stored whole, or not at all
    with serve() as again:
        assert _stored(again) == stored
        assert again.post(a_body())[0] == 200


def test_told_to_stop_under_load_it_stores_what_it_has_acknowledged(serve):
    with serve() as running:
        load, said, code = _under_load(running, signal.SIGTERM)
        assert (code, said.splitlines()[-1]) == (0, "Stopped; everything that was acknowledged is stored.")
        stored = _stored(running)
        assert {stored.get(trace) for trace in load.acknowledged} == {SPANS}


def test_told_to_stop_it_answers_what_is_on_its_way(serve):
    with serve() as running, closing(HTTPConnection("127.0.0.1", running.port, timeout=60)) as connection:
        with _locked(running.db):
            connection.request("POST", "/v1/traces", a_body(), PROTOBUF)
            assert running.ask("GET", "/health/ready")[0] == 200  # who came before has been read by now
            running.process.send_signal(signal.SIGTERM)
        assert connection.getresponse().status == 200
        assert running.stop()[1] == 0
        assert running.count() == 3


def test_a_file_that_is_locked(serve):
    with serve() as running:
        with _locked(running.db):
            status, headers, _ = running.post(a_body())
            assert (status, headers["retry-after"]) == (503, "1")
            assert running.count() == 0
        assert running.post(a_body())[0] == 200
        assert running.count() == 3  # the first of them was stored late, or it was not; it is there once


def test_a_disk_that_is_full(serve):
    with serve() as running:
        assert running.post(a_body(trace="before"))[0] == 200
        size = running.db.with_name("w.db-wal").stat().st_size
        no_limit = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size, no_limit[1]))
        status, headers, answer = running.post(a_body(500, trace="full"))
        assert (status, headers["retry-after"]) == (503, "5")
        assert b"Nothing of this write was kept" in answer
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, no_limit)
        assert running.count() == 3
        assert running.post(a_body(500, trace="full"))[0] == 200
        assert running.count() == 503


def test_a_disk_with_too_little_left_is_told_before_it_is_full(serve):
    with serve(environ={"TRACEWATCH_DISK_RESERVE_MB": "1000000000"}) as running:
        status, headers, answer = running.post(a_body())
        assert (status, headers["retry-after"]) == (503, "30")
        assert b"MB left, and 1,000,000,000 MB stay free (TRACEWATCH_DISK_RESERVE_MB)" in answer
        assert running.count() == 0
        assert b'reason="disk"} 1' in running.ask("GET", "/metrics")[2]


def test_it_goes_on_when_there_is_room(tmp_path):
    now = [0.0]
    disk = Disk.of(str(tmp_path / "w.db"), 10**9)
    disk.steady = lambda: now[0]
    room = Room(1_000, Counters(), disk)
    with pytest.raises(DiskShort):
        room.take(1)
    assert room.counters.queued_bytes == 0
    disk.reserve = Disk.of(str(tmp_path / "w.db"), 0).reserve
    assert 0 < disk.reserve <= 200 * 10**6
    room.take(1)
    disk.reserve = 10**18
    room.counters.queued_bytes = 0
    now[0] += 5
    with pytest.raises(DiskShort):
        room.take(1)
    assert Disk.of("postgresql://db/watch", 0) is None


def test_a_full_queue_refuses_and_keeps_what_it_has(serve):
    body = a_body(2_500, trace="one")
    assert 2**19 < len(body) < 2**20
    small = {"TRACEWATCH_QUEUE_MB": "1", "TRACEWATCH_MAX_BODY_MB": "1"}
    with serve(environ=small) as running, ThreadPoolExecutor(2) as senders:
        with _locked(running.db):
            sent = [senders.submit(running.post, body) for _ in range(2)]
            refused, waiting = wait(sent, 60, FIRST_COMPLETED)
            status, headers, _ = refused.pop().result()
            assert (status, headers["retry-after"]) == (429, "1")
        assert waiting.pop().result(60)[0] == 200
        assert running.count() == 2_500


@contextmanager
def _locked(path):
    """Another process that writes for long."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
