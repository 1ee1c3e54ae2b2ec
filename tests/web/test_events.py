"""Streams of events: what happens is told to those who may see it, once, and to nobody else."""

import asyncio
import dataclasses
import http.client
import json
import time
from contextlib import aclosing, closing

import pytest
import shop

from tracewatch.access import Caller, create_key, revoke_key
from tracewatch.dealing import deal
from tracewatch.stores import open_store
from tracewatch.web.api.events import Happenings
from tracewatch.web.events import HEARTBEAT, MOST_WAITING, Channel, Events, Message

NOW = 1_790_000_000.0
EVERYTHING = Caller(project="default")


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


def an_incident(id="1ncident00000001", **odd):
    return shop.an_incident(id, "high", **{"started_at": NOW - 60, "detected_at": NOW, "updated_at": NOW} | odd)


def a_key(store):
    return create_key(store, project="default", rights=("read",), now=NOW)


def a_finding(id, **odd):
    return dataclasses.replace(shop.finding("1ncident00000001"), id=id, detected_at=NOW, occurred_at=NOW, **odd)


def told(store, *, caller=EVERYTHING, then=(), count=1, missed=lambda: (), clock=lambda: NOW):
    """The next `count` events of a stream once it is open, while each of `then` is done."""

    async def follow():
        events = Events(store, clock, every_s=0.001)
        found = []
        async with aclosing(events.listen(Happenings(store, caller), missed)) as stream:
            opened = await anext(stream)
            if not missed():
                for each in then:
                    await asyncio.to_thread(each)
            while len(found) < count:
                message = parsed(await anext(stream))
                found += [message] if message and message["event"] != "numbers" else []
        assert opened == HEARTBEAT
        return found

    return asyncio.run(asyncio.wait_for(follow(), 30))


def parsed(raw):
    lines = [line.split(": ", 1) for line in raw.decode().splitlines() if line and not line.startswith(":")]
    return {name: json.loads(value) if name == "data" else value for name, value in lines}


def test_an_incident_is_told_when_it_opens_changes_and_closes(store):
    grown = an_incident(findings=3, updated_at=NOW + 60)
    steps = [an_incident(), grown, dataclasses.replace(grown, state="closed", closed_at=NOW + 90)]

    async def follow():
        events = Events(store, lambda: NOW, every_s=0.001)
        names = []
        async with aclosing(events.listen(Happenings(store, EVERYTHING))) as stream:
            await anext(stream)
            for step in steps:
                await asyncio.to_thread(store.put, [step])
                while not (message := parsed(await anext(stream))).get("event", "").startswith("incident"):
                    pass
                names.append(message["event"])
                assert message["data"]["id"] == step.id
        return names

    assert asyncio.run(follow()) == ["incident.opened", "incident.changed", "incident.closed"]


def test_what_people_do_about_an_incident_is_told(store):
    store.put([an_incident()])
    found = told(store, then=[lambda: deal(store, an_incident(), "acknowledge", who="me", now=NOW)])
    assert found[0]["event"] == "incident.changed"
    assert found[0]["data"]["acknowledged"] is True


def test_a_finding_is_told(store):
    (found,) = told(store, then=[lambda: store.add([a_finding("f1")])])
    assert (found["event"], found["data"]["id"]) == ("anomaly", "f1")


def test_nothing_of_another_project_or_account_is_told(store):
    own = Caller(project="default", user_id="u1")
    foreign = [
        lambda: store.put([an_incident("0ther00000000001", project="other"), an_incident("0ther00000000002")]),
        lambda: store.add([a_finding("f1", project="other"), a_finding("f2", user_id="u2"), a_finding("f3")]),
        lambda: store.add([a_finding("mine", user_id="u1")]),
    ]
    assert [each["data"]["id"] for each in told(store, caller=own, then=foreign)] == ["mine"]


def test_who_was_away_gets_what_happened_since(store):
    from tracewatch.web.api.events import messages
    from tracewatch.web.views import happening

    before = an_incident("before0000000001", updated_at=NOW - 900, detected_at=NOW - 900)
    store.put([before, an_incident("after00000000001", updated_at=NOW - 10, detected_at=NOW - 10)])
    deal(store, before, "acknowledge", who="me", now=NOW - 5)
    found = told(store, count=2, missed=lambda: messages(*happening.since(store, EVERYTHING, NOW - 60), NOW))
    assert {(each["event"], each["data"]["id"]) for each in found} == {
        ("incident.changed", "before0000000001"),
        ("incident.opened", "after00000000001"),
    }


