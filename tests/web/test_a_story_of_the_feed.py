"""Detection is asked for while the feed is open: its findings come to it, and a click leads to the trace of one."""

import json
import urllib.request

import shop
from test_in_chromium import _serving, browser, opened, pytestmark

from tracewatch.records import Anomaly
from tracewatch.stores import open_store

__all__ = ["browser", "pytestmark"]


def test_what_is_found_comes_to_the_open_feed_and_leads_to_its_trace(browser, tmp_path):
    db = shop.make(tmp_path / "shop.db")
    with open_store(db) as store:
        store.remove(Anomaly, [])
    with _serving(db) as address, opened(browser, f"{address}/anomalies") as (page, wrong):
        page.wait_for_selector("[data-empty]")
        page.evaluate("window.sameDocument = true")
        asked = urllib.request.Request(f"{address}/api/analytics/anomalies/detect", method="POST")
        with urllib.request.urlopen(asked) as answer:
            found = json.load(answer)
        assert found["success"]
        assert found["anomaly_types_analyzed"] == 10
        assert found["anomalies_saved"] > 0
        page.wait_for_selector("tr[data-row]")
        assert page.evaluate("window.sameDocument")
        page.goto(f"{address}/anomalies?type=duration")
        page.locator("tr[data-row] a.row").first.focus()
        page.keyboard.press("e")
        page.locator("tr.more a[href^='/traces/']").first.click()
        page.wait_for_url("**/traces/*")
        assert page.locator(".wfr .x[title^='usually']").count() > 0  # its baseline stands beside it
        assert wrong == []
