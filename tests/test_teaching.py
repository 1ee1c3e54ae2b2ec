"""Dismissals teach: what is known is kept and told to nobody, until it is clearly larger or longer."""

import dataclasses
import json

import numpy as np
import pytest
from workload import DAY, HOUR, MONDAY, TICK, calls, end_of

from tracewatch.backtest import DETECTORS, Grouped, read_store, replay
from tracewatch.cli.watching import as_bad
from tracewatch.dealing import deal
from tracewatch.detectors.adaptive import Alert, Ending, Return
from tracewatch.errors import BadDeed
from tracewatch.judge import NEEDS, Judge, chosen
from tracewatch.lessons import Sieve, covers, of_alert
from tracewatch.live import Watcher, passing
from tracewatch.records import Anomaly, Deed, Incident, Lesson, Span
from tracewatch.stores import open_store
from tracewatch.teaching import lessons_of, quality, would_hide

GRACE = passing.GRACE_S
NOON, AGAIN = MONDAY + 8 * DAY + 12 * HOUR, MONDAY + 10 * DAY + 9 * HOUR
ORDINARY = {"story": 1, "n": 50, "score": 0.9, "severity": 8.0, "lower": 0.5, "upper": 1.5}


def an_alert(**odd):
    usual = {
        "detected_at": MONDAY + HOUR, "metric": "cost_usd", "direction": "up", "slice": {"operation_type": "ask"},
        "kind": "spike", "since": MONDAY, "observed": 4.0, "expected": 1.0,
    }  # fmt: skip
    return Alert(**ORDINARY | usual | odd)


def a_lesson(**odd):
    usual = {
        "id": "l", "about": "i", "title": "", "teaching": "noise", "reason": "too_small", "metric_name": "cost_usd",
        "direction": "up", "slice": {"operation_type": "ask"}, "effect": 3.0, "since": MONDAY - 1, "taught_at": MONDAY,
    }  # fmt: skip
    return Lesson(**usual | odd)


@pytest.mark.parametrize(
    ("odd", "known"),
    [
        ({}, True),
        ({"slice": {"operation_type": "ask", "model_name": "m"}}, True),
        ({"slice": {}}, False),
        ({"slice": {"operation_type": "sum"}}, False),
        ({"metric": "duration_ms"}, False),
        ({"direction": "down"}, False),
        ({"kind": "point"}, False),
        ({"kind": "level_shift"}, True),
        ({"observed": 5.5}, True),
        ({"observed": 5.6}, False),
        ({"observed": 8.0, "expected": 2.0}, True),
        ({"expected": 0.0}, False),
    ],
)
def test_what_is_known_is_the_same_movement_of_the_same_calls_and_about_as_large(odd, known):
    assert covers(a_lesson(), of_alert(an_alert(**odd))) is known


def test_shares_move_by_differences():
    lesson = a_lesson(metric_name="error_rate", effect=0.1)
    usual = {"metric": "error_rate", "expected": 0.01}
    assert covers(lesson, of_alert(an_alert(**usual, observed=0.16)))
    assert not covers(lesson, of_alert(an_alert(**usual, observed=0.17)))


def test_a_metric_that_does_not_matter_may_move_as_far_as_it_likes():
    assert covers(a_lesson(reason="wrong_metric", effect=None), of_alert(an_alert(observed=1000.0)))


def test_an_expected_level_is_normal_for_good_and_narrower_calls_are_learned_anew_within_a_week():
    lesson = a_lesson(teaching="expected", reason="expected", level=5.5)
    narrow = {"operation_type": "ask", "model_name": "m"}
    late = MONDAY + 8 * DAY
    assert covers(lesson, of_alert(an_alert(detected_at=late, observed=5.4)))
    assert not covers(lesson, of_alert(an_alert(detected_at=late, observed=12.0, expected=4.0)))
    assert covers(lesson, of_alert(an_alert(slice=narrow, observed=40.0, expected=10.0)))
    assert not covers(lesson, of_alert(an_alert(slice=narrow, observed=40.0, expected=10.0, detected_at=late)))


def test_a_lesson_counts_from_when_it_was_taught_until_it_was_taken_back():
    for since, until, known in ((MONDAY, None, 1), (MONDAY + HOUR, None, 0), (MONDAY, MONDAY + 60, 0)):
        sieve = Sieve()
        heard, set_apart = sieve.sift([an_alert()], [], [a_lesson(since=since, until=until)], MONDAY + HOUR)
        assert (len(set_apart), len(heard)) == (known, 1 - known)


SHORT = {"reason": "too_short", "lasted_s": 1800.0}  # told when it has lasted for 45 minutes
FIRST = an_alert(detected_at=MONDAY + 600)
ENDS = MONDAY + 2700


