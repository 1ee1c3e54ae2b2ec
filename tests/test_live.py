"""Watching a store as rows come: the same findings in whatever batches, and after whatever interruption."""

import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from workload import DAY, HOUR, MONDAY, TICK, calls, end_of

from tracewatch import live
from tracewatch.errors import StoreUnreadable
from tracewatch.judge import NEEDS, Judge, chosen
from tracewatch.live import Watcher, arrivals, keeping, passing
from tracewatch.live.state import Reading
from tracewatch.records import Anomaly, Baseline, Incident, Span
from tracewatch.stores import Filter, open_store

GRACE = passing.GRACE_S


@pytest.fixture(scope="module")
def rows():
    return calls()


@pytest.fixture(scope="module")
def judged(rows):
    """What is found in the rows alone, without any store."""
    judge = Judge()
    for batch in rows.to_batches():
        judge.feed({name: values.to_numpy(zero_copy_only=False) for name, values in _columns(batch).items()})
    return judge.judge(end_of(rows))


def _columns(batch):
    part = chosen(batch, NEEDS)
    return {name: part.column(name) for name in part.schema.names}


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as store:
        yield store


def put(store, rows):
    """Brings rows in."""
    for batch in rows.to_batches():
        store.add_batch(Span, batch)


def began(rows, since, until):
    times = rows["start_time"].to_numpy()
    return rows.filter((times >= since) & (times < until))


def passes(store, rows, moments, watcher=None):
    """Passes at moments, each over the rows that had ended by then."""
    watcher = watcher or Watcher(store, "default")
    ended, before, told = rows["end_time"].to_numpy(), -np.inf, []
    for now in moments:
        put(store, rows.filter((ended >= before) & (ended < now)))
        told.append(watcher.run(now))
        before = now
    return told


def steps(rows, step, since=MONDAY):
    """Moments from a time to the end of the rows, and the one at which all of them can be judged."""
    end = end_of(rows) + GRACE
    return [*np.arange(since + step, end, step).tolist(), end]


def every(store, record_type):
    return sorted(store.page(record_type, limit=1000).records, key=lambda each: each.id)


def findings(store):
    return every(store, Anomaly), every(store, Incident)


def told_of(alerts):
    return sorted((each.detected_at, each.metric, each.direction, sorted(each.slice.items())) for each in alerts)


def kept(store):
    return sorted(
        (each.detected_at, each.metric_name, each.direction, sorted(each.slice.items()))
        for each in every(store, Anomaly)
    )


def bare(incident):
    """An incident without what depends on when it was explained."""
    names = ("id", "state", "severity", "root_id", "started_at", "detected_at", "updated_at", "closed_at", "findings")
    return tuple(getattr(incident, name) for name in names)


def test_a_store_with_history_is_judged_as_its_rows_alone_are(store, rows, judged):
    put(store, rows)
    passed = Watcher(store, "default").run(end_of(rows) + GRACE)
    assert passed.rows == len(rows)
    assert not passed.learning
    assert kept(store) == told_of(judged.alerts)
    assert {each.id for each in every(store, Incident)} == {each.id for each in judged.changes}
    assert len(passed.new) == len(judged.alerts) >= 2


@pytest.mark.parametrize("step", [HOUR * 17, DAY * 3])
def test_rows_that_come_in_batches_give_the_same(store, rows, tmp_path, step):
    put(store, rows)
    Watcher(store, "default").run(end_of(rows) + GRACE)
    with open_store(str(tmp_path / "other.db"), create=True) as other:
        passes(other, rows, steps(rows, step))
        assert kept(other) == kept(store)
        assert list(map(bare, every(other, Incident))) == list(map(bare, every(store, Incident)))


def test_small_batches_around_an_incident_give_the_same(store, rows, judged):
    calm = MONDAY + 8 * DAY + 8 * HOUR
    few = np.arange(calm, calm + 6 * HOUR, 15 * 60.0).tolist()
    passes(store, rows, [*few, end_of(rows) + GRACE])
    assert kept(store) == told_of(judged.alerts)


