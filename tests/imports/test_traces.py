"""Exports of llm_traces: formats, names, what is completed, what is refused."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracewatch.imports import import_file

T0 = 1_772_445_600.0
ROWS = [
    {
        "timestamp": "2026-03-02T10:00:00Z",
        "traceId": "t1",
        "Span ID": "s1",
        "model": "gpt-4o-mini",
        "provider": "openai",
        "latency_ms": 1500,
        "ttft_s": 0.5,
        "prompt-tokens": 100,
        "completion_tokens": 50,
        "streaming": True,
    },
    {
        "timestamp": "2026-03-02T10:00:01Z",
        "traceId": "t1",
        "Span ID": "s2",
        "model": "gpt-4o-mini",
        "provider": "openai",
        "latency_ms": 20,
        "ttft_s": None,
        "prompt-tokens": 100,
        "completion_tokens": None,
        "streaming": False,
    },
]


def as_csv(rows, delimiter=","):
    lines = [delimiter.join(rows[0])]
    lines += [delimiter.join("" if value is None else str(value) for value in row.values()) for row in rows]
    return "\n".join(lines) + "\n"


def as_jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_parquet(rows, path):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


FORMATS = {
    "commas.csv": ("csv", as_csv),
    "semicolons.csv": ("csv", lambda rows: as_csv(rows, ";")),
    "tabs.tsv": ("csv", lambda rows: as_csv(rows, "\t")),
    "packed.csv.gz": ("csv", lambda rows: gzip.compress(as_csv(rows).encode())),
    "marked.csv": ("csv", lambda rows: as_csv(rows).encode("utf-8-sig")),
    "windows.csv": ("csv", lambda rows: as_csv(rows).replace("\n", "\r\n").encode("utf-16")),
    "lines.jsonl": ("jsonl", as_jsonl),
    "packed.jsonl.gz": ("jsonl", lambda rows: gzip.compress(as_jsonl(rows).encode())),
    "array.json": ("json", lambda rows: json.dumps(rows, indent=2)),
}


def check(imported, spans):
    assert (imported.read, imported.stored, imported.refused) == (2, 2, {})
    first, second = spans
    assert first["start_time"] == T0
    assert first["end_time"] == T0 + 1.5
    assert (first["trace_id"], first["span_id"]) == ("t1", "s1")
    assert (first["model_name"], first["model_provider"]) == ("gpt-4o-mini", "openai")
    assert (first["duration_ms"], first["ttft_ms"]) == (1500.0, 500.0)
    assert (first["input_tokens"], first["output_tokens"], first["total_tokens"]) == (100, 50, 150)
    assert first["tokens_per_second"] == 50.0  # 50 tokens in the second after the first token
    assert (first["status"], first["source"], first["streaming_enabled"]) == ("ok", "traces", True)
    assert (second["total_tokens"], second["tokens_per_second"], second["streaming_enabled"]) == (100, None, False)


@pytest.mark.parametrize("name", FORMATS)
def test_every_text_format(name, bring, spans):
    form, write = FORMATS[name]
    imported = bring(write(ROWS), name)
    assert (imported.format, imported.kind) == (form, "traces")
    check(imported, spans())


def test_parquet(bring, spans, tmp_path):
    imported = bring(as_parquet(ROWS, tmp_path / "made"), "rows.parquet")
    assert imported.format == "parquet"
    check(imported, spans())


def test_content_counts_not_the_name(bring, tmp_path):
    assert bring(as_parquet(ROWS, tmp_path / "made"), "rows.csv").format == "parquet"
    assert bring(as_jsonl(ROWS), "rows.csv").format == "jsonl"


@pytest.mark.parametrize("name", ["commas.csv", "lines.jsonl", "array.json"])
def test_the_same_file_twice_adds_nothing(name, bring, spans):
    without_ids = [{key: row[key] for key in row if key not in ("traceId", "Span ID")} for row in ROWS]
    content = FORMATS[name][1](without_ids)
    assert bring(content, name).stored == 2
    again = bring(content, name)
    assert (again.stored, again.already_there) == (0, 2)
    assert len(spans()) == 2
    assert {len(row["trace_id"]) for row in spans()} == {32}


def test_rows_that_say_the_same_are_told_apart_also_next_time(bring, spans):
    text = "timestamp,input_tokens\n" + "2026-03-02 10:00:00,5\n" * 3
    assert bring(text).stored == 3
    # The export has since grown by one of them, and a row stands before them.
    grown = "timestamp,input_tokens\n2026-03-02 09:00:00,5\n" + "2026-03-02 10:00:00,5\n" * 4
    again = bring(grown, "later.csv")
    assert (again.stored, again.already_there) == (2, 3)


def test_the_same_rows_in_another_format_are_the_same(bring):
    without_ids = [{key: row[key] for key in row if key not in ("traceId", "Span ID")} for row in ROWS]
    assert bring(as_csv(without_ids)).stored == 2
    assert bring(as_jsonl(without_ids), "again.jsonl").already_there == 2


def test_an_exact_name_goes_before_an_alias(bring, only):
    bring("created_at,start_time,span_id\n2026-03-02T12:00:00Z,2026-03-02T10:00:00Z,s\n")
    assert only()["start_time"] == T0


def test_opentelemetry_names_are_understood(bring, only):
    bring("timestamp,gen_ai.usage.input_tokens,gen_ai.response.model\n2026-03-02T10:00:00Z,7,gpt-4o\n")
    assert (only()["input_tokens"], only()["model_name"]) == (7, "gpt-4o")


def test_the_start_follows_from_end_and_duration(bring, only):
    bring("end_time,duration_ms\n2026-03-02T10:00:02Z,2000\n")
    assert only()["start_time"] == T0


def test_unknown_numbers_go_into_the_metadata_and_texts_stay_out(bring, only):
    imported = bring(
        "timestamp,metadata,chunks seen,flag,prompt,tier\n"
        '2026-03-02T10:00:00Z,"{""plan"": ""pro""}",+07,yes,Tell me a secret,gold\n',
        keep=["tier"],
    )
    assert json.loads(only()["metadata"]) == {"plan": "pro", "chunks seen": 7, "flag": True, "tier": "gold"}
    assert imported.in_metadata == ("chunks seen", "flag", "tier")
    assert imported.left_out == ("prompt",)


def test_reasoning_is_content_and_comes_only_when_asked_for(bring, spans):
    text = "timestamp,span_id,reasoning\n2026-03-02T10:00:00Z,a,I think\n"
    assert bring(text).left_out == ("reasoning",)
    assert bring(text.replace(",a,", ",b,"), keep=["reasoning"]).left_out == ()
    assert [row["reasoning"] for row in spans()] == [None, "I think"]


def test_errors_make_the_status_and_long_messages_are_cut(bring, spans):
    bring(
        "timestamp,span_id,status,error\n"
        f"2026-03-02T10:00:00Z,a,,{'x' * 900}\n"
        "2026-03-02T10:00:01Z,b,,false\n"
        "2026-03-02T10:00:02Z,c,Timed Out,\n"
    )
    rows = spans()
    assert [row["status"] for row in rows] == ["error", "ok", "timeout"]
    assert rows[0]["error_message"] == "x" * 500
    assert rows[1]["error_message"] is None


def test_a_row_s_project_is_kept_unless_another_is_given(bring, spans):
    text = "timestamp,span_id,tenant_id\n2026-03-02T10:00:00Z,a,acme\n"
    assert bring(text).projects == {"acme": 1}
    assert bring(text, project="mine").projects == {"mine": 1}
    assert {row["project"] for row in spans()} == {"acme", "mine"}


def test_quoted_line_breaks_keep_the_line_numbers_right(bring, spans, rejected):
    imported = bring('timestamp,span_id,error\n2026-03-02T10:00:00Z,a,"two\nlines"\nnonsense,b,\n')
    assert spans()[0]["error_message"] == "two\nlines"
    (line,) = rejected(imported)
    assert line["line"] == 4
    assert line["reason"].startswith("timestamp (start_time) is not a time (write it like 2026-03-02T10:00:00Z, or in ")
    assert line["reason"].endswith(": 'nonsense'")


def test_an_imported_batch_is_priced(bring, only):
    from tracewatch.pricing import PriceBook

    text = "timestamp,span_id,provider,model,input_tokens,output_tokens\n2026-03-02T10:00:00Z,a,openai,{},1000000,0\n"
    imported = bring(text.format("gpt-4o-mini"), book=PriceBook())
    assert only()["cost_usd"] == pytest.approx(0.15)
    assert imported.unpriced == {}
    imported = bring(text.format("gpt-99-imaginary").replace(",a,", ",b,"), book=PriceBook())
    assert imported.unpriced == {"gpt-99-imaginary": 1}


def test_progress_counts_what_is_stored(tmp_path, store):
    path = tmp_path / "many.csv"
    path.write_text("timestamp,input_tokens\n" + "".join(f"{T0 + row},{row}\n" for row in range(40_000)))
    steps = []
    import_file(path, store, progress=lambda step: steps.append((step.stored, step.done <= step.total)))
    assert [stored for stored, _ in steps] == [16_384, 32_768, 40_000]
    assert all(within for _, within in steps)


def test_columns_of_their_own_that_only_some_rows_have(bring, spans):
    begin = "2026-03-02T10:00:0"
    bring(f"timestamp,score,beta\n{begin}0Z,,\n{begin}1Z,0.5,\n{begin}2Z,,true\n{begin}3Z,1,false\n{begin}4Z,,\n")
    found = [row["metadata"] for row in spans()]
    assert found == [None, '{"score": 0.5}', '{"beta": true}', '{"score": 1, "beta": false}', None]
