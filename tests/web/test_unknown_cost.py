"""A paid model that streams its answer without telling its tokens costs something: no page says $0 of it."""

import re

import pytest
from shop import NOW, a_span, looking_at
from test_pages import words

from tracewatch.stores import open_store
from tracewatch.watch import catch_up

SILENT, TOLD = 5, 3


def a_call(number, *, told):
    tokens = {"input_tokens": 1_000_000, "output_tokens": 0} if told else {}
    return a_span(
        f"stream{number:03}", 0, None, "chat", NOW - 600 - 60 * number, 1.0, operation_type="chat", status="ok",
        model_name="gpt-4o-mini", model_provider="openai", streaming_enabled=True, **tokens,
    )  # fmt: skip


@pytest.fixture(params=[False, True], ids=["nothing is known", "some is known"])
def client(tmp_path, request):
    path = str(tmp_path / "w.db")
    with open_store(path, create=True) as store:
        store.add([a_call(number, told=False) for number in range(SILENT)])
        if request.param:
            store.add([a_call(100 + number, told=True) for number in range(TOLD)])
        catch_up(store, project="default")
    with looking_at(path) as client:
        client.some_known = request.param
        yield client


def test_the_first_screen_says_what_is_missing(client):
    cost = re.search(r"Cost today (.*?) (usually|usual)", words(client.get("/").text))[1]
    assert cost == ("$0.45 + unpriced" if client.some_known else "unknown")


@pytest.mark.parametrize("path", ["/", "/cost", "/cost?by=user_id", "/sessions", "/users", "/users/u1", "/sessions/s1"])
def test_no_page_says_that_it_cost_nothing(client, path):
    said = words(client.get(path).text)
    assert not re.search(r"\$0(?! \$|[.\d])", said.replace("not $0", ""))
    assert "unknown" in said or "not known" in said or "unpriced" in said


def test_the_page_of_costs_names_the_model(client):
    said = words(client.get("/cost").text)
    assert "5 calls of unknown cost" in said or "5 calls without a known cost" in said
    assert "gpt-4o-mini" in said


@pytest.mark.parametrize("path", ["/api/v1/stats", "/api/v1/cost", "/api/v1/cost?by=user_id"])
def test_routes_count_what_is_not_known(client, path):
    told = client.get(path, headers={"accept": "application/json"}).json()
    assert told["unpriced_calls"] == SILENT
    assert sum(each["unpriced_calls"] for each in told.get("parts", ())) == (SILENT if "parts" in told else 0)
