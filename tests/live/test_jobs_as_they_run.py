"""A program records a nightly job and its calls under a clock that is moved; whoever watches finds what goes wrong."""

import itertools
import random
import threading
import time

import pytest

import tracewatch
from tracewatch.judge import NEEDS, Judge, chosen
from tracewatch.live.going import keep_going
from tracewatch.records import Anomaly, Headway, Span
from tracewatch.stores import open_store

DAY, HOUR, TICK = 86_400.0, 3600.0, 300.0
MONDAY = 1_772_409_600.0  # 2026-03-02
LAST = 12  # the day on which it goes wrong
ITEMS = 200


class Clock:
    """The time of everything in this program, until it is moved."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(MONDAY)
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.fixture
def path(tmp_path, clock):
    path = str(tmp_path / "app.db")
    tracewatch.init(path, service="app")
    yield path
    tracewatch.shutdown(5)


def nightly(clock, minutes=10.0, failed=2, error=None):
    """One run of the job, that began now."""
    run = tracewatch.batch("inbox_batch")
    run.extracted(ITEMS - failed)
    run.failed(failed)
    if error:
        run.set(status="error", error_message=error)
    run.end(clock.now + minutes * 60)


def moments(chance, until):
    """What happens until then, in order: a call every quarter of an hour by day and night, the job at two."""
    calls = [(MONDAY + 900.0 * n + chance.uniform(0, 300), "call") for n in range(int((until - MONDAY) / 900))]
    runs = [(MONDAY + day * DAY + 2 * HOUR + chance.uniform(0, 120), "run") for day in range(LAST + 1)]
    return [each for each in sorted(calls + runs) if each[0] < until]


def lived(path, clock, wrong):
    """Lets the days go by; `wrong` says what becomes of a run, or of a call, of the last day."""
    chance = random.Random(7)
    until = MONDAY + LAST * DAY + 18 * HOUR
    for hour, some in itertools.groupby(moments(chance, until), key=lambda each: each[0] // (6 * HOUR)):
        for at, what in some:
            clock.now = at
            odd = at > MONDAY + LAST * DAY and wrong(what, at - MONDAY - LAST * DAY)
            if what == "call" and odd is not True:
                tracewatch.log_usage(
                    "openai", "gpt-4o-mini", "chat_answer", 800 + chance.randrange(100), 100 + chance.randrange(20),
                    latency_ms=1200 * chance.lognormvariate(0, 0.2), operation_type="chat",
                )  # fmt: skip
            elif what == "run" and odd is not True:
                nightly(clock, **({"minutes": chance.uniform(9, 11), "failed": chance.randrange(3)} | (odd or {})))
        assert tracewatch.flush(30)
        clock.now = (hour + 1) * 6 * HOUR
        watched(path, clock)
    with open_store(path) as store:
        return store.page(Anomaly, limit=100).records, store.page(Headway).records[0]


def watched(path, clock):
    """One round of `tracewatch watch`."""
    keep_going(path, "default", threading.Event(), holder="a test", clock=clock, once=True)


def replayed(path, until):
    """What a backtest of the same rows tells."""
    judge = Judge()
    with open_store(path) as store:
        for batch in store.scan(Span, NEEDS):
            part = chosen(batch, NEEDS)
            judge.feed({name: part.column(name).to_numpy(zero_copy_only=False) for name in part.schema.names})
    return sorted((a.metric, a.kind, a.detected_at) for a in judge.judge(until).alerts)


JOB, ALL = {"usage_type": "inbox_batch"}, {}
WRONG = {
    "it does not run": (lambda what, at: what == "run", "call_count", "silence", JOB),
    "it is slow": (lambda what, at: {"minutes": 60.0} if what == "run" else None, "batch_duration_ms", "spike", JOB),
    "it fails": (
        lambda what, at: {"error": "no mailbox"} if what == "run" else None,
        "batch_failure_rate",
        "rate",
        JOB,
    ),
    "it fails more": (lambda what, at: {"failed": 120} if what == "run" else None, "metadata.failed", "spike", JOB),
    "calls stop": (lambda what, at: what == "call" and at > HOUR, "call_count", "silence", ALL),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_goes_wrong_is_found_as_it_happens_and_as_in_a_backtest(path, clock, name):
    wrong, metric, kind, slice = WRONG[name]
    found, headway = lived(path, clock, wrong)
    engine = [each for each in found if each.detector == "adaptive"]
    alike = [each for each in engine if each.metric_name == metric and each.kind == kind]
    assert len({each.incident_id for each in alike}) == 1
    (told,) = [each for each in alike if each.slice == slice]
    assert MONDAY + LAST * DAY < told.detected_at <= headway.judged_until
    assert sorted((each.metric_name, each.kind, each.detected_at) for each in engine) == replayed(
        path, headway.judged_until
    )


def test_a_quiet_fortnight_says_nothing(path, clock):
    found, _ = lived(path, clock, lambda what, at: None)
    assert [each for each in found if each.detector == "adaptive"] == []
