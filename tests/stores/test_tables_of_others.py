"""A team's own table is read where it is: every row once, nothing written to it, whatever happens in between."""

import json
import os
import subprocess
import sys
import time

import psycopg
import pytest
from conftest import NOW
from postgres_server import fresh_url, server

from tracewatch.errors import BadMapping, BadSetting
from tracewatch.following import ENTRIES, Follower, Mapped, bringing, follower_of, read_mapping
from tracewatch.following.table import Table
from tracewatch.live.rounds import Rounds
from tracewatch.records import Followed, Span
from tracewatch.settings import Settings
from tracewatch.stores import open_store

pytestmark = pytest.mark.xdist_group("postgres")

TABLE = """
CREATE TABLE calls (
  id BIGSERIAL PRIMARY KEY, created_at TIMESTAMPTZ NOT NULL, who TEXT, llm TEXT, provider TEXT,
  input_tokens INTEGER, output_tokens INTEGER, price NUMERIC(12, 6), took_ms REAL, status TEXT,
  meta JSONB, flags TEXT[], prompt TEXT, key UUID
)
"""
COLUMNS = {"user_id": "who", "model_name": "llm", "cost_usd": "price", "duration_ms": "took_ms", "metadata": "meta",
           "warning_flags": "flags"}  # fmt: skip


@pytest.fixture
def theirs():
    """The address of a database that has the table."""
    url = fresh_url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE)
    return url


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as store:
        yield store


def insert(url, at, *, llm="gpt-4o-mini", tokens=100, number=1):
    names = "created_at, who, llm, provider, input_tokens, output_tokens, price, took_ms, status, meta, flags, prompt"
    marks = "to_timestamp(%s), 'ann', %s, 'openai', %s, 20, 0.000125, 812.5, 'ok', %s, ARRAY['slow'], 'a secret'"
    with psycopg.connect(url) as connection:
        for each in range(number):
            values = (at + each * 0.001, llm, tokens, json.dumps({"pages": each}))
            connection.execute(f"INSERT INTO calls ({names}) VALUES ({marks})", values)


def asked(url, sql):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql).fetchall()


def following(store, url, **given):
    return Follower(store, url, Mapped(**({"table": "calls", "cursor": "created_at", "columns": COLUMNS} | given)))


def test_rows_come_as_calls(store, theirs):
    insert(theirs, NOW)
    assert following(store, theirs).go(NOW) == 1
    (span,) = store.page(Span).records
    assert (span.start_time, span.user_id, span.model_name, span.model_provider) == (
        NOW,
        "ann",
        "gpt-4o-mini",
        "openai",
    )
    assert (span.cost_usd, span.cost_status, span.duration_ms) == (0.000125, "reported", 812.5)
    assert (span.input_tokens, span.output_tokens, span.warning_flags) == (100, 20, ("slow",))
    assert span.metadata["pages"] == 0
    assert "secret" not in repr(span)


def test_each_comes_once_and_new_ones_follow(store, theirs):
    insert(theirs, NOW, number=5)
    follower = following(store, theirs)
    assert [follower.go(NOW), follower.go(NOW + 1), follower.go(NOW + 5)] == [5, 0, 0]
    insert(theirs, NOW + 6, number=2)
    assert follower.go(NOW + 8) == 2
    assert following(store, theirs).go(NOW + 9) == 0  # another process
    assert store.count(Span) == 7
    (noted,) = store.page(Followed).records
    assert (noted.rows, noted.problem) == (7, "")


def test_rows_that_appear_behind_the_cursor_are_found(store, theirs):
    insert(theirs, NOW)
    follower = following(store, theirs, overlap=120.0)
    follower.go(NOW)
    insert(theirs, NOW - 60)  # of a transaction that took long
    assert follower.go(NOW + 5) == 0
    assert follower.go(NOW + 40) == 1
    insert(theirs, NOW - 600)
    assert follower.go(NOW + 80) == 0


