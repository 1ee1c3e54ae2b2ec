"""Spans are rolled up while others write: what changes meanwhile counts as it is, and once."""

import pytest
from conformance import HOUR, NOW, SOME_DAYS, busy_days, expected_rollup, key, rolled_up

from tracewatch.records import Span
from tracewatch.stores import Filter, open_store, sqlite_claims, sqlite_rollups
from tracewatch.stores.measures import KEYS
from tracewatch.stores.sqlite import SqliteStore
from tracewatch.stores.sqlite_writing import SqliteWriter


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_rollups, "CHUNK_ROWS", 30)
    monkeypatch.setattr(sqlite_claims, "CLAIM_ROWS", 50)
    with SqliteStore(str(tmp_path / "c.db"), create=True, clock=lambda: NOW) as store:
        yield store


def meanwhile(monkeypatch, do):
    """Has something happen once, after the spans of a claim were measured and before they are added."""
    measure, left = sqlite_claims.measure, [do]

    def measured(connection, claimed):
        found = measure(connection, claimed)
        if left:
            left.pop()()
        return found

    monkeypatch.setattr(sqlite_claims, "measure", measured)


def spans_of(store):
    return store.page(Span, limit=1000).records


def is_right(store):
    expected = expected_rollup(spans_of(store), HOUR, KEYS)
    return rolled_up(store.rollup(*SOME_DAYS, by=KEYS), KEYS) == expected


def test_others_write_while_spans_are_measured(store, monkeypatch, a_span):
    store.add(busy_days(120))
    meanwhile(monkeypatch, lambda: store.add([a_span()]))
    with monkeypatch.context() as claims_alone:
        claims_alone.setattr(sqlite_rollups, "roll_next", lambda *_: None)
        assert store.roll_up() == 100
    assert store.roll_up() == 21
    assert is_right(store)


@pytest.mark.parametrize("at", [0, 49, 119])
def test_a_span_that_changes_meanwhile_counts_as_it_is_then(store, monkeypatch, at):
    given = list(busy_days(120))
    store.add(given)
    meanwhile(monkeypatch, lambda: store.annotate(Span, key(given[at]), {"cost_usd": 77.0}))
    assert store.roll_up() == 120
    assert is_right(store)


def test_a_span_that_is_replaced_meanwhile_counts_once(store, monkeypatch):
    given = list(busy_days(120))
    store.add(given)
    meanwhile(monkeypatch, lambda: store.put([given[3]]))
    store.roll_up()
    assert is_right(store)
    assert sum(store.rollup(*SOME_DAYS)["calls"].to_pylist()) == 120


def test_what_somebody_else_rolls_up_meanwhile_counts_once(store, monkeypatch):
    store.add(busy_days(120))

    def other():
        with open_store(store.path) as second:
            assert second.roll_up() == 120

    meanwhile(monkeypatch, other)
    assert store.roll_up() == 0
    assert is_right(store)


def test_a_claim_that_somebody_else_has_taken_over_is_void(store):
    given = list(busy_days(120))
    store.add(given)
    writer = store._writer
    with writer.transaction() as connection:
        mine = sqlite_claims.claim(connection, NOW)
        measured = sqlite_claims.measure(connection, mine)
    store.annotate(Span, key(given[0]), {"cost_usd": 77.0})
    with writer.transaction() as connection:
        theirs = sqlite_claims.claim(connection, NOW)
        assert sqlite_claims.add(connection, mine, measured) == 0
        assert sqlite_claims.add(connection, theirs, sqlite_claims.measure(connection, theirs)) == 50
    store.roll_up()
    assert is_right(store)


def test_few_spans_are_added_without_a_claim(store):
    store.add(busy_days(29))
    with store._writer.transaction() as connection:
        assert sqlite_claims.claim(connection, NOW) is None
    assert store.roll_up() == 29
    assert store.count(Span, [Filter("project", "!=", ("",))]) == 29


@pytest.mark.parametrize("chunk", [4, 40])
def test_what_is_written_again_behind_closed_spans_counts_once_however_much_it_is(store, monkeypatch, chunk, a_span):
    monkeypatch.setattr(sqlite_rollups, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(sqlite_claims, "CLAIM_ROWS", 8)
    given = list(busy_days(60))
    store.add(given)
    store.compact(NOW + 10 * 86_400, least=1)
    guest = SqliteWriter(store.path)  # a recording program: it cannot know what is closed
    guest.add([*given[:41], new := a_span(start_time=NOW), *given[41:]])
    guest.close()
    assert store.roll_up() == 1
    assert sorted(each.span_id for each in spans_of(store)) == sorted(each.span_id for each in [*given, new])
    assert store.count(Span) == 61
    assert store.describe()["segments"].startswith("1 with 60 spans")
    assert is_right(store)
