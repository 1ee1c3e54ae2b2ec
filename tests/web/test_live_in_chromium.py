"""The feed, the metrics, what comes while a page is open, and the keys: in a real browser."""

import os
import re
import time
from contextlib import contextmanager

import pytest
from shop import NOW
from test_feed import a_finding, fill
from test_in_chromium import (
    AXE,
    FIRST_VISIT,
    FIRST_VISIT_PACKED,
    HTML,
    NODES,
    RULES,
    WIDTHS,
    _serving,
    browser,
    opened,
    pytestmark,
)

from tracewatch.records import Anomaly
from tracewatch.stores import open_store
from tracewatch.web.pages import changing, live

__all__ = ["browser", "pytestmark"]

PAGES = {
    "feed": "/anomalies",
    "a finding in full": "/anomalies?open=long-name",
    "trends": "/anomalies?view=trends",
    "metrics": "/metrics",
    "metric": "/metrics/cost_usd?since=7d",
    "metric as a table": "/metrics/cost_usd?view=table",
}
SHIFT = """
    window.shift = 0
    new PerformanceObserver(list => { for (const each of list.getEntries()) window.shift += each.value })
        .observe({ type: "layout-shift", buffered: true })
    window.told = 0
    document.addEventListener("htmx:sse:after:message", () => window.told++)
"""
MESSAGES = int(os.environ.get("BENCHMARK_MESSAGES", "200"))  # 12,000 take ten minutes: is anything left behind?


def told(page, count):
    """Waits until so many messages have come, and says so where they do not.

    Not by `wait_for_function`, which a strict policy forbids, nor by a promise in the page, which has no end.
    """
    deadline = time.monotonic() + 60 + count * 0.5
    while (so_far := page.evaluate("window.told")) < count:
        assert time.monotonic() < deadline, f"only {so_far} of {count} messages came: {page.url}"
        page.wait_for_timeout(20)


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("live") / "live.db")


@pytest.fixture(scope="module")
def address(db):
    with _serving(db) as found:
        yield found


@contextmanager
def changing_all_the_time(monkeypatch, db):
    """A server whose pages change twenty times a second: numbers, words, and something that must not change."""
    turns = iter(range(10**6))

    def words(asked):
        turn = next(turns)
        html = changing.in_the_frame(asked)
        ids = [each.id for each in asked.store.page(Anomaly).records]
        rows = {f"s-{each}": f'<span class="word" id="s-{each}">turn {turn}</span>' for each in ids}
        main = f'<main id="main"><p>nobody may see this: {turn}</p></main>'
        return {**html, **rows, "main": main, "nowhere": f'<p id="nowhere">{turn}</p>'}

    monkeypatch.setattr(live, "EVERYWHERE", (words,))
    monkeypatch.setattr(live, "FRAGMENTS", {})
    monkeypatch.setattr(live.Screen, "every_s", 0.0)
    monkeypatch.setattr("tracewatch.web.events.BUSY", 0.0)
    monkeypatch.setattr("tracewatch.web.events.Events.__init__.__kwdefaults__", {"every_s": 0.05})
    with _serving(db) as found:
        yield found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_is_accessible_and_light(browser, address, name):
    axe = AXE.read_text(encoding="utf-8")
    for theme, width in (("light", 1280), ("dark", 390)):
        how = {"color_scheme": theme, "viewport": {"width": width, "height": 844}, "bypass_csp": True}
        with opened(browser, address + PAGES[name], **how) as (page, wrong):
            page.evaluate(axe)
            found = page.evaluate("rules => axe.run({ runOnly: rules, resultTypes: ['violations'] })", RULES)
            broken = [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]]
            assert broken == [], (theme, width)
            assert wrong == []
            for each in WIDTHS if theme == "light" else ():
                page.set_viewport_size({"width": each, "height": 844})
                assert page.evaluate("document.documentElement.scrollWidth") <= each, each


@pytest.mark.parametrize("name", PAGES)
def test_a_first_visit_is_light(browser, address, name):
    sizes, packed = {}, {}
    with opened(browser, "about:blank") as (page, wrong):
        page.add_init_script(SHIFT)
        page.on("response", lambda answer: "/events" in answer.url or sizes.update({answer.url: len(answer.body())}))
        page.on("requestfinished", lambda each: packed.update({each.url: each.sizes()["responseBodySize"]}))
        page.goto(address + PAGES[name])
        told(page, 1)
        assert wrong == []
        assert all(each.startswith(address) for each in sizes)
        assert sum(sizes.values()) <= FIRST_VISIT
        assert sum(packed.values()) <= FIRST_VISIT_PACKED
        assert sizes[address + PAGES[name]] <= HTML
        assert page.evaluate("document.querySelectorAll('*').length") <= NODES
        assert page.evaluate("window.shift") <= 0.01


