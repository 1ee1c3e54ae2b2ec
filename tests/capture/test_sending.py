"""On the way to a file: nothing waits, nothing is lost in silence, and what was flushed is there whatever comes."""

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from reading import Recorded, script

import tracewatch
from tracewatch.capture import filing, noting, sending
from tracewatch.cli import group


@pytest.fixture(autouse=True)
def _nothing_was_said(monkeypatch):
    monkeypatch.setattr(noting, "_SAID", {})


def _take(path):
    """A connection that holds the file's write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_what_was_recorded_is_seen_by_the_commands(recorded):
    with (
        tracewatch.trace("ask", trace_id="t-1"),
        tracewatch.span("answer", model_name="gpt-4o-mini", provider="openai") as call,
    ):
        call.set(input_tokens=1000, output_tokens=100)
    assert tracewatch.flush()
    told = CliRunner().invoke(group, ["trace", "t-1", "--db", recorded.path], catch_exceptions=False)
    assert told.exit_code == 0
    assert "answer" in told.output
    assert "gpt-4o-mini" in told.output


def test_rows_go_out_by_themselves(recorded):
    tracewatch.record("call")
    thread = next(each for each in threading.enumerate() if each.name == "tracewatch")
    assert thread.daemon
    until = time.monotonic() + 30
    while not Present(recorded).any():
        assert time.monotonic() < until
    assert recorded.row().span_name == "call"


class Present:
    """Whether a file has rows, without a flush."""

    def __init__(self, recorded):
        self.path = recorded.path

    def any(self):
        try:
            with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as connection:
                return bool(connection.execute("SELECT count(*) FROM llm_traces").fetchone()[0])
        except sqlite3.OperationalError:
            return False


def test_more_than_the_queue_holds_is_dropped_and_counted(tmp_path, recorded, caplog):
    tracewatch.init(recorded.path, service="app", queue_rows=10)
    tracewatch.record("first")
    assert tracewatch.flush()
    other = _take(recorded.path)
    with other:
        for number in range(700):
            tracewatch.record("call", number=number)
    other.execute("ROLLBACK") if other.in_transaction else None
    other.close()
    kept = recorded.rows(span_name="call")
    (loss,) = recorded.rows(operation_type="capture")
    assert len(kept) + loss.metadata["rows_dropped"] == 700
    assert loss.metadata["reasons"] == {"the queue was full": loss.metadata["rows_dropped"]}
    assert (loss.status, loss.error_category, loss.warning_flags) == ("error", "rows_dropped", ("rows_dropped",))
    assert loss.service_name == "app"
    assert "rows were dropped" in caplog.text


def test_the_caller_does_not_wait_for_a_locked_file(recorded, caplog):
    tracewatch.record("first")
    assert tracewatch.flush()
    other = _take(recorded.path)
    began = time.perf_counter()
    for _ in range(2000):
        tracewatch.record("call")
    took = time.perf_counter() - began
    assert not tracewatch.flush(0.1)
    other.execute("ROLLBACK")
    other.close()
    assert took < 1.5  # 50 µs each on an idle machine; the lock is held throughout
    assert len(recorded.rows(span_name="call")) == 2000


def test_a_locked_file_is_tried_again_and_said_once(recorded, caplog, monkeypatch):
    monkeypatch.setattr(filing, "BUSY_S", 0.01)
    tracewatch.record("first")
    assert tracewatch.flush()
    other = _take(recorded.path)
    caplog.set_level(logging.INFO, "tracewatch")
    tracewatch.record("call")
    for _ in range(5):
        assert not tracewatch.flush(0.05)
    other.execute("ROLLBACK")
    other.close()
    assert recorded.row(span_name="call")
    said = [each.message for each in caplog.records]
    assert len([each for each in said if "cannot bring rows" in each and "locked by another process" in each]) == 1
    assert len([each for each in said if "takes rows again" in each]) == 1


FULL = """
    import resource, signal, tracewatch, os, sys
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = os.environ["TRACEWATCH_DB"]
    tracewatch.record("before")
    assert tracewatch.flush(20)
    now = max(os.path.getsize(path + end) for end in ("", "-wal"))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (now, hard))
    for number in range(800):
        tracewatch.record("while full", padding="x" * 1000)
    print(tracewatch.flush(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(tracewatch.flush(20))
"""


def test_a_full_disk_loses_nothing(program):
    found = program(FULL)
    assert found.said.split() == ["False", "True"]
    assert len(found.rows(span_name="while full")) == 800
    assert found.warned.count("cannot bring rows") == 1


def test_a_file_that_cannot_be_opened_is_opened_later(tmp_path, caplog):
    path = tmp_path / "later" / "watch.db"
    tracewatch.init(str(path))
    tracewatch.record("call")
    assert not tracewatch.flush(0.3)
    path.parent.mkdir()
    assert tracewatch.flush(20)
    assert "does not exist" in caplog.text


def test_a_file_that_is_removed_is_made_again(recorded):
    tracewatch.record("before")
    assert tracewatch.flush()
    for end in ("", "-wal", "-shm"):
        if os.path.exists(recorded.path + end):
            os.remove(recorded.path + end)
    tracewatch.record("after")
    assert [each.span_name for each in recorded.rows()] == ["after"]


def test_somebody_elses_table_is_let_be(tmp_path, caplog):
    path = str(tmp_path / "app.db")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE llm_traces (mine)")
    tracewatch.init(path, exit_timeout=0.1)
    tracewatch.record("call")
    assert not tracewatch.flush(0.3)
    assert not tracewatch.shutdown()
    assert "did not make" in caplog.text
    assert "1 rows were lost" in caplog.text


KILLED = """
    import os, sys, threading, tracewatch
    tracewatch.init(os.environ["TRACEWATCH_DB"])
    def record(worker):
        number = 0
        while True:
            for _ in range(50):
                tracewatch.record("call", worker=worker, number=number)
                number += 1
            if tracewatch.flush(30):
                os.write(1, f"{worker} {number}\\n".encode())
    for worker in range(4):
        threading.Thread(target=record, args=(worker,), daemon=True).start()
    threading.Event().wait()
"""


def test_what_was_flushed_survives_kill_9(tmp_path):
    path = tmp_path / "watch.db"
    process = subprocess.Popen(
        [sys.executable, "-c", script(KILLED)],
        env={**os.environ, "TRACEWATCH_DB": str(path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    flushed = {}
    for line in process.stdout:
        worker, number = map(int, line.split())
        flushed[worker] = number
        if sum(flushed.values()) > 2000:
            break
    process.kill()
    rest = process.communicate(timeout=60)[0]
    flushed |= dict(tuple(map(int, line.split())) for line in rest.splitlines() if len(line.split()) == 2)
    found = Recorded(path).rows()
    for worker, number in flushed.items():
        assert {each.metadata["number"] for each in found if each.metadata["worker"] == worker} >= set(range(number))
    assert len({each.span_id for each in found}) == len(found)


def test_the_end_of_the_program_waits_for_what_is_left(program):
    found = program("""
        import tracewatch
        for number in range(1234):
            tracewatch.record("call")
    """)
    assert len(found.rows()) == 1234
    assert found.warned == ""


def test_an_exception_that_ends_the_program_loses_nothing(program):
    found = program(
        """
        import tracewatch
        with tracewatch.trace("job"):
            raise RuntimeError("boom")
        """,
        returns=1,
    )
    assert found.row().error_message == "boom"


def test_the_end_is_bounded(program):
    found = program(
        """
        import sqlite3, os, tracewatch
        tracewatch.record("first")
        assert tracewatch.flush(20)
        other = sqlite3.connect(os.environ["TRACEWATCH_DB"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        tracewatch.record("second")
        """,
        TRACEWATCH_EXIT_SECONDS="1",
    )
    assert "1 rows were lost: they could not be brought to their store within 1 s" in found.warned


def test_thirty_two_threads(recorded):
    gate = threading.Barrier(32)

    def work(worker):
        gate.wait(60)
        for number in range(100):
            with tracewatch.trace("ask", worker=worker), tracewatch.span("call", number=number):
                pass

    with ThreadPoolExecutor(32) as executor:
        list(executor.map(work, range(32)))
    rows = recorded.rows()
    assert len(rows) == 6400
    assert len({each.span_id for each in rows}) == 6400
    by_id = {each.span_id: each for each in rows}
    assert all(by_id[each.parent_span_id].trace_id == each.trace_id for each in rows if each.span_name == "call")


def test_asyncio_is_not_held_up(recorded):
    async def call(number):
        async with tracewatch.span("call", number=number):
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(call(number) for number in range(500)))
        return await asyncio.to_thread(tracewatch.flush, 20)

    assert asyncio.run(main())
    assert len(recorded.rows()) == 500


FORKED = """
    import os, sys, tracewatch
    tracewatch.init(os.environ["TRACEWATCH_DB"])
    for number in range(100):
        tracewatch.record("parent")
    with tracewatch.trace("ask"):
        for child in range(4):
            pid = os.fork()
            if pid == 0:
                for number in range(50):
                    tracewatch.record("child", child=child)
                code = 0 if tracewatch.flush(20) else 1
                os._exit(code)
            assert os.waitpid(pid, 0)[1] == 0
            tracewatch.record("parent")
    assert tracewatch.flush(20)
"""


@pytest.mark.parametrize("flushed", ["", "tracewatch.flush(20)"])
def test_forks_send_what_is_theirs_once(program, flushed):
    found = program(FORKED.replace('with tracewatch.trace("ask")', f"{flushed}\n    with tracewatch.trace('ask')"))
    assert len(found.rows(span_name="parent")) == 104
    children = found.rows(span_name="child")
    assert len(children) == 200
    assert {each.parent_span_id for each in children} == {found.row(span_name="ask").span_id}
    assert found.warned == ""


def test_forks_that_end_by_themselves_flush(program):
    found = program("""
        import os, sys, tracewatch
        tracewatch.record("parent")
        if os.fork() == 0:
            tracewatch.record("child")
            sys.exit(0)
        os.wait()
        tracewatch.record("parent")
    """)
    assert sorted(each.span_name for each in found.rows()) == ["child", "parent", "parent"]


LOCKS = """
    import os, sqlite3
    other = sqlite3.connect(os.environ["TRACEWATCH_DB"], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    input()
    other.execute("ROLLBACK")
    other.close()
"""


def test_a_fork_while_another_process_has_the_file_locked(program):
    found = program(
        """
        import os, subprocess, sys, tracewatch
        tracewatch.record("first")
        assert tracewatch.flush(20)
        locker = subprocess.Popen(
            [sys.executable, "-c", os.environ["LOCKS"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        locker.stdout.readline()
        tracewatch.record("waits")
        assert not tracewatch.flush(0.3)
        pid = os.fork()
        if pid == 0:
            tracewatch.record("child")
            os._exit(0 if tracewatch.flush(30) else 1)
        locker.communicate(b"\\n")
        assert os.waitpid(pid, 0)[1] == 0
        assert tracewatch.flush(20)
        """,
        LOCKS=script(LOCKS),
    )
    assert sorted(each.span_name for each in found.rows()) == ["child", "first", "waits"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(tmp_path, method):
    path = tmp_path / "watch.db"
    program = tmp_path / "program.py"
    program.write_text(
        "import concurrent.futures, multiprocessing, os, tracewatch\n"
        "def work(number):\n"
        "    with tracewatch.span('work', number=number):\n"
        "        return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    tracewatch.record('parent')\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as executor:\n"
        "        list(executor.map(work, range(30)))\n"
        "    tracewatch.record('parent')\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "TRACEWATCH_DB": str(path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = Recorded(path).rows()
    assert sorted(each.metadata["number"] for each in found if each.span_name == "work") == list(range(30))
    assert len(found) == 32


PREFORKED = """
    import os, signal, sys, tracewatch
    tracewatch.init(os.environ["TRACEWATCH_DB"], service="web")
    tracewatch.record("preloaded")
    workers = []
    for number in range(3):
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            for request in range(20):
                with tracewatch.trace("request", worker=number):
                    pass
            os.write(told, b"x")
            while True:
                signal.pause()
        os.read(ready, 1)
        workers.append(pid)
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == 0
"""


def test_workers_that_are_forked_after_loading(program):
    found = program(PREFORKED)
    rows = found.rows(span_name="request")
    assert sorted(each.metadata["worker"] for each in rows) == [0] * 20 + [1] * 20 + [2] * 20
    assert len(found.rows(span_name="preloaded")) == 1


def test_several_programs_write_one_file(tmp_path):
    path = tmp_path / "watch.db"
    code = script("""
        import tracewatch
        for number in range(500):
            with tracewatch.trace("ask", number=number):
                pass
    """)
    programs = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TRACEWATCH_DB": str(path)}) for _ in range(4)
    ]
    assert [each.wait(120) for each in programs] == [0, 0, 0, 0]
    assert len(Recorded(path).rows()) == 2000


def test_a_signal_handler_may_record(program):
    found = program("""
        import signal, tracewatch
        signal.signal(signal.SIGALRM, lambda *_: tracewatch.record("signal"))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for number in range(3000):
            tracewatch.record("call")
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert tracewatch.flush(30)
    """)
    assert len(found.rows(span_name="call")) == 3000
    assert len(found.rows(span_name="signal")) > 0
    assert found.warned == ""


def test_without_init_and_without_an_address_nothing_is_recorded_and_that_is_said_once(tmp_path, program):
    found = program(
        """
        import tracewatch
        for _ in range(3):
            with tracewatch.trace("ask"):
                tracewatch.record("call")
        assert tracewatch.flush()
        """,
        TRACEWATCH_DB="",
    )
    assert found.warned.count("nothing is recorded") == 1
    assert not list(tmp_path.glob("*.db"))


def test_the_environment_does_what_init_does(program, tmp_path):
    found = program(
        "import tracewatch; tracewatch.record('call', reasoning='because')",
        TRACEWATCH_DB="",
        TRACEWATCH_URL=f"sqlite:///{tmp_path}/watch.db?durability=full",
        TRACEWATCH_PROJECT="shop",
        TRACEWATCH_ENVIRONMENT="staging",
        TRACEWATCH_CAPTURE_CONTENT="true",
        OTEL_SERVICE_NAME="checkout",
        OTEL_RESOURCE_ATTRIBUTES="service.name=other,service.version=1.2%2C3",
    )
    row = found.row()
    assert (row.project, row.environment, row.service_name, row.app_version) == ("shop", "staging", "checkout", "1.2,3")
    assert row.reasoning == "because"


def test_arguments_outweigh_the_environment(program, tmp_path):
    found = program(
        """
        import os, tracewatch
        tracewatch.init("watch.db", project="mine", service="s", environment="e", version="v", capture_content=False)
        tracewatch.record("call", reasoning="because")
        """,
        TRACEWATCH_DB="elsewhere.db",
        TRACEWATCH_PROJECT="shop",
        TRACEWATCH_CAPTURE_CONTENT="true",
        OTEL_SERVICE_NAME="checkout",
    )
    row = found.row()
    assert (row.project, row.service_name, row.environment, row.app_version) == ("mine", "s", "e", "v")
    assert row.reasoning is None


def test_switched_off(program, tmp_path):
    found = program("import tracewatch; tracewatch.record('call')", TRACEWATCH_ENABLED="false")
    assert (found.warned, list(tmp_path.glob("*.db"))) == ("", [])


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TRACEWATCH_URL": "ftp://here"}, "cannot open 'ftp://here' as a store"),
        ({"TRACEWATCH_CAPTURE_CONTENT": "perhaps"}, "TRACEWATCH_CAPTURE_CONTENT is 'perhaps'"),
        ({"TRACEWATCH_QUEUE_ROWS": "many"}, "TRACEWATCH_QUEUE_ROWS is 'many'"),
    ],
)
def test_what_cannot_be_used_is_said_and_stops_nothing(program, environment, said):
    found = program("import tracewatch; tracewatch.init(); tracewatch.record('call')", **environment)
    assert said in found.warned
    assert found.warned.count("\n") == 1


def test_init_again(tmp_path, recorded):
    courier = sending._Process.courier
    tracewatch.init(recorded.path, service="app")
    assert sending._Process.courier is courier
    tracewatch.record("first")
    tracewatch.init(str(tmp_path / "other.db"))
    tracewatch.record("second")
    assert [each.span_name for each in Recorded(recorded.path).rows()] == ["first"]
    assert tracewatch.flush()
    assert [each.span_name for each in Recorded(tmp_path / "other.db").rows()] == ["second"]


def test_after_shutdown(recorded, caplog):
    tracewatch.record("before")
    assert tracewatch.shutdown()
    assert not [each for each in threading.enumerate() if each.name == "tracewatch"]
    for _ in range(3):
        tracewatch.record("after")
    assert tracewatch.shutdown()
    assert caplog.text.count("after tracewatch.shutdown() are not recorded") == 1
    tracewatch.init(recorded.path)
    tracewatch.record("again")
    assert [each.span_name for each in recorded.rows()] == ["before", "again"]


def test_content_stays_out_unless_switched_on(recorded):
    tracewatch.record("call", reasoning="private thoughts")
    assert recorded.row().reasoning is None


def test_a_program_that_is_interrupted_flushes(tmp_path):
    path = tmp_path / "watch.db"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            script("import tracewatch, signal; tracewatch.record('call'); print(1, flush=True); signal.pause()"),
        ],
        env={**os.environ, "TRACEWATCH_DB": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert Recorded(path).row().span_name == "call"
