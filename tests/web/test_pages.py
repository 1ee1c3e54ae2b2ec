"""The pages as a browser gets them: what they say in each state, and that the numbers on them agree."""

import re
import threading
from html import unescape

import pytest
import shop
from shop import COSTLY, NEW, NOW, ONSET, OVER, looking_at

from tracewatch.access import create_key
from tracewatch.errors import StoreBusy
from tracewatch.records import Baseline, Incident, Span
from tracewatch.stores import open_store
from tracewatch.web.views.rolled import CALLS_ALONE

PAGES = (
    *("/", "/?since=1h", "/?since=7d", "/?since=30d&tz=Asia/Kolkata", "/?lanes=model_name"),
    *("/incidents", "/incidents?tab=resolved", "/incidents?tab=dismissed"),
    *(f"/incidents/{each}" for each in (COSTLY, NEW, OVER)),
    *("/traces", "/traces?status=error,timeout&since=7d", "/traces?cost_usd=>0.05"),
    *("/traces/0ddtrace00000001", "/traces/longtrace0000001", "/traces/0ddtrace00000001/compare/question0003"),
)


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    return shop.make(tmp_path_factory.mktemp("shop") / "shop.db")


@pytest.fixture(scope="module")
def pages(db):
    with looking_at(db) as client:
        yield client


@pytest.fixture
def own(tmp_path):
    """A shop of one's own, to change it."""
    return shop.make(tmp_path / "own.db")