def test_two_hundred_messages_move_nothing_under_the_reader(browser, db, monkeypatch):
    with (
        changing_all_the_time(monkeypatch, db) as address,
        opened(browser, "about:blank", viewport={"width": 1280, "height": 560}) as (page, wrong),
    ):
        page.add_init_script(SHIFT)
        streams = []
        page.on("request", lambda each: streams.append(each.url) if "/events" in each.url else None)
        page.goto(f"{address}/anomalies")
        rows = page.locator("tr[data-row]")
        rows.nth(4).locator("a.row").focus()
        rows.nth(2).scroll_into_view_if_needed()
        box = rows.nth(2).bounding_box()
        at = [box["x"] + 240, box["y"] + 20]
        page.mouse.move(*at)
        told(page, 3)
        page.evaluate("([x, y]) => { window.under = document.elementFromPoint(x, y); window.nodes = document.querySelectorAll('*').length; window.scrolled = scrollY; window.shift = 0; window.told = 0 }", at)  # fmt: skip # noqa: E501
        told(page, MESSAGES)
        assert page.evaluate("window.shift") == 0
        assert page.evaluate("([x, y]) => document.elementFromPoint(x, y) === window.under", at)
        assert page.evaluate("document.activeElement === document.querySelectorAll('tr[data-row] a.row')[4]")
        assert page.evaluate("scrollY === window.scrolled")
        assert page.evaluate("document.querySelectorAll('*').length") == page.evaluate("window.nodes")
        assert len(streams) == 1
        assert "nobody may see this" not in page.inner_text("main")
        assert "turn" in rows.nth(0).locator(".word").inner_text()
        assert wrong == []


def test_new_findings_wait_behind_a_pill_and_come_without_a_new_page(browser, tmp_path):
    own = fill(tmp_path / "own.db")
    with _serving(own) as address, opened(browser, "about:blank") as (page, wrong):
        page.add_init_script(SHIFT)
        page.goto(f"{address}/anomalies")
        told(page, 1)
        page.evaluate("window.sameDocument = true")
        before = page.locator("tr[data-row]").count()
        with open_store(own) as store:
            store.add([a_finding("brand-new", severity="critical", occurred_at=NOW - 60, detected_at=NOW - 1)])
        page.wait_for_selector(".newer:not([hidden])")
        assert page.inner_text(".newer") == "1 newer · show"
        assert page.locator("tr[data-row]").count() == before
        page.click(".newer")
        page.wait_for_selector("#a-brand-new")
        assert page.locator("tr[data-row]").count() == before + 1
        assert page.evaluate("window.sameDocument")
        assert not page.is_visible(".newer")
        assert wrong == []


def test_an_empty_feed_fills_by_itself(browser, tmp_path):
    own = fill(tmp_path / "own.db")
    with open_store(own) as store:
        store.remove(Anomaly, [])
    with _serving(own) as address, opened(browser, "about:blank") as (page, wrong):
        page.add_init_script(SHIFT)
        page.goto(f"{address}/anomalies")
        page.wait_for_selector("[data-empty]")
        told(page, 1)
        with open_store(own) as store:
            store.add([a_finding("first")])
        page.wait_for_selector("#a-first")
        assert wrong == []


def test_a_new_incident_is_told_in_the_line_that_is_kept_for_it(browser, tmp_path):
    import shop

    own = fill(tmp_path / "own.db")
    with _serving(own) as address, opened(browser, "about:blank") as (page, wrong):
        page.add_init_script(SHIFT)
        page.goto(f"{address}/metrics")
        told(page, 1)
        page.evaluate("window.shift = 0")
        with open_store(own) as store:
            store.add([shop.an_incident("b4d0000000000001", "critical", started_at=NOW - 60, detected_at=NOW)])
        page.wait_for_selector("a.news:not([hidden])")
        assert re.match(r"A new (critical )?incident\. Show", page.inner_text("a.news"))
        assert page.title().startswith("(3) ")
        assert page.inner_text("#nav-open").endswith("3")
        assert page.evaluate("window.shift") == 0
        page.click("a.news")
        page.wait_for_url("**/incidents/b4d0000000000001")
        assert wrong == []


def test_a_page_with_a_fixed_end_does_not_listen(browser, address):
    with opened(browser, f"{address}/anomalies?from=2026-01-01&to=2026-01-02") as (page, _):
        assert page.locator("#stream").count() == 0
        assert page.locator("script[src*=htmx]").count() == 0


