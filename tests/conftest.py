"""What holds for every test."""

import dataclasses

import hypothesis
import pytest
from receivers import receiving

from tracewatch.settings import PREFIX, Settings

# How long an example takes is a matter of who else is using the machine.
hypothesis.settings.register_profile("tracewatch", deadline=None)
hypothesis.settings.load_profile("tracewatch")

MACHINES = ("COLUMNS", *(f"{PREFIX}{field.name.upper()}" for field in dataclasses.fields(Settings)))


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


@pytest.fixture
def receiver():
    """An HTTP server on this machine that keeps what it gets."""
    with receiving() as kept:
        yield kept
