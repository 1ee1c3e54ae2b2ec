"""A program that records into a file of its own, and what is in that file."""

import os
import subprocess
import sys

import pytest
from reading import Recorded, script

import tracewatch

OTEL = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS")


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
            [sys.executable, "-W", "error", "-c", script(code)],
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
