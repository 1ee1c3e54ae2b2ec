"""Numbers as screens show them: they can be read back, carry their unit, and never show what is no number."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracewatch import formats
from tracewatch.formats import THIN

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
ODD = re.compile(r"nan|inf|None|e[+-]\d", re.IGNORECASE)


def _read_duration(text):
    parts = re.findall(rf"([\d.,]+){THIN}(ms|s|m|h|d)", text)
    return sum(float(number.replace(",", "")) * SECONDS[unit] for number, unit in parts) * 1000


@given(st.floats(0.05, 1e10))
def test_durations_can_be_read_back(ms):
    text = formats.duration(ms)
    assert not ODD.search(text)
    half_a_digit = 0.06 if ms < 10 else 0.51
    assert _read_duration(text) == pytest.approx(ms, rel=0.05 if ms > 86_400_000 else 0.02, abs=half_a_digit)


@given(st.floats(0.05, 1e9), st.floats(1.0, 10.0))
def test_longer_durations_never_read_shorter(ms, factor):
    assert _read_duration(formats.duration(ms * factor)) >= _read_duration(formats.duration(ms)) * 0.999


@given(st.floats(2e-5, 1e7))
def test_the_cost_of_a_call_can_be_read_back(usd):
    text = formats.call_cost(usd)
    assert not ODD.search(text)
    assert text != "$0.00"
    number = float(text.strip("$¢").replace(",", ""))
    assert (number / 100 if "¢" in text else number) == pytest.approx(usd, rel=0.006)


@given(st.floats(1e-6, 1e9))
def test_money_is_in_dollars_and_never_nothing(usd):
    text = formats.money(usd)
    assert text.startswith("$")
    assert float(text[1:].replace(",", "")) == pytest.approx(usd, rel=0.06)


@given(st.floats(0, 1))
def test_shares_stay_between_nothing_and_all(share):
    text = formats.percent(share)
    assert text.endswith(f"{THIN}%")
    assert 0 <= float(re.sub(r"[^\d.]", "", text)) <= 100
    assert (text == f"100{THIN}%") == (share >= 1) or share > 0.99999


@given(st.integers(0, 10**14))
def test_counts_are_exact_where_they_are_short(number):
    text = formats.count(number)
    if number <= formats.EXACT_UP_TO:
        assert int(text.replace(",", "")) == number
    else:
        value, unit = text.split(THIN)
        assert float(value.replace(",", "")) * {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[unit] == pytest.approx(
            number, rel=0.006
        )


def test_what_is_not_known_is_never_nothing():
    missing = {formats.duration(None), formats.count(None), formats.percent(None), formats.amount(None, "ms")}
    assert missing == {formats.MISSING}
    assert formats.call_cost(None) == formats.money(None) == "unknown"
    for odd in (float("nan"), float("inf")):
        assert formats.duration(odd) == formats.count(odd) == formats.MISSING


@given(st.floats(0.001, 1e6), st.floats(1.01, 50), st.sampled_from(["ms", "USD", "share", "tokens", "tokens/s", None]))
def test_a_range_says_its_unit_once(low, factor, unit):
    low = low / 1e6 if unit == "share" else low
    text = formats.between(low, low * factor, unit)
    assert not ODD.search(text)
    low_text, high_text = formats.amount(low, unit), formats.amount(low * factor, unit)
    if low_text[-1:] == high_text[-1:] == "¢" and low_text != high_text:
        assert text.count("¢") == 1


def test_one_of_something_has_no_plural():
    assert formats.plural(1, "call") == "1 call"
    assert formats.plural(2, "call") == "2 calls"
