"""What is special about the ClickHouse store: versions, days, the cursor, turns and fences, and its statements."""

import dataclasses
import sys
import threading
import time

import pytest
from clickhouse_engine import fresh_url
from conformance import SOME_DAYS, Conformance, a_baseline, an_anomaly, any_span, busy_days, key, rows, some_rows
from conftest import NOW

from tracewatch.errors import (
    BadStoreAddress,
    BadToken,
    LeaseLost,
    MissingExtra,
    NotAFile,
    StoreOccupied,
    StoreTooNew,
    StoreUnreadable,
)
from tracewatch.records import Baseline, Lease, Span
from tracewatch.stores import Filter, file_of, open_store, parse_address
from tracewatch.stores import clickhouse_queries as queries
from tracewatch.stores.clickhouse import ClickHouseStore
from tracewatch.stores.clickhouse_address import parse_clickhouse
from tracewatch.stores.clickhouse_connecting import Connection
from tracewatch.stores.clickhouse_queries import decode_token, encode_token
from tracewatch.stores.clickhouse_schema import tables
from tracewatch.stores.clickhouse_turns import turn

pytestmark = pytest.mark.xdist_group("clickhouse")
DAY = 86_400.0


@pytest.fixture
def url():
    return fresh_url()


@pytest.fixture
def store(url):
    with ClickHouseStore(url, create=True, clock=lambda: NOW) as store:
        yield store


@pytest.fixture
def asked(url, store):
    connection = Connection(url)
    yield connection
    connection.close()


def partitions(asked):
    sql = "SELECT DISTINCT partition FROM system.parts WHERE database = currentDatabase() AND table = ? AND active"
    return {int(name) for (name,) in asked.rows(sql, (Span.table,))}


class TestConformance(Conformance):
    # A question costs ClickHouse 10 to 50 ms, however little is asked: fewer examples.
    test_any_span_comes_back_as_it_went_in = any_span(examples=12)
    test_rows_are_stored_as_records_are = some_rows(examples=8)


class TestAddress:
    def test_an_address_says_all_there_is_to_know(self):
        found = parse_clickhouse(
            "clickhouse://ann:s%40cret@db:8443/watch?secure=1&cluster=main&ttl_days=90&async_insert=1"
        )
        assert (found.user, found.password, found.host, found.port, found.database) == (
            "ann", "s@cret", "db", 8443, "watch",
        )  # fmt: skip
        assert (found.secure, found.cluster, found.ttl_days, found.async_insert) == (True, "main", 90, True)
        assert found.name == "clickhouse://ann@db:8443/watch"
        assert "s@cret" not in found.name

    def test_a_password_may_stand_in_the_environment(self, monkeypatch):
        monkeypatch.setenv("CLICKHOUSE_PASSWORD", "s3cret")
        assert parse_clickhouse("clickhouse://ann@db/watch").password == "s3cret"
        assert parse_clickhouse("clickhouse://ann:own@db/watch").password == "own"

    @pytest.mark.parametrize(
        ("address", "why"),
        [
            ("clickhouse://ann:s3cret@db/watch?colour=red", "no option colour"),
            ("clickhouse://ann:s3cret@db/watch?secure=perhaps", "secure is 1 or 0"),
            ("clickhouse://ann:s3cret@db/watch?ttl_days=-1", "ttl_days is a number of days"),
            ("clickhouse://ann:s3cret@db/watch?cluster=a'b", "a cluster is named"),
            ("clickhouse://ann:s3cret@db:port/watch", "HOST:PORT"),
            ("chdb://relative/path", "a folder is written like"),
        ],
    )
    def test_an_address_that_makes_no_sense_is_told_without_its_password(self, address, why):
        with pytest.raises(BadStoreAddress, match=why) as told:
            open_store(address)
        assert "s3cret" not in str(told.value)

    def test_a_server_that_is_not_there_is_told_without_the_password(self):
        with pytest.raises(StoreUnreadable, match="Connection refused") as told:
            open_store("clickhouse://ann:s3cret@127.0.0.1:1/app")
        assert "clickhouse://ann@127.0.0.1:1/app" in str(told.value)
        assert "s3cret" not in str(told.value)

    def test_a_database_server_is_no_file(self):
        assert file_of("clickhouse://db/app") is None
        with pytest.raises(NotAFile, match="db/app is a database server, which an app does not write to"):
            parse_address("clickhouse://ann:s3cret@db/app")

    def test_without_its_extra_it_is_said_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
        for name in ("clickhouse", "clickhouse_connecting", "clickhouse_schema", "clickhouse_marks"):
            monkeypatch.delitem(sys.modules, f"tracewatch.stores.{name}", raising=False)
        with pytest.raises(MissingExtra, match=r"ClickHouse needs clickhouse_connect.*tracewatch\[clickhouse\]"):
            open_store("clickhouse://db/app")


