"""Who was first is found again among few, and is who would be found among all."""

import random

import pytest

from tracewatch.records import Span
from tracewatch.stores import open_store, sqlite_rankings
from tracewatch.stores.base import Filter
from tracewatch.stores.sqlite import SqliteStore

DAY_S = 86_400
BEGIN = 1_770_000_000 // DAY_S * DAY_S
ORDERS = ("cost_usd", "calls", "failed")


def a_span(number, chance, at=None):
    return Span(
        project="default", trace_id=f"t{number}", span_id="1", session_id=f"s{int(chance.expovariate(0.05))}",
        start_time=BEGIN + chance.random() * 9 * DAY_S if at is None else at, duration_ms=5.0,
        model_provider="openai", status=chance.choice(("ok", "ok", "error")),
        cost_usd=chance.choice((None, round(chance.expovariate(1), 3))),
    )  # fmt: skip


def asked(since, until):
    return [
        Filter("project", "=", ("default",)), Filter("start_time", ">=", (since,)), Filter("start_time", "<", (until,))
    ]  # fmt: skip


def same(one, other):
    assert [(each.value, each.calls, each.failed) for each in one] == [
        (each.value, each.calls, each.failed) for each in other
    ]
    assert [each.cost_usd for each in one] == pytest.approx([each.cost_usd for each in other])


@pytest.fixture
def counted(monkeypatch):
    """How often all values were looked at."""
    calls = []
    original = sqlite_rankings.ranked

    def ranked(*given):
        calls.append(given)
        return original(*given)

    monkeypatch.setattr(sqlite_rankings, "ranked", ranked)
    monkeypatch.setattr(sqlite_rankings, "KEPT_VALUES", 12)
    return calls


def test_the_first_are_the_same_whatever_happens_meanwhile(tmp_path, counted):
    path, chance = str(tmp_path / "w.db"), random.Random(5)
    store = open_store(path, create=True)
    spans = [a_span(number, chance) for number in range(400)]
    store.add(spans)
    store.roll_up()
    since, until = BEGIN + 1_000.0, BEGIN + 8.5 * DAY_S
    for turn in range(24):
        match chance.randrange(6):
            case 0:
                store.add([a_span(1_000 + turn, chance)])
            case 1:
                store.add([a_span(1_000 + turn, chance, until)])
            case 2:
                at = chance.choice(spans)
                key = {"project": "default", "trace_id": at.trace_id, "span_id": at.span_id}
                store.annotate(Span, key, {"cost_usd": chance.random() * 9})
            case 3:
                store.put([a_span(chance.randrange(400), chance)])
            case 4:
                store.roll_up()
            case 5:
                since, until = since + 2_000.0, until + 2_000.0
        for order in ORDERS:
            for skip in (0, 5):
                with open_store(path) as other:
                    same(
                        store.groups("session_id", asked(since, until), order=order, limit=5, skip=skip),
                        other.groups("session_id", asked(since, until), order=order, limit=5, skip=skip),
                    )
    store.close()
    known = len(counted) - 24 * len(ORDERS) * 2  # the other store is new each time, and knows nothing
    assert known < 90


def test_a_second_look_is_among_the_first_alone(tmp_path, counted):
    chance = random.Random(1)
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        store.add([a_span(number, chance) for number in range(300)])
        store.roll_up()
        question = asked(BEGIN + 10.0, BEGIN + 9 * DAY_S)
        before = store.groups("session_id", question, order="cost_usd", limit=5)
        late = [a_span(900 + number, chance, BEGIN + 8 * DAY_S + number) for number in range(3)]
        store.add([*late[:2], Span(**{**{n: getattr(late[2], n) for n in late[2].__slots__}, "cost_usd": 99.0})])
        after = store.groups("session_id", question, order="cost_usd", limit=5)
        assert len(counted) == 1
        assert after[0].value == late[2].session_id
        assert before != after


def dear(number, at):
    return Span(
        project="default", trace_id=f"d{number}", span_id="1", session_id="dear", start_time=at, duration_ms=5.0,
        model_provider="openai", cost_usd=500.0,
    )  # fmt: skip


def test_who_came_since_and_was_closed_is_found(tmp_path, counted):
    chance = random.Random(2)
    with SqliteStore(str(tmp_path / "w.db"), create=True, clock=lambda: BEGIN + 9.0 * DAY_S) as store:
        store.add([a_span(number, chance) for number in range(300)])
        store.roll_up()
        question = asked(BEGIN + 10.0, BEGIN + 9 * DAY_S)
        assert store.groups("session_id", question, order="cost_usd", limit=5)[0].value != "dear"
        store.add([dear(1, BEGIN + 8.5 * DAY_S)])
        assert store.compact(BEGIN + 9 * DAY_S, least=1) == 301
        assert store.groups("session_id", question, order="cost_usd", limit=5)[0].value == "dear"
        store.groups("session_id", question, order="cost_usd", limit=5)
        assert len(counted) == 2  # from then on among the first alone, as before


def test_who_lies_closed_behind_the_end_of_that_time_is_found(tmp_path, counted):
    chance = random.Random(3)
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        store.add([*(a_span(number, chance) for number in range(300)), dear(1, BEGIN + 8.02 * DAY_S)])
        store.compact(BEGIN + 9 * DAY_S, least=1)
        for until, is_first in ((8.01, False), (8.03, True)):
            question = asked(BEGIN + 10.0, BEGIN + until * DAY_S)
            first = store.groups("session_id", question, order="cost_usd", limit=5)[0].value
            assert (first == "dear") is is_first