class Counting(Channel):
    """Counts how often it is read."""

    reads = 0

    def read(self, now):
        self.reads += 1
        return [Message(data=f"{self.reads}")]

    def standing(self):
        return [Message(data="standing")]


def test_listeners_of_one_kind_cost_one_reading(store):
    channel = Counting("same", EVERYTHING)

    async def follow():
        events = Events(store, lambda: NOW, every_s=0.001)
        streams = [events.listen(channel) for _ in range(50)]
        for each in streams:
            assert await anext(each) == HEARTBEAT
        before = channel.reads
        await asyncio.to_thread(store.add, [a_finding("f1")])
        last = f"data: {before + 1}\n\n".encode()
        for each in streams:
            while await anext(each) != last:
                pass
        assert events.listeners == 50
        for each in streams:
            await each.aclose()
        assert events.listeners == 0
        return channel.reads - before

    assert asyncio.run(asyncio.wait_for(follow(), 30)) == 1


def test_a_listener_that_does_not_take_its_messages_is_let_go(store):
    async def follow():
        events = Events(store, lambda: NOW, every_s=3600)
        channel = Counting("same", EVERYTHING)
        stream = events.listen(channel)
        await anext(stream)
        for _ in range(MOST_WAITING + 1):
            await events._tell(events._open["same"], time.monotonic())
        return [each async for each in stream]

    assert len(asyncio.run(asyncio.wait_for(follow(), 30))) < 3


class Failing(Counting):
    """Cannot be read a second time."""

    def read(self, now):
        if self.reads:
            raise ZeroDivisionError("of a page")
        return super().read(now)


def test_a_stream_that_cannot_be_told_ends_and_the_others_go_on(store, caplog):
    good = Counting("good", EVERYTHING)

    async def follow():
        events = Events(store, lambda: NOW, every_s=0.001)
        bad, other = events.listen(Failing("bad", EVERYTHING)), events.listen(good)
        for each in (bad, other):
            await anext(each)
        await asyncio.to_thread(store.add, [a_finding("f1")])
        rest = [each async for each in bad]
        before = good.reads
        await asyncio.to_thread(store.add, [a_finding("f2")])
        while good.reads <= before:
            await anext(other)
        await other.aclose()
        return rest

    assert asyncio.run(asyncio.wait_for(follow(), 30)) == [b"data: 1\n\n"]
    assert "cannot be told" in caplog.text


def test_a_key_that_is_revoked_ends_its_streams(store):
    key, _ = a_key(store)
    ended = Caller(project="default", key=key.id)

    async def follow():
        events = Events(store, lambda: NOW, every_s=0.001)
        stream = events.listen(Happenings(store, ended))
        await anext(stream)
        await asyncio.to_thread(revoke_key, store, key.id, NOW)
        return [each async for each in stream]

    asyncio.run(asyncio.wait_for(follow(), 30))


def test_a_first_key_ends_the_streams_of_those_who_needed_none(store):
    async def follow():
        events = Events(store, lambda: NOW, every_s=0.001)
        stream = events.listen(Happenings(store, EVERYTHING))
        await anext(stream)
        await asyncio.to_thread(a_key, store)
        return [each async for each in stream]

    asyncio.run(asyncio.wait_for(follow(), 30))


def test_streams_over_the_wire_and_a_server_that_stops_ends_them(serve):
    with serve("--no-detection") as running, closing(http.client.HTTPConnection("127.0.0.1", running.port)) as wire:
        wire.request("GET", "/api/v1/events")
        answer = wire.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        with open_store(str(running.db)) as store:
            store.put([an_incident(started_at=time.time() - 60, updated_at=time.time())])
        lines = []
        while not any(line.startswith(b"event: incident.opened") for line in lines):
            lines.append(answer.readline())
        asked = time.monotonic()
        _, code = running.stop()
        assert code == 0
        assert time.monotonic() - asked < 10
        assert answer.read().endswith(b"\n\n")


def test_the_stream_of_a_page_holds_partials(serve):
    with serve("--no-detection") as running, closing(http.client.HTTPConnection("127.0.0.1", running.port)) as wire:
        wire.request("GET", "/events?page=/&since=6h")
        answer = wire.getresponse()
        line = b""
        while not line.startswith(b"data"):
            line = answer.readline()
        assert line.startswith(b'data: <hx-partial hx-target="#live" hx-swap="outerMorph">')
