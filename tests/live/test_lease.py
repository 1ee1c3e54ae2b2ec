"""One detector at a time: the lease passes on when its holder ends, dies or sleeps, and never because of a clock."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from tracewatch.errors import LeaseLost
from tracewatch.live.leasing import LEASE_S, Tenure, current_lease
from tracewatch.records import Baseline, Span
from tracewatch.stores import open_store

NOW = 1_790_000_000.0


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "w.db")
    open_store(path, create=True).close()
    return path


@contextmanager
def tenures(path, count=2):
    """Tenures of as many processes, each with a store, a wall clock and a steady clock of its own."""
    with ExitStack() as stores:
        yield [
            Tenure(stores.enter_context(open_store(path)), f"number {number}", clock=Clock(NOW), steady=Clock(1000.0))
            for number in range(count)
        ]


def test_one_holds_it_and_the_other_knows_who(path):
    with tenures(path) as (one, two):
        assert one.take()
        assert not two.take()
        assert two.current().holder == "number 0"
        assert two.current().taken_at == NOW


def test_what_is_given_back_is_taken_at_once(path):
    with tenures(path) as (one, two):
        one.take()
        one.give_back()
        assert one.current().holder == ""
        assert two.take()
        assert two.current().epoch == 2


def test_whoever_falls_silent_loses_it_and_can_write_no_more(path):
    with tenures(path) as (one, two):
        one.take()
        assert not two.take()
        two._steady.now += LEASE_S + 0.1
        assert two.take()
        with pytest.raises(LeaseLost, match="number 1"):
            one.renew()
        with pytest.raises(LeaseLost):
            one.store.add([Span(trace_id="t", span_id="s", start_time=NOW)])
        two.renew()
        assert two.store.add([Span(trace_id="t", span_id="s", start_time=NOW)]) == 1
        one.give_back()
        assert two.current().holder == "number 1"


def test_whoever_lost_it_stands_by_like_everybody_else(path):
    with tenures(path) as (one, two):
        one.take()
        two.take()
        two._steady.now += LEASE_S + 0.1
        two.take()
        with pytest.raises(LeaseLost):
            one.renew()
        one.give_back()
        assert not one.take()
        one._steady.now += LEASE_S + 0.1
        assert one.take()
        assert one.current().epoch == 3


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0], ids=["forward", "back"])
@pytest.mark.parametrize("whose", [0, 1], ids=["of the holder", "of who stands by"])
def test_a_clock_that_jumps_neither_steals_nor_strands_it(path, jump, whose):
    with tenures(path) as both:
        one, two = both
        one.take()
        assert not two.take()
        both[whose]._clock.now += jump
        for _ in range(5):  # it lives: for longer than a lease lasts, but never silent
            one.renew()
            two._steady.now += LEASE_S / 2
            assert not two.take()
        two._steady.now += LEASE_S + 0.1
        assert two.take()


def test_a_word_of_the_holder_just_before_counts(path):
    with tenures(path) as (one, two):
        one.take()
        two.take()
        two._steady.now += LEASE_S + 0.1
        one.renew()
        assert not two.take()


def test_of_many_who_want_it_one_has_it(path):
    with tenures(path, 6) as several:
        took = []
        together = threading.Barrier(len(several))

        def take(tenure):
            together.wait()
            if tenure.take():
                took.append(tenure.holder)

        threads = [threading.Thread(target=take, args=(each,)) for each in several]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert took == [several[0].current().holder]


def test_it_is_kept_by_a_thread_and_given_back_at_the_end(path):
    with tenures(path) as (one, two):
        one.take()
        beaten = threading.Event()
        renew = one.renew
        one.renew = lambda: (renew(), beaten.set())
        with one.kept(every_s=0.001):
            assert beaten.wait(60)
            assert not two.take()
        assert two.take()


# Real processes.


@pytest.fixture
def watching(path):
    """Starts `tracewatch watch` on the file; what it says can be waited for."""
    with ExitStack() as started:

        def start():
            process = subprocess.Popen(
                [sys.executable, "-m", "tracewatch", "watch", "--db", path, "--every", "1"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.callback(_end, process)
            return process

        yield start


def _end(process):
    process.kill()
    process.wait()
    process.stderr.close()


def says(process, pattern):
    """Waits for a line; what another one says meanwhile is passed over."""
    for line in process.stderr:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"it ended with {process.wait()} and never said {pattern}")


def test_a_second_process_takes_over_when_the_first_is_killed(watching, path):
    first, second = watching(), None
    says(first, "Watching")
    second = watching()
    assert f"process {first.pid}" in says(second, "Standing by")
    first.kill()
    says(second, "Watching")
    with open_store(path) as store:
        assert str(second.pid) in current_lease(store).holder
    second.send_signal(signal.SIGINT)
    says(second, "what was learned is kept")
    assert second.wait() == 0
    with open_store(path) as store:
        assert current_lease(store).holder == ""


def test_one_that_was_stopped_notices_and_writes_nothing_over_the_others(watching, path):
    first = watching()
    says(first, "Watching")
    second = watching()
    says(second, "Standing by")
    os.kill(first.pid, signal.SIGSTOP)
    says(second, "Watching")
    with open_store(path) as store:
        store.add([Span(trace_id="t", span_id="s", start_time=time.time(), model_name="gpt-4o-mini")])
    os.kill(first.pid, signal.SIGCONT)
    assert f"process {second.pid}" in says(first, "Standing by")
    first.send_signal(signal.SIGTERM)
    says(first, "Stopped")
    assert first.wait() == 0
    with open_store(path) as store:
        assert str(second.pid) in current_lease(store).holder
        until = time.monotonic() + 60
        while store.pending() and time.monotonic() < until:
            time.sleep(0.1)
    second.send_signal(signal.SIGTERM)
    says(second, "what was learned is kept")
    with open_store(path) as store:
        assert (store.pending(), current_lease(store).epoch) == (0, 2)
        assert [each.learned_rows for each in store.page(Baseline).records] == [1]