@pytest.mark.parametrize("cursor", ["id", "created_at"])
def test_many_rows_come_in_portions(store, theirs, monkeypatch, cursor):
    monkeypatch.setattr(bringing, "GO_S", 0.0)
    monkeypatch.setattr("tracewatch.following.table.FETCH_ROWS", 100)
    insert(theirs, NOW, number=450)
    follower, brought, now = following(store, theirs, cursor=cursor, overlap=0.0), [], NOW
    while len(brought) < 20 and sum(brought) < 450:
        brought.append(follower.go(now))
        now += 0.5
    assert sum(brought) == store.count(Span) == 450
    assert len(brought) >= 5


def test_rows_of_one_moment_are_all_read_however_many_there_are(store, theirs, monkeypatch):
    monkeypatch.setattr(bringing, "GO_S", 0.0)
    monkeypatch.setattr("tracewatch.following.table.FETCH_ROWS", 10)
    insert(theirs, NOW)
    with psycopg.connect(theirs) as connection:
        connection.execute(
            "INSERT INTO calls (created_at, llm, input_tokens) SELECT to_timestamp(%s), 'big', n "
            "FROM generate_series(1, 95) n",
            (NOW + 1,),
        )
    follower, now = following(store, theirs), NOW + 2
    for _ in range(8):
        follower.go(now)
        now += 0.5
    assert store.count(Span) == 96


def test_a_look_back_that_takes_long_goes_on_where_it_broke_off(store, theirs, monkeypatch):
    insert(theirs, NOW, number=300)
    follower = following(store, theirs, overlap=3600.0)
    follower.go(NOW + 1)
    insert(theirs, NOW + 2, number=5)
    monkeypatch.setattr(bringing, "GO_S", 0.0)
    monkeypatch.setattr("tracewatch.following.table.FETCH_ROWS", 50)
    now = NOW + 60
    for _ in range(9):
        follower.go(now)
        now += 0.5
    assert store.count(Span) == 305


def test_another_cursor_in_the_mapping_begins_anew(store, theirs):
    insert(theirs, NOW, number=4)
    assert following(store, theirs).go(NOW + 1) == 4
    insert(theirs, NOW + 2)
    assert following(store, theirs, cursor="id").go(NOW + 3) == 1
    assert store.page(Followed).records[0].cursor == "whole 5 id"


def test_a_whole_number_stays_one_when_it_is_looked_back(theirs):
    table = Table(theirs, Mapped(table="calls", cursor="id"))
    assert table.before(10**18 + 1) == 10**18 - 59


def test_killed_before_the_mark_nothing_comes_twice(store, theirs, monkeypatch):
    insert(theirs, NOW, number=30)
    follower = following(store, theirs)
    monkeypatch.setattr(follower, "_note", lambda *given, **named: os._exit(9))
    child = os.fork()
    if not child:
        follower.go(NOW)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert store.count(Span) == 30
    assert store.count(Followed) == 0
    again = following(store, theirs)
    assert again.go(NOW + 60) == 0
    assert store.count(Span) == 30


def test_a_database_that_is_away_is_said_once_and_comes_back(store, theirs, caplog):
    follower = following(store, theirs)
    insert(theirs, NOW)
    follower.go(NOW)
    server().stop()
    try:
        assert [follower.go(NOW + 10), follower.go(NOW + 20)] == [0, 0]
    finally:
        server().start()
    assert len([each for each in caplog.messages if "cannot read the table calls" in each]) == 1
    assert store.page(Followed).records[0].problem
    insert(theirs, NOW + 30)
    assert follower.go(NOW + 40) == 1
    assert store.page(Followed).records[0].problem == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"table": "none"}, 'relation "none" does not exist'),
        ({"cursor": "seq"}, "seq"),
        ({"columns": {"user_id": "nobody"}}, "it has no column nobody for user_id"),
        ({"cursor": "who"}, "its column who holds strs"),
    ],
)
def test_what_is_wrong_with_the_table_is_said(store, theirs, caplog, given, said):
    insert(theirs, NOW)
    assert following(store, theirs, **given).go(NOW) == 0
    assert said in caplog.text
    assert store.count(Span) == 0


def test_a_row_that_cannot_be_believed_stays_out(store, theirs, caplog):
    insert(theirs, NOW, tokens=-5)
    insert(theirs, NOW + 1)
    assert following(store, theirs).go(NOW + 2) == 1
    assert "stays out" in caplog.text


