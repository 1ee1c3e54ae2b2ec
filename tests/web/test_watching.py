"""What comes to a server is counted and judged without anybody asking."""

import signal
import threading
import time
from pathlib import Path

import pytest
from web.conftest import a_body

from tracewatch import watch
from tracewatch.live.going import keep_going
from tracewatch.live.rounds import Rounds, projects
from tracewatch.records import Baseline, Span
from tracewatch.stores import open_store

NOW = 1_790_000_000.0


def _spans(project, calls):
    return [
        Span(
            project=project, trace_id=f"t{number}", span_id="s", start_time=NOW - 60 * number, model_name="gpt-4o-mini"
        )
        for number in range(calls)
    ]


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def test_projects_are_those_with_calls_the_busiest_first(store):
    store.add(_spans("small", 2))
    store.add(_spans("large", 5))
    watch.catch_up(store)
    assert projects(store, NOW) == ("large", "small")
    assert projects(store, NOW + 30 * 86_400) == ()


def test_a_round_prices_counts_and_judges_each_project(store):
    store.add(_spans("one", 3))
    store.add(_spans("two", 4))
    rounds = Rounds(store)
    rounds.go(NOW)
    rounds.save(NOW)
    assert store.pending() == 0
    assert {(each.project, each.learned_rows) for each in store.page(Baseline).records} == {("one", 3), ("two", 4)}


def test_two_that_watch_one_store_do_no_harm(store):
    store.add(_spans("one", 3))
    both = [Rounds(store), Rounds(store)]
    for step in range(3):
        for each in both:
            each.go(NOW + step)
            each.save(NOW + step)
    assert [each.learned_rows for each in store.page(Baseline).records] == [3]


def test_it_goes_on_until_it_is_told_to_stop(store, tmp_path):
    store.add(_spans("one", 3))
    stop = threading.Event()
    stop.set()
    keep_going(str(tmp_path / "w.db"), "default", stop, holder="a test", clock=lambda: NOW)
    assert [each.learned_rows for each in store.page(Baseline).records] == [3]


def test_a_server_judges_what_comes_and_its_child_ends_with_it(serve):
    with serve() as running:
        assert running.post(a_body(start_s=int(time.time()) - 60))[0] == 200
        child = _child(running)
        with open_store(str(running.db)) as store:
            until = time.monotonic() + 60
            while store.pending() and time.monotonic() < until:
                time.sleep(0.1)
        assert running.stop(signal.SIGTERM)[1] == 0
        assert not _lives(child)
        with open_store(str(running.db)) as store:
            assert store.pending() == 0
            assert [each.learned_rows for each in store.page(Baseline).records] == [3]


def test_the_child_of_a_server_that_is_killed_ends_as_well(serve):
    with serve() as running:
        child = _child(running)
        running.stop(signal.SIGKILL)  # waits until nobody holds its stderr any more, the child included
        assert not _lives(child)


def _child(running):
    """The process that the server has started; waited for, because it is started beside."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        tasks = Path(f"/proc/{running.process.pid}/task").iterdir()
        found = [child for task in tasks for child in (task / "children").read_text().split()]
        if found:
            return int(found[0])
    raise AssertionError("the server has started no child")


def _lives(pid):
    """Whether it runs; one that has ended may stand in the list until somebody asks for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
