"""`tracewatch traces` and `trace`, as a user types them, in windows of several widths."""

import json
import re

import pytest
from click.testing import CliRunner

from tracewatch import cli
from tracewatch.cli.waterfall import MOST_ROWS, in_tree_order, rows_of
from tracewatch.records import MESSAGES_SOURCE, Span
from tracewatch.stores import open_store

NOON = 1_793_534_400.0  # 2026-11-01 12:00 UTC
WIDTHS = (40, 60, 80, 100, 160)


def a_span(number, **given):
    ordinary = {
        "trace_id": f"trace{number:04}",
        "span_id": f"s{number}",
        "start_time": NOON + number,
        "duration_ms": 1_234.0,
        "operation_type": "chat",
        "model_provider": "openai",
        "model_name": "gpt-4.1-mini-2025-04-14",
        "input_tokens": 12_345,
        "output_tokens": 678,
        "cost_usd": 0.0053,
        "cost_status": "exact",
    }
    return Span(**{**ordinary, **given})


FAILED = {
    "status": "error",
    "error_category": "rate_limit",
    "error_type": "RateLimitError",
    "error_message": "You have sent too many requests this minute",
}


@pytest.fixture
def keep(tmp_path):
    """Stores spans, and gives the database."""

    def kept(*spans):
        db = str(tmp_path / "watch.db")
        with open_store(db, create=True) as store:
            store.put(spans)
        return db

    return kept


def run(*words, db, width=None, code=0):
    done = CliRunner(env={"COLUMNS": str(width) if width else None}).invoke(cli.group, [*words, "--db", db])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_date_or_id_is_torn_in_a_narrow_window(width, keep):
    db = keep(*(a_span(each) for each in range(3)), a_span(9, **FAILED))
    lines = run("traces", db=db, width=width).stdout.splitlines()
    assert len([line for line in lines if line]) == 2 + 4
    assert all(len(line) <= width for line in lines)
    for line in lines[3:-1]:
        assert re.search(r"trace000\d", line)
        assert len(re.findall(r"\$", line)) == len(re.findall(r"\$0\.0053(?!\d)", line))
        assert len(re.findall("2026", line)) == len(re.findall(r"2026-11-01 12:00:\d\d", line))


def test_what_matters_most_stays_longest(keep):
    db = keep(a_span(1, **FAILED))
    shown = {width: run("traces", db=db, width=width).stdout for width in WIDTHS}
    assert "$0.0053" in shown[60]
    assert "error" in shown[60]
    assert "gpt-4.1" not in shown[60]
    assert "gpt-4.1" in shown[80]
    assert "rate_limit" in shown[100]
    assert "openai" in shown[160]
    assert "12,345" in shown[160]
    assert "rate_limit · RateLimitError: You have" in shown[160]


@pytest.mark.parametrize("width", [None, *WIDTHS])
def test_lines_have_no_trailing_blanks(width, keep):
    db = keep(a_span(1), a_span(2, **FAILED, parent_span_id="s1", trace_id="trace0001"))
    for words in (["traces"], ["trace", "trace0001"]):
        for line in run(*words, db=db, width=width).stdout.splitlines():
            assert line == line.rstrip()


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_shrink_with_the_window_or_vanish(width, keep):
    db = keep(a_span(1), a_span(2, trace_id="trace0001", parent_span_id="s1"))
    lines = run("trace", "trace0001", db=db, width=width).stdout.splitlines()
    bars = [line.count("█") for line in lines if "█" in line]
    assert len(bars) == (2 if width >= 60 else 0)
    assert all(len(line) <= width for line in lines[2:-1])


def test_a_failed_call_says_what_went_wrong(keep):
    db = keep(a_span(1, **FAILED))
    assert (
        "  rate_limit · RateLimitError: You have sent too many requests this minute"
        in run("trace", "trace0001", db=db).stdout
    )
    narrow = run("trace", "trace0001", db=db, width=60).stdout
    assert "requests this minute" in " ".join(narrow.split())


def test_an_error_cannot_steer_the_terminal(keep):
    db = keep(a_span(1, status="error", error_message="[red]a\x1b[2Jb[/]\nc"))
    shown = run("trace", "trace0001", db=db).stdout
    assert "[red]a [2Jb[/] c" in shown
    assert "\x1b" not in shown + run("traces", db=db).stdout


def test_a_trace_says_whose_it_is_and_what_its_spans_are_like(keep):
    given = {"ttft_ms": 345.0, "cache_read_input_tokens": 9_876, "cost_status": "reported"}
    db = keep(a_span(1, user_id="u42", conversation_id="c7", **given))
    shown = run("trace", "trace0001", db=db).stdout
    assert "trace trace0001 · user u42 · conversation c7" in shown
    for each in ("345 ms", "9,876", "reported", "1 span · 1.2 s"):
        assert each in shown


def test_columns_for_what_no_span_has_are_left_out(keep):
    shown = run("trace", "trace0001", db=keep(a_span(1))).stdout
    assert "first token" not in shown
    assert "cached" not in shown
    assert "cost is" not in shown


def test_a_trace_without_durations_says_so(keep):
    shown = run("trace", "trace0001", db=keep(a_span(1, duration_ms=None))).stdout
    assert "no duration" in shown
    assert "0 ms" not in shown
    assert "█" not in shown


