"""Loading through a child process: what is left when it, or we, or the disk, give up half way."""

import contextlib
import gc
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from conformance import SOME_DAYS, a_batch
from conftest import NOW

from tracewatch.errors import StoreBusy, StoreUnwritable
from tracewatch.records import Span
from tracewatch.stores import sqlite_load
from tracewatch.stores.sqlite import SqliteStore

HERE = Path(__file__).parent
ROWS = 200


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "watch.db")


@pytest.fixture
def store(path):
    with SqliteStore(path, create=True, clock=lambda: NOW) as store:
        yield store


@pytest.fixture
def children(monkeypatch):
    """The processes that were started."""
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: started.append(popen(*args, **more)) or started[-1])
    return started


@contextlib.contextmanager
def plainly(path):
    with contextlib.closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
        yield connection


def batches(count, **more):
    for number in range(count):
        names = [f"{number}-{row}" for row in range(ROWS)]
        yield a_batch(names, duration_ms=100.0, **more)


def calls(store):
    return sum(store.rollup(*SOME_DAYS)["calls"].to_pylist())


def is_whole(path):
    with plainly(path) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def open_files():
    return set(os.listdir("/proc/self/fd"))


def test_what_is_loaded_is_rolled_up_on_the_way(store):
    assert list(store.load(Span, batches(4))) == [ROWS] * 4
    assert store.pending() == 0
    assert calls(store) == 4 * ROWS


def test_rows_that_were_waiting_are_rolled_up_once(store, a_span):
    store.add([a_span() for _ in range(7)])
    list(store.load(Span, batches(3)))
    assert store.pending() == 7 + 3 * ROWS
    store.roll_up()
    assert calls(store) == 7 + 3 * ROWS


def test_another_process_that_writes_and_rolls_up_in_between(store, path, a_span):
    with SqliteStore(path, clock=lambda: NOW) as other:
        for _ in store.load(Span, batches(4)):
            other.add([a_span()])
            other.roll_up()
    store.roll_up()
    assert calls(store) == 4 * ROWS + 4


@pytest.mark.parametrize("change", ["put", "annotate"])
def test_rows_changed_between_their_commit_and_their_roll_up_count_as_they_are_now(store, path, change, monkeypatch):
    result = sqlite_load.Loader.result

    def changed_then(loader):
        done = result(loader)
        key = {"project": "default", "trace_id": "t", "span_id": "1-0"}
        with SqliteStore(path) as other:
            if change == "put":
                other.put([Span(**key, start_time=NOW, duration_ms=900.0)])
            else:
                other.annotate(Span, key, {"duration_ms": 900.0})
        return done

    monkeypatch.setattr(sqlite_load.Loader, "result", changed_then)
    assert list(store.load(Span, batches(2))) == [ROWS, ROWS]
    store.roll_up()
    (row,) = store.rollup(*SOME_DAYS).to_pylist()
    assert (row["calls"], row["duration_ms_sum"]) == (2 * ROWS, pytest.approx(100.0 * (2 * ROWS - 1) + 900.0))


def test_a_rollup_that_has_to_wait_too_long_does_not_make_the_rows_unsaid(store, path, monkeypatch):
    store._writer.connection.execute("PRAGMA busy_timeout = 20")
    result = sqlite_load.Loader.result
    with plainly(path) as other:

        def locked_then(loader):
            done = result(loader)
            other.execute("BEGIN IMMEDIATE")
            return done

        monkeypatch.setattr(sqlite_load.Loader, "result", locked_then)
        counts = store.load(Span, batches(2))
        assert [next(counts), next(counts)] == [ROWS, ROWS]
        other.execute("ROLLBACK")
        assert list(counts) == []
    assert store.pending() == ROWS


@pytest.mark.parametrize("when", ["under way", "before the next is sent"])
def test_a_child_that_is_killed_is_told_and_nothing_is_half(store, path, children, when):
    def broken():
        for number, batch in enumerate(batches(5)):
            if number == 3 and when == "under way":
                os.kill(children[0].pid, signal.SIGSTOP)  # before the batch that was sent is read, or after it
                os.kill(children[0].pid, signal.SIGKILL)
            yield batch

    def counted(said):
        for new in store.load(Span, broken()):
            said.append(new)
            if len(said) == 3 and when != "under way":
                os.kill(children[0].pid, signal.SIGKILL)
                children[0].wait()

    said = []
    with pytest.raises(StoreUnwritable, match="the process that writes its rows ended with -9") as told:
        counted(said)
    assert "\n" not in str(told.value)
    assert said == [ROWS] * len(said)
    assert store.count(Span) in (sum(said), sum(said) + ROWS)  # it may have died after the commit
    assert children[0].returncode == -signal.SIGKILL
    assert is_whole(path)
    there = store.count(Span)
    assert sum(store.load(Span, batches(5))) == 5 * ROWS - there
    store.roll_up()
    assert calls(store) == 5 * ROWS


