"""What is special about the SQLite store: its file, the processes that share it, its child that reads columns."""

import contextlib
import gc
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from conformance import SOME_DAYS, Conformance, busy_days, key, rolled_up, rows
from conftest import NOW
from writing import SPANS_A_BATCH

from tracewatch.errors import (
    StoreBusy,
    StoreNotFound,
    StoreOccupied,
    StoreTooNew,
    StoreUnreadable,
    StoreUnwritable,
    UnknownStore,
)
from tracewatch.records import Anomaly, Incident, PriceOverride, Span
from tracewatch.stores import (
    Address,
    Filter,
    open_store,
    parse_address,
    sqlite,
    sqlite_order,
    sqlite_schema,
    sqlite_writing,
)
from tracewatch.stores.columns import arrow_schema
from tracewatch.stores.sqlite import SqliteStore
from tracewatch.stores.sqlite_stream import stream

HERE = Path(__file__).parent
AS_NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "watch.db")


@pytest.fixture
def store(path):
    with SqliteStore(path, create=True, clock=lambda: NOW) as store:
        yield store


@pytest.fixture
def only_by_child(monkeypatch):
    """Every scan of spans goes through the child process."""
    monkeypatch.setattr(sqlite, "SMALL_ROWS", -1)


def start(verb, *arguments):
    command = [sys.executable, str(HERE / "writing.py"), verb, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finished(process):
    said, _ = process.communicate(timeout=60)
    return process.returncode, said.split()


@contextlib.contextmanager
def plainly(path):
    """The file as sqlite3 sees it."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def schema_1(path):
    with plainly(path) as connection:
        connection.executescript((HERE / "data" / "schema-1.sql").read_text())


def contents(path):
    names = ("llm_traces", "anomaly_detections", "price_overrides")
    with plainly(path) as connection:
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY seq").fetchall() for name in names}


def unspaced(objects):
    return [(name, "".join((sql or "").split())) for name, sql in objects]


def dump(path):
    with plainly(path) as connection:
        return list(connection.iterdump())


def many(spans, **values):
    numbers = [str(number) for number in range(spans)]
    ordinary = {"trace_id": numbers, "span_id": numbers, "start_time": [NOW] * spans}
    return pa.RecordBatch.from_pydict(ordinary | {name: [value] * spans for name, value in values.items()})


def is_whole(path):
    with plainly(path) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class TestConformance(Conformance):
    pass


@pytest.mark.usefixtures("only_by_child")
class TestScansByChild:
    """The scans of the same suite, as they are made of large stores."""

    test_scans_are_typed_even_where_all_is_empty = Conformance.test_scans_are_typed_even_where_all_is_empty
    test_after_a_token_only_what_was_written_since_comes = (
        Conformance.test_after_a_token_only_what_was_written_since_comes
    )

    def test_a_scan_is_one_view_of_the_store(self, store, a_span):
        store.add_batch(Span, many(60_000))
        batches = iter(store.scan(Span, ["span_id"]))
        seen = next(batches).num_rows
        store.add([a_span()])
        assert seen + sum(batch.num_rows for batch in batches) == 60_000


class TestAddresses:
    def test_paths_and_addresses_are_told_apart(self):
        assert parse_address("some/watch.db") == Address("some/watch.db", "normal")
        assert parse_address("sqlite:///watch.db?durability=full") == Address("watch.db", "full")
        assert parse_address("sqlite:////var/a%20b.db") == Address("/var/a b.db", "normal")

    @pytest.mark.parametrize(
        "url",
        ["mysql://host/db", "sqlite:///", "", ":memory:", "sqlite:///a?durability=some", "sqlite:///a?mode=ro"],
    )
    def test_other_addresses_are_refused(self, url):
        with pytest.raises(UnknownStore, match="use a file path"):
            open_store(url)

    def test_durability_full_waits_for_the_disk(self, path):
        for url, level in ((f"sqlite:///{path}?durability=full", 2), (path, 1)):
            with open_store(url, create=True) as store:
                assert store._writer.connection.execute("PRAGMA synchronous").fetchone() == (level,)


class TestOpening:
    def test_a_missing_file_is_only_made_on_request(self, path):
        with pytest.raises(StoreNotFound, match="there is no database at"):
            open_store(path)
        assert not Path(path).exists()

    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (lambda path: path.mkdir(), "it is a directory"),
            (lambda path: path.write_bytes(b"PAR1 is no database" * 100), "it is not a SQLite database"),
            (lambda path: path.write_text(""), "it has no tables of tracewatch"),
        ],
    )
    def test_what_is_no_store_is_told_in_one_sentence(self, path, make, why):
        make(Path(path))
        with pytest.raises(StoreUnreadable, match=why):
            open_store(path)

    def test_a_missing_directory_is_named(self, tmp_path):
        with pytest.raises(StoreUnreadable, match=r"the directory .*nowhere does not exist"):
            open_store(str(tmp_path / "nowhere" / "watch.db"), create=True)

    def test_no_permission_is_told(self, path):
        open_store(path, create=True).close()
        os.chmod(path, 0)
        script = f"import os, tracewatch.stores.sqlite as it\nif os.getuid() == 0: os.setuid({AS_NOBODY})\n"
        tried = subprocess.run(
            [sys.executable, "-c", script + f"it.SqliteStore({path!r}, create=True)"], capture_output=True, text=True
        )
        assert "StoreUnreadable: cannot open" in tried.stderr
        assert "permission" in tried.stderr or "cannot be opened" in tried.stderr

    def test_a_damaged_file_is_told(self, path, store, a_span):
        store.add([a_span() for _ in range(2000)])
        store.close()
        data = bytearray(Path(path).read_bytes())
        data[4096 * 3 :] = os.urandom(len(data) - 4096 * 3)
        Path(path).write_bytes(data)
        with pytest.raises(StoreUnreadable, match="the file is damaged"), open_store(path) as damaged:
            list(damaged.scan(Span, ["status", "metadata"]))

    def test_an_apps_own_database_takes_our_tables_beside_its_own(self, path):
        with plainly(path) as connection:
            connection.execute("CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, model TEXT)")
            connection.execute("INSERT INTO llm_usage (model) VALUES ('m')")
            connection.execute("PRAGMA user_version = 7")
        with pytest.raises(StoreUnreadable, match="no tables of tracewatch"):
            open_store(path)
        open_store(path, create=True).close()
        open_store(path).close()
        with plainly(path) as connection:
            assert connection.execute("SELECT * FROM llm_usage").fetchall() == [(1, "m")]
            assert connection.execute("PRAGMA user_version").fetchone() == (7,)

    @pytest.mark.parametrize("create", [False, True])
    def test_somebody_elses_table_of_our_name_is_left_alone(self, path, create):
        with plainly(path) as connection:
            connection.execute("CREATE TABLE llm_traces (id TEXT)")
        before = dump(path)
        with pytest.raises(StoreOccupied, match="'llm_traces' that tracewatch did not make"):
            open_store(path, create=create)
        assert dump(path) == before

    @pytest.mark.parametrize("theirs", ["TABLE {} (id TEXT)", "VIEW {} AS SELECT 1 AS id"])
    def test_somebody_elses_table_in_a_database_of_ours_from_before_is_left_alone(self, path, store, a_span, theirs):
        store.add([a_span()])
        store.close()
        with plainly(path) as connection:
            connection.execute(f"DROP TABLE {Incident.table}")
            connection.execute(f"CREATE {theirs.format(Incident.table.upper())}")
        before = dump(path)
        with pytest.raises(StoreOccupied, match=f"'{Incident.table}' that tracewatch did not make"):
            open_store(path)
        assert dump(path) == before

    def test_an_apps_own_incidents_are_none_of_ours(self, path, a_span):
        with plainly(path) as connection:
            connection.execute("CREATE TABLE incidents (id TEXT, what TEXT)")
            connection.execute("INSERT INTO incidents VALUES ('1', 'door')")
        with open_store(path, create=True) as store:
            assert store.add([a_span()]) == 1
        with plainly(path) as connection:
            assert connection.execute("SELECT * FROM incidents").fetchall() == [("1", "door")]

    def test_opening_again_writes_nothing(self, path, store, a_span):
        store.add([a_span()])
        store.close()
        before = Path(path).read_bytes()
        open_store(path, create=True).close()
        assert Path(path).read_bytes() == before


class TestSchema:
    def test_schema_1_becomes_todays_and_every_row_stays(self, path):
        schema_1(path)
        before = contents(path)
        with open_store(path) as store:
            after = contents(path)
            for name, rows in before.items():  # columns that came later stand at the end
                assert [row[: len(rows[0])] for row in after[name]] == rows
            assert [len(rows) for rows in before.values()] == [120, 3, 1]
            assert store.pending() == store.roll_up() == 120
            assert sum(store.rollup(NOW, NOW + 86400)["calls"].to_pylist()) == 120
            assert store.count(Anomaly) == 3
            assert store.page(PriceOverride).records[0].pattern == "m-1"
        fresh = path + ".fresh"
        open_store(fresh, create=True).close()
        with plainly(path) as old, plainly(fresh) as new:
            objects = "SELECT name, sql FROM sqlite_master ORDER BY name"
            assert unspaced(old.execute(objects)) == unspaced(new.execute(objects))

    def test_a_migration_that_is_killed_leaves_the_old_schema(self, path):
        schema_1(path)
        before = dump(path)
        assert finished(start("migrate_and_die", path))[0] == -signal.SIGKILL
        assert dump(path) == before
        with open_store(path) as store:
            assert store.roll_up() == 120

    def test_a_newer_schema_is_not_touched(self, path, store):
        store.close()
        with plainly(path) as connection:
            connection.execute("UPDATE tracewatch_meta SET value = 99 WHERE name = 'schema'")
        before = dump(path)
        with pytest.raises(StoreTooNew, match="schema 99; this one knows"):
            open_store(path, create=True)
        assert dump(path) == before

    def test_a_column_the_record_has_gained_is_added(self, path, store, a_span):
        span = a_span()
        store.add([span])
        store.close()
        with plainly(path) as connection:
            for column in ("cost_source", "rag_graph_used"):
                connection.execute(f"ALTER TABLE llm_traces DROP COLUMN {column}")
            connection.execute("DROP TABLE price_overrides")
        with open_store(path) as reopened:
            assert reopened.page(Span).records == (span,)
            assert reopened.put([a_span(cost_source="a table")]) == 1
            assert reopened.count(PriceOverride) == 0

    def test_a_measure_the_rollups_have_gained_is_made_for_the_past_too(self, path, store):
        store.add(busy_days(200))
        store.roll_up()
        expected = store.rollup(*SOME_DAYS, by=("model_name",))
        store.close()
        with plainly(path) as connection:
            for table in ("tracewatch_hours", "tracewatch_minutes"):
                connection.execute(f"ALTER TABLE {table} DROP COLUMN cost_usd_sum")
                connection.execute(f"ALTER TABLE {table} DROP COLUMN duration_ms_sketch")
        with SqliteStore(path, clock=lambda: NOW) as reopened:
            assert reopened.roll_up() == 200
            again = reopened.rollup(*SOME_DAYS, by=("model_name",))
            assert again["duration_ms_sketch"].equals(expected["duration_ms_sketch"])
            assert again["cost_usd_sum"].to_pylist() == pytest.approx(expected["cost_usd_sum"].to_pylist())
            assert sum(reopened.rollup(*SOME_DAYS, step_s=60)["calls"].to_pylist()) == 200

    def test_processes_that_make_the_file_at_once_do_not_disturb_each_other(self, path):
        makers = [start("create", path) for _ in range(4)]
        assert [finished(each)[0] for each in makers] == [0] * 4
        with open_store(path) as store:
            assert store.count(Span) == SPANS_A_BATCH


class TestManyProcesses:
    def test_two_write_while_one_reads_and_all_rows_are_there(self, store, path):
        writers = [start("write", path, name, 20) for name in ("one", "two")]
        seen, token = set(), None
        while any(each.poll() is None for each in writers):
            following = store.tip()
            for row in rows(store.scan(Span, ["trace_id", "span_id"], after=token)):
                seen.add((row["trace_id"], row["span_id"]))
            assert len(store.page(Span, limit=10).records) in range(11)
            store.roll_up()
            token = following
        assert [finished(each)[0] for each in writers] == [0, 0]
        seen |= {
            (row["trace_id"], row["span_id"]) for row in rows(store.scan(Span, ["trace_id", "span_id"], after=token))
        }
        assert len(seen) == store.count(Span) == 2 * 20 * SPANS_A_BATCH
        store.roll_up()
        assert sum(store.rollup(0, 10_000)["calls"].to_pylist()) == len(seen)

    def test_a_killed_writer_loses_nothing_it_said_was_kept(self, store, path):
        writer = start("write", path, "one", 100_000)
        for _ in range(5):
            last = writer.stdout.readline()
        writer.kill()
        said, _ = writer.communicate()
        last = int((said.split() or [last])[-1])
        kept = store.count(Span)
        assert kept % SPANS_A_BATCH == 0
        assert kept >= (last + 1) * SPANS_A_BATCH
        assert is_whole(path)
        assert store.roll_up() == kept

    @pytest.mark.parametrize("chunks", [1, 3])
    def test_a_roll_up_that_is_killed_counts_nothing_twice(self, store, path, chunks):
        given = list(busy_days(100))
        store.add(given)
        assert finished(start("roll_up_and_die", path, chunks))[0] == -signal.SIGKILL
        assert store.pending() == 100 - 10 * (chunks - 1)
        store.roll_up()
        assert sum(store.rollup(*SOME_DAYS)["calls"].to_pylist()) == 100
        assert is_whole(path)

    def test_two_that_roll_up_at_once_count_nothing_twice(self, store, path):
        store.add(busy_days(1000))
        rollers = [start("roll_up", path) for _ in range(2)]
        done = [finished(each) for each in rollers]
        assert sum(int(said[0]) for _, said in done) == 1000
        assert sum(store.rollup(*SOME_DAYS)["calls"].to_pylist()) == 1000

    def test_a_lock_that_is_never_let_go_is_told(self, store, path, a_span, monkeypatch):
        store._writer.connection.execute("PRAGMA busy_timeout = 50")
        with plainly(path) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy, match="Nothing was written; try again"):
                store.add([a_span()])
            assert store.page(Span).records == ()  # readers are not kept waiting
            other.rollback()
        assert store.add([a_span()]) == 1

    def test_a_full_disk_is_told_and_the_store_stays_usable(self, store, a_span):
        connection = store._writer.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(StoreUnwritable, match="the disk is full"):
            store.add(a_span() for _ in range(5000))
        connection.execute("PRAGMA max_page_count = 1000000")
        assert store.count(Span) == 0
        assert store.add([a_span()]) == 1


@pytest.mark.usefixtures("only_by_child")
class TestLargeScans:
    def test_columns_that_are_empty_for_long_keep_their_type(self, store, a_span):
        store.add_batch(Span, many(100_000))
        store.add([a_span(cost_usd=0.25, input_tokens=3, streaming_enabled=True, metadata={"a": 1})])
        names = ["cost_usd", "input_tokens", "streaming_enabled", "metadata", "duration_ms"]
        batches = list(store.scan(Span, names, [Filter("project", "=", ("default",))]))
        assert sum(batch.num_rows for batch in batches) == 100_001
        assert {batch.schema for batch in batches} == {arrow_schema(Span, names)}
        expected = {
            "cost_usd": 0.25,
            "input_tokens": 3,
            "streaming_enabled": True,
            "metadata": '{"a":1}',
            "duration_ms": 100.0,
        }
        assert batches[-1].to_pylist()[-1] == expected

    def test_an_error_in_the_child_is_one_sentence(self, store, path):
        with pytest.raises(StoreUnreadable, match="no such column: nonsense"):
            list(stream(path, arrow_schema(Span, ["status"]), "SELECT nonsense FROM llm_traces", ()))

    def test_a_child_that_dies_is_told_and_not_taken_for_the_end(self, store, a_span, monkeypatch):
        children = []
        popen = subprocess.Popen
        monkeypatch.setattr(
            subprocess, "Popen", lambda *args, **more: children.append(popen(*args, **more)) or children[-1]
        )
        store.add_batch(Span, many(60_000, error_message="x" * 400))
        batches = iter(store.scan(Span, ["span_id", "error_message"]))
        next(batches)
        children[0].kill()
        with pytest.raises(StoreUnreadable, match="the process that reads its columns ended with -9"):
            list(batches)

    def test_an_abandoned_scan_leaves_no_process(self, store, a_span, monkeypatch):
        children = []
        popen = subprocess.Popen
        monkeypatch.setattr(
            subprocess, "Popen", lambda *args, **more: children.append(popen(*args, **more)) or children[-1]
        )
        store.add_batch(Span, many(60_000, error_message="x" * 400))
        batches = iter(store.scan(Span, ["error_message"]))
        next(batches)
        del batches
        gc.collect()
        assert children[0].returncode is not None


class TestRarePairs:
    """Values that are common alone and rare together, or large: the rollups tell in which hours to look."""

    @pytest.mark.parametrize(
        "where",
        [
            [Filter("model_name", "=", ("small",)), Filter("usage_type", "=", ("rerank",))],
            [Filter("model_name", "=", ("small", None)), Filter("status", "=", ("error", "timeout"))],
            [Filter("usage_type", "!=", ("chat",)), Filter("status", "=", ("ok",)), Filter("project", "=", ("other",))],
            [Filter("model_provider", "=", ("openai",)), Filter("start_time", "<", (NOW - 90_000,))],
            [Filter("environment", "=", ("nowhere",))],
            [
                Filter("usage_type", "=", ("rerank",)),
                Filter("span_name", "=", (None,)),
                Filter("duration_ms", "<", (900,)),
            ],
            [
                Filter("model_name", "=", ("small",)),
                Filter("status", "!=", ("ok",)),
                Filter("error_type", "!=", ("x",)),
            ],
            [Filter("cost_usd", ">", (0.012,))],
            [Filter("cost_usd", ">=", (4_242 * 3e-6,)), Filter("project", "=", ("default",))],
            [Filter("duration_ms", ">", (2000,)), Filter("status", "=", ("error",)), Filter("ttft_ms", ">", (0,))],
        ],
        ids=lambda where: "&".join(each.name for each in where),
    )
    def test_the_same_rows_come_in_the_same_order(self, store, monkeypatch, where):
        given = list(busy_days(500))
        store.add(given[:400])
        store.roll_up()
        store.add(given[400:])  # newer than the rollups
        expected = store.page(Span, where, limit=1000).records
        extent = store.extent(Span, where)
        monkeypatch.setattr(sqlite_order, "PATIENCE_STEPS", 1)
        monkeypatch.setattr(sqlite_order, "PROBE_ROWS", 0)
        told = []
        hours = sqlite_order.told_hours
        monkeypatch.setattr(sqlite_order, "told_hours", lambda *args, **more: told.append(1) or hours(*args, **more))
        seen, cursor = [], None
        while not seen or cursor:
            page = store.page(Span, where, limit=17, cursor=cursor)
            seen += page.records
            cursor = page.next
            if not page.records:
                break
        assert tuple(seen) == expected
        assert store.extent(Span, where) == extent
        assert told


class TestReading:
    def test_what_a_stranger_wrote_into_a_column_does_not_stop_the_reading(self, store, path, a_span):
        span = a_span(metadata={"a": 1})
        store.add([span])
        with plainly(path) as connection:
            connection.execute("UPDATE llm_traces SET duration_ms = 'soon', metadata = 'no json', warning_flags = '7'")
        found = store.get(Span, key(span))
        assert (found.metadata, found.warning_flags) == ({"value": "no json"}, ("7",))
        assert rows(store.scan(Span, ["duration_ms", "start_time"])) == [{"duration_ms": None, "start_time": NOW}]

    def test_minutes_that_are_no_longer_kept_are_made_from_the_spans(self, path):
        given = list(busy_days())
        asked = {"step_s": 300, "by": ("model_name",)}
        answers = []
        for now in (NOW - 10 * 86400, NOW, NOW + 10 * 86400):
            with SqliteStore(path, create=True, clock=lambda now=now: now) as store:
                store.add(given)
                store.put([Span(start_time=NOW - 6 * 86400, trace_id=f"at {now}", span_id="s")])
                store.add([Span(start_time=now, trace_id=f"at {now}", span_id="newest")])  # so the others are old
                store.roll_up()
                answers.append(rolled_up(store.rollup(*SOME_DAYS, **asked), ("model_name",)))
                with plainly(path) as connection:
                    kept = connection.execute("SELECT count(*) FROM tracewatch_minutes").fetchone()[0]
        assert kept == 1  # that of the newest span
        for place, row in answers[0].items():
            for later in answers[1:]:
                assert later[place] == {
                    name: value if not isinstance(value, float) else pytest.approx(value) for name, value in row.items()
                }

    def test_minutes_up_to_the_newest_span_are_kept_however_old_it_is(self, path):
        given, asked = list(busy_days()), {"step_s": 300, "by": ("model_name",)}
        newest = max(each.start_time for each in given)
        with SqliteStore(path, create=True, clock=lambda: NOW + 400 * 86400) as store:
            store.add(given)
            store.roll_up()
            from_minutes = rolled_up(store.rollup(newest - 86400, newest + 1, **asked), ("model_name",))
            with plainly(path) as connection:
                first, rows = connection.execute("SELECT min(bucket), count(*) FROM tracewatch_minutes").fetchone()
                assert rows > 0
                assert first >= newest - 2 * 86400 - 3600
                connection.execute("DELETE FROM tracewatch_minutes")
                connection.execute("UPDATE tracewatch_meta SET value = ? WHERE name = 'minutes_from'", (NOW * 2,))
            from_spans = rolled_up(store.rollup(newest - 86400, newest + 1, **asked), ("model_name",))
        assert from_minutes == {
            place: {name: pytest.approx(value) if isinstance(value, float) else value for name, value in row.items()}
            for place, row in from_spans.items()
        }

    def test_a_day_that_is_over_is_read_again_when_a_late_span_changes_it(self, path, a_span):
        old = NOW - 30 * 86400
        with (
            SqliteStore(path, create=True, clock=lambda: NOW) as store,
            SqliteStore(path, clock=lambda: NOW) as other,
        ):

            def calls():
                days = other.rollup(NOW - 40 * 86400, NOW, step_s=86400, measures=("calls", "cost_usd_sum"))
                return sum(days["calls"].to_pylist()), sum(days["cost_usd_sum"].to_pylist())

            store.add([a_span(start_time=old + n * 86400, span_id=f"s{n}", cost_usd=1.0) for n in range(30)])
            store.roll_up()
            assert [calls(), calls()] == [(30, 30.0)] * 2
            late = a_span(start_time=old + 60, span_id="late", cost_usd=1.0)
            store.add([late])
            store.roll_up()
            assert calls() == (31, 31.0)
            store.annotate(Span, key(late), {"cost_usd": 5.0})
            store.roll_up()
            assert calls() == (31, 35.0)

    def test_room_of_deleted_spans_is_given_back(self, store, path, a_span):
        store.add(a_span(error_message="x" * 400) for _ in range(5000))
        store.retain(NOW)
        store._writer.give_back()
        before = os.path.getsize(path)
        assert store.retain(NOW + 86400) == 5000
        assert os.path.getsize(path) < before / 3

    def test_the_writing_half_needs_the_standard_library_alone(self, path):
        script = (
            "import sys; from tracewatch.stores.sqlite_writing import SqliteWriter\n"
            f"SqliteWriter({path!r}).close()\n"
            "print([name for name in ('pyarrow', 'numpy', 'adbc_driver_sqlite') if name in sys.modules])"
        )
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert said.strip() == "[]"

    def test_schema_version_is_the_last_migrations(self):
        assert [each.version for each in sqlite_schema.MIGRATIONS] == list(range(2, sqlite_schema.VERSION + 1))
        assert sqlite_writing.BUSY_S == 30


def test_a_stamp_is_another_one_when_somebody_else_has_written(tmp_path, a_span):
    path = str(tmp_path / "w.db")
    with open_store(path, create=True) as store, open_store(path) as other:
        before = store.stamp()
        store.add([a_span()])
        assert store.stamp() == before
        other.add([a_span()])
        assert store.stamp() != before
