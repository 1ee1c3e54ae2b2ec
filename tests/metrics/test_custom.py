"""Metrics that a user declares: the line, the numbers in JSON, and what is offered."""

import doctest
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tracewatch import settings
from tracewatch.errors import BadMetric
from tracewatch.metrics import Rows, custom
from tracewatch.metrics.custom import MOST, Offer, columns_of_floats, metric_of, needed, offers, parse
from tracewatch.metrics.entries import CHUNK, discovered, numbers
from tracewatch.metrics.table import METRIC_OF


def read(texts, name="score"):
    return numbers(pa.array(texts, pa.string()), [name])[name].tolist()


def test_one_line_declares_them():
    line = settings.load({"TRACEWATCH_METRICS": "metadata.judge.v2:up, quality.tone\n metadata.n ,,"}).metrics
    found = parse(line)
    assert [(each.name, each.bad) for each in found] == [
        ("metadata.judge.v2", "up"),
        ("quality.tone", "down"),
        ("metadata.n", "either"),
    ]
    assert parse("") == ()
    assert needed(found) == ("metadata", "response_quality_breakdown")


def test_a_row_of_the_table_is_declared_by_its_key():
    found = parse("cost_per_hour, streaming_cost_ratio:either")
    assert [(each.name, each.bad) for each in found] == [("cost_per_hour", "up"), ("streaming_cost_ratio", "either")]
    assert metric_of(found[0]) == METRIC_OF["cost_per_hour"]
    assert metric_of(found[1]).bad == "either"
    assert needed(found) == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("metadata.x:sideways", "'sideways' is no direction"),
        ("metadata.", "does not say which entry"),
        ("meta.x", "begins with 'meta' instead of metadata or quality"),
        ("quality.x, quality.x:up", "named twice"),
        ("cost_usd", "watched already"),
        ("calls_per_day", "watched already"),
        ("first_seen_version", "no value by the hour"),
        ("nonsense", "no metric of tracewatch metrics --all"),
        ("metadata.a\x1bb", "printable"),
        ("metadata." + "x" * 200, "at most 100 characters"),
        (", ".join(f"metadata.k{row}" for row in range(MOST + 1)), f"one more than the {MOST}"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line, why):
    with pytest.raises(BadMetric) as raised:
        parse(line)
    assert why in str(raised.value)


def test_numbers_are_found_in_json():
    texts = ['{"score": 0.5}', '{"score": 7, "b": "x"}', '{"score": "7"}', None, '{"b": 1}', "[1]", "nonsense", ""]
    assert read(texts) == pytest.approx([0.5, 7, *[math.nan] * 6], nan_ok=True)


@pytest.mark.parametrize("text", ['{"score": 1e999}', '{"score": NaN}', '{"score": %s}' % ("9" * 400), "[" * 100_000])
def test_what_is_no_finite_number_is_absent(text):
    assert np.isnan(read([text])).all()
    assert read([text, '{"score": 1}'])[1] == 1


def test_true_and_false_count():
    assert read(['{"score": true}', '{"score": false}']) == [1, 0]


def test_a_broken_text_spoils_no_other():
    texts = [f'{{"score": {row}}}' for row in range(2 * CHUNK)]
    texts[CHUNK + 3] = '{"score": 1}, {"score": 2}'
    found = read(texts)
    assert math.isnan(found[CHUNK + 3])
    assert found[CHUNK + 4] == CHUNK + 4
    assert found[-1] == 2 * CHUNK - 1


@examples(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.dictionaries(st.text(max_size=3), st.floats() | st.text(max_size=3)))))
def test_each_row_is_read_as_if_alone(objects):
    texts = [None if each is None else json.dumps(each) for each in objects]
    expected = [(each or {}).get("a", math.nan) for each in objects]
    expected = [each if isinstance(each, float) and math.isfinite(each) else math.nan for each in expected]
    assert read(texts, "a") == pytest.approx(expected, nan_ok=True)


def test_columns_come_under_the_names_of_the_metrics():
    customs = parse("metadata.calls, quality.tone, metadata.score")
    columns = {"metadata": pa.chunked_array([['{"calls": 3}'], ['{"score": 1}']])}
    found = columns_of_floats(customs, columns)
    assert list(found) == ["metadata.calls", "metadata.score"]
    assert found["metadata.calls"][0] == 3
    assert found["metadata.score"].dtype == np.float64
    assert columns_of_floats((), columns) == {}


def test_a_custom_metric_is_a_row_like_any_other():
    metric = metric_of(parse("quality.tone")[0])
    rows = Rows(pa.table({"response_quality_breakdown": ['{"tone": 0.25}', None]}))
    assert metric.measured(rows)[0] == 0.25
    assert (metric.key, metric.bad, metric.family, metric.label) == ("quality.tone", "down", "custom", "Tone")


def test_what_could_be_watched_is_offered():
    texts = ['{"score": 1, "name": "a"}', '{"score": 2, "rare": 1}', *['{"score": 3}'] * 38]
    columns = {"metadata": pa.array(texts), "response_quality_breakdown": pa.array(['{"tone": 1}', *[None] * 39])}
    assert offers(columns, ()) == [Offer(name="metadata.score", share=1.0)]
    assert offers(columns, parse("metadata.score")) == []
    assert [each.name for each in offers(columns, (), least_share=0.02)] == [
        "metadata.score",
        "metadata.rare",
        "quality.tone",
    ]
    assert discovered(pa.array([], pa.string())) == []


def test_ids_used_as_keys_are_not_endless():
    texts = pa.array([json.dumps({f"id{row}": row, "score": 1}) for row in range(6000)])
    assert [each.name for each in discovered(texts)] == ["score"]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(custom).failed == 0
    assert doctest.testmod(custom).attempted > 0
