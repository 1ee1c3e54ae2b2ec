"""Spans on their way into segments: killed, full or disturbed, nothing is lost and nothing is seen twice."""

import contextlib
import errno
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conformance import HOUR, SOME_DAYS, busy_days, expected_rollup, key, rolled_up, rows
from conftest import NOW

from tracewatch.errors import StoreUnreadable, StoreUnwritable
from tracewatch.records import Span
from tracewatch.stores import Filter, open_store, segments, sqlite_closing
from tracewatch.stores.sqlite import SqliteStore
from tracewatch.stores.sqlite_writing import SqliteWriter

HERE = Path(__file__).parent
LATE = NOW + 10 * 86_400


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "watch.db")


@pytest.fixture
def store(path):
    with SqliteStore(path, create=True, clock=lambda: NOW) as store:
        yield store


def start(verb, *arguments):
    command = [sys.executable, str(HERE / "writing.py"), verb, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finished(process):
    said, _ = process.communicate(timeout=120)
    return process.returncode, said.split()


def in_table(store):
    """How many spans lie in the table itself."""
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        return connection.execute("SELECT count(*) FROM llm_traces").fetchone()[0]


def files(store):
    return sorted(each.name for each in Path(f"{store.path}.segments").iterdir())


def is_right(store, given):
    """Every span is there once, whichever way it is asked for, and counts once."""
    given = list(given)
    found = [(row["project"], row["span_id"]) for row in rows(store.scan(Span, ["project", "span_id"]))]
    assert sorted(found) == sorted((each.project, each.span_id) for each in given)
    assert store.count(Span) == len(given)
    pages = store.page(Span, limit=1000).records
    assert sorted(pages, key=lambda each: each.span_id) == sorted(given, key=lambda each: each.span_id)
    by = ("project", "model_name")
    assert rolled_up(store.rollup(*SOME_DAYS, by=by), by) == expected_rollup(given, HOUR, by)
    assert store.verify() is None
    return True


class TestKilled:
    @pytest.mark.parametrize("at", range(0, 30, 2))
    def test_wherever_it_is_killed_every_span_is_there_once(self, store, path, at):
        given = list(busy_days(100))
        store.add(given)
        store.roll_up()
        code, said = finished(start("close_and_die", path, at))
        assert (code == -signal.SIGKILL) != (said == ["alive"])
        assert is_right(store, given)
        store.compact(LATE, least=1)
        assert in_table(store) == 0
        assert is_right(store, given)
        assert len(files(store)) == 2  # what the killed one left is removed

    def test_a_span_that_changes_after_the_kill_is_not_closed_as_it_was(self, store, path):
        given = {each.span_id: each for each in busy_days(100)}
        store.add(given.values())
        store.roll_up()
        assert finished(start("close_and_die", path, 16))[0] == -signal.SIGKILL  # when some steps were taken
        assert 0 < in_table(store) < 100
        for span in list(given.values())[::9]:
            changed = Span(**{**{name: getattr(span, name) for name in segments.NAMES}, "cost_usd": 7.0})
            given[span.span_id] = changed
            store.annotate(Span, key(span), {"cost_usd": 7.0})
        store.roll_up()
        assert is_right(store, given.values())
        store.compact(LATE, least=1)
        assert is_right(store, given.values())


class TestOthersMeanwhile:
    def test_what_changes_between_the_copy_and_the_step_stays_as_it_became(self, store, path, monkeypatch):
        given = {each.span_id: each for each in busy_days(60)}
        store.add(given.values())
        finish = segments.SegmentWriter.finish
        some = list(given.values())[:20]

        def changed_meanwhile(self):
            written = finish(self)
            with open_store(path) as other:
                for each in some[:10]:
                    other.annotate(Span, key(each), {"cost_usd": 3.0})
                other.put([Span(**{**key(each), "start_time": each.start_time + 60}) for each in some[10:]])
            return written

        monkeypatch.setattr(segments.SegmentWriter, "finish", changed_meanwhile)
        store.compact(LATE, least=1)
        monkeypatch.undo()
        for each in some[:10]:
            given[each.span_id] = Span(**{name: getattr(each, name) for name in segments.NAMES} | {"cost_usd": 3.0})
        for each in some[10:]:
            given[each.span_id] = Span(**key(each), start_time=each.start_time + 60)
        store.roll_up()
        assert is_right(store, given.values())
        store.compact(LATE, least=1)
        assert in_table(store) == 0
        assert is_right(store, given.values())

    def test_two_write_and_one_closes_while_one_reads(self, store, path):
        writers = [start("write", path, name, 12) for name in ("one", "two")]
        closer = start("compact", path, 12)
        seen, token = set(), None
        while any(each.poll() is None for each in (*writers, closer)):
            following = store.tip()
            now = [(row["trace_id"], row["span_id"]) for row in rows(store.scan(Span, ["trace_id", "span_id"]))]
            assert len(now) == len(set(now))
            assert set(now) >= seen
            new = rows(store.scan(Span, ["trace_id", "span_id"], after=token))
            seen |= {(row["trace_id"], row["span_id"]) for row in new}
            token = following
        assert [finished(each)[0] for each in (*writers, closer)] == [0, 0, 0]
        store.compact(LATE, least=1)
        assert store.count(Span) == 2 * 12 * 50
        store.roll_up()
        assert sum(store.rollup(0, 10_000)["calls"].to_pylist()) == 2 * 12 * 50

    def test_of_two_that_close_at_once_the_first_one_gives_up(self, store, path, monkeypatch):
        given = list(busy_days(60))
        store.add(given)
        finish = segments.SegmentWriter.finish

        def overtaken(self):
            monkeypatch.undo()
            with open_store(path) as other:
                other.compact(LATE, least=1)
            return finish(self)

        monkeypatch.setattr(segments.SegmentWriter, "finish", overtaken)
        with pytest.raises(StoreUnwritable):
            store.compact(LATE, least=1)
        assert is_right(store, given)
        store.compact(LATE, least=1)
        assert len(files(store)) == 2

    @pytest.mark.parametrize("moment", ["before the names are read", "after the names were read"])
    def test_who_tidies_up_removes_no_file_of_another_one(self, store, path, monkeypatch, moment):
        given = list(busy_days(60))
        store.add(given)
        store.compact(NOW - 2 * 86_400, least=1)
        transaction, ran = SqliteWriter.transaction, []

        def closes_as_well():
            monkeypatch.undo()
            with open_store(path) as other:
                ran.append(other.compact(LATE, least=1))

        @contextlib.contextmanager
        def overtaken(self):
            if moment.startswith("before"):
                closes_as_well()
            with transaction(self) as connection:
                yield connection
            if moment.startswith("after"):
                closes_as_well()

        remove = sqlite_closing.Closer._remove_files

        def removing(self, by):
            monkeypatch.setattr(SqliteWriter, "transaction", overtaken)
            remove(self, by)

        monkeypatch.setattr(sqlite_closing.Closer, "_remove_files", removing)
        with pytest.raises(StoreUnwritable, match="another process"):
            store.compact(LATE, least=1)
        assert ran[0] > 0
        assert is_right(store, given)

    def test_who_writes_a_segment_anew_gives_up_when_another_one_tidies_up(self, store, path, monkeypatch):
        given = {each.span_id: each for each in busy_days(60)}
        store.add(given.values())
        store.compact(LATE, least=1)
        for each in list(given.values())[::2]:
            store.annotate(Span, key(each), {"cost_usd": 2.0})
            given[each.span_id] = Span(**{name: getattr(each, name) for name in segments.NAMES} | {"cost_usd": 2.0})
        rewrite = sqlite_closing.Closer._rewrite

        def overtaken(self, *told):
            monkeypatch.undo()
            written = rewrite(self, *told)
            with open_store(path) as other:
                other.compact(LATE, least=1)  # removes the file, of which no transaction has told
            return written

        monkeypatch.setattr(sqlite_closing.Closer, "_rewrite", overtaken)
        with pytest.raises(StoreUnwritable, match="another process"):
            store.compact(LATE, least=1)
        store.roll_up()
        assert is_right(store, given.values())

    def test_a_recording_program_cannot_know_what_is_closed(self, store, path, a_span):
        given = list(busy_days(40))
        store.add(given)
        store.compact(LATE, least=1)
        guest = SqliteWriter(path)
        guest.add([*given[:10], fresh := a_span(start_time=NOW)])
        score = {"operation_type": "score", "groundedness_score": 0.5, "trace_id": given[20].trace_id}
        guest.add([a_span(**score, project=given[20].project, span_id="score", parent_span_id=given[20].span_id)])
        guest.close()
        assert len(store.trace(given[0].project, given[0].trace_id)) <= 2  # not twice, also before it is settled
        store.roll_up()
        scored = Span(**{name: getattr(given[20], name) for name in segments.NAMES} | {"groundedness_score": 0.5})
        given[20] = scored
        store.roll_up()
        assert is_right(store, [*given, fresh])


class TestTrouble:
    @pytest.mark.parametrize("of", ["the rows", "the index"])
    def test_a_full_disk_is_told_and_costs_nothing(self, store, monkeypatch, of):
        given = list(busy_days(60))
        store.add(given)

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if of == "the rows":
            monkeypatch.setattr(segments.SegmentWriter, "_write_group", full)
        else:
            monkeypatch.setattr(segments, "_confirm", full)
        with pytest.raises(StoreUnwritable, match=r"watch.db.segments: No space left on device. Nothing of this write"):
            store.compact(LATE, least=1)
        assert files(store) == []
        assert is_right(store, given)
        monkeypatch.undo()
        store.compact(LATE, least=1)
        assert is_right(store, given)

    def test_a_database_without_its_folder_says_what_is_missing(self, store):
        store.add(list(busy_days(30)))
        store.compact(LATE, least=1)
        for each in Path(f"{store.path}.segments").iterdir():
            each.unlink()
        segments._footer.cache_clear()
        segments._traces.cache_clear()
        for ask in (
            lambda: store.page(Span),
            lambda: list(store.scan(Span, ["cost_usd"])),
            lambda: store.trace("a", "b"),
        ):
            with pytest.raises(StoreUnreadable, match="it is missing: the folder it lies in belongs to the database"):
                ask()
        assert "missing" in store.verify()

    def test_a_damaged_segment_is_found(self, store):
        store.add(list(busy_days(30)))
        store.compact(LATE, least=1)
        assert store.verify() is None
        (file,) = Path(f"{store.path}.segments").glob("*.parquet")
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        assert "its content is not what was written" in store.verify()


class TestLater:
    def test_retention_forgets_closed_spans_and_their_files(self, path, a_span):
        clock = [NOW]
        with SqliteStore(path, create=True, clock=lambda: clock[0]) as store:
            given = [a_span(start_time=NOW - 3 * HOUR + minute * 60) for minute in range(180)]
            store.add(given)
            assert store.compact(NOW - HOUR, least=1) == 120
            before = store.rollup(NOW - 4 * HOUR, NOW)
            store.annotate(Span, key(given[5]), {"cost_usd": 1.0})
            assert store.retain(NOW - 2 * HOUR) == 60
            assert store.count(Span) == 120
            assert store.add(given[:60]) == 0
            assert store.retain(NOW - HOUR) == 60
            assert store.count(Span) == 60
            assert len(files(store)) == 2  # somebody may be reading it
            clock[0] += 2 * HOUR
            store.compact(NOW - HOUR, least=1)
            assert files(store) == []
            assert sum(store.rollup(NOW - 4 * HOUR, NOW)["calls"].to_pylist()) == sum(before["calls"].to_pylist())

    def test_a_segment_of_which_much_has_changed_is_written_anew(self, store):
        given = {each.span_id: each for each in busy_days(100)}
        store.add(given.values())
        store.compact(LATE, least=1)
        store.retain(NOW - 3.5 * 86_400)
        given = {name: each for name, each in given.items() if each.start_time >= NOW - 3.5 * 86_400}
        for each in list(given.values())[::2]:
            store.annotate(Span, key(each), {"cost_usd": 2.0})
            given[each.span_id] = Span(**{name: getattr(each, name) for name in segments.NAMES} | {"cost_usd": 2.0})
        store.compact(LATE, least=1)
        with contextlib.closing(sqlite3.connect(store.path)) as connection:
            counted = connection.execute(
                "SELECT sum(rows), sum(reopened), sum(begun) FROM tracewatch_segments WHERE gone_at IS NULL"
            ).fetchone()
        assert counted == (len(given), 0, 0)
        found = store.page(Span, limit=1000).records
        assert sorted(found, key=lambda each: each.span_id) == sorted(given.values(), key=lambda each: each.span_id)

    def test_small_stores_are_left_alone(self, store):
        store.add(list(busy_days(100)))
        assert store.compact(LATE) == 0
        assert not Path(f"{store.path}.segments").exists()
        assert "segments" not in store.describe()

    def test_what_is_closed_is_told(self, store):
        store.add(list(busy_days(100)))
        store.compact(LATE, least=1)
        assert store.describe()["segments"].startswith("1 with 100 spans, ")

    def test_a_segment_is_a_parquet_file_in_order_of_time(self, store, monkeypatch):
        monkeypatch.setattr(segments, "GROUP_ROWS", 64)
        monkeypatch.setattr(sqlite_closing, "READ_ROWS", 30)
        given = list(busy_days(300))
        store.add(given)
        store.compact(LATE, least=1)
        (file,) = Path(f"{store.path}.segments").glob("*.parquet")
        table = pq.read_table(file)
        assert table["start_time"].to_pylist() == sorted(each.start_time for each in given)
        assert table.schema.field("streaming_enabled").type == pa.bool_()
        assert is_right(store, given)
        where = [Filter("project", "=", ("default",)), Filter("cost_usd", ">", (0.01,))]
        wanted = [each for each in given if each.project == "default" and (each.cost_usd or 0) > 0.01]
        assert store.page(Span, where, limit=7).records == tuple(sorted(wanted, key=lambda each: -each.start_time)[:7])

    def test_room_in_the_database_is_given_back(self, store, path, a_span):
        store.add(a_span(error_message="x" * 400) for _ in range(5000))
        store._writer.give_back()
        before = os.path.getsize(path)
        store.compact(LATE, least=1)
        assert os.path.getsize(path) < before / 3
