"""A sketch answers quantiles within 1 %, and is the same bytes however its numbers came."""

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch.errors import BadSketch
from tracewatch.stores import sketch
from tracewatch.stores.rollups import _sketch_codes

numbers = st.floats(allow_nan=False, allow_infinity=False)
many_numbers = st.lists(numbers | st.floats(0, 1e4) | st.integers(0, 300).map(float), min_size=1, max_size=300)


@settings(deadline=None)
@given(many_numbers, st.floats(0, 1))
def test_a_quantile_is_within_one_percent(values, share):
    true = sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
    told = sketch.quantile(sketch.of(values), share)
    # The smallest floats (below 1e-300) have too few digits left for any percentage.
    assert told == pytest.approx(true, rel=sketch.ACCURACY, abs=1e-300)
    assert math.copysign(1, told) == math.copysign(1, true) or true == 0


@settings(deadline=None)
@given(many_numbers, st.integers(0, 300), st.randoms())
def test_parts_in_any_order_are_the_same_bytes(values, cut, chance):
    whole = sketch.of(values)
    shuffled = chance.sample(values, len(values))
    parts = [sketch.of(part) if part else None for part in (shuffled[:cut], shuffled[cut:])]
    assert sketch.merge(parts) == whole
    assert sketch.count(whole) == len(values)
    assert sketch.from_counts(dict(sketch.pairs(whole))) == whole


@settings(deadline=None)
@given(many_numbers)
def test_arrow_finds_the_same_buckets(values):
    codes = _sketch_codes(pa.array([*values, None], pa.float64())).to_pylist()
    assert codes.pop() is None
    # A number on the very edge may fall to either side: the logarithms differ in their last bit.
    assert all(abs(one - sketch.code(value)) <= 1 for one, value in zip(codes, values, strict=True))


@settings(deadline=None)
@given(st.dictionaries(st.integers(-80_000, 80_000), st.integers(1, 2**50), min_size=1))
def test_counts_of_any_size_come_back(counts):
    assert dict(sketch.pairs(sketch.from_counts(counts))) == counts


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(number):
    with pytest.raises(BadSketch, match="it cannot hold"):
        sketch.of([1.0, number])


@pytest.mark.parametrize("data", [b"", b"\x02\x01", b"\x01\x80", b"\x01\x01\x01\x01"])
def test_bytes_that_are_no_sketch_are_refused(data):
    with pytest.raises(BadSketch):
        list(sketch.pairs(data))


def test_an_empty_sketch_has_no_quantile():
    assert sketch.merge([None, None]) is None
    assert sketch.quantile(None, 0.5) is None
    assert sketch.share_above(None, 1.0) is None
    assert sketch.quantile(sketch.from_counts({}), 0.5) is None


def test_the_share_above_a_limit():
    assert sketch.share_above(sketch.of(range(100)), 49) == pytest.approx(0.5, abs=0.01)