def siblings(count, **given):
    root = a_span(0, trace_id="long", span_name="agent")
    calls = [
        a_span(each, trace_id="long", parent_span_id="s0", span_name="tool.search", duration_ms=80.0, **given)
        for each in range(1, count + 1)
    ]
    return [root, *calls]


def test_long_runs_of_equal_siblings_fold(keep):
    spans = siblings(412)
    db = keep(*spans[:-1], a_span(412, trace_id="long", parent_span_id="s0", span_name="tool.search", **FAILED))
    done = run("trace", "long", db=db)
    row = next(line for line in done.stdout.splitlines() if "tool.search" in line)
    for each in ("tool.search × 412", "median 80 ms", "1 error"):
        assert each in row
    assert "You have sent too many requests" in done.stdout
    assert "--all" in done.stderr
    everything = run("trace", "long", "--all", db=db).stdout
    assert everything.count("tool.search") == 412
    assert "×" not in everything


def test_short_runs_stand_as_they_are(keep):
    assert run("trace", "long", db=keep(*siblings(MOST_ROWS - 1))).stdout.count("tool.search") == MOST_ROWS - 1


def test_steps_that_take_turns_fold_with_what_is_below_them():
    spans = [a_span(0, trace_id="long", span_name="agent")]
    for each in range(1, 1_001):
        spans.append(a_span(each, parent_span_id="s0", span_name=("think", "act")[each % 2]))
        spans.append(a_span(10_000 + each, parent_span_id=f"s{each}", span_name="call"))
    rows, left_out = rows_of(spans)
    assert left_out == 0
    assert [each.name for each in rows] == ["agent", "act × 500 and 500 below", "think × 500 and 500 below"]


def test_spans_that_differ_are_counted_when_they_are_too_many(keep):
    spans = [a_span(each, trace_id="long", span_name=f"step {each}") for each in range(5_000)]
    spans[4_000] = a_span(4_000, trace_id="long", span_name="the failed one", **FAILED)
    done = run("trace", "long", db=keep(*spans))
    assert "the failed one" in done.stdout
    assert f"{5_000 - MOST_ROWS - 1:,} more lines are left out" in done.stderr


def test_a_very_deep_chain_and_circles_are_walked_once():
    chain = [a_span(each, parent_span_id=f"s{each - 1}") for each in range(20_000)]
    assert [depth for depth, _ in in_tree_order(chain)] == list(range(20_000))
    rows, left_out = rows_of(chain)
    assert len(rows) == MOST_ROWS
    assert left_out == 20_000 - MOST_ROWS
    circle = [a_span(1, parent_span_id="s3"), a_span(2, parent_span_id="s1"), a_span(3, parent_span_id="s2")]
    own = a_span(4, parent_span_id="s4")
    orphan = a_span(5, parent_span_id="gone")
    told = [(depth, each.span_id) for depth, each in in_tree_order([*circle, own, orphan])]
    assert told == [(0, "s5"), (0, "s1"), (1, "s2"), (2, "s3"), (0, "s4")]


def listed(*words, db):
    return [
        json.loads(line)["span_id"] for line in run("traces", *words, "--format", "jsonl", db=db).stdout.splitlines()
    ]


def test_messages_are_marked(keep):
    shown = run("traces", db=keep(a_span(1, source=MESSAGES_SOURCE), a_span(2))).stdout
    (row,) = (line for line in shown.splitlines() if "message" in line)
    assert "trace0001" in row


@pytest.mark.parametrize(
    "words",
    [
        ("--source", "sdk"),
        ("--conversation", "c7"),
        ("--environment", "production"),
        ("--service", "shop"),
        ("--min-cost", "0.5"),
        ("--min-latency", "2s"),
        ("--min-latency", "2000"),
        ("--where", "latency_ms>1999"),
        ("--since", "1s", "--until", "newest"),
    ],
)
def test_shorthands(words, keep):
    odd = {"source": "sdk", "conversation_id": "c7", "environment": "production", "service_name": "shop"}
    db = keep(a_span(1), a_span(9, cost_usd=0.5, duration_ms=2_000.0, **odd))
    assert listed(*words, db=db) == ["s9"]


def test_until_newest_of_an_empty_store_is_no_error(keep):
    assert "No call matches" in run("traces", "--until", "newest", db=keep()).stderr


def test_a_value_no_call_has_is_answered_with_those_there_are(keep):
    db = keep(a_span(1), a_span(2, model_provider="cohere"))
    assert "did you mean 'openai'?" in run("traces", "--provider", "OpenAI", db=db).stderr
    told = run("traces", "--where", "provider=zzz", db=db).stderr
    assert re.search("provider .zzz.; there are: (openai, cohere|cohere, openai)", told)
    assert "No call has a service." in run("traces", "--service", "shop", db=db).stderr
    assert "did you mean" not in run("traces", "--provider", "openai", "--since", "1s", db=db).stderr


@pytest.mark.parametrize("given", ["abc", "0", "10001", "1.5"])
def test_a_limit_that_cannot_be_is_refused_in_a_sentence(given, keep):
    told = run("traces", "--limit", given, db=keep(), code=2).stderr
    assert f"'{given}' is not a whole number from 1 to 10,000." in told


def test_a_latency_that_cannot_be_is_refused_in_a_sentence(keep):
    assert "write it like 800ms" in run("traces", "--min-latency", "slow", db=keep(), code=2).stderr
