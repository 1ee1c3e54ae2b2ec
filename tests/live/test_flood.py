"""Detection holds back while calls come in a flood, not for ever, and keeps nobody waiting for the lock."""

import os
import subprocess
import sys
import threading

import pytest

from tracewatch.live.flood import FLOOD, HELD_S, Flood
from tracewatch.records import Span
from tracewatch.stores import open_store

PRIORITIES = """
import os, threading
from tracewatch.live.priority import step_back
mine = lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
before = mine()
hurried = step_back(3)
print(mine() - before, hurried.run(mine) - before)
"""


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as store:
        yield store


def come(store, number, spans):
    times = range(spans)
    store.add_rows(Span, [{"trace_id": f"t{number}", "span_id": str(at), "start_time": 1e9} for at in times])


def test_a_flood_is_let_pass_and_is_over_when_no_more_come(store):
    clock = Clock()
    flood = Flood(store, clock)
    told = []
    for number in range(12):
        if number < 6:
            come(store, number, int(FLOOD * 0.6))
        told.append(flood.holds_back(clock.now))
        clock.now += 0.5
    assert told == [False, False, *[True] * 4, *[False] * 6]


def test_what_comes_as_it_happens_is_no_flood(store):
    clock = Clock()
    flood = Flood(store, clock)
    for number in range(6):
        come(store, number, int(FLOOD * 0.1))
        assert not flood.holds_back(clock.now)
        clock.now += 0.2


def test_no_flood_holds_a_round_back_for_long(store):
    clock = Clock()
    flood = Flood(store, clock)
    flood.holds_back(0.0)
    come(store, 0, int(FLOOD))
    clock.now = 1.0
    assert flood.holds_back(HELD_S - 0.1)
    assert not flood.holds_back(HELD_S)


def test_what_holds_the_lock_is_hurried(store):
    come(store, 0, 100)
    threads = []

    def run(step):
        threads.append(step)
        found = []
        thread = threading.Thread(target=lambda: found.append(step()))
        thread.start()
        thread.join()
        return found[0]

    store.hurry(run)
    assert store.roll_up() == 100
    assert threads


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is of a process")
def test_the_work_steps_back_and_what_holds_the_lock_does_not():
    done = subprocess.run([sys.executable, "-c", PRIORITIES], capture_output=True, text=True, env=os.environ)
    assert done.stdout.split() == ["3", "0"], done.stderr
