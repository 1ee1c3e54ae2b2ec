"""Spans go by themselves when their project has kept them for long enough, and nobody's go sooner."""

from dataclasses import replace

import pytest
from test_copying import some
from workload import DAY, HOUR

from tracewatch.live.retaining import LIMIT_S, RETAIN_S, Limits, keep_within, retain
from tracewatch.live.rounds import Rounds
from tracewatch.live.worth import worth_keeping
from tracewatch.records import Anomaly, Project, Span
from tracewatch.stores import Filter, open_store

NOW = 1_790_000_000.0 // HOUR * HOUR + 600


def spans(project, *ages):
    """One span of a project for each age in days."""
    return [
        Span(project=project, trace_id=f"{project}{age}", span_id="1", start_time=NOW - age * DAY, source="sdk")
        for age in ages
    ]


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def keep(store, project, days):
    store.put([Project(project=project, created_at=NOW, retention_days=days)])


def left(store, project="default"):
    return store.count(Span, [Filter("project", "=", (project,))])


def sums(store):
    return sum(store.rollup(0, NOW + DAY, step_s=86_400, measures=("calls",))["calls"].to_pylist())


def test_a_round_lets_go_of_what_is_too_old_and_keeps_the_sums(store):
    store.add(spans("default", 1, 5, 9.9, 10.1, 30))
    keep(store, "default", 10)
    Rounds(store).go(NOW)
    assert left(store) == 3
    assert sums(store) == 5


def test_it_happens_once_a_day(store):
    store.add(spans("default", 1, 9.5))
    keep(store, "default", 10)
    rounds = Rounds(store)
    rounds.go(NOW)
    rounds.go(NOW + RETAIN_S - 60)
    assert left(store) == 2
    rounds.go(NOW + RETAIN_S)
    assert left(store) == 1


def test_without_a_limit_all_stays(store):
    store.add(spans("default", 1, 3000))
    Rounds(store).go(NOW)
    assert left(store) == 2


def test_what_another_project_keeps_for_good_holds_all_of_its_age(store):
    store.add(spans("default", 1, 20, 40))
    store.add(spans("other", 30))
    store.roll_up()
    keep(store, "default", 10)
    retain(store, NOW)
    assert (left(store), left(store, "other")) == (2, 1)  # what is older than anything of the other has gone
    keep(store, "other", 25)
    retain(store, NOW)
    assert (left(store), left(store, "other")) == (2, 0)
    keep(store, "other", 10)
    retain(store, NOW)
    assert left(store) == 1


def test_a_project_that_has_only_been_described_holds_nothing(store):
    store.add(spans("default", 1, 20))
    store.roll_up()
    keep(store, "default", 10)
    keep(store, "planned", None)
    assert retain(store, NOW) == 1


def hours_left(store):
    return [each.start_time for each in store.page(Span, limit=500).records]


def test_of_too_many_the_oldest_hours_go_and_their_sums_stay(store):
    store.add(spans("default", *(hour / 24 for hour in range(50))))
    store.add(spans("other", 5))
    store.roll_up()
    assert keep_within(store, Limits(spans=51)) == 0
    assert keep_within(store, Limits(spans=20)) == 31
    assert sorted(hours_left(store))[1] == NOW - 18 * HOUR  # and one older, see below
    assert sums(store) == 51
    assert keep_within(store, Limits(spans=20)) == 0


