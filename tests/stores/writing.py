"""Programs that the tests run as processes of their own: python writing.py VERB PATH …"""

import os
import signal
import sys

from conformance import a_batch

from tracewatch.records import Span
from tracewatch.stores import open_store, segments, sqlite_claims, sqlite_closing, sqlite_rollups, sqlite_schema
from tracewatch.stores.sqlite_writing import SqliteWriter

SPANS_A_BATCH = 50


def batch(name, number):
    times = range(number * SPANS_A_BATCH, (number + 1) * SPANS_A_BATCH)
    return [Span(start_time=float(at), trace_id=f"{name}-{number}", span_id=str(at), duration_ms=1.0) for at in times]


def write(path, name, batches):
    """Writes batches; says the number of each after it has been kept."""
    writer = SqliteWriter(path)
    for number in range(int(batches)):
        assert writer.add(batch(name, number)) == SPANS_A_BATCH
        print(number, flush=True)


def write_to(url, name, batches):
    """The same into any store."""
    with open_store(url) as store:
        for number in range(int(batches)):
            assert store.add(batch(name, number)) == SPANS_A_BATCH
            print(number, flush=True)


def load(path, batches):
    """Loads batches, slowly read; says how many rows of each were new."""
    store = open_store(path, create=True)
    names = ([f"{number}-{row}" for row in range(200)] for number in range(int(batches)))
    for new in store.load(Span, (a_batch(each, duration_ms=100.0) for each in names)):
        print(new, flush=True)


def roll_up_and_die(path, chunks):
    """Rolls up, and is killed in the middle of a transaction, after it has added the spans but before it has ended."""
    sqlite_rollups.CHUNK_ROWS = sqlite_claims.CLAIM_ROWS = 10
    left = [int(chunks)]
    set_meta = sqlite_rollups._set_meta

    def dying(connection, name, value):
        set_meta(connection, name, value)
        left[0] -= name == "rolled"
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sqlite_rollups._set_meta = dying
    open_store(path).roll_up()


def close_and_die(path, at):
    """Closes all spans, and is killed at one of the moments between the first byte of a file and the last step."""
    sqlite_closing.STEP_ROWS = 40
    left = [int(at)]

    def die_if_it_is_time():
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(function):
        def do(*args, **more):
            die_if_it_is_time()
            found = function(*args, **more)
            die_if_it_is_time()
            return found

        return do

    for module, names in (
        (segments, ("_confirm",)),
        (sqlite_closing, ("_begin", "note", "_move_some", "_end")),
    ):
        for name in names:
            setattr(module, name, dying(getattr(module, name)))
    open_store(path).compact(1e12, least=1)
    print("alive", flush=True)


def compact(path, times):
    """Closes all spans again and again, as another process than the one that writes them."""
    sqlite_closing.STEP_ROWS = 20
    with open_store(path) as store:
        for _ in range(int(times)):
            print(store.compact(1e12, least=1), flush=True)


def migrate_and_die(path):
    """Opens a database of an older schema, and is killed after the last statement of the migration."""
    missing = sqlite_schema.INDEXES[-1]

    class Dying(type(missing)):
        @property
        def sql(self):
            os.kill(os.getpid(), signal.SIGKILL)

    dying = Dying(name=missing.name, columns=missing.columns)
    sqlite_schema.INDEXES = (*sqlite_schema.INDEXES, dying)
    open_store(path)


def roll_up(path):
    """Rolls up whatever there is, in small steps."""
    sqlite_rollups.CHUNK_ROWS = sqlite_claims.CLAIM_ROWS = 10
    print(open_store(path).roll_up(), flush=True)


def create(path):
    """Opens a store that may not be there yet."""
    open_store(path, create=True).add(batch("created", 0))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
