"""Spans that are days old are compacted beside detection, by one process at a time."""

import contextlib
import dataclasses
import sqlite3
import threading

import pytest

from tracewatch.errors import CompactedElsewhere, LeaseLost
from tracewatch.live import compacting
from tracewatch.live.compacting import COMPACTING, compact
from tracewatch.live.leasing import Tenure, current_lease
from tracewatch.records import Span
from tracewatch.stores import open_store, sqlite, sqlite_closing

NOW = 1_772_409_600.0
DAY = 86_400


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "w.db")


@pytest.fixture
def store(path):
    with open_store(path, create=True) as store:
        store.add(
            Span(trace_id=str(number), span_id="s", start_time=NOW - number * 0.1 * DAY, duration_ms=1.0)
            for number in range(100)
        )
        yield store


def in_table(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM llm_traces").fetchone()[0]


class OneLook:
    """An event that comes after one look."""

    looked = False

    def wait(self, seconds):
        self.looked, done = True, self.looked
        return done

    def is_set(self):
        return False


def test_a_look_compacts_what_is_old_enough_and_many(store, path, monkeypatch):
    compacting._run(store, "me", 3, OneLook(), lambda: NOW)
    assert in_table(path) == 100  # too few to be worth a file
    monkeypatch.setattr(sqlite, "LEAST_ROWS", 50)
    compacting._run(store, "me", 3, OneLook(), lambda: NOW)
    assert 30 <= in_table(path) <= 31
    assert store.count(Span) == 100
    assert current_lease(store, COMPACTING).holder == ""


def test_only_one_compacts_at_a_time(store, path, monkeypatch):
    with open_store(path) as theirs:
        other = Tenure(theirs, "the other one", name=COMPACTING)
        assert other.take()
        heard = Tenure.take_or_hear
        monkeypatch.setattr(Tenure, "take_or_hear", lambda self: heard(self, lambda seconds: other.renew()))
        with pytest.raises(CompactedElsewhere, match="the other one"):
            compact(store, "me", NOW, least=1)
    assert in_table(path) == 100


def test_one_that_has_lost_the_lease_half_way_takes_no_further_step(store, path, monkeypatch):
    monkeypatch.setattr(sqlite_closing, "STEP_ROWS", 10)

    def taken_over(self):
        with open_store(path) as theirs:
            lease = current_lease(theirs, COMPACTING)
            theirs.put([dataclasses.replace(lease, holder="the other one", epoch=lease.epoch + 1)])

    monkeypatch.setattr(sqlite.SqliteStore, "_let_others_write", taken_over)
    with pytest.raises(LeaseLost, match="the other one"):
        compact(store, "me", NOW + DAY, least=1)
    monkeypatch.undo()
    store.fence(None)
    assert in_table(path) >= 90
    assert store.count(Span) == 100
    assert len({each.trace_id for each in store.page(Span, limit=200).records}) == 100
    with open_store(path) as theirs:
        theirs.compact(NOW + DAY, least=1)
        assert in_table(path) == 0
        assert theirs.count(Span) == 100


def test_being_told_to_stop_is_no_trouble_and_the_next_one_goes_on(store, path, monkeypatch):
    monkeypatch.setattr(sqlite_closing, "STEP_ROWS", 10)
    steps = iter((False, False, False, True))
    assert compact(store, "me", NOW + DAY, least=1, stop=lambda: next(steps)) < 100
    assert 0 < in_table(path) < 100
    assert store.count(Span) == 100
    compact(store, "me", NOW + DAY, least=1)
    assert in_table(path) == 0
    assert store.count(Span) == 100


@pytest.mark.parametrize(("days", "theirs", "runs"), [(3, False, True), (0, False, False), (3, True, False)])
def test_an_apps_own_database_is_left_alone(store, path, days, theirs, runs):
    if theirs:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE orders (id INTEGER)")
    assert store.is_shared() == theirs
    with compacting.compacting(store, "me", days):
        assert any(each.name == "tracewatch-compacting" for each in threading.enumerate()) == runs
    assert not any(each.name == "tracewatch-compacting" for each in threading.enumerate())
