"""Whether it was worth being told: said by whoever has the message, counted for each rule."""

import pytest
from hearing import NOON, a_channel, a_rule, an_incident

from tracewatch.alerts.standing import standings
from tracewatch.alerts.telling import Alerting
from tracewatch.alerts.verdicts import LEAST_JUDGED, Quality, delivery_of, judge, qualities
from tracewatch.errors import BadDeed, NotFound, RightMissing
from tracewatch.records import Incident
from tracewatch.stores import open_store

PAGES = "https://watch.example.com/"


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        store.add([a_channel()])
        store.add([a_rule()])
        yield store


def told(store, count):
    store.add([an_incident(id=f"i{number}") for number in range(count)])
    return Alerting(store, "default", public_url=PAGES).run(NOON)


def test_a_link_of_the_message_says_it_without_a_key(store):
    (delivery,) = told(store, 1)
    link = delivery.message["verdict_links"]["noise"]
    assert link == f"{PAGES}alerts/verdict/{delivery.key}?token={delivery.token}&verdict=noise"
    assert delivery_of(store, delivery.key, delivery.token).incident_id == "i0"
    assert delivery_of(store, delivery.key, "another") is None
    judge(store, "default", delivery.key, "noise", who="", now=NOON, token=delivery.token)
    judge(store, "default", delivery.key, "useful", who="ada", now=NOON + 1)
    assert qualities(store, "default") == {"waits": Quality(useful=1)}
    assert store.get(Incident, {"project": "default", "id": "i0"}).resolution_status == "pending"


def test_who_does_not_have_the_link_says_nothing(store):
    (delivery,) = told(store, 1)
    for token in ("", "x", delivery.token[:-1]):
        with pytest.raises(RightMissing):
            judge(store, "default", delivery.key, "noise", who="", now=NOON, token=token)
    with pytest.raises(NotFound):
        judge(store, "default", "none", "noise", who="", now=NOON)
    with pytest.raises(BadDeed, match="useful, expected, noise"):
        judge(store, "default", delivery.key, "great", who="ada", now=NOON)


def test_a_rule_that_is_not_worth_it_is_pointed_out(store):
    deliveries = told(store, LEAST_JUDGED)
    for place, each in enumerate(deliveries):
        noisy = standings(store, "default", "", NOON).rules[0].quality.noisy
        assert not noisy, "it takes some verdicts"
        judge(store, "default", each.key, "useful" if place == 0 else "noise", who="ada", now=NOON)
    found = standings(store, "default", "", NOON)
    assert (found.rules[0].quality.precision, found.rules[0].told) == (1 / LEAST_JUDGED, LEAST_JUDGED)
    assert any("Rule waits is noisy" in each for each in found.sentences())


def test_messages_have_no_links_where_nobody_said_where_the_pages_are(store):
    store.add([an_incident()])
    (delivery,) = Alerting(store, "default").run(NOON)
    assert (delivery.message["link"], delivery.message["verdict_links"]) == (None, {})
