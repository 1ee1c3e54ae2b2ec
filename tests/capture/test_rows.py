"""Whatever a program says of a span, a row can be made of it that every store and the wire take."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch.capture.rows import MOST_VALUES, row_of
from tracewatch.otlp import decode, encode
from tracewatch.records import STATUSES, Span, columns
from tracewatch.stores.values import to_row

KEYS = {"trace_id": "t", "span_id": "s", "start_time": 1_790_000_000.0}
NAMES = [each.name for each in columns(Span)]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=20),
    st.datetimes(),
    st.just(float("nan")),
    st.just("\ud800"),
    st.just(object()),
    st.sampled_from(["ok", "success", "true", "12", "1e3", ""]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), VALUES, max_size=12))
def test_a_row_of_anything(fields):
    row = row_of({**fields, **KEYS}, {"project": "p"}, content=True)
    assert row.status in STATUSES
    assert (row.trace_id, row.source) == ("t", "sdk")
    assert len(to_row(row)) == len(NAMES)
    body = encode([row])
    json.loads(body)
    (arrived,) = decode(body, json=True, content=True).spans
    assert arrived.trace_id == "t"


def test_objects_that_hold_themselves_end():
    endless = {"a": 1}
    endless["self"] = [endless, endless, endless]
    wide = {str(number): [number] * 10 for number in range(MOST_VALUES)}
    row = row_of({**KEYS, "metadata": endless, "chunk_usage": wide}, {}, content=False)
    assert len(json.dumps(row.metadata)) < 200_000
    assert len(row.chunk_usage) < MOST_VALUES


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("start_time", datetime(2026, 3, 2, tzinfo=UTC), 1_772_409_600.0),
        ("start_time", datetime(2026, 3, 2), 1_772_409_600.0),  # noqa: DTZ001  # without a zone, which is UTC
        ("input_tokens", "12", 12),
        ("input_tokens", 11.6, 12),
        ("output_tokens", True, 1),
        ("cost_usd", "0.5", 0.5),
        ("streaming_enabled", "False", False),
        ("streaming_enabled", 1, True),
        ("warning_flags", "one", ("one",)),
        ("warning_flags", {"a"}, ("a",)),
        ("metadata", [1, 2], {"value": [1, 2]}),
        ("error_message", "x" * 900, "x" * 500),
        ("model_name", 5, "5"),
    ],
)
def test_values_are_taken_as_they_are_meant(name, given, kept):
    assert getattr(row_of({**KEYS, name: given}, {}, content=False), name) == kept


def test_milliseconds_taken_for_seconds_are_told():
    row = row_of({**KEYS, "start_time": 1_790_000_000_000}, {}, content=False)
    assert row.metadata["bad_values"] == {"start_time": "1790000000000"}
    assert row.warning_flags == ("bad_value",)