def test_a_step_that_waits_only_as_long_as_calls_take_gives_the_same(store, rows, judged):
    calm = MONDAY + 8 * DAY + 8.5 * HOUR
    often = np.arange(calm, calm + 3 * HOUR, 15.0).tolist()
    watcher = Watcher(store, "default")
    watcher.lateness.see(np.full(500, calm - 10.0), calm)
    passes(store, rows, often, watcher)
    assert watcher.lateness.grace_s < GRACE / 2
    passes(store, rows.filter(rows["end_time"].to_numpy() >= often[-1]), [end_of(rows) + GRACE], watcher)
    assert kept(store) == told_of(judged.alerts)


def test_a_second_pass_adds_nothing(store, rows):
    put(store, rows)
    now = end_of(rows) + GRACE
    watcher = Watcher(store, "default")
    watcher.run(now)
    watcher.save(now)
    before = findings(store)
    again = Watcher(store, "default").run(now)
    assert (again.rows, again.new, again.incidents, again.sentences) == (0, (), (), ())
    assert findings(store) == before


def test_a_restart_goes_on_where_it_stopped(store, rows, judged):
    for now in steps(rows, 2.3 * DAY):
        watcher = Watcher(store, "default")
        passes(store, rows, [now], watcher)
        assert watcher.save(now)
    assert kept(store) == told_of(judged.alerts)
    assert len({each.revision for each in store.page(Baseline).records}) == 1


def test_what_was_not_saved_is_read_again_and_found_again(store, rows, judged):
    half = MONDAY + 8 * DAY + 10 * HOUR
    first = Watcher(store, "default")
    passes(store, rows, [half], first)
    first.save(half)
    put(store, rows)
    lost = Watcher(store, "default")
    assert lost.run(half + 12 * HOUR).new
    passed = Watcher(store, "default").run(end_of(rows) + GRACE)
    assert kept(store) == told_of(judged.alerts)
    assert not {each.id for each in passed.new} & {each.id for each in lost.run(half + 12 * HOUR).new}


WATCHING = """
import sys
from tracewatch.live import Watcher, arrivals, keeping, passing
from tracewatch.stores import open_store
arrivals.CHUNK_ROWS = 150
passing.SAVE_EVERY_ROWS = 400

def wait(*_):
    print(".", flush=True)
    sys.stdin.readline()

with open_store(sys.argv[1]) as store:
    watcher = Watcher(store, "default")
    save = watcher.save
    if sys.argv[3] == "kept":
        watcher.save = lambda now: (wait(), save(now))
    watcher.run(float(sys.argv[2]), lambda rows: wait if sys.argv[3] == "judged" else lambda more: None)
"""


@pytest.mark.parametrize(
    ("where", "times"),
    [("judged", 17), ("kept", 6)],
    ids=["when a tick has been judged", "between findings and state"],
)
def test_a_killed_process_loses_nothing_and_doubles_nothing(store, rows, judged, where, times):
    put(store, rows)
    now = end_of(rows) + GRACE
    command = [sys.executable, "-c", WATCHING, store.url, str(now), where]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as child:
        for time in range(times):
            assert child.stdout.readline() == ".\n"
            if time < times - 1:
                child.stdin.write("\n")
                child.stdin.flush()
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    watcher = Watcher(store, "default")
    passed = watcher.run(now)
    assert passed.rows < len(rows)
    assert watcher.state.reading.rows == len(rows)
    assert kept(store) == told_of(judged.alerts)
    assert {each.id for each in every(store, Incident)} == {each.id for each in judged.changes}


def test_what_people_decided_stays(store, rows):
    first = MONDAY + 8 * DAY + 12 * HOUR
    watcher = Watcher(store, "default")
    passes(store, rows, [first], watcher)
    for record_type in (Anomaly, Incident):
        for each in every(store, record_type):
            key = {"project": "default", "id": each.id}
            store.annotate(record_type, key, {"resolution_status": "resolved", "acknowledged": True})
    early = {each.id: each.state for each in every(store, Incident)}
    put(store, rows)
    watcher.run(end_of(rows) + GRACE)
    Watcher(store, "default").run(end_of(rows) + GRACE)
    late = {each.id: each for each in every(store, Incident)}
    assert early
    for id_, state in early.items():
        assert (late[id_].resolution_status, late[id_].acknowledged) == ("resolved", True)
        assert late[id_].state != state
    assert all(each.acknowledged == (each.detected_at <= first) for each in every(store, Anomaly))