def test_a_parent_that_is_killed_leaves_what_it_said_and_no_process(path):
    command = [sys.executable, str(HERE / "writing.py"), "load", path, "40"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        said = [int(parent.stdout.readline()) for _ in range(3)]
        parent.kill()
        # Its child holds the other end of nothing of ours: the output ends with the parent.
        said += [int(line) for line in parent.stdout.read().split()]
    with SqliteStore(path) as store:
        there = store.count(Span)
        assert sum(said) <= there
        assert is_whole(path)
        assert sum(store.load(Span, batches(40))) == 40 * ROWS - there
        assert store.count(Span) == 40 * ROWS
        store.roll_up()
        assert calls(store) == 40 * ROWS


def test_a_lock_that_is_never_let_go_is_told(store, path):
    store._writer.connection.execute("PRAGMA busy_timeout = 50")
    with plainly(path) as other:

        def locking():
            for number, batch in enumerate(batches(3)):
                if number == 1:
                    other.execute("BEGIN IMMEDIATE")
                yield batch

        with pytest.raises(StoreBusy, match=r"locked by another process for 0\.05 s"):
            list(store.load(Span, locking()))
        other.execute("ROLLBACK")
    assert store.count(Span) == ROWS
    assert sum(store.load(Span, batches(3))) == 2 * ROWS


def test_a_full_disk_is_told(store, path, monkeypatch):
    # The largest file the child may write stands for the disk: SQLite reports both in the same words.
    popen = subprocess.Popen
    limit = os.path.getsize(path) + 2_000_000

    def small(*args, **more):
        def shrink():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return popen(*args, preexec_fn=shrink, **more)

    monkeypatch.setattr(subprocess, "Popen", small)
    said = []
    with pytest.raises(StoreUnwritable, match=r"cannot write to .*: the disk (is full|reported an error)\. ") as told:
        said.extend(store.load(Span, batches(30, error_message="x" * 2000)))
    assert "\n" not in str(told.value)
    assert 1 <= len(said) < 30
    assert store.count(Span) == sum(said)
    monkeypatch.undo()
    assert sum(store.load(Span, batches(30))) == 30 * ROWS - sum(said)


@pytest.mark.parametrize(("durability", "synchronous"), [("normal", "NORMAL"), ("full", "FULL")])
def test_durability_is_passed_on(path, durability, synchronous, monkeypatch):
    told = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: told.append(command) or popen(command, **more))
    with SqliteStore(path, create=True, durability=durability) as store:
        list(store.load(Span, batches(2)))
    assert f'"durability": "{durability}"' in told[0][-1]
    assert any(synchronous in sql for sql in sqlite_load.settings_sql(durability, sqlite_load.BULK))


@pytest.mark.parametrize("end", ["done", "abandoned", "broken"])
def test_nothing_is_left_behind(store, children, end):
    def source():
        yield from batches(3)
        if end == "broken":
            raise RuntimeError

    list(store.load(Span, batches(1)))
    store.count(Span)  # the store keeps a connection for reading
    before = open_files()
    counts = store.load(Span, source())
    with contextlib.suppress(RuntimeError):
        for number, _ in enumerate(counts):
            if end == "abandoned" and number == 1:
                break
    del counts
    gc.collect()
    assert children[0].returncode is not None
    assert open_files() == before


def test_a_child_that_talks_too_much_is_not_stopped_by_it(store, monkeypatch):
    monkeypatch.setenv("PYTHONVERBOSE", "1")  # some hundred kB on stderr
    assert list(store.load(Span, batches(3))) == [ROWS] * 3


def test_the_child_finds_us_and_nothing_of_the_directory_it_stands_in(store, tmp_path, monkeypatch):
    (tmp_path / "tempfile.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert list(store.load(Span, batches(2))) == [ROWS] * 2


def test_a_child_that_cannot_start_is_told(store, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(StoreUnwritable, match="could not be started"):
        list(store.load(Span, batches(2)))
    assert store.count(Span) == ROWS


def test_what_a_child_says_last_is_the_reason(store, tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho first >&2\necho 'No module named adbc' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(StoreUnwritable, match=r"watch\.db: No module named adbc\. Nothing"):
        list(store.load(Span, batches(2)))


def test_large_batches_come_through_the_pipe_whole(store):
    # Many times what a pipe holds, so that neither side gets all of it in one piece.
    odd = [a_batch([f"{size}-{row}" for row in range(size)], error_message="é" * 4001) for size in (1, 701, 7, 353)]
    assert list(store.load(Span, odd)) == [1, 701, 7, 353]
    found = [text for batch in store.scan(Span, ["error_message"]) for text in batch["error_message"].to_pylist()]
    assert set(found) == {"é" * 4001}
    assert pa.types.is_string(odd[0]["error_message"].type)