class TestSchema:
    def test_a_database_without_our_tables_is_only_made_one_of_ours_on_request(self, url):
        Connection(url, create=True).close()
        with pytest.raises(StoreUnreadable, match="it has no tables of tracewatch"):
            open_store(url)
        open_store(url, create=True).close()
        open_store(url).close()

    def test_somebody_elses_table_of_our_name_is_left_alone(self, url):
        other = Connection(url, create=True)
        other.execute("CREATE TABLE llm_traces (id Int64) ENGINE = Memory")
        with pytest.raises(StoreOccupied, match="a table 'llm_traces'"):
            open_store(url, create=True)
        assert other.number("SELECT count() FROM system.tables WHERE database = currentDatabase()") == 1
        other.close()

    def test_a_newer_schema_is_not_touched(self, url, asked):
        asked.execute("INSERT INTO tracewatch_meta (name, value, version) VALUES ('schema', '99', 99)")
        with pytest.raises(StoreTooNew, match="schema 99"):
            open_store(url)

    def test_a_column_and_a_table_that_are_missing_are_added(self, url, store, asked, a_span):
        span = a_span(user_id="ann")
        store.add([span])
        asked.execute("ALTER TABLE llm_traces DROP COLUMN ttft_ms")
        asked.execute("DROP TABLE anomaly_detections SYNC")
        with open_store(url) as again:
            again.put([an_anomaly()])
            assert again.get(Span, key(span)) == span

    @pytest.mark.parametrize("options", ["", "?cluster=main", "?ttl_days=90", "?cluster=%7Bcluster%7D&ttl_days=7"])
    def test_the_statements_for_a_cluster_are_ones_that_clickhouse_reads(self, asked, options):
        address = parse_clickhouse(f"clickhouse://db/watch{options}")
        for table in tables(address):
            said = asked.rows("SELECT formatQuery(?)", (table.sql(address.cluster),))[0][0].decode()
            assert ("ON CLUSTER" in said) == ("Replicated" in said) == bool(address.cluster)
        spans = next(each for each in tables(address) if each.name == Span.table).sql(address.cluster)
        assert ("TTL" in spans) == bool(address.ttl_days)

    def test_the_database_may_delete_spans_by_itself(self, url, a_span):
        with ClickHouseStore(f"{url}&ttl_days=30", create=True) as store:
            assert store.add([a_span(start_time=time.time() - 40 * DAY), a_span(start_time=time.time() - DAY)]) == 1
            assert store.roll_up() == 1


