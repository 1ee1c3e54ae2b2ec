"""The real ClickHouse engine in the process of the tests, by the real client; each test has a database of its own."""

import atexit
import functools
import itertools
import os
import shutil
import tempfile

import pytest

SERVER = "TRACEWATCH_TEST_CLICKHOUSE"
"""The address of a server (clickhouse://…) that may be given to run the same tests against, in databases of their own."""

_numbers = itertools.count(1)


@functools.cache
def engine():
    """The folder of the engine, which lives as long as this process; skips loudly where there is none."""
    try:
        import chdb
    except ImportError as error:
        pytest.skip(f"NO CLICKHOUSE: its tests are left out, because its engine is not there ({error})")
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
        head, _, options = given.partition("?")
        return f"{head.rstrip('/').rsplit('/', 1)[0] if head.count('/') > 2 else head}/{name}" + (f"?{options}" if options else "")
    return f"chdb://{engine()}?database={name}"