def test_an_incident_tells_why_and_its_findings_when_they_ended(store, rows):
    put(store, rows)
    Watcher(store, "default").run(end_of(rows) + GRACE)
    slow = next(each for each in every(store, Incident) if each.metric_name == "inference_time_ms")
    assert slow.state == "closed"
    assert slow.closed_at > slow.started_at
    assert slow.contributing_factors
    assert slow.recommended_actions
    assert slow.time_effect_s > 0
    members = [each for each in every(store, Anomaly) if each.incident_id == slow.id]
    assert len(members) == slow.findings >= 1
    root = next(each for each in members if each.id == slow.root_id)
    assert root.contributing_factors == slow.contributing_factors
    assert root.trace_ids == slow.trace_ids
    assert root.trace_id == slow.trace_ids[0]
    assert all(each.ended_at is not None for each in members)
    assert members[0].statistics["learning"] == {"days": 7, "of": 7}
    assert members[0].statistics["expectedRange"].keys() == {"lower", "upper"}


def test_a_project_of_its_own(store, rows):
    put(store, rows)
    assert Watcher(store, "other").run(end_of(rows)).rows == 0
    assert store.count(Anomaly) == 0


def test_old_rows_of_messages_are_not_judged(store, rows):
    put(
        store,
        began(rows, MONDAY, MONDAY + DAY).append_column(
            "source", [["messages"] * len(began(rows, MONDAY, MONDAY + DAY))]
        ),
    )
    assert Watcher(store, "default").run(MONDAY + DAY).rows == 0


def test_while_learning_it_says_how_far_it_is(store, rows):
    four = began(rows, MONDAY, MONDAY + 4.5 * DAY)
    put(store, four)
    passed = Watcher(store, "default").run(MONDAY + 4.5 * DAY)
    assert (passed.learning, passed.learned_days, passed.new) == (True, 4, ())


def test_an_empty_store(store):
    passed = Watcher(store, "default").run(MONDAY)
    assert (passed.rows, passed.judged, passed.learned_days, passed.learning) == (0, None, 0, True)


# Time.


def test_a_row_that_comes_twice_counts_once(store, rows):
    half = MONDAY + 5 * DAY
    watcher = Watcher(store, "default")
    passes(store, began(rows, MONDAY, half), [half], watcher)
    store.put(store.page(Span, limit=5).records)
    assert watcher.run(half).rows == 0
    assert watcher.state.reading.late == 0


def test_a_row_a_little_late_counts_and_one_too_late_does_not(store, rows):
    watcher = Watcher(store, "default")
    passes(store, began(rows, MONDAY, MONDAY + DAY), [MONDAY + DAY + HOUR], watcher)
    late = MONDAY + DAY + HOUR
    store.add(
        [
            Span(trace_id="a", span_id="1", start_time=late - 1800),
            Span(trace_id="b", span_id="1", start_time=late - 9000),
        ]
    )
    passed = watcher.run(late)
    assert (passed.rows, passed.late) == (1, 1)


def test_a_long_call_counts_when_it_has_ended(store, rows):
    watcher = Watcher(store, "default")
    passes(store, began(rows, MONDAY, MONDAY + DAY), [MONDAY + DAY], watcher)
    store.add([Span(trace_id="a", span_id="1", start_time=MONDAY + DAY - 5 * HOUR, duration_ms=5 * HOUR * 1000)])
    passed = watcher.run(MONDAY + DAY)
    assert (passed.rows, passed.late) == (1, 0)


def test_rows_from_the_future_wait_for_their_time(store, rows):
    now = MONDAY + DAY
    watcher = Watcher(store, "default")
    passes(store, began(rows, MONDAY, now), [now], watcher)
    store.add([Span(trace_id="ahead", span_id=str(n), start_time=now + n * DAY) for n in (1, 2)])
    passed = watcher.run(now)
    assert (passed.rows, passed.ahead, passed.judged) == (0, True, now - GRACE - (now - GRACE) % TICK)
    watcher.save(now)
    watcher = Watcher(store, "default")
    put(store, began(rows, now, now + 1.5 * DAY))
    passed = watcher.run(now + 1.5 * DAY)
    assert (passed.rows, passed.ahead) == (len(began(rows, now, now + 1.5 * DAY)) + 1, True)
    passed = watcher.run(now + 2 * DAY)
    assert (passed.rows, passed.ahead) == (1, False)


