"""The three kinds of export: what tells them apart, and what is special about each."""

import json
import sqlite3

import pytest

from tracewatch.errors import ImportRefused
from tracewatch.imports import import_file
from tracewatch.imports.naming import kind_of, normalised, plan
from tracewatch.pricing import PriceBook

T0 = 1_772_445_600.0
MESSAGES = (
    "id,created_at,latency_ms,input_tokens,output_tokens,user_id,model\n7,2026-03-02 10:00:00,800,10,20,u1,gpt-4o\n"
)
USAGE = (
    "id,timestamp,provider,model,usage_type,input_tokens,output_tokens,cost_usd,conversation_id,metadata\n"
    '1,2026-03-02 10:00:00,anthropic,claude-haiku-4-5,chat_answer,10,20,0.5,c1,"{""k"": 1}"\n'
)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("traceId", "trace_id"),
        ("TraceID", "trace_id"),
        ("spanid", "span_id"),
        ("SPAN_ID", "span_id"),
        ("Model Name", "model_name"),
        ("cost-usd", "cost_usd"),
        ("Latency (ms)", "duration_ms"),
        ("latency_s", "duration_ms"),
        ("latency_seconds", "duration_ms"),
        ("TTFT_S", "ttft_ms"),
        ("durationUs", "duration_ms"),
        ("queue_time_seconds", "queue_time_ms"),
    ],
)
def test_names_however_they_are_spelled(spelled, name):
    assert plan([spelled], "traces").origins[name].name == spelled


def test_units_of_time_in_names():
    scales = {
        name: plan([name], "traces").origins["duration_ms"].scale for name in ("duration_s", "latency_us", "latency")
    }
    assert scales == {"duration_s": 1000.0, "latency_us": 0.001, "latency": 1.0}
    assert normalised("\ufeffUser ID") == "user_id"


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("created_at,latency_ms,input_tokens,output_tokens", "messages"),
        ("createdAt,latencyMs,inputTokens,outputTokens,userId", "messages"),
        ("created_at,latency_ms,trace_id", "traces"),
        ("start_time,duration_ms", "traces"),
        ("id,timestamp,provider,model,usage_type,cost_usd", "usage-db"),
        ("span_id,timestamp,provider,model,usage_type,cost_usd", "traces"),
    ],
)
def test_the_columns_tell_the_kind(header, kind):
    assert kind_of(header.split(",")) == kind


def test_messages(bring, only):
    imported = bring(MESSAGES)
    span = only()
    assert imported.kind == span["source"] == "messages"
    assert (span["start_time"], span["duration_ms"], span["total_tokens"]) == (T0, 800.0, 30)
    assert (span["user_id"], span["model_name"], span["message_id"], span["id"]) == ("u1", "gpt-4o", "7", "7")
    assert imported.naive_times == 1
    assert bring(MESSAGES).already_there == 1


def test_the_kind_can_be_forced(bring, spans):
    assert bring(MESSAGES, kind="traces").kind == "traces"
    assert bring(MESSAGES, kind="messages").stored == 1  # the old view of a call stands beside the new one
    assert [row["source"] for row in spans()].count("messages") == 1


def test_a_usage_table_as_a_text_file(bring, only):
    assert bring(USAGE).kind == "usage-db"
    span = only()
    assert (span["id"], span["operation_type"], span["cost_usd"], span["source"]) == ("1", "chat", 0.5, "usage-db")


@pytest.fixture
def usage_db(tmp_path):
    path = tmp_path / "usage.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE llm_usage (id INTEGER PRIMARY KEY, timestamp TEXT, provider TEXT, model TEXT,"
            " usage_type TEXT, input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL,"
            " conversation_id TEXT, metadata TEXT, trace_id TEXT, latency_ms REAL, status TEXT, error_message TEXT)"
        )
        calls = [
            (
                "2026-03-02T10:00:00",
                "anthropic",
                "claude-haiku-4-5",
                "chat_rerank",
                5,
                6,
                0.1,
                "c",
                '{"k": 1}',
                "t",
                9.5,
            ),
            ("2026-03-02T10:00:01", "openai", "gpt-4o-mini", "chat_answer", 5, 6, 0.1, "c", "not json", "t", None),
            ("2026-03-02T10:00:02", "system", "batch", "extraction_batch", 0, 0, 0, None, '{"failed": 2}', None, None),
            ("2026-03-02T10:00:03", "ollama", "llama3", "extraction", 5, 6, 0, None, None, None, None),
            ("garbage", "ollama", "llama3", "extraction", 5, 6, 0, None, None, None, None),
        ]
        connection.executemany(
            "INSERT INTO llm_usage (timestamp, provider, model, usage_type, input_tokens, output_tokens, cost_usd,"
            " conversation_id, metadata, trace_id, latency_ms) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            calls,
        )
    connection.close()
    return path