def test_what_tells_most_stays_when_the_oldest_go(store):
    old = [
        Span(
            trace_id=f"{day}-{number}", span_id="1", start_time=NOW - day * DAY - number, duration_ms=100.0 + number,
            model_name=("m", "n")[number % 2], status="error" if number % 20 == 7 else "ok", source="sdk",
        )
        for day in (2, 3, 4) for number in range(100)
    ]  # fmt: skip
    inner = Span(trace_id="3-50", span_id="2", start_time=NOW - 3 * DAY - 50, source="sdk", operation_type="tool")
    store.add([*old, inner, *spans("default", *(n / 1000 for n in range(460)))])
    store.put([replace(some(Anomaly)[0], project="default", trace_ids=("3-50", "gone"))])
    store.roll_up()
    before = sums(store)
    assert keep_within(store, Limits(spans=500)) > 0
    assert store.count(Span) <= 500
    left = {each.trace_id for each in store.page(Span, [Filter("start_time", "<", (NOW - DAY,))], limit=50).records}
    assert len(store.trace("default", "3-50")) == 2
    assert {"2-48", "2-51", "3-48", "3-51", "4-48", "4-51"} <= left  # half of their kind took longer, half less
    failed = {each.trace_id for each in old if each.status == "error"}
    assert {sum(trace.startswith(day) for trace in left & failed) for day in "234"} == {2}
    assert len(left) == 1 + 6 + 6
    assert sums(store) == before
    store.add([Span(trace_id=f"new{n}", span_id="1", start_time=NOW + n, source="sdk") for n in range(40)])
    assert keep_within(store, Limits(spans=500)) == 0
    assert keep_within(store, Limits(spans=100)) > 0
    assert store.exists(Span, [Filter("trace_id", "=", ("3-50",))])
    keep(store, "default", 1)
    retain(store, NOW)
    assert not store.exists(Span, [Filter("start_time", "<", (NOW - DAY,))])  # age spares nothing


def test_what_was_spared_stays_where_its_project_forgets_nothing(store):
    store.add([*spans("brief", 9, 8), *spans("default", 9, 8, *(n / 1000 for n in range(100)))])
    store.roll_up()
    examples = ("brief9", "default9")
    for each, project in zip(some(Anomaly), ("brief", "default"), strict=False):
        store.put([replace(each, project=project, trace_ids=examples)])
    assert keep_within(store, Limits(spans=100)) > 0
    assert left(store, "brief") > 0
    keep(store, "brief", 5)
    retain(store, NOW)
    assert left(store, "brief") == 0
    assert store.exists(Span, [Filter("trace_id", "=", ("default9",))])
    assert retain(store, NOW) == 0


def test_what_stays_for_two_reasons_takes_room_once(store):
    store.add([
        Span(trace_id=trace, span_id=str(n), start_time=NOW - DAY - n, duration_ms=1.0, model_name=trace, source="sdk")
        for trace in ("x", "y") for n in range(3)
    ])  # fmt: skip
    store.put([replace(some(Anomaly)[0], project="default", trace_ids=("x",))])  # and of its kind x is what is usual
    store.roll_up()
    assert {trace for _, trace, _ in worth_keeping(store, NOW, 6)} == {"x", "y"}
    assert len(worth_keeping(store, NOW, 6)) == 6
    assert len(worth_keeping(store, NOW, 5)) == 3


def test_the_last_hour_stays_however_much_it_holds(store):
    store.add([Span(trace_id=str(n), span_id="1", start_time=NOW - n, source="sdk") for n in range(30)])
    store.add(spans("default", 1))
    store.roll_up()
    assert keep_within(store, Limits(spans=10)) == 1
    assert len(hours_left(store)) == 30


def test_a_store_that_is_too_large_becomes_smaller(store, monkeypatch):
    store.add(spans("default", *(hour / 24 for hour in range(100))))
    store.roll_up()
    monkeypatch.setattr(type(store), "size", lambda self: 40_000_000 * self.count(Span))
    assert keep_within(store, Limits(gigabytes=4)) == 0
    assert keep_within(store, Limits(gigabytes=2)) == 53  # to 95 % of it, so that not each hour something has to go
    assert keep_within(store, Limits(gigabytes=2)) == 0


def test_rounds_look_every_hour(store):
    store.add(spans("default", *(hour / 24 for hour in range(10))))
    rounds = Rounds(store, limits=Limits(spans=5))
    rounds.go(NOW)
    assert left(store) == 5
    store.add(spans("default", *(20 + hour / 24 for hour in range(5))))
    rounds.go(NOW + LIMIT_S - 60)
    assert left(store) == 5  # from before what was let go: it does not come back
    store.add([Span(trace_id=f"new{n}", span_id="1", start_time=NOW + n * HOUR, source="sdk") for n in range(1, 4)])
    rounds.go(NOW + LIMIT_S)
    assert left(store) == 5