def words(html):
    """What a page says, without its tags."""
    text = re.sub(r"<(script|style|svg|head)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text))).strip()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole(pages, path):
    answer = pages.get(path)
    assert answer.status_code == 200
    assert len(answer.content) <= 100_000
    said = words(answer.text)
    assert not re.search(r"\b(None|nan|inf|Undefined|1 calls|1 traces)\b", said)
    assert answer.text.count("<h1") == 1
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe-inline" not in answer.headers["content-security-policy"].split("style-src-attr")[0]
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style", answer.text)
    assert not re.search(r'(?:src|href)="https?://', answer.text)


def test_the_first_screen_says_what_since_when_how_bad_where_why_and_what_next(pages):
    said = words(pages.get("/").text)
    assert "Critical Open for 3 h 0 m" in said.replace("\u202f", " ")
    assert "Calls of chat cost 4.1× as much" in said
    assert "Since 10:00" in said
    assert "Where operation chat" in said
    assert "Why " in said
    assert "Next " in said
    assert "First" not in said.split("Next ")[0]
    assert "is new" in said


def test_the_money_is_the_same_in_the_sentence_the_facts_and_the_bridge(pages):
    said = words(pages.get(f"/incidents/{COSTLY}").text)
    sums = re.findall(r"\+\$([\d.,]+)", said)
    sentence = re.search(r"; \+\$([\d.,]+) so far", said)[1]
    fact = re.search(r"So far \+\$([\d.,]+)", said)[1]
    observed = re.search(r"Observed \$[\d.,]+ \+\$([\d.,]+)", said)[1]
    assert sentence == fact == observed
    assert sums.count(sentence) >= 3


def test_a_bridge_on_a_page_adds_up(pages):
    said = words(pages.get(f"/incidents/{COSTLY}").text)
    bridge = re.search(r"Where the money went .*? Expected \$([\d.]+) (.*?) Observed \$([\d.]+)", said)
    changes = [float(sign + value) for sign, value in re.findall(r"([+-]?)\$([\d.]+)", bridge[2])]
    assert float(bridge[1]) + sum(changes) == pytest.approx(float(bridge[3]), abs=0.0001)


def test_the_numbers_of_the_first_screen_lead_to_as_many_rows(pages):
    html = pages.get("/").text
    calls = re.search(r'Calls today</span><span class="v"[^>]*>([\d,]+)', html)[1]
    rows = words(pages.get(f"/traces?from={_midnight()}").text)
    assert f"{calls} calls" in rows


def _midnight():
    return f"{NOW // 86_400 * 86_400:.0f}"


def test_an_empty_database_says_how_to_begin(tmp_path):
    with looking_at(str(tmp_path / "new.db")) as client:
        said = words(client.get("/").text)
        assert "No calls yet." in said
        assert 'import tracewatch tracewatch.init("http://127.0.0.1") tracewatch.instrument()' in said
        assert "tracewatch demo" in said
        assert "No open incidents." in words(client.get("/incidents").text)
        assert "No calls yet." in words(client.get("/traces").text)


def test_a_calm_day_says_so(own):
    with open_store(own) as store:
        store.remove(Incident, [])
    with looking_at(own) as client:
        said = words(client.get("/").text)
        assert "Nothing unusual" in said
        assert "calls today" in said
    with looking_at(own, now=NOW + 90 * 86_400) as client:
        assert re.search(r"calls on \d+ [A-Z][a-z]{2}\b", words(client.get("/").text))


def test_while_it_learns_it_says_how_far_it_is(own):
    with open_store(own) as store:
        store.put([shop.baseline(learned_until=shop.FIRST + 3 * 86_400)])
    with looking_at(own) as client:
        assert "Learning your normal: 2 of 7 days" in words(client.get("/").text) or "3 of 7 days" in words(
            client.get("/").text
        )


def test_calls_that_stop_coming_are_missed(own):
    with looking_at(own, now=shop.FIRST + 8 * 86_400 + 13 * 3600 + 2400) as client:
        said = words(client.get("/").text)
        assert "No calls since" in said
        assert "expected. Either nothing was asked, or nothing arrives." in said


def test_an_old_database_shows_its_last_day(own):
    with looking_at(own, now=NOW + 90 * 86_400) as client:
        said = words(client.get("/").text)
        assert "Shown is the time up to then." in said
        assert re.search(r"Calls of \d+ [A-Z][a-z]{2}\b", said)
        assert "today" not in said


def test_detection_that_is_behind_is_told(own):
    with open_store(own) as store:
        store.put([shop.a_span(f"w{n}", 0, None, "x", NOW - 100, 0.1) for n in range(6000)])
    with looking_at(own) as client:
        assert "Detection is behind: 6,000 spans" in words(client.get("/").text)


def test_a_database_that_does_not_answer_shows_what_was_read_last(own, monkeypatch):
    with looking_at(own) as client:
        before = words(client.get("/").text)
        store = client.app.state.serving.store

        def busy(*_, **__):
            raise StoreBusy(path="own.db", seconds=6)

        monkeypatch.setattr(store, "extent", busy)
        answer = client.get("/")
        assert answer.status_code == 503
        said = words(answer.text)
        assert "The database does not answer" in said
        assert "Showing what was read at" in said
        assert "cost 4.1× as much" in before
        assert "cost 4.1× as much" in said
        other = client.get("/traces")
        assert other.status_code == 503
        assert "Try again" in words(other.text)


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/incidents/nothere", 404, "Incident nothere does not exist, or its project is not yours."),
        ("/traces/nothere0", 404, "There is no trace nothere0"),
        ("/?since=soon", 400, "Cannot read 'soon' as a time."),
        ("/traces?cursor=zzz", 400, "Cannot continue from the cursor 'zzz'"),
    ],
)
def test_what_is_not_there_is_a_sentence_and_a_way_on(pages, path, status, sentence):
    answer = pages.get(path)
    assert answer.status_code == status
    assert sentence in words(answer.text)
    assert re.search(r'class="link" href="/', answer.text)


def test_a_filter_that_finds_nothing_says_which_one_to_take_away(pages):
    said = words(pages.get("/traces?model_name=gpt-4o&status=timeout&since=7d").text)
    assert "No call matches these 2 filters." in said
    assert re.search(r"Removing (status: timeout|model_name: gpt-4o) would show [\d,]+", said)


def test_what_is_typed_leads_to_a_filter_or_to_a_trace(pages):
    to = pages.get("/traces?q=cost>0.05&since=7d", follow_redirects=False)
    assert to.headers["location"] == "/traces?since=7d&cost_usd=%3E0.05"
    assert pages.get("/traces?q=0ddtrace", follow_redirects=False).headers["location"] == "/traces/0ddtrace00000001"
    assert "No trace begins with that" in words(pages.get("/traces?q=nonsense").text)
    assert "did you mean" in words(pages.get("/traces?q=modle_name=x").text)


def test_a_row_opens_the_calls_of_its_trace(pages):
    html = pages.get("/traces?status=timeout").text
    opened = unescape(re.search(r'data-expand href="([^"]+)"', html)[1])
    said = words(pages.get(opened.partition("#")[0]).text)
    assert "POST /ask" in said
    assert "gave up after 1.4 s" in said


