"""Records describe themselves; everything else is read off them."""

import pytest

from tracewatch.records import RECORDS, Span, as_dict, columns, json_schema, key_of


@pytest.mark.parametrize("record_type", RECORDS)
def test_every_column_says_what_it_is(record_type):
    for each in columns(record_type):
        assert each.help.endswith("."), each.name
        assert each.label


def test_a_span_is_known_by_project_trace_and_span():
    assert key_of(Span) == ("project", "trace_id", "span_id")


def test_no_two_columns_answer_to_one_import_name():
    names = [name for each in columns(Span) for name in (each.name, *each.aliases)]
    assert sorted(names) == sorted(set(names))


def test_times_leave_as_iso_text():
    span = Span(start_time=1.5, trace_id="t", span_id="s", warning_flags=("a",))
    assert as_dict(span)["start_time"] == "1970-01-01T00:00:01.500Z"
    assert as_dict(span)["warning_flags"] == ["a"]


def test_the_schema_allows_what_is_optional_to_be_null():
    properties = json_schema(Span)["properties"]
    assert properties["cost_usd"]["type"] == ["number", "null"]
    assert properties["trace_id"]["type"] == "string"
