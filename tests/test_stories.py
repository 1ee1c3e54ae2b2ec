"""What becomes of an alert: endings and returns, through the engine's door."""

import pickle

import numpy as np
import pytest
from test_adaptive import DAY, MONDAY, calls, end_of, part, slow

from tracewatch.detectors.adaptive import Ending, Engine, Return
from tracewatch.detectors.adaptive.stories import Stories

HOUR = 3600.0
NINTH = MONDAY + 9 * DAY


def told(columns, times=(), engine=None):
    """Alerts and news, asked for at each of the times and at the end."""
    engine = engine or Engine()
    alerts, news, low = [], [], 0
    for now in (*times, end_of(columns)):
        high = int(np.searchsorted(columns["start_time"], now))
        engine.feed({k: v[low:high] for k, v in columns.items()})
        alerts += engine.advance(now)
        news += engine.endings()
        low = high
        engine = pickle.loads(pickle.dumps(engine))
    return alerts, news


def silent(columns, hour, hours):
    """The same stream without one operation for some hours."""
    t = columns["start_time"] - MONDAY
    off = (t >= hour * HOUR) & (t < (hour + hours) * HOUR) & (columns["operation_type"] == "ask")
    return part(columns, ~off)


@pytest.fixture(scope="module")
def stream():
    """Slow for four hours, healed, slow again; one absurd call; silence for some hours."""
    once = slow(calls(days=11, a_day=1500), hour=9 * 24 + 4)
    columns = slow(once, hour=9 * 24 + 14)
    columns["inference_time_ms"][np.searchsorted(columns["start_time"], NINTH + 23 * HOUR)] *= 60
    return silent(columns, 10 * 24 + 4, 5)


@pytest.fixture(scope="module")
def heard(stream):
    return told(stream)


def test_every_alert_has_a_story_of_its_own(heard):
    alerts, _ = heard
    assert {a.kind for a in alerts} >= {"point", "silence"}
    assert [a.story for a in alerts] == list(range(1, len(alerts) + 1))


def test_a_movement_ends_and_comes_back_without_an_alert(heard):
    alerts, news = heard
    slow_story = next(a.story for a in alerts if a.metric == "inference_time_ms" and a.kind != "point")
    fate = [x for x in news if x.story == slow_story]
    assert [type(x) for x in fate] == [Ending, Return] * (len(fate) // 2) + [Ending]
    assert NINTH + 8 * HOUR <= fate[0].at <= NINTH + 10 * HOUR
    assert NINTH + 14 * HOUR <= fate[1].at <= NINTH + 16 * HOUR
    assert NINTH + 17 * HOUR <= fate[-1].at <= NINTH + 20 * HOUR
    assert not any(x.accepted for x in fate if isinstance(x, Ending))


def test_a_single_call_is_over_as_soon_as_it_is_told(heard):
    alerts, news = heard
    point = next(a for a in alerts if a.kind == "point")
    assert [x for x in news if x.story == point.story] == [
        Ending(story=point.story, at=point.detected_at, accepted=False)
    ]


def test_silence_ends_when_nothing_tells_of_it_any_more(heard):
    alerts, news = heard
    silence = next(a for a in alerts if a.kind == "silence")
    [ending] = [x for x in news if x.story == silence.story]
    assert MONDAY + 10 * DAY + 9 * HOUR < ending.at < MONDAY + 10 * DAY + 13 * HOUR


def test_a_level_that_lasts_is_accepted():
    columns = slow(calls(days=14, a_day=1000), hour=9 * 24, hours=200)
    alerts, news = told(columns)
    fate = [x for x in news if x.story == alerts[0].story]
    assert [x.accepted for x in fate if isinstance(x, Ending)] == [False] * (len(fate) // 2) + [True]
    assert isinstance(fate[-1], Ending)
    assert NINTH + 3 * DAY <= fate[-1].at <= NINTH + 4 * DAY


def test_a_small_move_that_lasts_does_not_heal_by_chance():
    columns = calls(days=15, a_day=200)
    shorter = np.where(columns["start_time"] >= NINTH, 0.65, 1.0) * columns["output_tokens"]
    driven = ("ttft_ms", "inference_time_ms", "duration_ms", "cost_usd")
    columns = {name: values for name, values in columns.items() if name not in driven}
    columns["output_tokens"] = shorter.round() + 1
    alerts, news = told(columns)
    assert [alert.metric for alert in alerts] == ["output_tokens"]
    assert [(type(each), each.accepted) for each in news] == [(Ending, True)]


def test_news_comes_in_order_and_after_its_alert(heard):
    alerts, news = heard
    assert [x.at for x in news] == sorted(x.at for x in news)
    began = {a.story: a.detected_at for a in alerts}
    assert all(began[x.story] <= x.at for x in news)


@pytest.mark.parametrize("hours", [7.3, 31.0])
def test_batches_and_pickling_do_not_matter(stream, heard, hours):
    times = NINTH - DAY + np.arange(0, 3 * DAY, hours * HOUR)
    alerts, news = told(stream, [x for x in times.tolist() if x < end_of(stream)])
    assert news == heard[1]
    assert [(a.story, a.detected_at, a.metric, a.slice) for a in alerts] == [
        (a.story, a.detected_at, a.metric, a.slice) for a in heard[0]
    ]


def test_news_is_told_once(stream):
    engine = Engine()
    engine.feed(stream)
    engine.advance(end_of(stream))
    assert engine.endings()
    assert engine.endings() == []


def test_a_held_story_lasts_as_long_as_it_is_heard_of():
    stories = Stories()
    story = stories.last(("user", 1), until=10)
    stories.heard(("user", 1), 8, until=20)
    stories.lapse(20)
    assert stories.drain() == []
    stories.lapse(21)
    stories.heard(("user", 1), 30, until=35)
    stories.forget(("user", 1), 31)
    assert stories.drain() == [
        Ending(story=story, at=22 * 300.0, accepted=False),
        Return(story=story, at=31 * 300.0),
        Ending(story=story, at=32 * 300.0, accepted=False),
    ]