def test_a_role_that_may_only_read_is_enough_and_nothing_is_written(store, theirs):
    insert(theirs, NOW, number=3)
    (schema,) = asked(theirs, "SELECT current_schema()")[0]
    role = f"reader_{schema}"
    with psycopg.connect(theirs, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        connection.execute(f"GRANT SELECT ON calls TO {role}")
    before = asked(theirs, "SELECT xmin, * FROM calls ORDER BY id")
    assert following(store, theirs.replace("postgres@", f"{role}@"), table=f"{schema}.calls").go(NOW) == 3
    assert asked(theirs, "SELECT xmin, * FROM calls ORDER BY id") == before
    assert [name for (name,) in asked(theirs, f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")] == [
        "calls"
    ]


def test_rounds_bring_price_and_judge_them(store, theirs):
    insert(theirs, NOW, llm="gpt-4o-mini", number=4)
    with psycopg.connect(theirs) as connection:
        connection.execute("UPDATE calls SET price = NULL")
    rounds = Rounds(store, follower=following(store, theirs))
    rounds.go(NOW + 1)
    spans = store.page(Span).records
    assert len(spans) == 4
    assert all(each.cost_usd for each in spans)
    assert rounds.due() == NOW + 3


def test_watching_with_the_settings_alone(tmp_path, theirs):
    insert(theirs, time.time() - 60, number=3)
    mapping = tmp_path / "calls.yaml"
    mapping.write_text("table: calls\ncursor: created_at\ncolumns: {model_name: llm, duration_ms: took_ms}\n")
    environ = {**os.environ, "TRACEWATCH_FOLLOW": str(mapping), "TRACEWATCH_FOLLOW_DB": theirs}
    command = [sys.executable, "-m", "tracewatch", "watch", "--once", "--db", str(tmp_path / "w.db")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with open_store(str(tmp_path / "w.db")) as store:
        assert store.count(Span) == 3


class TestMappings:
    """The file that says what the table is."""

    def read(self, tmp_path, text):
        path = tmp_path / "calls.yaml"
        path.write_text(text)
        return read_mapping(path)

    def test_all_entries(self, tmp_path):
        text = "table: app.calls\ncursor: id\noverlap: 500\nproject: shop\ncolumns:\n  cost_usd: price\n"
        found = self.read(tmp_path, text)
        assert found == Mapped(
            table="app.calls", cursor="id", overlap=500.0, project="shop", columns={"cost_usd": "price"}
        )
        assert set(ENTRIES) == {"table", "cursor", "overlap", "project", "columns"}

    def test_an_overlap_of_time(self, tmp_path):
        assert self.read(tmp_path, "table: calls\ncursor: at\noverlap: 2m\n").overlap == 120.0

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "it must have the entries table and cursor"),
            ("- table", "it must have the entries table and cursor"),
            ("table: [", "while parsing"),
            ("table: calls", "its entry cursor is not there"),
            ("table: 7\ncursor: id", "its entry table is 7"),
            ("table: calls\ncursor: id\ncolums: {}", "did you mean columns?"),
            ("table: calls\ncursor: id\ncolumns: {cost_us: price}", "did you mean cost_usd?"),
            ("table: calls\ncursor: id\ncolumns: [a]", "its columns are pairs of names"),
            ("table: calls\ncursor: id\noverlap: soon", "its overlap is 'soon'"),
        ],
    )
    def test_mistakes_are_said(self, tmp_path, text, said):
        with pytest.raises(BadMapping) as refused:
            self.read(tmp_path, text)
        assert said in str(refused.value)
        assert "calls.yaml" in str(refused.value)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(BadMapping, match="No such file"):
            read_mapping(tmp_path / "none.yaml")

    def test_without_an_address_of_a_database(self, store, tmp_path):
        path = tmp_path / "calls.yaml"
        path.write_text("table: calls\ncursor: id\n")
        with pytest.raises(BadSetting, match="TRACEWATCH_FOLLOW_DB"):
            follower_of(Settings(follow=str(path), db="watch.db"), store)
        assert follower_of(Settings(), store) is None