def test_an_export_that_ends_is_no_silence(store, rows):
    put(store, rows)
    passed = Watcher(store, "default").run(MONDAY + 30 * DAY)
    assert passed.judged <= MONDAY + 9 * DAY
    assert not [each for each in passed.new if each.kind == "silence"]


def test_where_rows_come_as_they_happen_the_clock_goes_on_without_them(store, rows):
    watcher = Watcher(store, "default")
    passes(store, began(rows, MONDAY, MONDAY + 2 * DAY), [MONDAY + 2 * DAY], watcher)
    assert watcher.run(MONDAY + 4 * DAY).judged == MONDAY + 4 * DAY - TICK
    assert watcher.run(MONDAY + 40 * DAY).judged == MONDAY + 4 * DAY - TICK


def test_a_clock_that_goes_back_a_little_changes_nothing(store, rows, judged):
    moments = [now - (1800 if number % 2 else 0) for number, now in enumerate(steps(rows, 1.1 * DAY))]
    passes(store, rows, [*moments, end_of(rows) + GRACE])
    assert kept(store) == told_of(judged.alerts)


def test_after_a_clock_that_was_far_ahead_everything_is_learned_again(store, rows, judged):
    watcher = Watcher(store, "default")
    passes(store, began(rows, MONDAY, MONDAY + 5 * DAY), [MONDAY + 5 * DAY, MONDAY + 8 * DAY], watcher)
    put(store, rows)
    passed = watcher.run(MONDAY + 6 * DAY)
    assert passed.sentences == ("The clock has gone back. Learning again from history.",)
    watcher.run(end_of(rows) + GRACE)
    assert kept(store) == told_of(judged.alerts)


def test_history_that_comes_later_is_learned_from(store, rows, judged):
    watcher = Watcher(store, "default")
    put(store, began(rows, MONDAY + 8.5 * DAY, MONDAY + 11 * DAY))
    watcher.run(end_of(rows) + GRACE)
    put(store, rows)
    passed = watcher.run(end_of(rows) + GRACE)
    assert "Learning again from history." in passed.sentences[0]
    assert kept(store) == told_of(judged.alerts)


def test_years_of_silence(store, rows):
    put(store, rows)
    later = rows.set_column(0, "start_time", [rows["start_time"].to_numpy() + 3650 * DAY]).drop_columns(["end_time"])
    watcher = Watcher(store, "default")
    watcher.run(MONDAY + 9 * DAY)
    names = [f"later{number}" for number in range(len(later))]
    put(store, later.set_column(later.column_names.index("trace_id"), "trace_id", [names]))
    passed = watcher.run(MONDAY + 3659 * DAY)
    assert passed.rows == len(rows)
    assert passed.learned_days <= 9


def test_what_is_not_found_again_does_not_stay_open(store, rows):
    put(store, rows)
    watcher = Watcher(store, "default")
    watcher.run(end_of(rows) + GRACE)
    watcher.save(end_of(rows))
    kept_open = dataclasses.replace(every(store, Incident)[0], id="of an older engine", state="growing", closed_at=None)
    store.add([kept_open])
    watcher.run(end_of(rows) + GRACE)
    assert store.get(Incident, {"project": "default", "id": kept_open.id}) == kept_open
    live.forget(store, "default")
    Watcher(store, "default").run(end_of(rows) + GRACE)
    found = store.get(Incident, {"project": "default", "id": kept_open.id})
    assert (found.state, found.closed_at) == ("closed", end_of(rows))


# Two at once, and what is kept.


def test_of_two_that_watch_at_once_one_state_is_kept(store, rows, judged):
    put(store, began(rows, MONDAY, MONDAY + 8 * DAY))
    one, other = Watcher(store, "default"), Watcher(store, "default")
    for watcher in (one, other):
        watcher.run(MONDAY + 8 * DAY)
    assert one.save(MONDAY + 8 * DAY)
    assert not other.save(MONDAY + 8 * DAY)
    put(store, rows)
    for watcher in (other, one):
        watcher.run(end_of(rows) + GRACE)
    assert other.save(MONDAY + 11 * DAY)
    assert not one.save(MONDAY + 11 * DAY)
    assert kept(store) == told_of(judged.alerts)


