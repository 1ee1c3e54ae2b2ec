"""A program that records into a file of its own, and what is in that file."""

import os
import subprocess
import sys
import textwrap

import pytest

import tracewatch
from tracewatch.records import Span
from tracewatch.stores import open_store

OTEL = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS")


class Recorded:
    """What a file holds, read as the commands and pages read it."""

    def __init__(self, path):
        self.path = str(path)

    def rows(self, **where):
        """All spans of the file that have these values, oldest first."""
        if not os.path.exists(self.path):
            return []
        with open_store(self.path) as store:
            found = store.page(Span, [], limit=100_000).records
        met = [each for each in found if all(getattr(each, name) == value for name, value in where.items())]
        return sorted(met, key=lambda each: each.start_time)

    def row(self, **where):
        """The one span that has these values."""
        (found,) = self.rows(**where)
        return found


class Flushed(Recorded):
    """The same for what this very program records."""

    def rows(self, **where):
        assert tracewatch.flush(20)
        return super().rows(**where)


@pytest.fixture(autouse=True)
def _recording_ends(monkeypatch):
    """No recording from one test to the next, and nothing from the machine."""
    for name in OTEL:
        monkeypatch.delenv(name, raising=False)
    yield
    tracewatch.shutdown(5)


@pytest.fixture
def recorded(tmp_path):
    """A program that records into a file."""
    path = tmp_path / "watch.db"
    tracewatch.init(str(path), service="app")
    return Flushed(path)


@pytest.fixture
def program(tmp_path):
    """Runs a program of its own, whose warnings are errors, with the file in TRACEWATCH_DB; gives what it recorded."""

    def run(code, *, returns=0, **environment):
        path = tmp_path / "watch.db"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            env={**os.environ, "TRACEWATCH_DB": str(path), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )
        assert done.returncode == returns, done.stderr
        found = Recorded(path)
        found.said, found.warned = done.stdout, done.stderr
        return found

    return run
