"""What users, sessions and conversations came to by day is what their spans come to, whatever happened to them."""

import contextlib
import dataclasses
import random
import sqlite3

import pytest
from conftest import NOW
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracewatch.records import Span
from tracewatch.stores import Filter, open_store, sqlite_claims, sqlite_rollups
from tracewatch.stores.sqlite import SqliteStore

DAY = 86_400
COLUMNS = ("user_id", "session_id", "conversation_id")
SPAN_BY_SPAN = Filter("duration_ms", ">=", (0.0,))  # met by all spans here; days know nothing of durations


class Clock:
    now = NOW

    def __call__(self):
        return self.now


def some_spans(seed, count):
    chance = random.Random(seed)
    for number in range(count):
        yield Span(
            project=chance.choice(("default", "default", "other")),
            source=chance.choice(("sdk", "otlp", "messages")),
            trace_id=f"{seed}-{number % 40}",
            span_id=str(number),
            start_time=NOW - chance.choice((0.5, 3, 9, 100)) * DAY * chance.random(),
            duration_ms=1.0,
            user_id=chance.choice((None, "a", "b", "c", "d")),
            session_id=chance.choice((None, f"s{number // 5}")),
            conversation_id=chance.choice((None, "long", f"c{number % 7}")),
            operation_type=chance.choice(("chat", "agent", None)),
            model_provider=chance.choice((None, "openai")),
            status=chance.choice(("ok", "ok", "error", "timeout")),
            cost_usd=chance.choice((None, 0.25, 2.0)),
            cost_status=chance.choice((None, "exact", "unpriced")),
            input_tokens=chance.choice((None, 10, 700)),
            output_tokens=chance.choice((None, 3)),
        )


def questions():
    day = NOW // DAY * DAY
    yield from ([], [Filter("start_time", ">=", (day - 30 * DAY,))])
    yield [Filter("start_time", ">", (day - 7 * DAY,)), Filter("start_time", "<=", (day - DAY,))]
    yield [Filter("start_time", ">=", (NOW - 2.7 * DAY,)), Filter("start_time", "<", (NOW - 0.3 * DAY,))]
    mine = Filter("project", "=", ("default",))
    for source in (Filter("source", "!=", ("messages",)), Filter("source", "=", ("messages",))):
        yield [mine, Filter("start_time", ">=", (NOW - 8.5 * DAY,)), Filter("start_time", "<", (NOW,)), source]
    yield [mine, Filter("user_id", ">=", ("b",)), Filter("user_id", "<=", ("c",))]
    yield [mine, Filter("user_id", "!=", (None, "a"))]


def is_right(store):
    for where in questions():
        for column in COLUMNS:
            assert store.distinct(Span, column, where) == store.distinct(Span, column, [*where, SPAN_BY_SPAN])
            for order in ("cost_usd", "calls", "failed", "last"):
                for page in ({"limit": 100}, {"limit": 3, "skip": 2}):
                    found = store.groups(column, where, order=order, **page)
                    assert found == store.groups(column, [*where, SPAN_BY_SPAN], order=order, **page), (where, order)
    return True


@pytest.fixture
def store(tmp_path):
    with SqliteStore(str(tmp_path / "v.db"), create=True, clock=Clock()) as store:
        yield store


def settled(store):
    """All days made that are to be made."""
    for _ in range(100):
        store.roll_up()


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5), st.integers(1, 60)),
    st.tuples(st.just("put"), st.integers(0, 5), st.integers(1, 60)),
    st.tuples(st.just("change"), st.integers(0, 20), st.sampled_from(("b", None, "new"))),
    st.tuples(st.just("roll"), st.just(0), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("retain"), st.integers(1, 12), st.integers(0, 23)),
    st.tuples(st.just("close"), st.integers(0, 12), st.just(0)),
)


