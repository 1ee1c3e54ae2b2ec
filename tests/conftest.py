"""What holds for every test."""

import pytest

MACHINES = ("COLUMNS", "TRACEWATCH_DB", "TRACEWATCH_PROJECT", "TRACEWATCH_DURABILITY", "TRACEWATCH_METRICS")


@pytest.fixture(scope="session", autouse=True)
def _plain_environment():
    """No settings of the machine's, and no width: output that nobody watches is as wide as it is by default.

    For the whole session: fixtures of modules come before those of functions, and pytest's workers have a width.
    """
    with pytest.MonkeyPatch.context() as environment:
        for name in MACHINES:
            environment.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _plain_again(monkeypatch):
    """The same for a test after one that has set them."""
    for name in MACHINES:
        monkeypatch.delenv(name, raising=False)
