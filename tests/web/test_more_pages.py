"""Cost, jobs, sessions, users, settings and help: what they say, that their numbers agree, and what their forms do."""

import re

import pytest
import shop
from shop import NOW, a_span, looking_at
from test_pages import words

from tracewatch.records import ApiKey, Baseline, PriceOverride, Project, Span
from tracewatch.stores import Filter, open_store

HOUR = 3600.0
PAGES = (
    *("/cost", "/cost?since=7d&by=user_id", "/cost?since=30d&by=usage_type", "/cost?since=1h&tz=Asia/Kolkata"),
    *(
        "/jobs",
        "/jobs?open=reindex",
        "/sessions",
        "/sessions?order=cost&begins=s&since=7d",
        "/sessions/s1",
        "/users",
        "/users/u1",
    ),
    *("/users?order=errors&page=2", "/settings", "/settings?pattern=acme-1", "/help"),
)


def run(name, number, *, every=HOUR, at=NOW - 600, failed=0, status="ok", seconds=60.0):
    """A run of a batch job, `number` turns before its last one."""
    return Span(
        trace_id=f"{name}{number}", span_id=f"{name}{number}", start_time=at - number * every, status=status,
        duration_ms=seconds * 1000, model_provider="system", model_name="batch", operation_type="batch",
        usage_type=name, cost_status="unmetered", source="sdk",
        metadata={"extracted": 612, "failed": failed, "skipped": 3},
        error_message="the inbox did not answer" if status == "error" else None,
    )  # fmt: skip


def chat(number, at, **odd):
    """A call of a conversation whose prompt grows."""
    usual = {
        "operation_type": "chat", "model_name": "claude-sonnet-4-5", "model_provider": "anthropic",
        "input_tokens": 1_000 * (number + 1), "output_tokens": 100, "cost_usd": 0.01 * (number + 1),
        "cost_status": "exact", "session_id": "growing", "user_id": "u/2 %",
    }  # fmt: skip
    return a_span(f"turn{number}", 0, None, "answer", at, 2.0, **usual | odd)


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    path = shop.make(tmp_path_factory.mktemp("more") / "shop.db")
    with open_store(path) as store:
        store.add([chat(number, NOW - 3000 + number * 60) for number in range(5)])
        store.add([chat(9, NOW - 2000, model_name="acme-1", cost_usd=None, cost_status="unpriced", session_id="s1")])
        store.add([run("extraction", number, failed=14 * (number == 2)) for number in range(9)])
        store.add([run("reindex", number, at=NOW - 4 * HOUR) for number in range(6)])
        store.add([run("nightly", number, status="error" if number == 0 else "ok") for number in range(3)])
        store.roll_up()
    return path


@pytest.fixture(scope="module")
def pages(db):
    with looking_at(db) as client:
        yield client


@pytest.fixture
def own(tmp_path):
    """An address of one's own that is changed, with a client of it."""
    path = str(tmp_path / "own.db")
    with open_store(path, create=True) as store:
        store.add([chat(number, NOW - 40 * 86_400 + number * 86_400 * 10) for number in range(5)])
        store.roll_up()
        store.add([shop.baseline()])
    with looking_at(path) as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole(pages, path):
    answer = pages.get(path)
    assert answer.status_code == 200
    assert len(answer.content) <= 100_000
    assert not re.search(r"\b(None|nan|inf|Undefined|1 calls|1 traces|1 turns|1 models)\b", words(answer.text))
    assert answer.text.count("<h1") == 1
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style", answer.text)


def test_the_cost_is_the_same_in_the_sentence_the_table_and_the_bridge(pages):
    said = words(pages.get("/cost?since=24h").text)
    total = re.search(r"\$([\d.,]+) \+ unpriced in the last 24 hours", said)[1]
    before, change = re.search(r"The time before \$([\d.]+) this time ([+-]\$[\d.]+)", said).groups()
    assert f"This time ${total} {change}" in said
    bridge = re.search(r"Share The time before \$([\d.]+) (.*?) This time \$([\d.]+)", said)
    assert (bridge[1], bridge[3]) == (before, total)
    changes = [float(sign + value) for sign, value in re.findall(r"([+-]?)\$([\d.]+) -?[\d.<>]+ %", bridge[2])]
    assert len(changes) >= 5
    assert float(bridge[1]) + sum(changes) == pytest.approx(float(bridge[3]), abs=1e-6)


def test_the_same_calls_cost_the_same_by_whatever_they_are_told_apart(pages):
    def sums(by):
        rows = re.findall(r'<td class="num">(?:<span class="dim">)?\$([\d.,]+)', pages.get(f"/cost?by={by}").text)
        return sum(float(each.replace(",", "")) for each in rows)

    assert sums("model_name") == pytest.approx(sums("model_provider"), rel=0.01)
    assert sums("model_name") == pytest.approx(sums("operation_type"), rel=0.01)