def take(store, verb, one, other):
    spans = list(some_spans(one, other)) if verb in ("add", "put") else []
    if verb == "add":
        store.add(spans)
    elif verb == "put":
        store.put([dataclasses.replace(each, cost_usd=7.0, user_id="d") for each in spans])
    elif verb == "change":
        for each in store.page(Span, limit=one + 1).records:
            key = {"project": each.project, "trace_id": each.trace_id, "span_id": each.span_id}
            store.annotate(Span, key, {"user_id": other, "cost_usd": 1.5})
    elif verb == "roll":
        store.roll_up()
    elif verb == "wait":
        store._clock.now += one * DAY
    elif verb == "close":
        store.compact(NOW - one * DAY, least=1)
    else:
        store.retain(NOW - one * DAY - other * 3600)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=9))
def test_days_come_to_what_their_spans_do_whatever_happens(tmp_path_factory, steps):
    path = str(tmp_path_factory.mktemp("days") / "v.db")
    with SqliteStore(path, create=True, clock=Clock()) as store:
        for step in steps:
            take(store, *step)
            assert is_right(store)


def test_days_are_told_from_days_and_what_came_since_beside_them(store):
    store.add(some_spans(1, 300))
    settled(store)
    assert store.days_of("user_id", [], 1_000) > 20
    assert store.days_of("user_id", [], 5) == 5
    assert store.days_of("user_id", [SPAN_BY_SPAN], 1_000) is None
    assert store.days_of("model_name", [], 1_000) is None
    assert is_right(store)
    store.add(some_spans(2, 100))  # not rolled up
    store.put([dataclasses.replace(each, user_id="z") for each in some_spans(1, 50)])  # marked to be made again
    assert is_right(store)
    settled(store)
    assert store.days_of("user_id", [], 1_000) > 20
    assert is_right(store)


def test_spans_that_are_claimed_are_added_once(store, monkeypatch):
    monkeypatch.setattr(sqlite_rollups, "CHUNK_ROWS", 30)
    monkeypatch.setattr(sqlite_claims, "CLAIM_ROWS", 50)
    store.add(some_spans(3, 300))
    store.roll_up()
    assert is_right(store)


def test_what_many_values_came_to_last_is_found_in_days(store, monkeypatch):
    monkeypatch.setattr("tracewatch.stores.sqlite_groups.LOOKED_AT", 5)
    monkeypatch.setattr("tracewatch.stores.sqlite_groups.FEW_SPANS", 5)
    store.add(some_spans(4, 300))
    settled(store)
    assert is_right(store)


def test_no_more_than_some_days_are_kept(store):
    store.add(some_spans(5, 300))
    settled(store)
    with contextlib.closing(sqlite3.connect(store.path)) as plainly:
        (first,) = plainly.execute("SELECT min(day) FROM tracewatch_value_days").fetchone()
    assert NOW - 91 * DAY <= first < NOW - 60 * DAY
    assert store.extent(Span)[0] < first


def test_a_file_of_before_is_brought_forward_day_by_day(store):
    store.add(some_spans(6, 300))
    settled(store)
    with contextlib.closing(sqlite3.connect(store.path)) as plainly, plainly:
        plainly.execute("DROP TABLE tracewatch_value_days")
        plainly.execute("DROP TABLE tracewatch_stale_days")
        for table in ("segments", "reopened", "closed_hours", "changed"):
            plainly.execute(f"DROP TABLE tracewatch_{table}")
        later = ("valued_from", "closing", "closing_by", "moved")
        plainly.executemany("DELETE FROM tracewatch_meta WHERE name = ?", [(each,) for each in later])
        plainly.execute("UPDATE tracewatch_meta SET value = 2 WHERE name = 'schema'")
    with open_store(store.path) as again:
        assert is_right(again)
        assert not again.days_of("user_id", [], 1_000)
        again.roll_up()
        first = again.days_of("user_id", [], 1_000)
        assert is_right(again)
        settled(again)
        assert again.days_of("user_id", [], 1_000) > first > 0
        assert is_right(again)
