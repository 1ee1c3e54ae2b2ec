"""Pages as those see them who want no motion, have forced colours, read at 200 %, or print."""

import alerted
import pytest
from shop import COSTLY
from test_in_chromium import _serving, browser, opened, pytestmark

__all__ = ["browser", "pytestmark"]

PAGES = ("/", f"/incidents/{COSTLY}", "/traces/0ddtrace00000001", "/anomalies")
MOVING = "document.getAnimations().filter(each => each.playState === 'running').length"
SHAPES = """[...document.querySelectorAll("main .sev svg")].filter(each => each.getClientRects().length).map(each =>
    [getComputedStyle(each.firstElementChild).fill, getComputedStyle(document.body).backgroundColor])"""
PRESSED = """[...document.querySelectorAll("nav, button, input, select, .seg, dialog")]
    .filter(each => each.getClientRects().length).map(each => each.outerHTML.slice(0, 120))"""
CUT_OFF = """[...document.querySelectorAll("main h1, main h2, main .headline, main dd")].filter(each =>
    each.getClientRects().length && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.innerText)"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with _serving(alerted.make(tmp_path_factory.mktemp("ways") / "shop.db")) as found:
        yield found


@pytest.mark.parametrize("path", PAGES)
def test_nothing_moves_where_no_motion_is_wanted(browser, address, path):
    with opened(browser, address + path) as (page, wrong):
        assert page.evaluate(MOVING) == 0
        assert wrong == []


def test_where_it_may_the_point_moves_that_says_that_a_page_is_live(browser, address):
    with opened(browser, address) as (page, _):
        page.emulate_media(reduced_motion="no-preference")
        assert page.evaluate(MOVING) == 1


@pytest.mark.parametrize("path", [each for each in PAGES if "traces" not in each])  # spans have no severity
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_shapes_of_severity_are_seen_in_forced_colours(browser, address, path, theme):
    with opened(browser, address + path, forced_colors="active", color_scheme=theme) as (page, wrong):
        shapes = page.evaluate(SHAPES)
        assert shapes
        assert all(ink != ground for ink, ground in shapes)
        assert wrong == []


@pytest.mark.parametrize("path", PAGES)
def test_at_twice_the_size_nothing_is_cut_off(browser, address, path):
    twice = {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2}
    with opened(browser, address + path, **twice) as (page, wrong):
        assert page.evaluate("document.documentElement.scrollWidth") <= 640
        assert page.evaluate(CUT_OFF) == []
        assert wrong == []


@pytest.mark.parametrize("path", PAGES)
def test_on_paper_stands_what_can_be_read_and_nothing_to_press(browser, address, path):
    with opened(browser, address + path, color_scheme="dark", viewport={"width": 794, "height": 1123}) as (page, wrong):
        page.emulate_media(media="print")
        assert page.evaluate(PRESSED) == []
        assert page.inner_text("main").strip()
        assert page.evaluate("document.documentElement.scrollWidth") <= 794
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
        assert wrong == []
