"""The pages in a real browser: nothing overflows, axe finds nothing, no script is needed, the console stays empty."""

import shutil
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import alerted
import pytest
import shop
import uvicorn
from shop import COSTLY, NEW, NOW
from test_more_pages import run

from tracewatch.settings import Settings
from tracewatch.stores import open_store
from tracewatch.web import make_app
from tracewatch.web.addresses import listen

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WIDTHS = (320, 390, 768, 1280, 1920)
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
FIRST_VISIT, FIRST_VISIT_PACKED, HTML, NODES = 300_000, 120_000, 100_000, 1_500
PAGES = {
    "overview": "/",
    "incidents": "/incidents?tab=resolved",
    "incident": f"/incidents/{COSTLY}",
    "long name": f"/incidents/{NEW}",
    "taught": "/incidents/taught",
    "traces": "/traces?since=7d",
    "trace": "/traces/0ddtrace00000001",
    "long trace": "/traces/longtrace0000001",
    "compare": "/traces/0ddtrace00000001/compare/question0003",
    "cost": "/cost?since=7d",
    "jobs": "/jobs?open=reindex",
    "sessions": "/sessions?since=7d",
    "session": "/sessions/s1",
    "users": "/users?since=7d",
    "user": "/users/u1?since=7d",
    "alerts": "/alerts",
    "rule": "/alerts/rule?name=costs",
    "verdict": f"/alerts/verdict/key0?token={alerted.TOKEN}&verdict=useful",
    "settings": "/settings",
    "help": "/help",
    "missing": "/incidents/nothere",
}

CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
# One browser at a time: two of them leave each other too little of two cores.
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="NO CHROMIUM WAS FOUND, so no page was looked at in a browser. On Debian: apt-get install chromium",
    ),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the shop's pages are served."""
    db = alerted.make(tmp_path_factory.mktemp("shop") / "shop.db")
    with open_store(db) as store:
        store.add([run("extraction", number, failed=14 * (number == 2)) for number in range(30)])
        store.add([run("reindex", number, at=NOW - 14_400) for number in range(6)])
        store.add([run(shop.LONG_NAME, number, status="error") for number in range(3)])
        store.roll_up()
    with _serving(db) as found:
        yield found


@contextmanager
def _serving(db, now=NOW):
    import dataclasses

    app = make_app(Settings(db=db), open_without_keys=True)
    socket = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(app, http="httptools", ws="none", log_level="error", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    address = f"http://127.0.0.1:{socket.getsockname()[1]}"
    try:
        import urllib.request

        urllib.request.urlopen(f"{address}/health/live").read()  # a socket that listens lets us wait for the rest
        app.state.serving = dataclasses.replace(app.state.serving, clock=lambda: now)
        yield address
    finally:
        server.should_exit = True
        thread.join()
        socket.close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with warnings.catch_warnings(), sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield found
        found.close()


@contextmanager
def opened(browser, url, **how):
    """A page, and what went wrong on it."""
    context = browser.new_context(reduced_motion="reduce", **{"viewport": {"width": 1280, "height": 900}, **how})
    page, wrong = context.new_page(), []
    page.on("console", lambda each: wrong.append(each.text) if each.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda each: wrong.append(each.url) if each.failure != "net::ERR_ABORTED" else None)
    page.goto(url)
    try:
        yield page, wrong
    finally:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_is_accessible_in_both_themes(browser, address, name):
    axe = AXE.read_text(encoding="utf-8")
    for theme, width in (("light", 1280), ("dark", 390)):
        how = {"color_scheme": theme, "viewport": {"width": width, "height": 844}, "bypass_csp": True}
        with opened(browser, address + PAGES[name], **how) as (page, _):
            page.evaluate(axe)
            found = page.evaluate("rules => axe.run({ runOnly: rules, resultTypes: ['violations'] })", RULES)
            told = [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]]
            assert told == [], (theme, width)
            for each in WIDTHS if theme == "light" and width == 1280 else ():
                page.set_viewport_size({"width": each, "height": 844})
                assert page.evaluate("document.documentElement.scrollWidth") <= each, each


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_and_quiet(browser, address, name):
    finished = []
    with opened(browser, "about:blank") as (page, wrong):
        page.on(
            "requestfinished", lambda each: finished.append(each)
        )  # the stream of what happens is none: it does not end
        page.goto(address + PAGES[name], wait_until="load")
        sizes = {each.url: len(each.response().body()) for each in finished}
        packed = {each.url: each.sizes()["responseBodySize"] for each in finished}
        assert [each for each in wrong if "404" not in each or name != "missing"] == []
        assert all(each.startswith(address) for each in sizes)
        assert sum(sizes.values()) <= FIRST_VISIT
        assert sum(packed.values()) <= FIRST_VISIT_PACKED
        assert sizes[address + PAGES[name]] <= HTML
        assert page.evaluate("document.querySelectorAll('*').length") <= NODES
        shift = page.evaluate(
            """new Promise(done => {
                let all = 0
                new PerformanceObserver(list => { for (const each of list.getEntries()) all += each.value })
                    .observe({ type: "layout-shift", buffered: true })
                requestAnimationFrame(() => requestAnimationFrame(() => done(all)))
            })"""
        )
        assert shift <= 0.01


