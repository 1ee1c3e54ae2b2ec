"""When a browser shows the first of a page: headless Chromium on loopback, beside a page of one line."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from statistics import median

PAGES = ("/", "/?since=30d", "/incidents", "/anomalies", "/traces", "/metrics", "/metrics/cost_usd", "/cost", "/users")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMES = 5
GOAL_MS = 300.0
GOAL_KB = 300.0  # of a first visit, as it goes over the wire, with all files
BARE = "<!doctype html><title>bare</title><p>One line.</p>"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
WEIGHT = (
    "[performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource')]"
    ".reduce((sum, each) => [sum[0] + each.decodedBodySize, sum[1] + each.encodedBodySize], [0, 0])"
)


def paints(db: str) -> Iterator[str]:
    """First contentful paint of the main pages of a store, the median of some times, and what a first visit weighs."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        yield "first contentful paint: not measured, no Chromium was found"
        return
    from playwright.sync_api import sync_playwright

    yield f"first contentful paint on loopback, median of {TIMES}; goals {GOAL_MS:.0f} ms, idle machine, and packed"
    yield f"{GOAL_KB:.0f} kB with all files for a first visit"
    yield f"{'':<24} {'ms':>8} {'bare page':>10} {'ratio':>6} {'kB':>8} {'kB packed':>10}"
    with Serving(db) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for path in PAGES:
            found, bare, weight = [], [], [0, 0]
            for _ in range(TIMES):
                painted, weight = _painted(browser, f"{address}{path}")
                found.append(painted)
                bare.append(_painted(browser, f"{address}/bare")[0])
            shown, least = median(found), median(bare)
            whole, packed = (each / 1000 for each in weight)
            said = ["late"] * (shown > GOAL_MS) + ["too heavy"] * (packed > GOAL_KB)
            line = f"{path:<24} {shown:8.0f} {least:10.0f} {shown / least:6.1f} {whole:8.1f} {packed:10.1f}"
            yield f"{line}  {', '.join(said)}".rstrip()
        browser.close()


def _painted(browser, address: str) -> tuple[float, list[int]]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address, wait_until="load")
    while page.evaluate(PAINTED) is None:  # what waits inside a page evaluates texts there, which its policy forbids
        page.wait_for_timeout(5)
    found = page.evaluate(PAINTED), page.evaluate(WEIGHT)
    context.close()
    return found


class Serving:
    """The pages of a store on a port of this machine, whose clock stands just after its newest call."""

    def __init__(self, db: str) -> None:
        self.db = db

    def __enter__(self) -> str:
        import dataclasses
        import time

        import uvicorn
        from starlette.responses import HTMLResponse
        from starlette.routing import Route

        from benchmarks.questions import MINE
        from tracewatch.records import Span
        from tracewatch.settings import Settings
        from tracewatch.web import make_app
        from tracewatch.web.addresses import listen

        app = make_app(Settings(db=self.db), open_without_keys=True)
        app.router.routes.insert(0, Route("/bare", lambda request: HTMLResponse(BARE)))
        socket = listen("127.0.0.1", 0)
        self.server = uvicorn.Server(
            uvicorn.Config(app, http="httptools", ws="none", log_level="error", timeout_graceful_shutdown=5)
        )
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.05)
        reach = app.state.serving.store.extent(Span, [MINE])
        app.state.serving = dataclasses.replace(app.state.serving, clock=lambda: reach[1] + 30.0)
        return f"http://127.0.0.1:{socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