class TestDays:
    def test_spans_lie_in_the_partition_of_their_day(self, store, asked, a_span):
        store.add([a_span(start_time=NOW), a_span(start_time=NOW + DAY), a_span(start_time=-5.0)])
        assert partitions(asked) == {int(NOW // DAY), int(NOW // DAY) + 1, 0}

    def test_a_span_that_comes_again_on_another_day_is_the_same_span(self, store, a_span):
        first = a_span()
        moved = a_span(**key(first), start_time=NOW + 3 * DAY, model_name="moved")
        store.add([first])
        assert store.add([moved]) == 0
        for there in (moved, first, moved):
            store.put([there])
            assert store.page(Span).records == (there,)
            assert store.trace("default", first.trace_id) == (there,)
        assert store.verify() is None

    def test_retention_drops_whole_days(self, store, asked, a_span):
        given = [a_span(start_time=NOW + hour * 3600.0) for hour in range(72)]
        store.add(given)
        store.roll_up()
        before = store.rollup(NOW, NOW + 3 * DAY)
        assert store.retain(NOW + 1.5 * DAY) == 36
        assert partitions(asked) == {int(NOW // DAY) + 1, int(NOW // DAY) + 2}
        assert store.count(Span) == 36
        assert store.verify() is None
        assert store.rollup(NOW, NOW + 3 * DAY).equals(before)
        assert store.add(given) == 0
        assert store.add([a_span(start_time=NOW + 2 * DAY)]) == 1


class TestVersions:
    def test_a_write_that_was_sent_twice_at_once_counts_once_and_undoes_nothing(self, url, store, a_span, monkeypatch):
        """The first answer was lost, so the second look-up of keys saw nothing: as when both were under way at once."""
        span = a_span(cost_usd=None)
        store.add([span])
        store.annotate(Span, key(span), {"cost_usd": 2.0})
        with ClickHouseStore(url, clock=lambda: NOW) as other:
            monkeypatch.setattr(other._writer, "_new_ones", lambda spans: spans)
            other.add([span])
            other.add([dataclasses.replace(span, model_name="later")])
        assert store.count(Span) == 1
        assert store.get(Span, key(span)) == dataclasses.replace(span, cost_usd=2.0)
        store.roll_up()
        (row,) = store.rollup(NOW, NOW + 60, measures=["calls", "cost_usd_sum"]).to_pylist()
        assert (row["calls"], row["cost_usd_sum"]) == (1, 2.0)

    def test_a_clock_that_goes_back_does_not_bury_what_is_put_later(self, store, a_span, monkeypatch):
        span = a_span()
        store.put([span])
        store.put([an_anomaly()])
        monkeypatch.setattr("tracewatch.stores.clickhouse_writing.order_number", lambda: 1_000)
        store.put([dataclasses.replace(span, model_name="again")])
        store.put([an_anomaly(severity="low")])
        assert store.get(Span, key(span)).model_name == "again"
        assert store.page(type(an_anomaly())).records[0].severity == "low"

    def test_two_who_write_the_same_spans_keep_each_once(self, url, store):
        given = list(busy_days(300))
        with ClickHouseStore(url, clock=lambda: NOW) as other:
            threads = [
                threading.Thread(target=each.add, args=(spans,))
                for each, spans in ((store, given), (other, given[::-1]))
            ]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        assert store.count(Span) == 300
        store.roll_up()
        assert sum(store.rollup(*SOME_DAYS, measures=["calls"])["calls"].to_pylist()) == 300


class TestReadingOn:
    def test_a_token_is_text_and_others_are_refused(self, store):
        token = queries.Token(7, (1, 2**63 - 1))
        assert decode_token(encode_token(token)) == token
        for text in ("llm_traces:7", "clickhouse:x", "clickhouse:1:é", "clickhouse:1:AAA="):
            with pytest.raises(BadToken):
                store.scan(Span, ["trace_id"], after=text)

    def test_with_more_inserts_than_a_token_names_rows_come_twice_and_are_never_missed(
        self, store, a_span, monkeypatch
    ):
        monkeypatch.setattr("tracewatch.stores.clickhouse_marks.BATCHES", 2)
        for _ in range(4):
            store.add([a_span()])
        token = store.tip()
        last = a_span()
        store.add([last])
        found = {row["trace_id"] for row in rows(store.scan(Span, ["trace_id"], after=token))}
        assert last.trace_id in found
        assert len(found) == 3

    def test_many_new_rows_are_told_as_few_are(self, store, a_span, monkeypatch):
        store.add([a_span(), a_span()])
        token = store.tip()
        moved, kept = a_span(), a_span()
        store.add([moved, kept])
        store.put([dataclasses.replace(moved, start_time=NOW + DAY)])
        asked = [Filter("project", "=", ("default",))]
        few = sorted(row["start_time"] for row in rows(store.scan(Span, ["start_time"], asked, after=token)))
        monkeypatch.setattr("tracewatch.stores.clickhouse.FEW_ROWS", 0)
        many = sorted(row["start_time"] for row in rows(store.scan(Span, ["start_time"], asked, after=token)))
        assert few == many == sorted([kept.start_time, NOW + DAY])


class TestTurns:
    def test_only_one_has_the_turn(self, url, store):
        """Each raises a number that it has read: with two at once one would be lost."""
        store.put([a_baseline(revision=0)])

        def raise_it(own):
            done = 0
            while done < 3:
                there = own.page(Baseline).records[0]
                news = dataclasses.replace(there, revision=there.revision + 1)
                done += own.swap(Baseline, [Filter("revision", "=", (there.revision,))], [news], expected=1)

        stores = [ClickHouseStore(url) for _ in range(3)]
        threads = [threading.Thread(target=raise_it, args=(each,)) for each in stores]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert store.page(Baseline).records == (a_baseline(revision=9),)
        for each in stores:
            each.close()

    def test_the_ticket_of_one_who_was_killed_is_forgotten(self, url, store, asked):
        long_ago = "toUnixTimestamp64Nano(now64(9)) - 30000000000"
        asked.execute(f"INSERT INTO tracewatch_turns (name, ticket, row_written) VALUES (?, 1, {long_ago})", ("t",))
        with turn(asked, "t") as condition:
            assert asked.number(f"SELECT {condition}") == 1
        assert asked.number(f"SELECT {condition}") == 0

    def test_a_lease_that_is_lost_while_a_write_is_on_its_way_keeps_it_from_being_written(self, store, monkeypatch):
        """The server looks when it writes; here somebody takes the lease after all else has been looked at."""
        lease = Lease(name="watching", holder="one", epoch=1, taken_at=NOW, renewed_at=NOW)
        store.add([lease])
        store.fence(lease)
        connection, send = store._connection, store._connection.insert

        def send_late(*args, **more):
            connection.lease = None
            store._writer._connection = connection
            monkeypatch.setattr(connection, "insert", send)
            store.put([dataclasses.replace(lease, holder="two", epoch=2)])
            connection.lease = lease
            send(*args, **more)

        monkeypatch.setattr(connection, "insert", send_late)
        with pytest.raises(LeaseLost, match="two"):
            store.put([a_baseline()])
        assert store.count(Baseline) == 0


def test_literals_are_read_as_the_very_same_values(asked):
    texts = ["it's", "\\", "\\'", "a?b", "ü\n\t", "{x:String}", "'; DROP TABLE llm_traces; --", "%s %(a)s"]
    numbers = [0.1, 1e300, 5e-324, -0.5, 1_772_409_600.123456, 2**63 - 1, -(2**63)]
    for value in (*texts, *numbers):
        ((found,),) = asked.rows("SELECT ?", (value,))
        assert (found.decode() if isinstance(found, bytes) else found) == value