def test_pages_of_calls_neither_repeat_nor_miss_any(pages):
    seen, path = [], "/traces?since=7d"
    while path:
        html = pages.get(path).text
        seen += re.findall(r'<tr data-row id="t-([^"]+)"', html)
        older = re.search(r'href="([^"]+)">Older', html)
        path = unescape(older[1]) if older and len(seen) < 300 else None
    assert len(seen) == len(set(seen)) >= 300


def test_a_trace_says_what_it_took_and_why(pages):
    said = words(pages.get("/traces/0ddtrace00000001").text).replace("\u202f", " ")
    assert re.search(r"POST /ask took 8\.05 s , typically 3\.\d+ s, and cost 5\.97¢ , typically 1\.56¢", said)
    assert "2 attempts of rerank failed, a substitute answered and the prompt was not cached." in said
    assert "rerank 1/2 overloaded" in said
    assert "rerank 2/2" in said
    assert "instead of rerank" in said
    assert re.search(r"answer .* 2\.\d×", said)


def test_the_bridge_of_a_trace_is_the_difference_to_the_typical_one(pages):
    said = words(pages.get("/traces/0ddtrace00000001").text).replace("\u202f", " ")
    found = re.search(r"Typical ([\d.]+) s (.*?) This trace ([\d.]+) s \+([\d.]+) s", said)
    parts, whole = found[2], float(found[3])
    assert whole == 8.05
    assert float(found[1]) + float(found[4]) == pytest.approx(whole, abs=0.011)
    assert "rerank 2 failed attempts" in parts


def test_a_long_trace_comes_in_windows(pages):
    html = pages.get("/traces/longtrace0000001").text
    rows = int(re.search(r'data-rows="(\d+)"', html)[1])
    assert "tool.search × 50" in html
    assert rows < 300
    some = pages.get("/traces/longtrace0000001/rows?from-row=50&n=20").text
    assert some.count('class="wfr"') == 20
    assert 'aria-rowindex="51"' in some
    folded = unescape(re.search(r'href="(/traces/longtrace0000001\?[^"]*open=[^"]+)"', html)[1])
    opened = pages.get(folded.partition("#")[0]).text
    assert int(re.search(r'data-rows="(\d+)"', opened)[1]) > rows


def test_two_traces_are_matched_span_by_span(pages):
    said = words(pages.get("/traces/0ddtrace00000001/compare/question0003").text).replace("\u202f", " ")
    assert re.search(r"POST /ask took 4\.\d+ s longer than the other, and cost 4\.41¢ more", said)
    assert "only here" in said
    assert words(pages.get("/traces/0ddtrace00000001/compare?other=question0003").text) == words(
        pages.get("/traces/0ddtrace00000001/compare/question0003").text
    )


@pytest.mark.parametrize(
    ("form", "state", "done"),
    [
        ({"verb": "acknowledge"}, "acknowledged", "Acknowledged"),
        ({"verb": "resolve", "reason": "fixed", "text": "rolled back"}, "resolved", "Resolved, fixed"),
        ({"verb": "dismiss", "reason": "too_small"}, "dismissed", "Dismissed, too small"),
        ({"verb": "snooze", "until": f"{NOW + 3600}"}, "acknowledged", "Snoozed"),
    ],
)
def test_incidents_are_dealt_with_by_forms(own, form, state, done):
    with looking_at(own) as client:
        answer = client.post(f"/incidents/{COSTLY}", data=form)
        said = words(answer.text)
        assert f"{done} by this machine" in said
        assert form.get("text", "") in said
        with open_store(own) as store:
            assert store.get(Incident, {"project": "default", "id": COSTLY}).resolution_status == state
        assert "cost 4.1× as much" not in words(client.get("/incidents").text)
        assert "Open again" in words(client.post(f"/incidents/{COSTLY}", data={"verb": "reopen"}).text)
        assert "cost 4.1× as much" in words(client.get("/incidents").text)


def test_several_are_acknowledged_at_once(own):
    with looking_at(own) as client:
        answer = client.post("/incidents", data={"verb": "acknowledge", "id": [COSTLY, NEW]})
        assert "No open incidents." in words(answer.text)


@pytest.mark.parametrize(
    "form", [{"verb": "delete"}, {"verb": "note"}, {"verb": "snooze"}, {"verb": "resolve", "reason": "x"}]
)
def test_a_form_that_makes_no_sense_changes_nothing(own, form):
    with looking_at(own) as client:
        answer = client.post(f"/incidents/{COSTLY}", data=form)
        assert answer.status_code == 400
        assert "Cannot do this" in words(answer.text)
        assert "Open for" in words(client.get("/").text)


