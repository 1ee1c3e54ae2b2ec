"""Each number of the first screen leads to rows that come to it."""

import re
from html import unescape

import pytest
import shop
from shop import looking_at
from test_pages import words

VIEWS = ("/", "/?tz=America/New_York", "/?since=6h", "/?since=7d&lanes=model_name", "/?lanes=operation_type")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    with looking_at(shop.make(tmp_path_factory.mktemp("numbers") / "shop.db")) as client:
        yield client


def numbers(html):
    """By name the address and the value of each number on top."""
    found = re.findall(
        r'<a class="kpi" href="([^"]+)"><span class="k">(.*?)</span><span class="v"[^>]*>([^<]+)', html, re.DOTALL
    )
    return {
        words(name).split(",")[0].split(" today")[0]: (unescape(href), value.strip()) for href, name, value in found
    }


def matched(pages, href):
    """Calls (or steps, where there are only those) and the money of what a list says it shows; its p95."""
    said = words(re.search(r'<p class="matched">(.*?)</p>', pages.get(href).text, re.DOTALL)[0])
    count = re.match(r"([\d,]+) (?:calls?|steps?)", said)[1]
    money, p95 = re.search(r"· (\S*\$\S+|unknown|–)", said), re.search(r"p95 (.+)$", said)
    return int(count.replace(",", "")), money and money[1], p95 and p95[1]


@pytest.mark.parametrize("view", VIEWS)
def test_numbers_on_top(pages, view):
    shown = numbers(pages.get(view).text)
    assert {"Open incidents", "Cost", "Calls", "Latency", "Errors", "Fallbacks"} == set(shown)
    href, value = shown.pop("Open incidents")
    assert len(re.findall(r"<tr data-row", pages.get(href).text)) == int(value)
    calls, money, p95 = matched(pages, shown["Calls"][0])
    assert f"{calls:,}" == shown["Calls"][1]
    assert money == shown["Cost"][1]
    assert {href for href, _ in (shown[name] for name in ("Cost", "Calls", "Latency"))} == {shown["Calls"][0]}
    assert f"p95 {p95}" in words(pages.get(view).text)
    for name in ("Errors", "Fallbacks"):
        href, value = shown[name]
        share = float(value.split()[0].strip("<\u202f%")) / 100
        assert matched(pages, href)[0] / calls == pytest.approx(share, rel=0.06, abs=0.0001), name


@pytest.mark.parametrize("view", VIEWS)
def test_lanes_and_parts(pages, view):
    html = pages.get(view).text
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    checked = 0
    for row in rows:
        href = re.search(r'<a href="(/traces[^"]*)"', row)
        count = re.search(r'class="[^"]*num[^"]*" title="([\d,]+)"', row)
        if not href:
            continue
        calls, money, _ = matched(pages, unescape(href[1]))
        assert f"{calls:,}" == count[1], words(row)
        spent = re.search(r'<td class="num">(\$[\d.,]+)', row)
        assert spent is None or spent[1] == money
        checked += 1
    assert checked >= 6


def test_incidents_lead_to_themselves(pages):
    html = pages.get("/").text
    said = words(html)
    for href, calls in re.findall(r'<a class="inc" href="([^"]+)">.*?<span class="eff soft num">(.*?)</span>', html):
        assert f"Calls {calls.split()[0]} " in words(pages.get(unescape(href)).text)
    calls = re.search(r"Where operation chat · ([\d,]+) calls", said)[1]
    href = re.search(r'<a class="btn main" href="([^"]+)"', html)[1]
    assert re.search(rf"Calls (hit )?{calls} ", words(pages.get(href).text))
