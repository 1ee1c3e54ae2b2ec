"""The real ClickHouse engine in the process of the tests, by the real client; each test has a database of its own."""

import atexit
import functools
import importlib.util
import itertools
import os
import shutil
import tempfile
from urllib.parse import urlsplit

import pytest

SERVER = "TRACEWATCH_TEST_CLICKHOUSE"
"""The address of a server (clickhouse://…): the same tests then run on it, each in a database that it makes."""

for _package in ("clickhouse_connect", "chdb"):
    if importlib.util.find_spec(_package) is None:
        pytest.skip(f"NO CLICKHOUSE: its tests are left out, because {_package} is not here", allow_module_level=True)

_numbers = itertools.count(1)


@functools.cache
def engine():
    """The folder of the engine, which lives as long as this process; skips loudly where it does not start."""
    try:
        import chdb
    except ImportError as error:
        pytest.skip(f"NO CLICKHOUSE: its tests are left out, because its engine did not start ({error})")
    folder = tempfile.mkdtemp(prefix="tracewatch-clickhouse-")
    kept = chdb.connect(folder)  # the engine goes with the last connection, and would not come again

    def end():
        kept.close()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return folder


def fresh_url():
    """The address of a database that is not there yet."""
    name = f"watch_{os.getpid()}_{next(_numbers)}"
    given = os.environ.get(SERVER)
    if given:
        return urlsplit(given)._replace(path=f"/{name}").geturl()
    return f"chdb://{engine()}?database={name}"
