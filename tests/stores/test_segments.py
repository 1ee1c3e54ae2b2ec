"""The SQLite store with closed spans: whatever is closed, and whenever, every answer is the one without segments."""

import functools

import pytest
from conformance import Conformance
from conftest import NOW

from tracewatch.stores import sqlite_closing
from tracewatch.stores.base import Store
from tracewatch.stores.sqlite import SqliteStore

EVER = NOW + 400 * 86_400
VERBS = tuple(
    name
    for name in dir(Store)
    if not name.startswith("_") and name not in ("url", "close", "fence", "compact", "stamp", "load")
)


class Closing(SqliteStore):
    """A store that closes all its spans before each verb, as far as they are counted."""

    counts = False
    """Whether it counts them first, but for those who ask how many are not counted."""
    _within = False

    def close_everything(self, verb):
        if self.counts and verb not in ("pending", "roll_up"):
            self.roll_up()
        self.closer.tidy()
        while self.closer.close_next(EVER, least=1):
            pass

    @functools.cached_property
    def closer(self):
        return sqlite_closing.Closer(self._writer, self._clock, lambda closed: None)


def _closing_before(name):
    verb = getattr(SqliteStore, name)

    @functools.wraps(verb)
    def closes_and(self, *args, **more):
        if self._within:
            return verb(self, *args, **more)
        self._within = True
        try:
            self.close_everything(name)
            return verb(self, *args, **more)
        finally:
            self._within = False

    return closes_and


for each in VERBS:
    setattr(Closing, each, _closing_before(each))


class Counting(Closing):
    counts = True


class TestWhatIsCountedIsClosed(Conformance):
    """Between any two verbs all spans are closed that were rolled up."""

    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sqlite_closing, "STEP_ROWS", 37)
        monkeypatch.setattr(sqlite_closing, "READ_ROWS", 60)
        with Closing(str(tmp_path / "watch.db"), create=True, clock=lambda: NOW) as store:
            yield store


class TestEverythingIsClosed(Conformance):
    """Between any two verbs all spans are rolled up and closed."""

    # It tells of spans that are not counted, and here none is left.
    test_whoever_lost_a_lease_can_write_no_more = None

    @pytest.fixture
    def store(self, tmp_path):
        with Counting(str(tmp_path / "watch.db"), create=True, clock=lambda: NOW) as store:
            yield store