def test_everything_can_be_read_and_done_without_script(browser, address):
    with opened(browser, f"{address}/incidents/{COSTLY}", java_script_enabled=False) as (page, wrong):
        assert "cost 4.1× as much" in page.inner_text("h2.headline")
        assert page.locator(".evid svg[role=img]").count() >= 2
        assert page.locator(".strip dt").count() >= 5
        assert page.locator(".bridge tr").count() >= 4
        page.click("text=Note…")
        page.fill(".menu[open] input[name=text]", "looked at it")
        page.click(".menu[open] button")
        assert "looked at it" in page.inner_text("ul.tl")
        page.goto(f"{address}/traces?since=7d")
        page.click("text=Older ›")
        page.click("text=‹ Newest")
        page.goto(f"{address}/traces/longtrace0000001")
        page.click("text=Rows after ›")
        assert page.locator("a.wfr").count() > 0
        assert wrong == []


def test_an_incident_is_acknowledged_with_one_key_and_taken_back(browser, address):
    with opened(browser, f"{address}/incidents/{NEW}?from=slack") as (page, wrong):
        page.keyboard.press("a")
        page.wait_for_selector("text=Acknowledged.")
        page.click("text=Undo")
        page.wait_for_selector("text=Undone: it is as it was before.")
        assert wrong == []


def test_keys_go_from_the_filter_to_a_trace_and_to_what_is_unusual(browser, address):
    with opened(browser, f"{address}/?since=24h") as (page, wrong):
        page.keyboard.press("g")
        page.keyboard.press("t")
        page.wait_for_url("**/traces?since=24h")
        page.keyboard.press("/")
        page.keyboard.type("status=timeout")
        page.keyboard.press("Enter")
        page.wait_for_url("**status=timeout")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/traces/0ddtrace*")
        page.keyboard.press("u")
        assert "data-odd" in page.evaluate("document.activeElement.outerHTML.slice(0, 300)")
        page.go_back()
        page.wait_for_url("**status=timeout")
        assert wrong == []


def test_the_cursor_says_the_same_moment_in_every_picture(browser, address):
    with opened(browser, f"{address}/incidents/{COSTLY}") as (page, wrong):
        box = page.locator(".evid [data-tips]").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
        tips = page.locator(".evid .tip").all_inner_texts()
        assert len(tips) >= 2
        assert len({each.split(" · ")[0] for each in tips}) == 1
        assert "expected" in tips[0]
        assert wrong == []


def test_a_long_trace_brings_its_rows_as_they_are_scrolled_to(browser, address):
    with opened(browser, f"{address}/traces/longtrace0000001?open=1") as (page, wrong):
        rows = page.locator(".wf-rows")
        total = int(rows.get_attribute("data-rows"))
        assert rows.bounding_box()["height"] == pytest.approx(total * 28, abs=30)
        assert page.locator("a.wfr").count() <= 100
        page.evaluate("document.querySelector('.wf-rows').scrollIntoView({ block: 'end' })")
        page.wait_for_selector(f"a.wfr[aria-rowindex='{total}']", state="visible")
        assert page.locator("a.wfr").count() <= 100
        assert wrong == []