def test_a_server_that_goes_away_is_told_after_ten_seconds(browser, db):
    with _serving(db) as address, opened(browser, "about:blank") as (page, _):
        page.add_init_script(SHIFT)
        page.goto(f"{address}/traces?since=7d")
        told(page, 1)
        page.clock.install()  # not before: the stream begins by the clock of the machine
        page.evaluate("document.dispatchEvent(new CustomEvent('htmx:sse:error', { detail: { error: 'gone' } }))")
        page.clock.run_for(9_000)
        assert not page.is_visible("a.news")
        page.clock.run_for(2_000)
        assert re.match(r"Reconnecting; data as of \d\d:\d\d:\d\d", page.inner_text("a.news"))
        assert "late" in page.get_attribute("#live", "class")
        page.evaluate("document.dispatchEvent(new CustomEvent('htmx:sse:after:connection', { detail: {} }))")
        assert not page.is_visible("a.news")
        assert "late" not in page.get_attribute("#live", "class")


def test_rows_are_selected_and_dealt_with_by_keys(browser, tmp_path):
    own = fill(tmp_path / "own.db")
    with _serving(own) as address, opened(browser, f"{address}/anomalies?severity=high") as (page, wrong):
        for key in ("j", "x", "j", "x"):
            page.keyboard.press(key)
        assert page.locator("input[name=id]:checked").count() == 2
        page.keyboard.press("a")
        page.wait_for_selector("text=Acknowledged.")
        assert page.locator(".word", has_text="acknowledged").count() == 2
        page.locator("#a-spiky a.row").focus()
        page.keyboard.press("e")
        page.wait_for_selector("tr.more")
        page.keyboard.press("e")
        page.wait_for_selector("tr.more", state="detached")
        page.keyboard.press("r")
        page.wait_for_selector("text=Resolved.")
        page.wait_for_selector("#a-spiky a.row:focus")
        page.click("text=Undo")
        page.wait_for_selector("text=Undone")
        page.goto(f"{address}/incidents")
        page.keyboard.press("j")
        page.keyboard.press("a")
        page.wait_for_selector("text=Acknowledged.")
        assert wrong == []


def test_keys_do_nothing_in_fields_and_can_be_turned_off(browser, address):
    with opened(browser, f"{address}/traces?since=7d") as (page, wrong):
        page.keyboard.press("/")
        page.keyboard.type("gi?x.[")
        assert page.input_value("[data-filter]") == "gi?x.["
        assert "/traces" in page.url
        assert not page.is_visible("dialog")
        page.keyboard.press("Tab")
        page.keyboard.press("?")
        assert page.is_visible("dialog")
        page.uncheck("#keys-on")
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="hidden")
        page.keyboard.press("g")
        page.keyboard.press("i")
        assert "/traces" in page.url
        page.goto(f"{address}/anomalies")
        assert not page.is_checked("#keys-on")
        page.keyboard.press("?")
        page.check("#keys-on")
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="hidden")
        page.keyboard.press("[")
        page.wait_for_url("**from=*&to=*")
        earlier = page.url
        page.keyboard.press("]")
        page.wait_for_url(lambda url: url != earlier and "from=" in url)
        page.keyboard.press("Escape")
        page.wait_for_url("**since=7d*")
        page.keyboard.press(".")
        assert "Not live" in page.inner_text("a.news")
        page.keyboard.press(".")
        assert not page.is_visible("a.news")
        assert wrong == []


def test_the_large_picture_is_narrowed_by_dragging_over_it(browser, address):
    with opened(browser, f"{address}/metrics/cost_usd?since=24h") as (page, wrong):
        page.wait_for_selector(".u-over")
        box = page.locator(".u-over").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 60)
        assert "¢" in page.inner_text(".u-chart > .tip")
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=4)
        page.mouse.up()
        page.wait_for_url("**from=2026-*&to=2026-*")
        page.click("text=What else was unusual then")
        page.wait_for_url("**/metrics?from=2026-*")
        assert page.locator("tr[data-row]").count() > 3
        assert wrong == []


def test_the_feed_and_a_metric_are_read_and_dealt_with_without_script(browser, tmp_path):
    own = fill(tmp_path / "own.db")
    with (
        _serving(own) as address,
        opened(browser, f"{address}/anomalies?severity=low", java_script_enabled=False) as (page, wrong),
    ):
        page.click("#a-slow-token a.row")
        assert "Limit the answer." in page.inner_text("tr.more")
        page.click("tr.more button:has-text('Acknowledge')")
        assert "Acknowledged." in page.inner_text("main")
        page.goto(f"{address}/metrics/cost_usd")
        assert page.locator(".u-chart svg[role=img]").is_visible()
        assert wrong == []