def test_what_has_no_price_is_unknown_and_says_what_to_do(pages):
    html = pages.get("/cost").text
    said = words(html)
    assert "1 model has no price, so its cost is unknown, not $0." in said
    assert re.search(r"acme-1 no price known Set a price", said)
    assert 'href="/settings?pattern=acme-1#prices"' in html
    assert re.search("9[89]\\.\\d % of tokens priced", said)


def test_the_end_of_the_day_and_of_the_month_is_foreseen(pages):
    said = words(pages.get("/cost").text)
    so_far, low, high = map(
        float, re.search(r"Today \$([\d.]+) \+ unpriced \$([\d.]+)–([\d.]+) by midnight", said).groups()
    )
    assert so_far < low < high
    month = float(re.search(r"This month \$([\d.]+)", said)[1])
    assert month >= so_far


def test_costs_of_an_empty_database_say_how_to_begin(tmp_path):
    with looking_at(str(tmp_path / "new.db")) as client:
        assert "No calls yet." in words(client.get("/cost").text)
        assert "No batch runs recorded." in words(client.get("/jobs").text)
        assert "No call says its session yet." in words(client.get("/sessions").text)
        assert "No call says its user yet." in words(client.get("/users").text)
        assert "has no calls yet" in words(client.get("/settings").text)
        navigation = client.get("/").text
        for path in ("/jobs", "/sessions", "/users"):
            assert f'href="{path}"' not in navigation


def test_what_is_reported_is_in_the_navigation(pages):
    navigation = pages.get("/").text
    for path in ("/cost", "/jobs", "/sessions", "/users", "/settings", "/help"):
        assert f'class="nav" href="{path}"' in navigation, path


def test_a_job_says_how_it_went_when_it_is_due_and_which_runs_are_missing(pages):
    html = pages.get("/jobs").text
    said = words(html)
    assert "reindex has not run when due; nightly failed at the last run." in said
    assert re.search(r"extraction ok \d\d:\d\d 60.0 s .*?612 ok 3 skipped ≈ ", said)
    assert "every 1 h 0 m" in said
    assert re.search(r"reindex .*?missing since", said)
    assert html.count('class="gone"') == 3
    assert html.count('class="some"') == 1
    assert "the inbox did not answer" in said
    assert 'href="/traces/extraction0"' in html
    opened = words(pages.get("/jobs?open=reindex").text)
    assert "12:00: due, and did not come 11:00: due, and did not come" in opened
    assert "nightly" in said
    assert "not known yet" in said


def test_a_session_shows_how_its_prompt_grew(pages):
    html = pages.get("/sessions/growing").text
    said = words(html).replace(" ;", ";")
    assert "5 turns over 4 m cost $0.15; the prompt grew 5.0×, from 1,000 to 5,000 tokens." in said
    turns = re.findall(r'href="/traces/(turn\d)"', html)
    assert turns == [f"turn{number}" for number in range(5)]
    widths = [
        float(each) for each in re.findall(r'<i style="width:([\d.]+)%"></i></div><span class="num">[\d,]+<', html)
    ]
    assert widths == [20, 40, 60, 80, 100]


def test_users_lead_to_their_calls_whatever_their_names(pages):
    html = pages.get("/users?since=1h").text
    assert 'href="/users/u%2F2%20%25?since=1h"' in html
    said = words(pages.get("/users/u%2F2%20%25?since=1h").text)
    assert "6 calls in the last hour cost $0.15 + unpriced ." in said
    assert "growing" in said


def test_lists_are_filtered_and_paged(tmp_path):
    path = str(tmp_path / "many.db")
    with open_store(path, create=True) as store:
        store.add([
            chat(0, NOW - 60 - number, session_id=f"s{number:03}", span_id=f"x{number}", cost_usd=number / 1000)
            for number in range(120)
        ])  # fmt: skip
        store.roll_up()
    with looking_at(path) as client:
        seen, to = [], "/sessions?order=cost"
        while to:
            html = client.get(to).text
            seen += re.findall(r'class="row" href="/sessions/(s\d+)', html)
            more = re.search(r'href="([^"]+)">More ›', html)
            to = more[1].replace("&amp;", "&") if more else None
        assert seen == [f"s{number:03}" for number in reversed(range(120))]
        assert len(re.findall(r'class="row"', client.get("/sessions?begins=s01").text)) == 10
        assert "No session matches" in words(client.get("/sessions?begins=zzz").text)
        assert "No session matches" in words(client.get("/sessions?user_id=nobody").text)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("/sessions/nothere", "There is no session nothere"), ("/users/nobody", "There is no user nobody")],
)
def test_what_is_not_there_is_a_sentence(pages, path, sentence):
    answer = pages.get(path)
    assert answer.status_code == 404
    assert sentence in words(answer.text)


