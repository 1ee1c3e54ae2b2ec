"""A channel with several recipients tells each of them once, whatever becomes of the others."""

import doctest
import json
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from hearing import NOON, a_channel, a_finding, an_incident
from receivers import receiving

from tracewatch.alerts import outbox
from tracewatch.alerts.sending import Sender
from tracewatch.alerts.telling import Alerting
from tracewatch.channels import base, opening, slack
from tracewatch.channels.base import mark_of
from tracewatch.records import AlertChannel, Delivery, Incident
from tracewatch.stores import open_store

DOWN = (503, {}, b"{}")
FINE = (200, {}, b'{"ok": true}')


@pytest.fixture
def receiver():
    with receiving() as there:
        yield there


@pytest.fixture(params=["ntfy", "slack"])
def store(request, tmp_path, receiver, monkeypatch):
    """A store whose channel has two recipients, a and b; `told` lists to whom the receiver's messages went."""
    monkeypatch.setattr(opening, "SlackBot", partial(slack.SlackBot, api=receiver.url))
    ntfy = receiver.url.replace("http", "ntfy", 1) + "/a/b"
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        store.add([a_channel(ntfy if request.param == "ntfy" else "slack://xoxb-1-2-abc/a,b")])
        store.add([an_incident()])
        store.add([a_finding()])
        yield store


def told(receiver):
    found = [json.loads(body) for _, _, body in receiver.got]
    return [each.get("topic") or each["channel"] for each in found]


def go(store, now=NOON):
    sender = Sender(store, "", lambda: now)
    try:
        return sender.go()
    finally:
        sender.stop()


def states(store):
    return Counter(each.state for each in store.page(Delivery).records)


def test_one_that_fails_is_told_again_and_the_other_not(store, receiver):
    receiver.answers += [DOWN, FINE, FINE]
    Alerting(store, "default").run(NOON)
    assert go(store) == 2
    assert states(store) == {"sent": 1, "failed": 1}
    assert go(store, NOON + 60) == 1
    assert states(store) == {"sent": 2}
    assert sorted(told(receiver)) == ["a", "a", "b"] or sorted(told(receiver)) == ["a", "b", "b"]
    assert {each.recipient for each in store.page(Delivery).records} == {mark_of("a"), mark_of("b")}


def test_what_is_decided_again_is_written_and_told_no_more(store, receiver):
    receiver.answers += [FINE, FINE]
    (written,) = Alerting(store, "default").run(NOON)
    go(store)
    assert store.add([written]) == 0
    assert Alerting(store, "default").run(NOON + 1) == ()
    assert go(store, NOON + 1) == 0
    assert sorted(told(receiver)) == ["a", "b"]


def test_the_end_waits_for_those_alone_who_do_not_know_of_the_beginning(store, receiver):
    receiver.answers += [FINE, DOWN, FINE, FINE, FINE]
    Alerting(store, "default").run(NOON)
    go(store)
    over = {"state": "closed", "closed_at": NOON, "updated_at": NOON + 1}
    store.annotate(Incident, {"project": "default", "id": "i1"}, over)
    Alerting(store, "default").run(NOON + 1)
    assert go(store, NOON + 1) == 1
    assert go(store, NOON + 60) == 2
    assert sorted(told(receiver)) == ["a", "a", "a", "b", "b"] or sorted(told(receiver)) == ["a", "a", "b", "b", "b"]
    assert states(store) == {"sent": 4}


def test_of_two_who_take_it_apart_one_does(store):
    (written,) = Alerting(store, "default").run(NOON)
    assert len(outbox.apart(store, written, ["x", "y"])) == 2
    assert outbox.apart(store, written, ["x", "y"]) == ()


def test_what_was_taken_apart_under_shorter_marks_is_told_once_and_its_end_comes_after(store, receiver):
    receiver.answers += [FINE, DOWN, FINE, FINE, FINE]
    (written,) = Alerting(store, "default").run(NOON)
    outbox.apart(store, written, [mark_of(each)[:6] for each in "ab"])
    assert go(store) == 2
    assert states(store) == {"sent": 1, "failed": 1}
    over = {"state": "closed", "closed_at": NOON, "updated_at": NOON + 1}
    store.annotate(Incident, {"project": "default", "id": "i1"}, over)
    Alerting(store, "default").run(NOON + 1)
    assert go(store, NOON + 1) == 1
    assert go(store, NOON + 60) == 2
    assert sorted(told(receiver)) in (list("aaabb"), list("aabbb"))
    assert states(store) == {"sent": 4}


def test_of_many_recipients_no_two_share_a_mark():
    many = [f"ops{each}@example.com" for each in range(20_000)]
    assert len({mark_of(each)[:6] for each in many}) < len(many)  # as the shorter ones did
    assert len({mark_of(each) for each in many}) == len(many)


def test_two_whose_shorter_marks_are_the_same_are_both_told(store, receiver):
    first, second = "t1250", "t5534"
    assert mark_of(first)[:6] == mark_of(second)[:6]
    (channel,) = store.page(AlertChannel).records
    url = channel.url.replace("/a/b", f"/{first}/{second}").replace("/a,b", f"/{first},{second}")
    store.put([replace(channel, url=url)])
    receiver.answers += [FINE, FINE]
    Alerting(store, "default").run(NOON)
    assert go(store) == 2
    assert sorted(told(receiver)) == sorted([first, second])


def test_a_recipient_who_is_none_any_more_is_told_nothing(store, receiver):
    (written,) = Alerting(store, "default").run(NOON)
    outbox.apart(store, written, [mark_of("a"), mark_of("gone")])
    receiver.answers += [FINE]
    go(store)
    assert states(store) == {"sent": 1, "dead": 1}
    assert told(receiver) == ["a"]


def test_one_who_is_left_alone_is_told_all_the_same(store, receiver):
    receiver.answers += [DOWN, DOWN, FINE]
    Alerting(store, "default").run(NOON)
    go(store)
    (channel,) = store.page(AlertChannel).records
    store.put([replace(channel, url=channel.url.replace("/a/b", "/a").replace("/a,b", "/a"))])
    assert go(store, NOON + 60) == 2
    assert states(store) == {"sent": 1, "dead": 1}
    assert told(receiver)[2:] == ["a"]


def test_recipients_of_a_mail_are_told_one_by_one():
    parts = opening.open_channel("mailto://127.0.0.1:1?from=w@example.com&to=a@example.com,b@example.com").parts
    assert len(parts) == 2
    assert all(list(each.parts) == [mark] and "example" not in mark for mark, each in parts.items())


def test_the_example_of_a_mark_holds():
    assert doctest.testmod(base).attempted > doctest.testmod(base).failed == 0
