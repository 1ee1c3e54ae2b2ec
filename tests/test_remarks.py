"""What is told of the data of a span: on the terminal, on its page, and where calls are listed."""

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from tracewatch import cli
from tracewatch.records import Span
from tracewatch.remarks import ASK_FOR_TOKENS, WARNINGS, is_uncounted, remarks_on
from tracewatch.settings import Settings
from tracewatch.stores import open_store
from tracewatch.web import make_app

NOON = 1_793_534_400.0  # 2026-11-01 12:00 UTC


def a_call(**given):
    ordinary = {
        "trace_id": "trace0001",
        "span_id": "s1",
        "start_time": NOON,
        "duration_ms": 800.0,
        "operation_type": "chat",
        "model_provider": "openai",
        "model_name": "gpt-4o-mini",
        "streaming_enabled": True,
        "input_tokens": 19,
        "output_tokens": 7,
    }
    return Span(**{**ordinary, **given})


def uncounted(**given):
    return a_call(**{"input_tokens": None, "output_tokens": None, **given})


@pytest.fixture
def keep(tmp_path):
    """Stores spans, and gives the database."""

    def kept(*spans):
        db = str(tmp_path / "watch.db")
        with open_store(db, create=True) as store:
            store.add(spans)
            store.roll_up()
        return db

    return kept


def run(*words, db, code=0):
    done = CliRunner().invoke(cli.group, [*words, "--db", db])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def looked_at(db, path):
    app = make_app(Settings(db=db), open_without_keys=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        return client.get(path, headers={"accept": "text/html"}).text


def test_an_ordinary_call_needs_no_remark():
    assert not list(remarks_on(a_call()))


@pytest.mark.parametrize(
    ("given", "is_told_how"),
    [
        ({}, True),
        ({"streaming_enabled": None, "ttft_ms": 120.0}, True),
        ({"model_provider": "openrouter"}, True),
        ({"streaming_enabled": False}, False),  # it was not asked to stream
        ({"model_provider": "anthropic"}, False),  # counts unasked
        ({"warning_flags": ("abandoned",)}, False),  # the count comes last, and the stream was left before
    ],
)
def test_a_stream_that_was_not_asked_to_count_says_so(given, is_told_how):
    call = uncounted(**given)
    assert "no tokens" in next(remarks_on(call))
    assert is_uncounted(call) is is_told_how


@pytest.mark.parametrize(
    "given",
    [
        {"status": "error"},
        {"operation_type": "tool", "model_name": None},
        {"cost_usd": 0.0, "cost_status": "free"},
        {"total_tokens": 26},
    ],
)
def test_where_no_tokens_are_missed_nothing_is_said_of_them(given):
    assert not list(remarks_on(uncounted(**given)))


def test_retries_warnings_and_second_reports_are_told():
    call = a_call(
        retry_count=2,
        retry_reason="timeout",
        metadata={"retry_reasons": ["rate_limit", "timeout"], "retry_time_ms": 1250.4},
        warning_flags=("corrected_tokens", "of_the_app"),
        also_reported_by=("openinference.instrumentation.openai",),
    )
    assert list(remarks_on(call)) == [
        "the client tried again 2 times (rate_limit, timeout); 1,250 ms were lost",
        f"corrected_tokens: {WARNINGS['corrected_tokens']}",
        "of_the_app",
        "also reported by openinference.instrumentation.openai; it counts once",
    ]


def test_the_terminal_tells_each_remark_below_its_span_and_the_way_out_once(keep):
    db = keep(uncounted(), uncounted(span_id="s2", start_time=NOON + 1), a_call(span_id="s3", retry_count=1))
    said = run("trace", "trace0001", db=db)
    assert said.count("no tokens of this stream were reported") == 2
    assert said.count("include_usage") == ASK_FOR_TOKENS.count("include_usage") == 2
    assert "the client tried again once" in said


def test_lists_of_calls_and_of_prices_tell_how_many_have_no_tokens(keep):
    db = keep(uncounted(), a_call(span_id="s2"))
    assert f"1 streamed call has no tokens. {ASK_FOR_TOKENS}" in run("traces", db=db)
    assert f"1 streamed call of gpt-4o-mini told no tokens. {ASK_FOR_TOKENS}" in run("prices", "check", db=db)
    assert "include_usage" not in run("traces", "--format", "jsonl", db=db)


def test_where_all_is_counted_nobody_is_told_how_to(keep):
    db = keep(a_call())
    assert "include_usage" not in run("traces", db=db) + run("prices", "check", db=db)


def test_a_remark_cannot_steer_the_terminal(keep):
    db = keep(a_call(warning_flags=("red\x1b[31m",)))
    assert "\x1b" not in run("trace", "trace0001", db=db)


def test_the_page_of_a_trace_tells_the_same(keep):
    page = looked_at(keep(uncounted(warning_flags=("bad_value",))), "/traces/trace0001")
    assert "No tokens of this stream were reported" in page
    assert "stream_options={&#34;include_usage&#34;: True}" in page
    assert f"Bad_value: {WARNINGS['bad_value']}." in page


def test_texts_that_are_kept_are_not_called_missing(keep):
    db = keep(a_call(metadata={"prompt_text": "Where is my parcel?"}), a_call(trace_id="trace0002"))
    assert "Prompt and answer are among the metadata" in looked_at(db, "/traces/trace0001")
    assert "Prompt and answer are not stored" in looked_at(db, "/traces/trace0002")


@pytest.mark.parametrize("words", [("traces",), ("stats",), ("metrics",), ("prices", "check"), ("detect",)])
def test_an_empty_project_says_where_calls_are(keep, words):
    said = run(*words, db=keep(a_call(project="shop"), a_call(project="a b")))
    assert "There are calls in other projects: a b, shop. Look there with: --project 'a b'" in said


def test_a_trace_of_another_project_is_looked_for_there(keep):
    done = CliRunner().invoke(cli.group, ["trace", "trace0001", "--db", keep(a_call(project="shop"))])
    assert "--project shop" in str(done.exception)


def test_the_first_screen_of_an_empty_project_leads_to_the_others(keep):
    db = keep(a_call(project="shop"))
    assert '<a class="link" href="/?project=shop">shop</a>' in looked_at(db, "/")
    assert "Calls came to" not in looked_at(db, "/?project=shop")
