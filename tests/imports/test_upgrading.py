"""A usage database that becomes a store in place."""

import json
import sqlite3
from contextlib import closing

import pytest

from tracewatch.imports import has_usage, upgrade, usage_project
from tracewatch.imports.upgrading import LATER_COLUMNS
from tracewatch.records import Span
from tracewatch.stores import Filter, open_store

OLD = "id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT, usage_type TEXT, input_tokens INTEGER,"
OLD += " output_tokens INTEGER, cost_usd REAL, conversation_id TEXT, metadata TEXT"
LATER = ", trace_id TEXT, latency_ms REAL, status TEXT, error_message TEXT"
INSERT = "INSERT INTO llm_usage (timestamp, provider, model, usage_type, input_tokens, output_tokens, cost_usd)"
INSERT += " VALUES (?, 'anthropic', 'claude-haiku-4-5', 'chat_answer', 10, 20, 0.5)"


def write(path, *times):
    with closing(sqlite3.connect(path)) as app, app:
        app.executemany(INSERT, [(each,) for each in times])


def rows(path, names="*"):
    with closing(sqlite3.connect(path)) as app:
        return app.execute(f"SELECT {names} FROM llm_usage ORDER BY id").fetchall()


@pytest.fixture(params=["delete", "wal"])
def usage_db(request, tmp_path):
    path = tmp_path / "usage.db"
    with closing(sqlite3.connect(path)) as app:
        app.execute(f"PRAGMA journal_mode = {request.param}")
        app.execute(f"CREATE TABLE llm_usage ({OLD})")
    write(path, "2026-03-02 10:00:00", "2026-03-02 10:00:01", "2026-03-02 10:00:02")
    return path


def test_columns_are_added_every_row_is_kept_and_the_rows_come_over(usage_db):
    old = rows(usage_db)
    with open_store(str(usage_db), create=True) as store:
        done = upgrade(store)
        assert (done.columns_added, done.rows_brought, done.refused) == (tuple(LATER_COLUMNS), 3, {})
        assert store.count(Span) == 3
    assert [row[: len(old[0])] for row in rows(usage_db)] == old
    assert rows(usage_db, "trace_id, latency_ms, status, error_message") == [(None, None, "ok", None)] * 3


def test_twice_is_without_effect_and_what_the_app_wrote_since_follows(usage_db):
    with open_store(str(usage_db), create=True) as store:
        upgrade(store)
        again = upgrade(store)
        assert (again.columns_added, again.rows_brought) == ((), 0)
        write(usage_db, "2026-03-02 10:00:03")
        assert upgrade(store).rows_brought == 1
        assert store.count(Span) == 4
    with open_store(str(usage_db)) as store:
        assert upgrade(store).rows_brought == 0


def test_the_app_s_new_version_writes_into_the_new_columns(usage_db):
    with open_store(str(usage_db), create=True) as store:
        upgrade(store)
        with closing(sqlite3.connect(usage_db)) as app, app:
            app.execute(
                "INSERT INTO llm_usage (timestamp, provider, model, usage_type, trace_id, latency_ms, status,"
                " error_message) VALUES"
                " ('2026-03-02 11:00:00', 'ollama', 'llama3', 'chat', 't9', 812.5, 'error', 'boom')"
            )
        upgrade(store)
        (span,) = store.trace("default", "t9")
        assert (span.duration_ms, span.status, span.error_message) == (812.5, "error", "boom")


def test_a_table_that_has_the_later_columns_gains_none(tmp_path):
    path = tmp_path / "usage.db"
    with closing(sqlite3.connect(path)) as app:
        app.execute(f"CREATE TABLE llm_usage ({OLD}{LATER})")
    write(path, "2026-03-02 10:00:00", "broken")
    with open_store(str(path), create=True) as store:
        done = upgrade(store)
        assert (done.columns_added, done.rows_brought) == ((), 1)
        assert sum(done.refused.values()) == 1
        assert upgrade(store).refused == {}


def test_the_mark_lost_or_the_table_begun_anew(usage_db):
    with open_store(str(usage_db), create=True) as store:
        upgrade(store)
        with closing(sqlite3.connect(usage_db)) as app, app:
            app.execute("DELETE FROM tracewatch_meta WHERE name = 'llm_usage_brought'")
        assert upgrade(store).rows_brought == 0  # as if killed before the mark was set: nothing twice
        with closing(sqlite3.connect(usage_db)) as app, app:
            app.execute("DELETE FROM llm_usage")
        write(usage_db, "2026-03-05 10:00:00")
        assert upgrade(store).rows_brought == 1
        assert store.count(Span) == 4


def test_a_store_without_such_a_table_is_left_alone(store, usage_db):
    assert upgrade(store).columns_added == ()
    assert has_usage(usage_db)


def test_another_table_of_that_name_is_left_alone(store):
    with closing(sqlite3.connect(store.url)) as app, app:
        app.execute("CREATE TABLE llm_usage (day TEXT, calls INTEGER)")
    assert upgrade(store).columns_added == ()
    with closing(sqlite3.connect(store.url)) as app:
        assert len(app.execute("PRAGMA table_info(llm_usage)").fetchall()) == 2


def test_the_app_goes_on_writing_beside_it(usage_db):
    with closing(sqlite3.connect(usage_db)) as app, open_store(str(usage_db), create=True) as store:
        for minute in range(1, 6):
            with app:
                app.execute(INSERT, (f"2026-03-02 11:0{minute}:00",))
            upgrade(store)
        assert store.count(Span) == 8
        assert len(rows(usage_db)) == 8


def test_rows_that_stay_behind_are_counted_over_all_calls_and_written_down(usage_db, tmp_path):
    write(usage_db, "never")
    with open_store(str(usage_db), create=True) as store:
        upgrade(store)  # as any command does
        write(usage_db, "2026-03-02 10:00:03", "nor then", "nor now")
        done = upgrade(store, rejects=tmp_path / "bad.jsonl")
    (reason,) = done.refused
    assert reason.startswith("timestamp (start_time) is not a time")
    assert (done.rows_brought, done.refused, done.stayed_behind) == (1, {reason: 2}, {reason: 3})
    lines = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [(each["row_number"], each["row"]["timestamp"]) for each in lines] == [
        (4, "never"),
        (6, "nor then"),
        (7, "nor now"),
    ]
    with open_store(str(usage_db)) as store:
        again = upgrade(store, rejects=tmp_path / "bad.jsonl")
    assert (again.refused, again.stayed_behind, again.rejects) == ({}, {reason: 3}, str(tmp_path / "bad.jsonl"))


def test_the_first_project_is_kept_to(usage_db):
    with open_store(str(usage_db), create=True) as store:
        assert usage_project(store) is None
        upgrade(store, project="shop")
        write(usage_db, "2026-03-02 10:00:03")
        assert upgrade(store, project="default").projects == {"shop": 1}
        assert usage_project(store) == "shop"
        assert store.count(Span, [Filter("project", "=", ("shop",))]) == 4


def test_a_call_that_has_nothing_to_do_waits_for_nobody(usage_db):
    with open_store(str(usage_db), create=True) as store, closing(sqlite3.connect(usage_db)) as app:
        upgrade(store)
        app.execute("BEGIN IMMEDIATE")
        assert upgrade(store).rows_brought == 0
        app.rollback()