@pytest.mark.parametrize(
    ("news", "told"),
    [
        ([], ENDS),
        ([Ending(story=1, at=ENDS, accepted=False)], None),
        ([Ending(story=1, at=ENDS + TICK, accepted=False)], ENDS),
        ([Ending(story=2, at=MONDAY + 900, accepted=False)], ENDS),
        ([Ending(story=1, at=MONDAY + 900, accepted=False), Return(story=1, at=MONDAY + 1800)], MONDAY + 1800 + 2700),
    ],
)
@pytest.mark.parametrize("step", [TICK, 3 * TICK, 30 * TICK])
def test_what_is_too_short_is_told_when_it_lasts_longer_in_whatever_steps(news, told, step):
    sieve, heard, known = Sieve(), [], []
    alerts = [FIRST]
    for now in np.arange(MONDAY, MONDAY + 30 * TICK + 1, step).tolist()[1:]:
        due = [each for each in news if now - step < each.at <= now]
        some = [each for each in alerts if now - step < each.detected_at <= now]
        more, apart = sieve.sift(some, due, [a_lesson(**SHORT)], now)
        heard, known = heard + more, known + apart
    assert [each.detected_at for each in heard] == ([told] if told else [])
    assert [alert for alert, _ in known] == [FIRST]


def test_what_has_lasted_too_long_already_is_told_at_once():
    late = an_alert(detected_at=MONDAY + 2 * HOUR)
    assert Sieve().sift([late], [], [a_lesson(**SHORT)], MONDAY + 2 * HOUR) == ([late], [])


@pytest.fixture(scope="module")
def rows():
    """On the ninth day one kind of call is slow for four hours, and on the eleventh as much again."""
    import pyarrow as pa

    first = calls(days=9)
    more = calls(days=9, start=MONDAY + 2 * DAY, seed=2).filter(
        pa.array(calls(days=9, start=MONDAY + 2 * DAY, seed=2)["start_time"].to_numpy() >= MONDAY + 9 * DAY)
    )
    names = [f"u{i:06}" for i in range(len(more))]
    more = more.set_column(more.schema.names.index("trace_id"), "trace_id", pa.array(names))
    return pa.concat_tables([first, more]).combine_chunks()


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as store:
        yield store


def until(rows, end):
    return rows.filter(rows["end_time"].to_numpy() < end)


def put(store, rows):
    for batch in rows.to_batches():
        store.add_batch(Span, batch)


def every(store, record_type):
    return sorted(store.page(record_type, limit=1000).records, key=lambda each: each.id)


def slow(store):
    """The incidents of slow calls, in order of time."""
    found = [each for each in every(store, Incident) if each.metric_name in ("duration_ms", "inference_time_ms")]
    return sorted(found, key=lambda each: each.detected_at)


def taught(store, rows, reason, **how):
    """The store after the first slow hours were dismissed, and all that came later judged."""
    put(store, until(rows, NOON))
    watcher = Watcher(store, "default")
    watcher.run(NOON)
    assert watcher.save(NOON)
    (first,) = slow(store)
    deal(store, first, "dismiss", who="anna", now=NOON + 30, reason=reason, **how)
    put(store, rows)
    Watcher(store, "default").run(end_of(rows) + GRACE)
    return first


def known(store):
    return [each for each in every(store, Anomaly) if "known" in each.statistics]


@pytest.mark.parametrize("reason", ["noise", "too_small", "wrong_metric", "expected"])
def test_what_was_dismissed_is_not_told_again_but_kept(store, rows, reason):
    first = taught(store, rows, reason)
    assert [each.id for each in slow(store)] == [first.id]
    assert slow(store)[0].resolution_status == "dismissed"
    found = [each for each in known(store) if each.detected_at > AGAIN]
    assert found
    assert not as_bad(found, "low"), "nothing fails a build that is known"
    for each in found:
        assert (each.resolution_status, each.acknowledged, each.incident_id) == ("dismissed", True, None)
        assert each.statistics["known"]["about"] == first.id
    assert {each.metric_name for each in every(store, Incident)} - {first.metric_name}, "the rest is told as ever"


def test_only_this_time_changes_nothing_later(store, rows):
    taught(store, rows, "expected_once")
    assert len([each for each in slow(store) if each.resolution_status == "pending"]) == 1
    assert every(store, Lesson) == []
    assert known(store) == []


def test_the_same_rows_and_lessons_give_the_same_in_whatever_batches(store, rows, tmp_path):
    taught(store, rows, "noise")
    lessons = every(store, Lesson)
    for step in (DAY / 3, 3 * DAY):
        with open_store(str(tmp_path / f"{step}.db"), create=True) as other:
            other.add(lessons)
            watcher, before = Watcher(other, "default"), -np.inf
            for now in [*np.arange(MONDAY + step, end_of(rows), step).tolist(), end_of(rows) + GRACE]:
                ended = rows["end_time"].to_numpy()
                put(other, rows.filter((ended >= before) & (ended < now)))
                watcher.run(now)
                before = now
            assert told(other) == told(store)


