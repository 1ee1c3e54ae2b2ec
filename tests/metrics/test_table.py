"""The table of everything watched: whole, true about who judges what, and measured right."""

import ast
import doctest
import math
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from tracewatch import words
from tracewatch.detectors import adaptive
from tracewatch.detectors.aggregates import ROOM
from tracewatch.metrics import TYPES, Rows, base, entries
from tracewatch.metrics.base import Bad, Family, Grain, summary
from tracewatch.metrics.custom import MOST
from tracewatch.metrics.shares import MOST_PARTS
from tracewatch.metrics.table import ENGINE, METRIC_OF, METRICS, RULES, SERIES, judges_of
from tracewatch.records import Span, column_of, columns

SPAN = column_of(Span)
TEXT = ("text", "json", "list")


def rows(**given):
    """Calls with these columns, and all other columns empty."""
    n = len(next(iter(given.values())))
    made = {}
    for name, column in SPAN.items():
        kind = pa.string() if column.kind in TEXT else pa.float64()
        made[name] = pa.array(given.get(name, [None] * n), kind)
    return Rows(pa.table(made))


def measured(key, **given):
    return METRIC_OF[key].measured(rows(**given)).tolist()


@cache
def told_by_the_engine():
    """Every metric name that stands as a word in the engine's code, besides those of its tables."""
    names = set(ENGINE)
    for path in Path(adaptive.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "metric" and isinstance(node.value, ast.Constant):
                names.add(node.value.value)
    return frozenset(names)


def test_each_key_stands_once_and_each_row_is_whole():
    assert len(METRIC_OF) == len(METRICS) >= 50
    for each in METRICS:
        assert each.label
        assert each.help.endswith(".")
        assert each.formula
        assert each.needs or each.family == "health", each.key
        assert set(each.needs) <= set(SPAN), each.key
        assert each.family in get_args(Family)
        assert each.grain in get_args(Grain)
        assert each.bad in get_args(Bad)
        assert bool(each.parts) == bool(each.by), each.key


def test_every_watched_column_is_measured():
    needed = {name for each in METRICS for name in each.needs}
    assert {each.name for each in columns(Span) if each.watched} - {"metadata"} <= needed
    for each in columns(Span):
        if each.watched and each.kind in ("integer", "real"):
            assert METRIC_OF[each.name].unit in (each.unit, "score")


def test_every_name_the_engine_tells_is_a_row():
    told = told_by_the_engine()
    assert told == ENGINE
    assert told <= {each.alert for each in METRICS}


def test_every_row_that_claims_the_engine_is_told_by_it():
    for each in METRICS:
        assert (judges_of(each).engine == each.alert) == (each.alert in told_by_the_engine()), each.key


def test_every_type_and_every_rule_is_in_the_table():
    assert {judges_of(METRIC_OF[each.name]).type for each in TYPES} == {each.key for each in TYPES}
    assert {judges_of(METRIC_OF[each.name]).threshold for each in TYPES} == {2, 3}
    assert {judges_of(METRIC_OF[key]).rule for key in RULES} == set(words.RULE_LABELS)
    for each in TYPES:
        assert METRIC_OF[each.name].bad in (each.bad, "either")
        assert METRIC_OF[each.name].unit == each.unit


def test_what_the_engine_does_not_judge_is_judged_as_a_series_once_declared_if_it_has_hours():
    assert {each.key for each in SERIES} == {
        each.key
        for each in METRICS
        if judges_of(each).engine != each.key and each.measured is not None and each.grain != "day"
    }
    assert not judges_of(METRIC_OF["trace_loops"], ["trace_loops"]).series
    assert not judges_of(METRIC_OF["cost_per_hour"]).series
    assert judges_of(METRIC_OF["cost_per_hour"], ["cost_per_hour"]).series
    assert not judges_of(METRIC_OF["cost_usd"], ["cost_usd"]).series
    assert not judges_of(METRIC_OF["cost_per_day"], ["cost_per_day"]).series
    assert len(SERIES) + MOST <= ROOM


@pytest.mark.parametrize("key", METRIC_OF)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_empty_calls_have_no_values_and_break_nothing(key, count):
    metric = METRIC_OF[key]
    if metric.measured is None:
        return
    given = rows(start_time=[1e9 + 60 * row for row in range(count)], trace_id=[f"t{row}" for row in range(count)])
    value = summary(metric, metric.measured(given))
    assert value is None or math.isfinite(value)
    for _, values in metric.parts(given) if metric.parts else ():
        assert len(values) == count


@pytest.mark.parametrize("key", METRIC_OF)
def test_absurd_calls_break_nothing(key):
    metric = METRIC_OF[key]
    if metric.measured is None:
        return
    absurd = [0.0, -1.0, 1e300, math.inf, -math.inf, math.nan, 5e-324, None]
    given = {name: absurd for name, column in SPAN.items() if column.kind in ("integer", "real", "boolean")}
    given |= {
        name: ['{"a": 1}', "[", "", None, "null", '["x"]', "x", "0"] for name, c in SPAN.items() if c.kind in TEXT
    }
    given |= {"start_time": [0.0, 1.0, 4e9, 1e9, 1e9, 1e9, 2e9, 3e9]}
    assert metric.measured(rows(**given)).dtype == np.float64
    for part, _ in metric.parts(rows(**given)) if metric.parts else ():
        assert isinstance(part, str)


def test_fields_are_what_the_columns_say():
    assert measured("cost_usd", cost_usd=[0.5, None])[0] == 0.5
    assert METRIC_OF["tokens_per_second"].bad == "down"
    assert METRIC_OF["input_tokens"].bad == "either"


def test_derived_metrics():
    assert measured("cache_hit_rate", cache_read_input_tokens=[25, 5, None], input_tokens=[100, 0, 10])[0] == 0.25
    assert measured("cost_per_1k_tokens", cost_usd=[0.3], input_tokens=[100], output_tokens=[50]) == [2.0]
    assert measured("context_share", context_tokens=[30], input_tokens=[120]) == [0.25]
    times = {"duration_ms": [100, 50], "queue_time_ms": [10, 0], "inference_time_ms": [60, 80]}
    assert measured("unexplained_time_ms", **times, network_time_ms=[5, None]) == [25, 0]
    assert measured("chunk_gap_ms", chunk_usage=['{"max_gap_ms": 40}', None])[0] == 40
    assert measured("quality", response_quality_breakdown=['{"tone": 0.5, "facts": 1.0}', "{}"])[0] == 0.75


def test_shares():
    status = ["ok", "error", "timeout", "fallback"]
    assert measured("error_rate", status=status) == [0, 1, 1, 0]
    assert measured("timeout_rate", status=status) == [0, 0, 1, 0]
    assert measured("fallback_rate", status=status) == [0, 0, 0, 1]
    assert measured("retry_rate", status=status, retry_count=[2, 2, 2, 2])[0] == 1
    assert np.isnan(measured("retry_rate", status=status, retry_count=[2, 2, 2, 2])[1:]).all()
    grounded = measured("ungrounded_rate", rag_answer_grounded=[1, 0, None])
    assert grounded[:2] == [0, 1]
    assert math.isnan(grounded[2])
    assert measured("truncation_rate", finish_reason=["length", "stop"]) == [1, 0]
    assert measured("unpriced_rate", cost_status=["unpriced", "exact"]) == [1, 0]


def parts(key, **given):
    return {part: summary(METRIC_OF[key], values) for part, values in METRIC_OF[key].parts(rows(**given))}


def test_each_category_flag_and_provider_has_its_own_share():
    status = ["ok", "error", "error", "error"]
    category = [None, "rate_limit", "rate_limit", "auth"]
    assert parts("error_category_rate", status=status, error_category=category) == {"rate_limit": 0.5, "auth": 0.25}
    providers = ["a", "a", "b", "b"]
    assert parts("provider_error_rate", status=status, model_provider=providers) == {"a": 0.5, "b": 1.0}
    flags = ['["slow"]', '["slow", "long"]', None, "[]"]
    assert parts("warning_rate", warning_flags=flags) == {"slow": 0.5, "long": 0.25}


def test_a_thousand_providers_are_not_a_thousand_lines():
    names = [f"p{row}" for row in range(1000)]
    assert len(parts("provider_error_rate", status=["ok"] * 1000, model_provider=names)) == MOST_PARTS


def test_volumes_have_a_value_an_hour_and_quiet_hours_count_as_0():
    times = [3600.0, 3700.0, 3 * 3600.0]
    assert measured("calls_per_hour", start_time=times) == [2, 0, 1]
    assert measured("cost_per_hour", start_time=times, cost_usd=[1, None, 2]) == [1, 0, 2]
    assert measured("sessions_per_hour", start_time=times, session_id=["a", "a", None]) == [1]
    assert measured("silence_s", start_time=[30.0, 10.0, 15.0]) == [5, 15]


def test_years_between_two_calls_are_not_millions_of_hours():
    assert measured("calls_per_hour", start_time=[0.0, 4e9]) == [1, 1]


def test_comparisons_are_within_one_kind_of_call():
    n = 40
    given = {
        "operation_type": ["chat"] * n + ["embedding"] * n,
        "model_name": ["m"] * 2 * n,
        "streaming_enabled": [row % 2 for row in range(n)] + [0] * n,
        "duration_ms": [300.0 if row % 2 else 100.0 for row in range(n)] + [1.0] * n,
    }
    assert measured("streaming_duration_ratio", **given) == [3.0]
    methods = {"rag_retrieval_method": ["graph"] * n + ["vector"] * n, "retrieval_latency_ms": [80.0] * n + [20.0] * n}
    assert measured("method_latency_ratio", **methods) == [4.0]


A_TRACE = {
    "trace_id": ["t"] * 5 + ["alone"],
    "span_id": ["root", "a", "b", "c", "deep", "root"],
    "parent_span_id": [None, "root", "root", "root", "c", None],
    "start_time": [10.0, 10.1, 10.1, 10.5, 10.5, 20.0],
    "duration_ms": [1000.0, 100.0, 200.0, 300.0, 100.0, 5.0],
    "operation_type": ["agent", "tool", "tool", "chat", "chat", "agent"],
    "model_name": ["m"] * 6,
}


def test_hierarchy():
    assert measured("spans_per_trace", **A_TRACE) == [5, 1]
    assert measured("trace_depth", **A_TRACE) == [3, 1]
    assert measured("trace_loops", **A_TRACE) == [2, 1]
    own = measured("self_time_ms", **A_TRACE)
    assert own[0] == pytest.approx(500, abs=1e-3)  # a and b overlap: 1000 - 200 - 300
    assert own[3] == pytest.approx(200, abs=1e-3)
    assert np.isnan(own[1:3]).all()
    assert measured("slow_child_share", **A_TRACE)[0] == pytest.approx(0.3)


def test_a_circle_of_parents_ends():
    circle = {"trace_id": ["t"] * 3, "span_id": ["a", "b", "c"], "parent_span_id": ["b", "a", "c"]}
    assert measured("trace_depth", **circle)[0] < 100


def test_a_step_that_nearly_all_have_is_missed():
    traces = [f"t{row}" for row in range(30)]
    given = {
        "trace_id": traces + traces[:-1],
        "span_id": ["root"] * 30 + ["child"] * 29,
        "parent_span_id": [None] * 30 + ["root"] * 29,
        "operation_type": ["ask"] * 30 + ["rerank"] * 29,
    }
    missing = measured("missing_child_rate", **given)
    assert sum(missing) == missing[29] == 1


def test_conversations():
    given = {
        "conversation_id": ["a", "b", "a", None],
        "session_id": ["s", "s", "s", "s"],
        "operation_type": ["chat"] * 4,
        "start_time": [3.0, 1.0, 2.0, 9.0],
        "input_tokens": [900, 50, 100, 5],
        "cost_usd": [0.5, 0.25, 0.5, 8.0],
    }
    assert sorted(measured("turns_per_conversation", **given)) == [1, 2]
    assert sorted(measured("cost_per_conversation", **given)) == [0.25, 1.0]
    assert measured("growth_per_turn", **given) == [800]
    assert measured("cost_per_session", **given) == [9.25]


def test_batch_runs_are_their_summary_records():
    given = {"model_provider": ["system", "openai"], "model_name": ["batch", "batch"], "duration_ms": [60_000, 5]}
    given |= {"status": ["error", "ok"], "start_time": [1e9, 1e9]}
    assert measured("batch_duration_ms", **given)[0] == 60_000
    assert math.isnan(measured("batch_duration_ms", **given)[1])
    assert measured("batch_failure_rate", **given)[0] == 1


@pytest.mark.parametrize("room", [base, entries], ids=lambda room: room.__name__)
def test_the_examples_in_the_docstrings_hold(room):
    assert doctest.testmod(room).failed == 0
    assert doctest.testmod(room).attempted > 0