def test_a_key_is_shown_once_and_revoked(own):
    refused = own.post("/settings", data={"verb": "create_key", "right": "read"})
    assert refused.status_code == 400
    assert "without the right admin" in words(refused.text)
    made = own.post("/settings", data={"verb": "create_key", "right": ["read", "write", "admin"], "name": "ci"})
    (key,) = re.findall(r"tw_[0-9a-f]{12}_[0-9a-f]{48}", made.text)
    assert own.get("/settings", headers={"accept": "*/*"}, follow_redirects=False).status_code == 401
    own.headers["authorization"] = f"Bearer {key}"
    again = own.get("/settings")
    assert again.status_code == 200
    assert key not in again.text
    id_ = key.split("_")[1]
    second = own.post("/settings", data={"verb": "create_key", "right": "read", "expires": "90d"})
    reader = re.search(r"tw_[0-9a-f]{12}_[0-9a-f]{48}", second.text)[0]
    done = own.post("/settings", data={"verb": "revoke_key", "id": reader.split("_")[1]})
    assert "opens nothing any more" in words(done.text)
    assert own.get("/settings", headers={"authorization": f"Bearer {reader}", "accept": "*/*"}).status_code == 401
    store = own.app.state.serving.store
    assert store.get(ApiKey, {"id": id_}).revoked_at is None


def test_who_may_only_read_changes_nothing_and_sees_no_keys(own):
    from tracewatch.access import create_key

    store = own.app.state.serving.store
    _, admin = create_key(store, project="default", rights=("admin",), now=NOW, name="of the owner")
    _, text = create_key(store, project="default", rights=("read", "write"), now=NOW)
    _, other = create_key(store, project="other", rights=("admin",), now=NOW)
    own.headers["authorization"] = f"Bearer {text}"
    said = words(own.get("/settings").text)
    assert "Changes need a key with the right admin" in said
    assert "of the owner" not in said
    assert own.post("/settings", data={"verb": "retention", "days": "1"}).status_code == 403
    own.headers["authorization"] = f"Bearer {other}"
    taken = own.post("/settings", data={"verb": "revoke_key", "id": admin.split("_")[1]})
    assert taken.status_code == 400
    assert "There is no key" in words(taken.text)


def test_prices_are_set_and_removed(own):
    store = own.app.state.serving.store
    wrong = own.post("/settings", data={"verb": "set_price", "pattern": "acme-(", "input": "1", "output": "2"})
    assert "is not a regular expression" in words(wrong.text)
    wrong = own.post("/settings", data={"verb": "set_price", "pattern": "acme", "input": "a lot", "output": "2"})
    assert "is no number of dollars" in words(wrong.text)
    told = own.post("/settings", data={"verb": "set_price", "pattern": "acme-1", "input": "1.5", "output": "6"})
    assert "tracewatch prices reprice" in words(told.text)
    assert "acme-1 any $1.5 $6 as input as input ever" in words(told.text)
    own.post("/settings", data={"verb": "remove_price", "pattern": "acme-1", "starts_at": "0.0"})
    assert store.count(PriceOverride) == 0


def test_deleting_names_what_goes_and_wants_the_name_of_the_project(own):
    store = own.app.state.serving.store
    assert "Deletes" not in words(own.get("/settings").text)
    told = words(own.post("/settings", data={"verb": "retention", "days": "15"}).text)
    assert "Keeping 15 days deletes 3 spans of 20 days" in told
    assert store.get(Project, {"project": "default"}) is None  # asked, and not yet done
    told = words(own.post("/settings", data={"verb": "retention", "days": "15", "confirm": "default"}).text)
    assert "Once a day, while the server runs with detection, spans go that are older than 15 days" in told
    assert "Deletes 3 spans of 20 days" in told
    refused = own.post("/settings", data={"verb": "delete", "confirm": "yes"})
    assert refused.status_code == 400
    assert store.count(Span) == 5
    own.post("/settings", data={"verb": "delete", "confirm": "default"})
    assert store.count(Span) == 2


def test_nothing_of_another_project_is_deleted(own):
    store = own.app.state.serving.store
    store.add([chat(0, NOW - 60 * 86_400, project="other")])
    said = words(own.post("/settings", data={"verb": "retention", "days": "15"}).text)
    assert "ther projects keep spans of that age" in said
    assert own.post("/settings", data={"verb": "delete", "confirm": "default"}).status_code == 400
    assert store.count(Span, [Filter("project", "=", ("other",))]) == 1
    store.roll_up()
    assert 'href="/settings?project=other"' in own.get("/settings").text


def test_texts_are_allowed_and_what_was_learned_is_forgotten(own):
    store = own.app.state.serving.store
    own.post("/settings", data={"verb": "content", "allowed": "yes"})
    assert store.get(Project, {"project": "default"}).content_allowed
    assert store.count(Baseline) == 1
    told = words(own.post("/settings", data={"verb": "learn_again"}).text)
    assert "learns from all calls again" in told
    assert store.count(Baseline) == 0
    assert own.post("/settings", data={"verb": "drop everything"}).status_code == 400


def test_settings_name_their_variables_and_tell_no_secret(tmp_path):
    with looking_at(str(tmp_path / "w.db"), api_key="tw_very_secret") as client:
        html = client.get("/settings").text
        assert "TRACEWATCH_API_KEY" in html
        assert "tw_very_secret" not in html
        for name in ("DB", "CONTENT", "PROJECT", "METRICS"):
            assert f"TRACEWATCH_{name}" in html