def told(store):
    return [(each.id, bool(each.statistics.get("known")), each.incident_id) for each in every(store, Anomaly)]


def test_a_restart_and_a_replay_of_history_say_the_same(store, rows):
    from tracewatch import live

    taught(store, rows, "noise")
    before, incidents = told(store), [(each.id, each.resolution_status, each.state) for each in every(store, Incident)]
    live.forget(store, "default")
    Watcher(store, "default").run(end_of(rows) + GRACE)
    assert told(store) == before
    assert [(each.id, each.resolution_status, each.state) for each in every(store, Incident)] == incidents


def test_the_engine_learns_as_if_nobody_had_taught_anything(rows):
    def engine(lessons):
        judge = Judge()
        for batch in chosen_batches(rows):
            judge.feed(batch)
        judgement = judge.judge(end_of(rows), lessons)
        both = [*judgement.alerts, *(alert for alert, _ in judgement.known), *judgement.notes]
        return sorted((each.story, each.detected_at, each.metric, each.observed) for each in both)

    everything = [a_lesson(metric_name=name, slice={}, effect=None) for name in ("duration_ms", "inference_time_ms")]
    assert engine(everything) == engine([])


def chosen_batches(rows):
    for batch in rows.to_batches():
        part = chosen(batch, NEEDS)
        yield {name: part.column(name).to_numpy(zero_copy_only=False) for name in part.schema.names}


def test_a_backtest_of_a_store_knows_what_was_taught(store, rows):
    first = taught(store, rows, "noise")
    member = DETECTORS["adaptive"]
    grouped = Grouped("default", lessons=lessons_of(store, "default"))
    history = read_store(store, "default", MONDAY, end_of(rows), member.needs)
    alerts = list(replay(history, dataclasses.replace(member, make=lambda: grouped), lambda _: None))
    assert grouped.known
    assert not [each for each in alerts if each.metric == first.metric_name and each.detected_at > AGAIN]


def test_what_is_taken_back_is_told_again(store, rows):
    put(store, until(rows, NOON))
    Watcher(store, "default").run(NOON)
    (first,) = slow(store)
    deal(store, first, "dismiss", who="anna", now=NOON + 30, reason="noise")
    (dismissed,) = slow(store)
    deal(store, dismissed, "reopen", who="ben", now=NOON + 90)
    (lesson,) = every(store, Lesson)
    assert (lesson.taught_by, lesson.forgotten_by, lesson.until) == ("anna", "ben", lesson.since)
    put(store, rows)
    Watcher(store, "default").run(end_of(rows) + GRACE)
    assert len(slow(store)) == 2
    assert known(store) == []


def test_undo_takes_back_what_was_taught_and_how_it_stood(store, rows):
    put(store, until(rows, NOON))
    Watcher(store, "default").run(NOON)
    (first,) = slow(store)
    deal(store, first, "acknowledge", who="anna", now=NOON + 10)
    deal(store, slow(store)[0], "dismiss", who="anna", now=NOON + 30, reason="noise")
    deal(store, slow(store)[0], "undo", who="anna", now=NOON + 35)
    again = slow(store)[0]
    assert (again.resolution_status, again.acknowledged) == ("acknowledged", True)
    its = [each for each in every(store, Anomaly) if each.incident_id == first.id]
    assert {each.resolution_status for each in its} == {"acknowledged"}
    assert [each.until is None for each in every(store, Lesson)] == [False]
    with pytest.raises(BadDeed, match="nothing was done"):
        deal(store, again, "undo", who="anna", now=NOON + 36)
    deal(store, again, "resolve", who="anna", now=NOON + 40)
    with pytest.raises(BadDeed, match="for a minute only"):
        deal(store, slow(store)[0], "undo", who="anna", now=NOON + 101)


def test_what_would_have_been_hidden_is_known_before(store, rows):
    put(store, rows)
    Watcher(store, "default").run(end_of(rows) + GRACE)
    _, second = slow(store)
    assert would_hide(store, second, "expected_once", end_of(rows)).incidents == ()
    alike = dataclasses.replace(second, id="alike", started_at=second.started_at - DAY, root_id="none")
    store.add([alike])
    hidden = would_hide(store, second, "too_small", end_of(rows))
    assert "alike" in [each.id for each in hidden.incidents]
    assert hidden.words().startswith("Would also have hidden ")
    larger = dataclasses.replace(alike, id="larger", observed=second.observed * 3)
    store.add([larger])
    assert "larger" not in [each.id for each in would_hide(store, second, "too_small", end_of(rows)).incidents]
    assert "larger" in [each.id for each in would_hide(store, second, "wrong_metric", end_of(rows)).incidents]


