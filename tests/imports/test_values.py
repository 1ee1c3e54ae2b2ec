"""Values as files spell them."""

import datetime
import decimal
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tracewatch.imports import values
from tracewatch.imports.times import times

T0 = 1_772_445_600  # 2026-03-02T10:00:00Z
UTC = datetime.UTC

# What is written -> seconds after T0, and whether it is taken as UTC for want of a zone.
FORMS = {
    "2026-03-02T10:00:00Z": (0, False),
    "2026-03-02T10:00:00z": (0, False),
    "2026-03-02 10:00:00Z": (0, False),
    "2026-03-02T12:00:00+02:00": (0, False),
    "2026-03-02 12:00:00+0200": (0, False),
    "2026-03-02 10:00:00+00": (0, False),
    "2026-03-02 10:00:00.25+00": (0.25, False),
    "2026-03-02 04:30:00-05:30": (0, False),
    "2026-03-02 10:00:00 UTC": (0, False),
    "2026-03-02T10:00:00": (0, True),
    " 2026-03-02 10:00:00 ": (0, True),
    "2026-03-02 10:00": (0, True),
    "2026-03-02T10:00:00.5": (0.5, True),
    "2026-03-02T10:00:00.123456789Z": (0.123456, False),
    "2026-03-02": (-36_000, True),
    "20260302": (-36_000, True),
    "1772445600": (0, False),
    "1772445600.5": (0.5, False),
    "1.7724456e9": (0, False),
    "1772445600500": (0.5, False),
    "1772445600500000": (0.5, False),
    "1772445600500000000": (0.5, False),
}


def check(converted, expected, naive=0):
    assert converted.values.to_pylist() == [pytest.approx(T0 + each, abs=1e-6) for each in expected]
    assert converted.naive == naive
    assert converted.bad is None or not any(converted.bad.to_pylist())


@pytest.mark.parametrize("text", FORMS)
def test_a_time_as_text(text):
    after, naive = FORMS[text]
    check(times(pa.array([text])), [after], int(naive))


def test_all_forms_in_one_column():
    check(
        times(pa.array(list(FORMS))), [after for after, _ in FORMS.values()], sum(naive for _, naive in FORMS.values())
    )


def test_one_impossible_date_leaves_the_others_alone():
    converted = times(pa.array(["2026-03-02T10:00:00Z", "2026-13-02T10:00:00Z", "2026-03-02 10:00:01", None, "soon"]))
    assert converted.values.to_pylist() == [T0, None, T0 + 1, None, None]
    assert converted.bad.to_pylist() == [False, True, False, False, True]
    assert converted.naive == 1


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_time_stamps_of_arrow(unit, zone):
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    check(times(pa.array([T0 * scale], pa.timestamp(unit, zone))), [0], 0 if zone else 1)


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64()])
def test_epoch_numbers_of_every_unit(scale, kind):
    check(times(pa.array([T0 * scale]).cast(kind, safe=False)), [0])


def test_dates_pandas_and_decimals():
    check(times(pa.array([datetime.date(2026, 3, 2)])), [-36_000], 1)
    check(times(pa.array(pd.Series([pd.Timestamp("2026-03-02 10:00")]))), [0], 1)
    check(times(pa.array(pd.Series([pd.Timestamp("2026-03-02 10:00", tz="UTC")]))), [0])
    check(times(pa.array([decimal.Decimal("1772445600.5")])), [0.5])


@pytest.mark.parametrize("nothing", values.NULLS)
def test_every_spelling_of_nothing(nothing):
    raw = pa.array([nothing])
    for read in (*values.READERS.values(), lambda raw, _: times(raw), lambda raw, _: values.statuses(raw)):
        converted = read(raw, 1.0)
        assert converted.values.to_pylist() == [None]
        assert converted.bad is None or converted.bad.to_pylist() == [False]


@pytest.mark.parametrize("true", ["t", "true", "True", "TRUE", "1", "1.0", "yes", "Y", "on"])
@pytest.mark.parametrize("false", ["f", "False", "0", "no", "OFF"])
def test_booleans(true, false):
    assert values.booleans(pa.array([true, false, None])).values.to_pylist() == [True, False, None]


@pytest.mark.parametrize("raw", [[True, False], [1, 0], [1.0, 0.0]])
def test_booleans_that_are_numbers(raw):
    assert values.booleans(pa.array(raw)).values.to_pylist() == [True, False]