def test_state_is_bounded(store, rows):
    put(store, rows)
    watcher = Watcher(store, "default")
    watcher.run(end_of(rows) + GRACE)
    watcher.save(end_of(rows))
    (part,) = store.page(Baseline).records
    slices = len(watcher.state.judge.engine.known.slices.labels)
    assert part.size < 2**20 * (slices + 8)
    assert len(part.state) < part.size / 3
    assert part.learned_rows == len(rows)
    assert len(watcher.state.reading.keys) < 100
    assert len(watcher.state.told) == 0 or max(each.since for each in watcher.state.told.values()) > MONDAY + 6 * DAY


def test_memory_of_keys_is_bounded(monkeypatch):
    from tracewatch.live import state

    monkeypatch.setattr(state, "MOST_KEYS", 100)
    keys = state.Keys()
    numbers = np.arange(1000)
    assert keys.new(numbers, numbers * 60.0).all()
    keys.forget(before=0.0)
    assert len(keys) <= 100
    assert keys.new(np.array([999, 0, 0, 998]), np.zeros(4)).tolist() == [False, True, False, False]


def test_an_hour_of_many_calls_is_read_in_parts(store, monkeypatch):
    monkeypatch.setattr(arrivals, "CHUNK_ROWS", 100)
    moments = MONDAY + np.random.default_rng(1).uniform(0, 3600, 2000)
    store.add([Span(trace_id=f"t{n}", span_id="s", start_time=at) for n, at in enumerate(moments.tolist())])
    reading, now = Reading(), MONDAY + 3700
    began = arrivals.waiting(store, "default", reading, now)
    chunks = list(arrivals.arrivals(store, "default", reading, began, now))
    assert sum(each.rows for each in chunks) == 2000
    assert max(each.rows for each in chunks) <= 100 + max(began.values())
    assert np.concatenate([each.columns["start_time"] for each in chunks]).tolist() == sorted(moments.tolist())


def test_calls_wait_for_no_more_than_their_step(store, monkeypatch):
    monkeypatch.setattr(arrivals, "CHUNK_ROWS", 100)
    moments = MONDAY + np.random.default_rng(1).uniform(0, 3600, 2000)
    store.add([Span(trace_id=f"t{n}", span_id="s", start_time=at) for n, at in enumerate(moments.tolist())])
    watcher, most, feed = Watcher(store, "default"), [], Judge.feed

    def counted(judge, columns):
        feed(judge, columns)
        most.append(sum(len(each["start_time"]) for each in judge.waiting))

    monkeypatch.setattr(Judge, "feed", counted)
    watcher.run(MONDAY + 3600 + GRACE)
    assert sum(moments < MONDAY + 3600) == watcher.state.reading.rows
    assert max(most) < 2000 * 2 * TICK / 3600 + 100


def test_a_pass_saves_now_and_then_by_itself(store, rows, monkeypatch):
    monkeypatch.setattr(passing, "SAVE_EVERY_ROWS", 1000)
    monkeypatch.setattr(arrivals, "CHUNK_ROWS", 300)
    put(store, rows)
    Watcher(store, "default").run(end_of(rows) + GRACE)
    assert store.count(Baseline, [Filter("revision", ">", (1,))]) == 1


def test_the_face_of_the_package():
    names = ["Passed", "Teller", "Tenure", "Watcher", "current_lease", "forget", "keep_going", "this_process"]
    assert sorted(live.__all__) == names


def test_what_cannot_be_explained_is_kept_without_causes_and_said_once(store, rows, judged, monkeypatch):
    def odd(*_):
        raise KeyError("nothing")

    monkeypatch.setattr(keeping, "explain", odd)
    put(store, rows)
    passed = Watcher(store, "default").run(end_of(rows) + GRACE)
    assert kept(store) == told_of(judged.alerts)
    incidents = every(store, Incident)
    assert {each.id for each in incidents} == {each.id for each in judged.changes}
    assert {each.causes for each in incidents} == {None}
    (said,) = [each for each in passed.sentences if "explained" in each]
    assert said.startswith("Incident ")
    assert "(KeyError: 'nothing') and is kept without causes." in said or "more could not be explained" in said


def test_errors_of_the_store_stop_a_pass(store, rows, monkeypatch):
    def gone(*_):
        raise StoreUnreadable(path="watch.db", why="the disk is gone")

    monkeypatch.setattr(keeping, "explain", gone)
    put(store, rows)
    with pytest.raises(StoreUnreadable):
        Watcher(store, "default").run(end_of(rows) + GRACE)
