"""Processes that decode beside the server: they change nothing but the speed, and may be killed."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from web.conftest import a_body, as_json

from tracewatch.receiving import Decoder, Request, Work, Workers
from tracewatch.stores import open_store

SPANS = 200
SENDERS = 4


def a_request(body, *, json=False, **odd):
    return Request(**{"body": body, "json": json, "project": None, "or_project": "shop", "user_id": None, **odd})


@pytest.fixture
def workers(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        started = Workers(store.url, content=False, most=1)
        started.start()
        yield store, started
        started.stop()


def _decoded(workers, request):
    work = Work(request)
    workers.offer(work)
    assert work.ready.wait(60)
    return work.decoded


@pytest.mark.parametrize(
    "request_",
    [
        a_request(a_body(trace="plain")),
        a_request(as_json(a_body(trace="json")), json=True),
        a_request(a_body(resource={"tracewatch.project": "told"}), user_id="u1"),
        a_request(a_body(attributes={"app.tenant": "t-1", "gen_ai.usage.cache_read.input_tokens": 5000})),
        a_request(a_body(trace="").replace(b"gpt-4o-mini", b"gpt-4o-m\xc3\xa4n")),
    ],
)
def test_a_process_decodes_as_the_server_does(workers, request_):
    store, started = workers
    own = Decoder(store, content=False).decode(request_)
    found = _decoded(started, request_)
    assert (found.rows, found.reasons) == (own.rows, own.reasons)
    assert found.rows or found.reasons


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the process is found in Linux's /proc")
def test_the_address_of_the_database_which_may_hold_a_password_is_no_argument(workers):
    store, started = workers
    assert _decoded(started, a_request(a_body())).rows
    (child,) = _children(os.getpid())
    assert store.url.encode() not in Path(f"/proc/{child}/cmdline").read_bytes()


def test_a_body_that_is_none_is_left_to_the_server_and_stops_nothing(workers):
    _, started = workers
    assert _decoded(started, a_request(b"\xff\xff\xff")) is None
    assert len(_decoded(started, a_request(a_body())).rows) == 3


def test_why_a_body_is_refused_is_not_looked_for_twice(workers):
    _, started = workers
    work = Work(a_request(b"\xff" * 50))
    started.offer(work)
    assert work.ready.wait(60)
    assert "cannot read this as OTLP/protobuf" in str(work.refusal)


def test_what_is_taken_by_somebody_is_not_decoded_again(workers):
    _, started = workers
    taken, other = Work(a_request(a_body())), Work(a_request(a_body()))
    assert taken.take()
    started.offer(taken)
    started.offer(other)
    assert other.ready.wait(60)
    assert not taken.ready.is_set()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the process is found in Linux's /proc")
def test_a_process_killed_under_load_loses_nothing(serve):
    killed = threading.Event()
    answers = []

    def send(running, sender):
        for number in range(2_000):
            answers.append(running.post(a_body(SPANS, trace=f"{sender}-{number}"))[0])
            if killed.is_set() and number % 5 == 4:
                return

    with serve("--no-detection") as running, ThreadPoolExecutor(SENDERS) as senders:
        sent = [senders.submit(send, running, sender) for sender in range(SENDERS)]
        while wait(sent, 0.05).not_done:
            for child in _children(running.process.pid):
                os.kill(child, signal.SIGKILL)
                killed.set()
        for each in sent:
            each.result()
        assert killed.is_set()
        assert set(answers) == {200}
        assert running.count() == len(answers) * SPANS
        said, code = running.stop()
        assert "a process that decodes spans has ended" in said
        assert code == 0


def _children(pid):
    """The processes of a server that decode."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"tracewatch.receiving" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield int(child)