def test_what_findings_were_worth_is_counted_by_metric(store, rows):
    first = taught(store, rows, "noise")
    worth = {each.metric: each for each in quality(store, "default")}
    assert (worth[first.metric_name].noise, worth[first.metric_name].precision) == (1, 0.0)
    assert worth[first.metric_name].known == len(known(store)) > 0
    other = next(each for each in every(store, Incident) if each.metric_name != first.metric_name)
    deal(store, other, "resolve", who="ben", now=end_of(rows), reason="fixed")
    worth = {each.metric: each for each in quality(store, "default")}
    assert (worth[other.metric_name].useful, worth[other.metric_name].precision) == (1, 1.0)


def test_everything_that_was_done_says_who_and_when(store, rows):
    first = taught(store, rows, "too_small", text="an export")
    (deed,) = [each for each in every(store, Deed) if each.about == first.id]
    assert (deed.done_by, deed.done_at, deed.reason, deed.text) == ("anna", NOON + 30, "too_small", "an export")
    assert json.loads(json.dumps(dict(deed.before)))["resolution_status"] == "pending"


def slow_again(hour, hours):
    """The first kind of call is slow for a second time on the ninth day."""
    import pyarrow as pa
    from workload import within

    rows = calls()
    times = rows["start_time"].to_numpy()
    odd = within(times, MONDAY, 8 * 24 + hour, hours) & (rows["operation_type"].to_numpy(zero_copy_only=False) == "ask")
    for name in ("duration_ms", "inference_time_ms"):
        values = rows[name].to_numpy() * np.where(odd, 3.5, 1.0)
        rows = rows.set_column(rows.schema.names.index(name), name, pa.array(values))
    return rows


@pytest.mark.parametrize(
    ("verb", "how", "status"),
    [
        ("resolve", {"reason": "fixed"}, "pending"),
        ("dismiss", {"reason": "expected_once"}, "pending"),
        ("dismiss", {"reason": "noise"}, "dismissed"),
        ("dismiss", {}, "dismissed"),
    ],
)
def test_what_was_settled_and_is_back_within_a_day_is_open_again(store, verb, how, status):
    rows, settled = slow_again(18, 4), MONDAY + 8 * DAY + 17 * HOUR
    put(store, until(rows, settled))
    Watcher(store, "default").run(settled)
    (first,) = slow(store)
    assert first.state == "closed"
    deal(store, first, verb, who="anna", now=settled + 30, **how)
    put(store, rows)
    watcher = Watcher(store, "default")
    watcher.run(end_of(rows) + GRACE)
    (again,) = [each for each in slow(store) if each.id == first.id]
    assert again.resolution_status == status
    if status == "pending":
        assert again.reopened == 1
        assert again.regressed_at > settled
        last = next(each for each in store.page(Deed, limit=9).records if each.about == first.id)
        assert (last.verb, last.reason, last.done_by) == ("reopen", "regressed", "tracewatch")
    deal(store, again, "resolve", who="ben", now=end_of(rows) + HOUR)
    Watcher(store, "default").run(end_of(rows) + 2 * HOUR)
    assert slow(store)[0].resolution_status == "resolved", "the same news does not open it twice"


def test_the_detectors_of_the_first_form_are_taught_too(store):
    from tracewatch import watch

    rows = calls(days=1).to_pylist()
    for row in rows:
        row["cost_usd"], row["cost_status"] = 0.01, "exact"
    rows[50]["cost_usd"] = rows[250]["cost_usd"] = 1.0
    for row in (rows[50], rows[250]):
        row["operation_type"], row["model_name"] = "ask", "big"
    import pyarrow as pa

    put(store, pa.Table.from_pylist(rows[:200]))
    middle, end = rows[199]["start_time"] + 1, rows[-1]["start_time"] + 1
    window = {"project": "default", "since": MONDAY}
    first = watch.detect(store, **window, until=middle, now=middle)
    (costly,) = [each for each in first.findings if each.anomaly_type == "cost"]
    deal(store, costly, "dismiss", who="anna", now=middle, reason="too_small")
    put(store, pa.Table.from_pylist(rows[200:]))
    second = watch.detect(store, **window, until=end, now=end)
    (later,) = [each for each in second.findings if each.anomaly_type == "cost" and each.id != costly.id]
    assert (later.resolution_status, later.statistics["known"]["about"]) == ("dismissed", costly.id)
    assert would_hide(store, costly, "too_small", end).findings == 1


def test_a_backtest_in_the_terminal_says_how_much_is_known(store, rows):
    from click.testing import CliRunner

    from tracewatch.cli import group

    taught(store, rows, "noise")
    told = CliRunner().invoke(group, ["backtest", "--since", "2026-03-01", "--db", store.url])
    assert told.exit_code == 0, told.output
    assert "left out, known from what was dismissed" in told.stderr
