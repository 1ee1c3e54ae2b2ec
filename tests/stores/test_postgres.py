"""What is special about the PostgreSQL store: its partitions, several servers at once, restarts, who may do what."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from conformance import SOME_DAYS, Conformance, an_anomaly, busy_days, key, rows
from conftest import NOW
from postgres_server import fresh_url, server
from psycopg.conninfo import conninfo_to_dict
from writing import SPANS_A_BATCH

from tracewatch.errors import (
    BadToken,
    NotAFile,
    StoreBusy,
    StoreOccupied,
    StoreTooNew,
    StoreUnreadable,
    StoreUnwritable,
)
from tracewatch.records import Anomaly, Incident, Span
from tracewatch.stores import Filter, file_of, open_store, parse_address, postgres_connecting
from tracewatch.stores.postgres import PostgresStore
from tracewatch.stores.postgres_connecting import name_of
from tracewatch.stores.postgres_schema import OTHER_DAYS, partition_name

pytestmark = pytest.mark.xdist_group("postgres")
HERE = Path(__file__).parent
WORKLOAD = HERE.parents[1] / "examples" / "workload.parquet"
UNTIL = "2026-03-26T15:29:33Z"  # the last call of it
DAY = 86_400.0


@pytest.fixture
def url():
    return fresh_url()


@pytest.fixture
def store(url):
    with PostgresStore(url, create=True, clock=lambda: NOW) as store:
        yield store


def asked(url, sql, *values):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql, values).fetchall()


def done(url, sql):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


def start(verb, *arguments):
    command = [sys.executable, str(HERE / "writing.py"), verb, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class TestConformance(Conformance):
    pass


class TestAddress:
    def test_what_is_secret_is_in_no_name(self):
        assert name_of("postgresql://ann:s3cret@db:6543/app?sslmode=require") == "postgresql://ann@db:6543/app"
        assert name_of("postgres://db/app?password=s3cret") == "postgresql://db/app"
        assert name_of("postgresql://[s3cret") == "postgresql://…"

    def test_a_database_server_is_no_file(self):
        assert file_of("postgresql://db/app") is None
        assert file_of("sqlite:///watch.db") == "watch.db"
        with pytest.raises(NotAFile, match="db/app is a database server, which an app does not write to"):
            parse_address("postgresql://ann:s3cret@db/app")

    def test_a_server_that_is_not_there_is_told_without_the_password(self):
        with pytest.raises(StoreUnreadable) as told:
            open_store("postgresql://ann:s3cret@127.0.0.1:1/app")
        assert "postgresql://ann@127.0.0.1:1/app" in str(told.value)
        assert str(told.value).endswith("Connection refused. Start the server, or correct host and port")
        assert "s3cret" not in str(told.value)

    @pytest.mark.parametrize(
        ("part", "remedy"),
        [
            ({"dbname": "no_such"}, 'database "no_such" does not exist. Make it with: createdb'),
            ({"user": "no_such"}, 'role "no_such" does not exist. Make it with: createuser'),
        ],
    )
    def test_what_the_server_does_not_have_is_told_with_what_to_do(self, url, part, remedy):
        address = conninfo_to_dict(url) | part
        user, host, port, database = (address.get(name, "") for name in ("user", "host", "port", "dbname"))
        with pytest.raises(StoreUnreadable, match=remedy):
            open_store(f"postgresql://{user}@/{database}?host={quote(str(host))}&port={port}")

    def test_a_database_without_our_tables_is_only_made_one_of_ours_on_request(self, url):
        with pytest.raises(StoreUnreadable, match="it has no tables of tracewatch"):
            open_store(url)
        open_store(url, create=True).close()
        open_store(url).close()

    def test_somebody_elses_table_of_our_name_is_left_alone(self, url):
        done(url, "CREATE TABLE llm_traces (id INT)")
        with pytest.raises(StoreOccupied, match="a table 'llm_traces'"):
            open_store(url, create=True)
        assert asked(url, "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()") == [
            (1,)
        ]

    def test_a_newer_schema_is_not_touched(self, url, store):
        done(url, "UPDATE tracewatch_meta SET value = 99 WHERE name = 'schema'")
        with pytest.raises(StoreTooNew, match="schema 99"):
            open_store(url)

    def test_a_column_and_an_index_that_are_missing_are_added(self, url, store, a_span):
        span = a_span(user_id="ann")
        store.add([span])
        done(url, "ALTER TABLE llm_traces DROP COLUMN ttft_ms; DROP INDEX llm_traces_by_user")
        done(url, "DROP TABLE anomaly_detections; DROP SEQUENCE anomaly_detections_seq")
        with open_store(url) as again:
            again.put([an_anomaly()])
            assert again.get(Span, key(span)) == span
        assert asked(url, "SELECT to_regclass('llm_traces_by_user') IS NOT NULL") == [(True,)]

    def test_a_token_of_another_store_is_refused(self, store):
        for token in ("llm_traces:7", "postgresql:x", "postgresql:"):
            with pytest.raises(BadToken):
                store.scan(Span, ["trace_id"], after=token)


class TestDays:
    def test_spans_lie_in_the_partition_of_their_day(self, url, store, a_span):
        store.add([a_span(start_time=NOW), a_span(start_time=NOW + DAY), a_span(start_time=-5.0)])
        for name, count in ((partition_name(int(NOW // DAY)), 1), (OTHER_DAYS, 1)):
            assert asked(url, f"SELECT count(*) FROM {name}") == [(count,)]
        assert partition_name(int(NOW // DAY)) == "llm_traces_20260302"

    def test_a_span_that_comes_again_on_another_day_is_the_same_span(self, store, a_span):
        first = a_span()
        moved = a_span(**key(first), start_time=NOW + 3 * DAY, model_name="moved")
        store.add([first])
        assert store.add([moved]) == 0
        store.put([moved])
        assert store.page(Span).records == (moved,)
        assert store.trace("default", first.trace_id) == (moved,)
        assert store.verify() is None

    def test_retention_drops_whole_days(self, url, store, a_span):
        given = [a_span(start_time=NOW + hour * 3600.0) for hour in range(72)]
        store.add(given)
        store.roll_up()
        before = store.rollup(NOW, NOW + 3 * DAY)
        assert store.retain(NOW + 1.5 * DAY) == 36
        assert asked(url, "SELECT to_regclass('llm_traces_20260302') IS NULL") == [(True,)]
        assert store.count(Span) == 36
        assert store.verify() is None
        assert store.rollup(NOW, NOW + 3 * DAY).equals(before)
        assert store.add(given) == 0
        assert store.add([a_span(start_time=NOW + 2 * DAY)]) == 1


class TestSeveralAtOnce:
    def test_who_reads_on_misses_nothing_that_others_commit_out_of_order(self, url, store):
        """A transaction that began first and ends last has smaller numbers than what was read meanwhile."""
        seen, token = set(), store.tip()

        def read_on():
            nonlocal token
            following = store.tip()
            seen.update(
                (row["trace_id"], row["span_id"])
                for row in rows(store.scan(Span, ["trace_id", "span_id"], after=token))
            )
            token = following

        writers = [start("write_to", url, name, 12) for name in ("one", "other")]
        while any(each.poll() is None for each in writers):
            read_on()
        for each in writers:
            each.communicate()
        read_on()
        assert len(seen) == store.count(Span) == 2 * 12 * SPANS_A_BATCH

    def test_two_that_roll_up_while_two_write_count_everything_once(self, url, store):
        given = list(busy_days(400))
        others = [PostgresStore(url, clock=lambda: NOW) for _ in range(4)]

        def write(other, spans):
            for at in range(0, len(spans), 10):
                other.add(spans[at : at + 10])
                other.annotate(Span, key(spans[at]), {"cost_usd": 3.0})

        def roll(other):
            for _ in range(20):
                other.roll_up()

        works = [(write, others[0], given[:200]), (write, others[1], given[200:]), (roll, others[2]), (roll, others[3])]
        threads = [threading.Thread(target=work, args=args) for work, *args in works]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        store.roll_up()
        table = store.rollup(*SOME_DAYS, by=("project",), measures=["calls", "cost_usd_sum"]).to_pylist()
        for project in ("default", "other"):
            mine = [span for span in store.page(Span, limit=1000).records if span.project == project]
            counted = [row for row in table if row["project"] == project]
            assert sum(row["calls"] for row in counted) == len(mine)
            assert sum(row["cost_usd_sum"] for row in counted) == pytest.approx(sum(s.cost_usd or 0.0 for s in mine))
        for each in others:
            each.close()

    def test_two_who_write_the_same_spans_keep_each_once(self, url, store):
        given = list(busy_days(300))
        other = PostgresStore(url)
        counts = []
        threads = [
            threading.Thread(target=lambda s=s, g=g: counts.append(s.add(g)))
            for s, g in ((store, given), (other, given[::-1]))
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert sum(counts) == store.count(Span) == 300
        other.close()


class TestFaults:
    def test_a_killed_writer_loses_nothing_it_said_was_kept(self, url, store):
        writer = start("write_to", url, "killed", 10_000)
        kept = [writer.stdout.readline() for _ in range(5)]
        os.kill(writer.pid, signal.SIGKILL)
        said = len(kept) + len(writer.communicate()[0].split())
        held = store.count(Span)
        assert held % SPANS_A_BATCH == 0
        assert held >= said * SPANS_A_BATCH
        store.roll_up()
        (row,) = store.rollup(0, 1e6, step_s=3_600_000, measures=["calls"]).to_pylist()
        assert row["calls"] == held

    def test_a_restart_of_the_database_is_one_sentence_and_then_it_goes_on(self, store, a_span):
        span = a_span()
        store.add([span])
        server().stop()
        with pytest.raises((StoreUnreadable, StoreUnwritable, StoreBusy)) as told:
            store.add([a_span()])
        assert "postgresql://postgres@127.0.0.1" in str(told.value)
        with pytest.raises(StoreUnreadable):
            store.count(Span)
        server().start()
        assert store.count(Span) == 1
        assert store.add([a_span()]) == 1
        assert store.get(Span, key(span)) == span

    def test_a_database_that_dies_keeps_what_was_acknowledged(self, store, a_span):
        store.add([a_span() for _ in range(100)])
        server().stop("immediate")  # as if the power had gone: it recovers from its log
        server().start()
        assert store.count(Span) == 100
        assert store.roll_up() == 100

    def test_a_connection_that_is_cut_while_spans_are_copied_keeps_none_of_them(self, url, store, a_span):
        store.add([a_span()])
        given, cut = [a_span() for _ in range(20_000)], threading.Event()

        def cutting():
            sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
            with psycopg.connect(url, autocommit=True) as connection:
                while not cut.is_set():
                    if connection.execute(sql, (f"COPY {Span.table}%",)).fetchall():
                        return

        thread = threading.Thread(target=cutting)
        thread.start()
        try:
            with pytest.raises((StoreUnwritable, StoreBusy, StoreUnreadable)) as told:
                store.add(given)
        finally:
            cut.set()
            thread.join()
        assert "postgresql://postgres@127.0.0.1" in str(told.value)
        assert store.count(Span) == 1
        assert store.add(given) == 20_000
        assert store.roll_up() == 20_001

    def test_threads_that_write_at_once_lose_no_score_that_waits(self, store, a_span):
        late = [a_span() for _ in range(24)]
        scores = [
            a_span(trace_id=each.trace_id, span_id=f"s{at}", parent_span_id=each.span_id, operation_type="score",
                   groundedness_score=0.5, start_time=each.start_time + 1)
            for at, each in enumerate(late)
        ]  # fmt: skip
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(lambda each: store.add([each]), scores))
            list(threads.map(lambda each: store.add([each]), late))
        store.add([a_span()])  # whoever was being tried elsewhere is tried again
        assert store.count(Span) == len(late) + 1
        assert store.count(Span, [Filter("groundedness_score", "=", (0.5,))]) == len(late)

    def test_a_lock_that_is_never_let_go_is_told(self, url, a_span, monkeypatch):
        monkeypatch.setattr(postgres_connecting, "_OPTIONS", "-c lock_timeout=200ms")
        with PostgresStore(url, create=True) as store, psycopg.connect(url) as other:
            other.execute("LOCK TABLE anomaly_detections")
            with pytest.raises(StoreBusy, match="was locked by another process"):
                store.put([an_anomaly()])
        with PostgresStore(url) as store:
            assert store.count(Anomaly) == 0

    def test_listeners_are_told_when_spans_have_come(self, url, store, a_span):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("LISTEN tracewatch_spans")
            store.add([a_span()])
            told = next(connection.notifies(timeout=5))
        assert told.channel == "tracewatch_spans"


def test_lists_that_are_long_are_asked_for_what_they_contain(store, a_span):
    store.add([a_span(warning_flags=tuple(f"flag {number}" for number in range(300)))])
    assert store.count(Span, [Filter("warning_flags", "=", ("flag 299",))]) == 1


class TestCommands:
    def test_no_command_prints_the_password(self):
        address = "postgresql://ann:s3cret@127.0.0.1:1/app"
        for words in (["stats", "--db", address], ["stats", "--help"]):
            environment = {**os.environ, "TRACEWATCH_DB": address}
            command = [sys.executable, "-m", "tracewatch", *words]
            told = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert "ann@127.0.0.1:1/app" in (told.stdout + told.stderr).replace("\n", "").replace(" ", "")
            assert "s3cret" not in told.stdout + told.stderr

    def test_one_case_is_found_in_it_as_in_a_file(self, url, tmp_path):
        """The same incidents, with the same figures, from the same calls."""
        told = {}
        for db in (url, str(tmp_path / "watch.db")):
            for words in (["import", str(WORKLOAD)], ["detect", "--until", UNTIL]):
                command = [sys.executable, "-m", "tracewatch", *words, "--db", db]
                subprocess.run(command, check=True, capture_output=True)
            with open_store(db) as found:
                told[db] = [set(map(repr, found.page(record, limit=5000).records)) for record in (Incident, Anomaly)]
        file, database = told.values()
        assert len(file[0]) > 10
        assert file == database
