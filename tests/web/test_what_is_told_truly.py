"""What nobody explained is not called without a cause, a budget is no cost per call, and all calls have a lane."""

import pytest
from shop import COSTLY, NOW, ONSET, OVER, a_span, an_incident, looking_at
from test_pages import own, words

from tracewatch.access import Caller
from tracewatch.errors import StoreBusy
from tracewatch.headlines import limit_of
from tracewatch.records import Incident
from tracewatch.stores import open_store
from tracewatch.web.views import incident as view
from tracewatch.web.views.summary import summary
from tracewatch.web.views.waterfall import waterfall

__all__ = ["own"]

BUDGET = "b0d6e7b0d6e70001"


def a_budget():
    about = {"detector": "rules", "rule": "the day", "kind": "surge", "slice": {}}
    came = {"started_at": ONSET, "detected_at": ONSET, "observed": 9.15, "upper": 5.0, "cost_effect_usd": 4.15}
    return an_incident(BUDGET, "critical", title="The $5.00 for Nov 30 were spent.", **about, **came)


def test_an_incident_that_nobody_explained_says_so_and_is_explained_when_asked(own):
    untold = {"causes": None, "contributing_factors": (), "recommended_actions": (), "calls": None}
    with open_store(own) as store:
        store.annotate(Incident, {"project": "default", "id": COSTLY}, untold)
    with looking_at(own) as client:
        page = client.get(f"/incidents/{COSTLY}").text
        assert "Nobody has looked yet why this came" in words(page)
        assert "No single cause" not in words(page)
        assert "explained=now" in page
        told = words(client.get(f"/incidents/{COSTLY}?explained=now").text)
        assert "Nobody has looked yet" not in told
        assert "Where the money went" in told
        assert "Nobody has looked yet" in words(client.get(f"/incidents/{OVER}").text)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ZeroDivisionError("a secret of the inside"), "something went wrong here, and the server's log says what"),
        (
            StoreBusy(path="w.db", seconds=5),
            "w.db was locked by another process for 5 s. Nothing was written; try again.",
        ),
    ],
)
def test_what_cannot_be_explained_is_said_and_left_as_it_was(own, monkeypatch, caplog, error, why):
    def failing(*_):
        raise error

    monkeypatch.setattr(view, "explain", failing)
    with open_store(own) as store:
        store.annotate(Incident, {"project": "default", "id": COSTLY}, {"causes": None, "recommended_actions": ()})
        before = store.get(Incident, {"project": "default", "id": COSTLY})
    with looking_at(own) as client:
        answer = client.get(f"/incidents/{COSTLY}?explained=now")
        assert answer.status_code == 200
        assert "It cannot be explained" in words(answer.text)
        assert why in words(answer.text)
        assert "Try again" in words(answer.text)
        assert "secret of the inside" not in answer.text
    with open_store(own) as store:
        assert store.get(Incident, {"project": "default", "id": COSTLY}) == before
    assert ("ZeroDivisionError" in caplog.text) is isinstance(error, ZeroDivisionError)


def test_a_budget_shows_what_is_spent_of_it(own):
    with open_store(own) as store:
        store.add([a_budget()])
    assert limit_of(a_budget()) == "$5.00"
    with looking_at(own) as client:
        page = words(client.get(f"/incidents/{BUDGET}").text)
        assert "Comes to $9.15 of $5.00" in page
        assert "Cost per call" not in page.split("Checked, normal")[0]
        first = words(client.get("/?since=24h").text)
        assert "Budget" in first.split("What was unusual")[1]
        assert "all calls" in first.split("What was unusual")[1]


def test_steps_that_follow_each_other_are_one_critical_path(tmp_path):
    steps = (("retrieval", 0.0, 0.2), ("rerank", 0.21, 0.2), ("answer", 0.42, 1.5))
    spans = [
        a_span("inturn", number, None, name, NOW - 60 + start, length)
        for number, (name, start, length) in enumerate(steps)
    ]
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        store.add(spans)
        drawn = waterfall(store, Caller(project="default"), "inturn", NOW)
    assert sorted(drawn.pieces) == [0, 1, 2]
    assert summary(spans).name == "answer"
