"""Pictures as numbers: bridges add up, axes run forward, and nothing lies outside its box."""

import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracewatch import formats
from tracewatch.web import charts

MONEY = st.floats(-1e5, 1e5).map(lambda value: round(value, 6))
NUMBERS = st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=120)


@given(st.floats(0, 1e5), st.lists(MONEY, max_size=8))
def test_a_bridge_adds_up_to_the_cent(before, changes):
    after = before + sum(changes)
    first, last, rounded = charts.rounded_together(before, after, changes, 2)
    assert round(first + sum(rounded), 2) == pytest.approx(last, abs=0.011 if not changes else 0.0051)
    for change, shown in zip(changes, rounded, strict=True):
        assert shown == pytest.approx(change, abs=0.0151)


@given(st.floats(0.01, 1e5), st.lists(MONEY, min_size=1, max_size=8))
def test_the_bars_of_a_bridge_stay_in_their_column(before, changes):
    rows = charts.bridge(
        before, before + sum(changes), [(f"p{n}", "", each) for n, each in enumerate(changes)], formats.money
    )
    for row in rows:
        assert -0.001 <= row.left <= 100.001
        assert -0.001 <= row.left + row.width <= 100.001
    assert [rows[0].tone, rows[-1].tone] == ["total", "total"]


@given(NUMBERS, st.integers(0, 130), st.booleans())
def test_a_band_is_inside_its_box(values, onset, down):
    expected = [
        None if each is None or number % 7 == 0 else (each * 0.8, each * 1.2) for number, each in enumerate(values)
    ]
    series = charts.Series(
        label="x", start=0.0, step_s=60.0, values=values, expected=expected, unit="ms", worse="down" if down else "up"
    )
    band = charts.band(series, ZoneInfo("UTC"), 1e4, onset=onset * 60.0)
    points = [each for lines in (band.bands, band.edges, band.lines, band.bad, band.over) for each in lines]
    for x, y in (pair.split(",") for line in points for pair in line.split()):
        assert -10 <= float(x) <= 1010
        assert -0.01 <= float(y) <= 100.01
    assert len(band.tips) == len(values)
    assert "nan" not in " ".join(points)


def test_what_lies_beyond_its_range_is_filled_from_the_onset_on():
    values = [1.0] * 10 + [5.0] * 10
    series = charts.Series(label="x", start=0.0, step_s=60.0, values=values, expected=[(0.8, 1.2)] * 20, unit="USD")
    band = charts.band(series, ZoneInfo("UTC"), 1200.0, onset=600.0)
    assert len(band.over) == 1
    assert len(band.bad) == 1
    assert band.window == (500.0, 500.0)
    assert not charts.band(series, ZoneInfo("UTC"), 1200.0).over


def test_a_gap_is_no_line():
    series = charts.Series(label="x", start=0.0, step_s=60.0, values=[1, 1, None, 1, 1], unit=None)
    assert len(charts.band(series, ZoneInfo("UTC"), 300.0).lines) == 2


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize(
    "start", [1_774_740_000.0, 1_792_880_000.0, 1_793_600_000.0], ids=["spring", "autumn", "autumn west"]
)
@pytest.mark.parametrize("hours", [1, 6, 24, 7 * 24])
def test_ticks_run_forward_on_the_night_when_clocks_change(zone, start, hours):
    ticks = charts.time_ticks(start, start + hours * 3600, ZoneInfo(zone), start + hours * 3600)
    places = [each.at for each in ticks]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    inner = [each.text for each in ticks[1:-1]]
    assert len(set(inner)) == len(inner)


def test_over_a_few_days_midnights_say_the_day_and_the_rest_the_hour():
    end = 1_796_013_600.0
    told = [each.text for each in charts.time_ticks(end - 40 * 3600, end, ZoneInfo("UTC"), end)]
    assert told[0] == "28 Nov 12:40"
    assert "29 Nov" in told
    assert "12:00" in told
    assert told[-1] == "now 04:40"


def test_a_phone_is_shown_fewer_labels_of_time_and_the_same_ends():
    end = 1_796_013_600.0
    ticks = charts.time_ticks(end - 7 * 86_400, end, ZoneInfo("UTC"), end)
    narrow = [each for each in ticks if each.edge != "w"]
    assert (ticks[0], ticks[-1]) == (narrow[0], narrow[-1])
    apart = [after.at - before.at for before, after in itertools.pairwise(narrow)]
    assert min(apart) > 100 / 8, "of 320 pixels, a label takes 40"


def test_what_was_expected_changes_at_a_seam_and_not_in_a_slope():
    expected = [(1.0, 2.0)] * 4 + [(5.0, 6.0)] * 4
    series = charts.Series(
        label="x", start=0.0, step_s=60.0, values=[1.5] * 8, expected=expected, unit="ms", seams=(4, 8)
    )
    first, second = charts.band(series, ZoneInfo("UTC"), 0.0).bands
    edge = {point.partition(",")[0] for point in first.split()} & {point.partition(",")[0] for point in second.split()}
    assert edge == {"500.0"}


def test_single_calls_are_drawn_one_by_one_with_the_one_that_was_found():
    calls = [(10.0, 100.0), (70.0, 110.0), (130.0, 900.0)]
    series = charts.Series(
        label="x", start=0.0, step_s=60.0, values=[100.0, 110.0, 900.0], unit="ms", calls=calls, found=calls[2]
    )
    it = charts.band(series, ZoneInfo("UTC"), 0.0, onset=130.0)
    assert (it.lines, it.bad, it.dots) == ([], [], [])
    assert it.points.count("M") == 3
    assert it.mark[0] == pytest.approx(100 * 130 / 180, abs=0.01)


def test_beyond_a_limit_is_filled_whatever_is_usual():
    values, usual = [4.0, 6.0, 7.0, 4.0], [(0.0, 10.0)] * 4
    series = charts.Series(label="x", start=0.0, step_s=60.0, values=values, expected=usual, unit="ms", limit=5.0)
    it = charts.band(series, ZoneInfo("UTC"), 0.0, onset=60.0)
    assert len(it.over) == 1
    assert it.limit is not None
    assert it.tips[1].endswith(f"limit {formats.duration(5.0)}")


def test_a_spike_over_a_flat_line_is_drawn_in_logarithms():
    series = charts.Series(label="x", start=0.0, step_s=60.0, values=[1.0] * 30 + [900.0], unit="ms")
    assert charts.band(series, ZoneInfo("UTC"), 0.0).is_log
