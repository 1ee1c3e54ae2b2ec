"""A provider on loopback, calls recorded to a SQLite file, and the rows read back from it."""

import pytest
from mock_provider import Provider
from written import read_rows

import tracewatch


@pytest.fixture(scope="session")
def _provider():
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(_provider):
    _provider.requests.clear()
    yield _provider
    _provider.answer = None


@pytest.fixture
def recording(tmp_path):
    """Records to a file of this test's own; what it gives reads the rows of the file, oldest first."""
    path = tmp_path / "calls.db"
    tracewatch.init(str(path), project="tests")
    yield lambda: read_rows(path)
    tracewatch.uninstrument()
    tracewatch.shutdown()


@pytest.fixture
def rows(recording):
    """The same, with all clients instrumented."""
    tracewatch.instrument()
    return recording


@pytest.fixture
def row(rows):
    """The one row there is."""

    def only():
        found = rows()
        assert len(found) == 1, f"{len(found)} rows instead of one: {found}"
        return found[0]

    return only