def test_a_usage_database(usage_db, store, spans, rejected):
    before = usage_db.read_bytes()
    imported = import_file(usage_db, store)
    assert (imported.kind, imported.format, imported.stored, imported.refused_rows) == ("usage-db", "sqlite", 4, 1)
    assert [row["operation_type"] for row in spans()] == ["rerank", "chat", "batch", None]
    assert [row["id"] for row in spans()] == ["1", "2", "3", "4"]
    assert [row["trace_id"] for row in spans()][:2] == ["t", "t"]
    assert len({(row["trace_id"], row["span_id"]) for row in spans()}) == 4
    assert json.loads(spans()[1]["metadata"]) == {"text": "not json"}
    assert rejected(imported)[0]["reason"].endswith("'garbage'")
    assert import_file(usage_db, store).already_there == 4
    assert usage_db.read_bytes() == before


def test_two_apps_whose_rows_have_the_same_ids_do_not_hide_each_other(bring):
    assert bring(USAGE).stored == 1
    assert bring(USAGE.replace("10:00:00", "10:00:01"), "other.csv").stored == 1


def test_a_table_that_an_app_is_writing_can_be_read(usage_db, store):
    with sqlite3.connect(usage_db, isolation_level=None) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO llm_usage (timestamp) VALUES ('2026-03-02')")
        assert import_file(usage_db, store).stored == 4
        writer.execute("ROLLBACK")
    writer.close()


def test_another_store_of_ours_can_be_imported(bring, store, tmp_path):
    from tracewatch.stores import open_store

    bring(MESSAGES)
    with open_store(str(tmp_path / "second.db"), create=True) as second:
        imported = import_file(store.url, second)
        assert (imported.kind, imported.format, imported.stored) == ("traces", "sqlite", 1)
        assert imported.in_metadata == imported.left_out == ()


def test_a_database_of_something_else(tmp_path, store):
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    with pytest.raises(ImportRefused, match="none of the tables llm_usage, llm_traces, messages"):
        import_file(tmp_path / "other.db", store)
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"garbage" * 100)
    with pytest.raises(ImportRefused, match="the SQLite file cannot be read"):
        import_file(tmp_path / "broken.db", store)


def test_messages_are_never_priced_unless_they_say_what_they_cost(bring, spans):
    text = (
        "created_at,latency_ms,model,provider,input_tokens,cost_usd\n"
        "2026-03-02T10:00:00Z,5,gpt-4o-mini,openai,10,\n"
        "2026-03-02T10:00:01Z,5,,,10,-1\n"
        "2026-03-02T10:00:02Z,5,gpt-4o-mini,openai,10,0.25\n"
    )
    assert bring(text, book=PriceBook()).unpriced == {}
    said = [(row["cost_usd"], row["cost_status"]) for row in spans()]
    assert said == [(None, "unmetered"), (None, "unmetered"), (0.25, "reported")]


def test_an_export_that_has_messages_among_calls(bring, spans):
    rows = "2026-03-02T10:00:00Z,gpt-4o-mini,openai,10,\n2026-03-02T10:00:01Z,gpt-4o-mini,openai,10,messages\n"
    bring("start_time,model,provider,input_tokens,source\n" + rows, book=PriceBook())
    assert [row["cost_status"] for row in spans()] == ["exact", "unmetered"]


def test_a_negative_cost_is_priced_like_any_other(bring, only):
    text = "start_time,model,provider,input_tokens,cost_usd\n2026-03-02T10:00:00Z,gpt-4o-mini,openai,1000,-0.5\n"
    assert bring(text, book=PriceBook()).stored == 1
    assert (only()["cost_status"], only()["cost_usd"] > 0) == ("exact", True)
