"""What a program says of its calls: no text of people unless it is allowed, and nothing longer than a row keeps."""

import time

import tracewatch
from tracewatch.otlp import decode
from tracewatch.otlp.encoding import encode
from tracewatch.records.bounds import LARGEST_METADATA, LONGEST_ENTRY, LONGEST_TEXT, TOO_LONG

MEGABYTE = "x" * 1_000_000


def test_texts_of_prompts_are_left_out_whatever_they_are_called(recorded, caplog):
    with tracewatch.trace("ask", prompt="Who am I?", userQuestion="Why?", tenant="acme", prompt_version="v3") as span:
        span.set(answer="Nobody", metadata={"messages": [{"content": "Who?"}], "app": {"query": "so", "page": 3}})
    tracewatch.flush()
    (row,) = recorded.rows(span_name="ask")
    assert row.metadata == {"tenant": "acme", "prompt_version": "v3", "app": {"page": 3}}
    told = [each for each in caplog.messages if "texts of prompts and answers are not recorded" in each]
    assert len(told) == 1
    assert "answer, messages, prompt, query, userQuestion" in told[0]


def test_numbers_are_kept_under_any_name(recorded):
    tracewatch.record("ask", result=3, content=0.5, completion=True)
    tracewatch.flush()
    assert recorded.rows(span_name="ask")[0].metadata == {"result": 3, "content": 0.5, "completion": True}


def test_texts_are_kept_where_they_are_allowed(tmp_path, program):
    found = program(
        """
        import tracewatch
        with tracewatch.trace("ask", prompt="Who am I?"): pass
        """,
        TRACEWATCH_CAPTURE_CONTENT="true",
    )
    assert found.rows(span_name="ask")[0].metadata == {"prompt": "Who am I?"}


def test_ids_and_texts_of_a_megabyte_are_cut_and_told(recorded):
    given = {
        "user_id": MEGABYTE,
        "session_id": MEGABYTE,
        "model_name": MEGABYTE,
        "note": MEGABYTE,
        "many": [MEGABYTE] * 99,
    }
    with tracewatch.trace(MEGABYTE, trace_id=MEGABYTE, **given), tracewatch.span("below"):
        pass
    tracewatch.flush()
    row, below = sorted(recorded.rows(), key=lambda each: each.span_name, reverse=True)
    assert row.span_name == row.trace_id == row.user_id == row.session_id == row.model_name == "x" * LONGEST_TEXT
    assert (below.trace_id, below.parent_span_id) == (row.trace_id, row.span_id)
    assert len(row.metadata["note"]) == LONGEST_ENTRY
    assert sum(map(len, row.metadata["many"])) < LARGEST_METADATA
    assert TOO_LONG in row.warning_flags


def test_a_row_within_its_bounds_is_as_it_was_given(recorded):
    tracewatch.record("ask", user_id="u" * LONGEST_TEXT, note="n" * LONGEST_ENTRY)
    tracewatch.flush()
    (row,) = recorded.rows(span_name="ask")
    assert (row.user_id, row.metadata["note"]) == ("u" * LONGEST_TEXT, "n" * LONGEST_ENTRY)
    assert not row.warning_flags


def test_a_server_bounds_what_any_program_sends_it():
    from tracewatch.records import Span

    sent = Span(
        trace_id="a" * 32, span_id="b" * 16, start_time=time.time(), span_name="ask", user_id=MEGABYTE, source="sdk",
        error_message=MEGABYTE, metadata={"question": "Why?", "note": MEGABYTE},
    )  # fmt: skip
    (got,) = decode(encode([sent]), json=True).spans
    assert len(got.user_id) == LONGEST_TEXT
    assert len(got.error_message) == 500
    assert got.metadata == {"note": "x" * LONGEST_ENTRY}
    assert TOO_LONG in got.warning_flags