def test_what_is_no_boolean_is_bad():
    assert values.booleans(pa.array(["maybe", "2", "true"])).bad.to_pylist() == [True, True, False]


@pytest.mark.parametrize(
    "text",
    ['["a", "b c"]', '{a,"b c"}', "a, b c", "['a', 'b c']", '{a,NULL,"b c"}', '["a", null, "b c"]'],
)
def test_lists(text):
    assert json.loads(values.lists(pa.array([text])).values[0].as_py()) == ["a", "b c"]


def test_lists_of_parquet_and_postgres_quoting():
    assert values.lists(pa.array([["a", None, "b"], None, []])).values.to_pylist() == ['["a", "b"]', None, "[]"]
    assert json.loads(values.lists(pa.array([r'{"say \"hi\", you","a\\b"}'])).values[0].as_py()) == [
        'say "hi", you',
        "a\\b",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ('{"a": NaN, "b": 1}', {"a": None, "b": 1}),
        ("[1, 2]", {"value": [1, 2]}),
        ("{broken", {"text": "{broken"}),
        ("[" * 100_000, {"text": "[" * 100_000}),
        ("null", None),
        ("{}", {}),
    ],
)
def test_json(text, expected):
    read = values.objects(pa.array([text])).values[0].as_py()
    assert (None if read is None else json.loads(read)) == expected


def test_json_from_structs_and_maps():
    assert values.objects(pa.array([{"a": 1, "b": "x"}, None])).values.to_pylist() == ['{"a": 1, "b": "x"}', None]
    mapped = pa.array([[("a", 1.5)], None], pa.map_(pa.string(), pa.float64()))
    assert values.objects(mapped).values.to_pylist() == ['{"a": 1.5}', None]


def test_numbers():
    converted = values.reals(pa.array(["1.5", "-2", "+3e2", ".5", "nan", "1,234", "1.234,5", "1 234", "12abc", "inf"]))
    assert converted.values.to_pylist() == [1.5, -2, 300, 0.5, None, None, None, None, None, None]
    assert converted.bad.to_pylist() == [False] * 5 + [True] * 5


@pytest.mark.parametrize("text", ["1e999", "-1e999"])
def test_numbers_too_large(text):
    assert values.reals(pa.array([text])).bad.to_pylist() == [True]


def test_whole_numbers():
    converted = values.integers(pa.array(["12", "12.0", "12.5", "1e30", None]))
    assert converted.values.to_pylist() == [12, 12, None, None, None]
    assert converted.bad.to_pylist() == [False, False, True, True, False]
    assert values.integers(pa.array([1.0, float("nan")])).values.to_pylist() == [1, None]
    assert values.integers(pa.array([2**64 - 1], pa.uint64())).bad.to_pylist() == [True]


def test_time_differences_are_milliseconds():
    assert values.reals(pa.array([datetime.timedelta(seconds=1.5)])).values.to_pylist() == [1500.0]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        *[(word, "ok") for word in ("OK", "success", "Succeeded", "completed", "200", "STATUS_CODE_OK")],
        *[(word, "error") for word in ("failed", "failure", "ERROR", "500", "429", "exception")],
        *[(word, "timeout") for word in ("timed_out", "timed out", "Timed-Out", "504", "timeout")],
        *[(word, "fallback") for word in ("fallback", "fell back")],
    ],
)
def test_statuses(said, status):
    assert values.statuses(pa.array([said])).values.to_pylist() == [status]


def test_a_status_nobody_knows_is_bad_and_http_codes_may_be_numbers():
    assert values.statuses(pa.array(["shrug", "ok"])).bad.to_pylist() == [True, False]
    assert values.statuses(pa.array([200, 408, 503])).values.to_pylist() == ["ok", "timeout", "error"]
    assert values.statuses(pa.array([200.0, None])).values.to_pylist() == ["ok", None]


def test_texts_of_any_type():
    assert values.texts(pa.array([42, None])).values.to_pylist() == ["42", None]
    assert values.texts(pa.array([42.0, np.nan])).values.to_pylist() == ["42", None]
    assert values.texts(pa.array(["a", "a"]).dictionary_encode()).values.to_pylist() == ["a", "a"]
    assert values.texts(pa.array([["stop", "length"]])).values.to_pylist() == ["stop,length"]
    assert values.texts(pa.array([b"\xff\x01"])).values.to_pylist() == ["ff01"]
