"""The calls of the first minutes are seen at once: the step that runs is drawn, and its end is dotted."""

import re

import pytest
from shop import END, a_span, looking_at
from test_pages import words

from tracewatch.access import Caller
from tracewatch.stores import open_store
from tracewatch.web.views.series import series
from tracewatch.web.views.watched import outside

CALLS = 7
NOW = END + 900.0  # a quarter past


@pytest.fixture
def fresh(tmp_path):
    """Somebody whose first calls came minutes ago."""
    path = str(tmp_path / "w.db")
    llm = {"operation_type": "chat", "model_name": "gpt-4o", "model_provider": "openai", "status": "ok"}
    with open_store(path, create=True) as store:
        store.add(
            a_span(f"first{each:03}", 0, None, "chat", NOW - 240 + 20 * each, 1.0, **llm, cost_usd=0.5)
            for each in range(CALLS)
        )
        store.roll_up()
    with looking_at(path, now=NOW) as client:
        yield client


def tips(html):
    """What the cursor says in the pictures of a page, one after the other."""
    return re.findall(r"· ([^|\"]*?) so far", html)


@pytest.mark.parametrize("since", ["24h", "7d", "30d"])
def test_the_first_screen_draws_them(fresh, since):
    said = tips(fresh.get(f"/?since={since}").text)
    assert "$3.50" in said
    assert str(CALLS) in said


@pytest.mark.parametrize("since", ["1h", "6h"])
def test_minutes_are_drawn_as_well(fresh, since):
    html = fresh.get(f"/?since={since}").text
    drawn = [float(each) for each in re.findall(r"· \$([\d.]+)(?: so far)?[|\"]", html)]
    assert sum(drawn) == pytest.approx(0.5 * CALLS * 2)  # in the picture of the cost and in the large one


def test_what_a_picture_shows_adds_up_to_what_its_title_says(fresh):
    said = words(fresh.get("/").text)
    assert "$3.50 in 24 hours" in said
    assert f"{CALLS} in 24 hours" in said


@pytest.mark.parametrize("path", ["/cost", "/metrics/call_count", "/metrics/cost_usd"])
def test_other_pages_draw_them(fresh, path):
    assert tips(fresh.get(path).text)


def test_a_step_that_runs_is_not_called_a_drop(tmp_path):
    path = str(tmp_path / "w.db")
    llm = {"operation_type": "chat", "model_name": "gpt-4o", "model_provider": "openai", "status": "ok"}
    hour = NOW // 3600 * 3600
    with open_store(path, create=True) as store:
        store.add(
            a_span(f"t{back}x{each}", 0, None, "chat", hour - 3600 * back + each * 30, 1.0, **llm, cost_usd=0.01)
            for back in range(1, 24 * 8)
            for each in range(20)
        )
        store.add([a_span("now", 0, None, "chat", hour + 1, 1.0, **llm, cost_usd=0.01)])
        store.roll_up()
        since, now = hour - 6 * 3600, hour + 60
        drawn = series(store, Caller(project="default"), "call_count", {}, since, now, now, step_s=3600, worse="down")
    assert drawn.values[-1] == 1
    assert drawn.values[-1] < drawn.expected[-1][0]
    assert outside(drawn) == 0
