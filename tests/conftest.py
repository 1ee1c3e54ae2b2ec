"""What holds for every test."""

import pytest


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    """No settings of the machine's, and no width: output that nobody watches is as wide as it is by default."""
    for name in ("COLUMNS", "TRACEWATCH_DB", "TRACEWATCH_PROJECT", "TRACEWATCH_DURABILITY", "TRACEWATCH_METRICS"):
        monkeypatch.delenv(name, raising=False)
