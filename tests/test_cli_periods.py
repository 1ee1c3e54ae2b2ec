"""The period that a command looks at, as a person types it."""

import json
import time

import pytest
from click.testing import CliRunner

from tracewatch.cli import group
from tracewatch.errors import BadWindow
from tracewatch.records import Span
from tracewatch.stores import open_store

DAY_S = 86_400
COMMANDS = (("stats",), ("metrics",), ("detect",), ("traces",), ("export",), ("prices", "reprice"))
ONE = {"trace_id": "t", "span_id": "s", "conversation_id": "c", "operation_type": "chat"}
NEWEST = "The newest call began"


@pytest.fixture
def run(tmp_path):
    path = str(tmp_path / "watch.db")

    def run(*words):
        return CliRunner().invoke(group, [*words, "--db", path])

    with open_store(path, create=True) as store:
        begins = [time.time() - DAY_S * days for days in (0.5, 2, 3.5)]
        store.add(
            Span(start_time=begin, trace_id=f"t{number}", span_id=f"s{number}", model_name="m", operation_type="chat")
            for number, begin in enumerate(begins)
        )
    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_period_that_ends_before_it_begins_is_refused(run, command):
    result = run(*command, "--since", "1d", "--until", "3d")
    assert result.exit_code == 1
    assert isinstance(result.exception, BadWindow)
    assert "is empty: give a --since that lies before --until" in str(result.exception)


@pytest.mark.parametrize("words", [("--since", "3d", "--until", "1d"), ("--until", "36h")])
def test_two_durations_count_from_now_and_a_default_one_from_the_end(run, words):
    assert json.loads(run("stats", *words, "--format", "json").stdout)["total_llm_calls"] == 1


def test_the_newest_call_is_named_only_where_it_is_outside_the_period(run, tmp_path):
    assert NEWEST in run("stats", "--since", "1h").stderr
    with open_store(str(tmp_path / "watch.db")) as store:
        store.add([Span(start_time=time.time() - 60, trace_id="t9", span_id="s9", operation_type="tool")])
    assert NEWEST not in run("stats", "--since", "1h").stderr


def test_of_one_call_there_is_no_percentile_below_its_average_and_no_plural(tmp_path):
    path = str(tmp_path / "one.db")
    with open_store(path, create=True) as store:
        begin = time.time() - 60
        store.add([Span(start_time=begin, end_time=begin + 0.0716, duration_ms=71.6, model_name="m", **ONE)])
    told = CliRunner().invoke(group, ["stats", "--db", path]).output
    assert "1 in 1 trace, 1 conversation\n" in told
    assert "1 call," in told
    assert "on average\n" in told
    (row,) = [line for line in told.splitlines() if line.startswith("chat")]
    assert row.count("71.6 ms") == 2


def test_the_percentile_of_calls_that_differ_is_told(tmp_path):
    path = str(tmp_path / "two.db")
    with open_store(path, create=True) as store:
        begin = time.time() - 60
        store.add(
            Span(start_time=begin, duration_ms=length, trace_id="t", span_id=str(length), operation_type="chat")
            for length in (100.0, 900.0)
        )
    told = CliRunner().invoke(group, ["stats", "--db", path]).output
    assert "500 ms on average, p95 899 ms" in told
