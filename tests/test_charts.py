"""Charts of text: their width, their scale, and bars that stand where they should."""

import doctest

import pytest

from tracewatch.cli import charts
from tracewatch.cli.charts import Curve, Mark, bars, chart, squeezed


def a_curve(values, **odd):
    usual = {"calls": [1] * len(values), "lower": None, "upper": None, "unit": None, "adds": False}
    return Curve(values=values, **usual | odd)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(charts).failed == 0


@pytest.mark.parametrize("width", [24, 40, 80, 100])
@pytest.mark.parametrize("count", [1, 7, 60])
def test_a_chart_is_no_wider_than_asked_and_every_value_is_in_it(width, count):
    lines = chart(a_curve([float(each % 5) for each in range(count)]), [Mark(at=1.0, sign="■")], width)
    assert max(map(len, lines)) <= width
    shown = sum(line.count("●") for line in lines)
    assert shown == count or (shown < count and shown > width / 3)  # where there is no room, neighbours share a point
    assert lines[-1].endswith("■")


def test_values_that_do_not_differ_still_make_a_chart():
    assert sum(line.count("●") for line in chart(a_curve([0.0, 0.0]), [], 40)) == 2


def test_a_chart_of_nothing_is_nothing():
    assert chart(a_curve([None, None]), [], 40) == []


def test_counts_add_up_when_neighbours_are_taken_together():
    assert squeezed(a_curve([1.0, 2.0, 3.0, 4.0], adds=True), 2) == [3.0, 7.0]


def test_bars_start_at_one_axis_and_small_ones_are_still_seen():
    lines = bars([("up", 100.0, "+100"), ("down", -50.0, "-50"), ("tiny", 0.001, "+0"), ("none", 0.0, "0")], 50)
    assert len({line.index("│") for line in lines}) == 1
    up, down, tiny, none = lines
    assert up.count("█") == pytest.approx(2 * down.count("▒"), abs=1)
    assert tiny.count("█") == 1
    assert "█" not in none + down
    assert max(map(len, lines)) <= 50