def test_a_form_leads_back_to_this_server_alone(own):
    with looking_at(own) as client:
        for back in ("https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example"):
            to = client.post(f"/incidents/{COSTLY}", data={"verb": "acknowledge", "back": back}, follow_redirects=False)
            assert to.headers["location"] == "/"


def test_a_key_of_one_user_shows_that_users_rows_alone(own):
    with open_store(own) as store:
        _, key = create_key(store, project="default", rights=("read",), user_id="u1", now=NOW)
        own_rows = [shop_filter("user_id", "u1"), shop_filter("start_time", NOW - 86_400, ">=")]
        mine = store.count(Span, [*own_rows, CALLS_ALONE])
    with looking_at(own) as client:
        client.headers["authorization"] = f"Bearer {key}"
        for path in PAGES:
            answer = client.get(path)
            assert "u2" not in re.findall(r"\bu\d\b", words(answer.text)), path
        assert f"{mine:,} calls" in words(client.get("/traces").text)
        assert "cost 4.1× as much" not in words(client.get("/").text)
        assert client.get(f"/incidents/{COSTLY}").status_code == 404
        assert client.post(f"/incidents/{COSTLY}", data={"verb": "resolve"}).status_code == 403


def shop_filter(name, value, operator="="):
    from tracewatch.stores.base import Filter

    return Filter(name, operator, (value,))


def test_times_are_in_the_zone_of_the_reader(pages):
    assert "Since 11:00" in words(pages.get("/?tz=Europe/Berlin").text)
    assert "Since 15:30" in words(pages.get("/?tz=Asia/Kolkata").text)
    assert "Times in UTC" in words(pages.get("/?tz=Nowhere/Land").text)


def test_the_onset_is_where_the_picture_says(pages):
    html = pages.get("/").text
    assert re.search(r'class="p-win crit" x="[\d.]+"', html)
    assert f"PT{int(NOW - ONSET)}S" in html


def test_files_are_kept_for_good_and_named_by_their_content(pages):
    html = pages.get("/").text
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', html):
        answer = pages.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    css = pages.get(re.search(r'href="(/static/app[^"]+)"', html)[1]).text
    assert pages.get("/static/" + re.search(r'url\("([^"]+woff2)"\)', css)[1]).status_code == 200
    assert pages.get("/static/nothing.css").status_code == 404


def test_many_readers_at_once_get_the_same_page(pages):
    found = []
    threads = [threading.Thread(target=lambda: found.append(words(pages.get("/incidents").text))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(found)) == 1


def test_what_nothing_has_judged_is_not_called_calm(own):
    with open_store(own) as store:
        store.remove(Incident, [])
        store.remove(Baseline, [])
    with looking_at(own) as client:
        said = words(client.get("/").text)
        assert "These calls have not been judged yet." in said
        assert "Nothing unusual" not in said


@pytest.mark.parametrize(("service", "is_told"), [("shop", False), ("search", True)])
def test_clocks_differ_between_services_alone(tmp_path, service, is_told):
    path = str(tmp_path / "w.db")
    with open_store(path, create=True) as store:
        answer = shop.a_span("early", 0, None, "answer", NOW - 60, 3.0, operation_type="chat")
        looked_up = shop.a_span("early", 1, 0, "retrieval", NOW - 60.45, 0.4, service_name=service)
        store.add([answer, looked_up])
    with looking_at(path) as client:
        assert ("clocks differ" in words(client.get("/traces/early").text)) is is_told


def test_the_picture_of_an_incident_compares_with_what_its_sentence_does(pages):
    page = pages.get(f"/incidents/{COSTLY}").text
    tips = next(each for each in re.findall(r'data-tips="([^"]*)"', page) if "¢" in each)
    told = [unescape(each) for each in tips.split("|")]
    usual = unescape(re.search(r"<small>(expected [^<]+)</small>", page)[1])
    of_these = [each for each in told if each.endswith(usual)]
    assert of_these, "from the onset on the band is what detection expected of these calls"
    assert told.index(of_these[0]) > 3, "before it is what is usual of such hours"
    assert not told[0].endswith(usual)


def test_the_zone_is_that_of_the_browser_as_its_script_writes_it(pages):
    said = pages.get("/help", headers={"cookie": "tracewatch_zone=Europe%2FBerlin"}).text
    assert "Times in Europe/Berlin" in words(said)
