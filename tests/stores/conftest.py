"""Ordinary spans, which take the odd detail, and the clock that stores are given."""

import itertools

import pytest

from tracewatch.records import Span

pytest.register_assert_rewrite("conformance")

NOW = 1_772_409_600.0  # 2026-03-02T00:00:00Z


@pytest.fixture
def a_span():
    numbers = itertools.count()

    def make(**odd):
        number = next(numbers)
        ordinary = {"start_time": NOW + number, "trace_id": f"trace-{number}", "span_id": "root", "duration_ms": 100.0}
        return Span(**{**ordinary, **odd})

    return make
