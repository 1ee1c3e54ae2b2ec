"""Values that are none: whatever a program hands over, its own call goes on and a row comes of it."""

import pytest

import tracewatch


class Unspeakable:
    """Has neither text nor truth, is equal to nothing, and cannot be hashed."""

    __hash__ = None

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __bool__ = __str__

    def __eq__(self, other):
        raise RuntimeError("no equal")


ODD = (Unspeakable(), 10**400, float("nan"), b"\xff", object(), [], {}, "\ud800")
NAMES = ("trace_id", "span_id", "parent_span_id", "start_time", "end_time", "warning_flags", "model_name", "cost_usd")


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("name", NAMES)
def test_a_span_takes_any_value(recorded, name, odd):
    with tracewatch.trace("odd", **{name: odd}) as outer:
        outer.warn("seen").warn(odd)
        with tracewatch.span("within", **{name: odd}):
            pass
    assert [each.span_name for each in recorded.rows() if each.span_name in ("odd", "within")]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_is_over_takes_any_value(recorded, name, odd):
    tracewatch.record("odd", **{name: odd})
    tracewatch.log_usage(**{name: odd})
    tracewatch.record("ordinary")
    assert "ordinary" in [each.span_name for each in recorded.rows()]


@pytest.mark.parametrize("odd", ["\ud800", "a\0b"], ids=["half a pair", "NUL"])
def test_a_score_finds_a_trace_whose_id_cannot_be_stored_as_it_is(recorded, odd):
    with tracewatch.trace("odd", trace_id=odd):
        pass
    tracewatch.score(odd, groundedness=0.5)
    assert tracewatch.flush(10)
    assert recorded.row().groundedness_score == 0.5
